-- Look-ups: query shapes, statements (`sql`) and relations shown (`show`).
SELECT attempt, at, subject AS shape, pointer, policy_digest,
  seconds, rows, bytes AS bytes_scanned, files AS files_read, files_total
FROM ledger_action
WHERE kind = 'query'
