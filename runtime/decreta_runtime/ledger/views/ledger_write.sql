-- Tables written; of a dataset with a quarantine, `given` = `rows` + `quarantined`.
SELECT run_seq, attempt, complete, at, subject AS dataset, action AS mode, pointer, policy_digest,
  table_version, seconds, rows, bytes, files, rows_read, bytes_scanned, memory_bytes,
  CAST(detail_text(detail, 'given') AS BIGINT) AS given,
  CAST(detail_text(detail, 'quarantined') AS BIGINT) AS quarantined
FROM ledger_action
WHERE kind = 'write'
