-- Checks asked, or taken as proven; `violations` is null where nothing was asked.
SELECT run_seq, attempt, complete, at, subject, action AS check_name, pointer, policy_digest,
  seconds, rows AS violations,
  detail_text(detail, 'when') AS asked_when,
  detail_text(detail, 'on_violation') AS on_violation,
  detail_text(detail, 'outcome') AS outcome
FROM ledger_action
WHERE kind = 'check'
