-- Look-ups: query shapes, statements (`sql`) and relations shown (`show`).
SELECT attempt, at, subject AS shape, pointer, policy_digest,
  seconds, rows, bytes AS bytes_scanned, files AS files_read, files_total,
  detail_text(detail, 'workload') AS workload, CAST(detail_text(detail, 'footer_seconds') AS DOUBLE) AS footer_seconds
FROM ledger_action
WHERE kind = 'query'
