-- What was done for a table's health after a write, or why nothing was (`none`).
SELECT run_seq, attempt, complete, at, subject AS dataset, action, pointer, policy_digest,
  table_version, seconds, bytes AS bytes_rewritten, files AS files_after, files_total AS files_before,
  detail_text(detail, 'trigger') AS trigger_name, detail_text(detail, 'cause') AS cause, detail
FROM ledger_action
WHERE kind = 'maintenance'
