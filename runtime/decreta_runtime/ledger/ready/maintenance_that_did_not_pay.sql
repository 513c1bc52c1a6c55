-- Rewrites that left as many files as before, or that nobody read before the next one (reads of the lake's own tables leave no row).
SELECT m.dataset, m.at, m.action, m.bytes_rewritten, m.seconds, m.files_before, m.files_after,
  count(s.at) AS scans_after,
  CASE WHEN m.files_after >= m.files_before THEN 'as many files as before' ELSE 'nobody read it' END AS why
FROM (
  SELECT *, lead(at) OVER (PARTITION BY dataset ORDER BY at) AS until
  FROM ledger_maintenance
  WHERE bytes_rewritten > 0
) AS m
LEFT JOIN ledger_scan AS s ON s.dataset = m.dataset AND s.at > m.at AND (m.until IS NULL OR s.at < m.until)
GROUP BY m.dataset, m.at, m.action, m.bytes_rewritten, m.seconds, m.files_before, m.files_after
HAVING m.files_after >= m.files_before OR (count(s.at) = 0 AND m.dataset NOT IN ('_ledger', '_runs'))
ORDER BY m.bytes_rewritten DESC, m.dataset, m.at
