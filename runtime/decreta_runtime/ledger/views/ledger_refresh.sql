-- How objects and relations were brought up to date, and why not better; `rows` are those computed.
SELECT run_seq, attempt, complete, at, subject, action AS differs, pointer, policy_digest, table_version, rows,
  detail_text(detail, 'done') AS done, detail_text(detail, 'kind') AS kind,
  CAST(detail_text(detail, 'groups') AS BIGINT) AS groups_computed,
  CAST(detail_text(detail, 'files_rewritten') AS BIGINT) AS files_rewritten,
  CAST(detail_text(detail, 'files_added') AS BIGINT) AS files_added,
  CAST(detail_text(detail, 'undone') AS BIGINT) AS undone,
  detail_text(detail, 'why_not_better') AS why_not_better
FROM ledger_action
WHERE kind = 'refresh'
