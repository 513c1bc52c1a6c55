-- Replays of execution packages: `equal`, or why the rows came out otherwise.
SELECT attempt, at, subject AS fingerprint, action AS outcome, policy_digest, seconds,
  detail_text(detail, 'first.subject') AS first_difference, detail
FROM ledger_action
WHERE kind = 'replay'
