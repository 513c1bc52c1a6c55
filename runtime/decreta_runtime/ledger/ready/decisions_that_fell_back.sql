-- Decisions whose baseline stands for want of evidence, or that a guard has turned to `otherwise`; under today's policy.
SELECT d.domain, d.subject, d.rule, d.fallback_reason, d.confidence, d.pointer,
  count(g.at) AS guards_failed, max(g.guard) AS guard, max(g.at) AS last_failed
FROM policy_decision AS d
LEFT JOIN ledger_guard AS g ON g.pointer = d.pointer AND g.policy_digest = d.policy_digest AND NOT g.holds
GROUP BY d.domain, d.subject, d.rule, d.fallback_reason, d.confidence, d.pointer
HAVING d.fallback_reason IS NOT NULL OR count(g.at) > 0
ORDER BY guards_failed DESC, d.domain, d.subject
