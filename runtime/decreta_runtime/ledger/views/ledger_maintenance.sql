-- What was done for a table's health after a write, or why nothing was (`none`).
SELECT run_seq, attempt, complete, at, subject AS dataset, action, pointer, policy_digest,
  table_version, seconds, bytes AS bytes_rewritten, files AS files_rewritten, files_total AS files_before,
  coalesce(CAST(detail_text(detail, 'after.files') AS BIGINT), files_total) AS files_after,
  detail_text(detail, 'cause') AS cause, detail_text(detail, 'done') AS done, detail_text(detail, 'why') AS why, detail
FROM ledger_action
WHERE kind = 'maintenance'
