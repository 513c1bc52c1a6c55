-- Guards asked. Where one fails, what the decision names `otherwise` was taken.
SELECT run_seq, attempt, complete, at, subject, pointer, policy_digest,
  split_part(action, ': ', 1) AS guard, split_part(action, ': ', 2) = 'holds' AS holds, rows, bytes, detail
FROM ledger_action
WHERE kind = 'guard'
