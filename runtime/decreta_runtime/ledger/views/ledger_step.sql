-- What a run does between reading and writing: sessions, extracts, rows kept in memory or a spill, views left to readers.
SELECT run_seq, attempt, complete, at, subject, action, pointer, policy_digest,
  seconds, rows, bytes, files, rows_read, bytes_scanned, memory_bytes
FROM ledger_action
WHERE kind = 'step'
