-- Decisions in `warn`: recorded beside what was done, and not obeyed.
SELECT run_seq, attempt, complete, at, subject, action = 'agrees' AS agrees, pointer, policy_digest,
  detail_text(detail, 'domain') AS domain,
  detail_text(detail, 'choice_id') AS choice_id,
  detail_text(detail, 'stands') AS stands,
  detail_text(detail, 'decision') AS decision,
  detail_text(detail, 'baseline') AS baseline,
  detail_text(detail, 'would.figures') AS figures
FROM ledger_action
WHERE kind = 'shadow'
