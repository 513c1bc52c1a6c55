-- Caches of sessions, as they were built: how large each may grow. The engine tells neither entries nor hits.
SELECT run_seq, attempt, complete, at, subject AS workload, action AS cache, pointer, policy_digest,
  detail_text(detail, 'limit') AS size_limit,
  CAST(detail_text(detail, 'entries') AS BIGINT) AS entries, CAST(detail_text(detail, 'hits') AS BIGINT) AS hits
FROM ledger_action
WHERE kind = 'cache'
