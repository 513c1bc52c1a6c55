-- What the policy said of a schema that has changed.
SELECT run_seq, attempt, complete, at, subject, action, pointer, policy_digest,
  detail_text(detail, 'words') AS words, detail
FROM ledger_action
WHERE kind = 'decision'
