-- External indexes brought up to date, or not.
SELECT run_seq, attempt, complete, at, subject AS index_name, action, pointer, policy_digest,
  table_version, seconds, rows, bytes, files AS files_read, files_total,
  CAST(detail_text(detail, 'removed') AS BIGINT) AS files_removed,
  detail_text(detail, 'words') AS why
FROM ledger_action
WHERE kind = 'index'
