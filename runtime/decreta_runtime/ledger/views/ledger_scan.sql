-- Tables made readable, by a run or for look-ups: by which path, of how much.
SELECT run_seq, attempt, complete, at, subject AS dataset, action AS path, pointer, policy_digest,
  table_version, files, files_with_statistics, bytes
FROM ledger_action
WHERE kind = 'scan'
