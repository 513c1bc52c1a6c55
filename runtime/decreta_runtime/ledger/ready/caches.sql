-- What the caches of sessions spare: the first look-up of each shape in a session beside its later ones.
SELECT q.shape, c.workload, c.footers, c.statistics, c.listing, count(*) FILTER (WHERE q.nth > 1) AS later,
  round(1000 * median(q.seconds) FILTER (WHERE q.nth = 1), 3) AS first_ms,
  round(1000 * median(q.seconds) FILTER (WHERE q.nth > 1), 3) AS later_ms,
  round(1000 * median(q.footer_seconds) FILTER (WHERE q.nth = 1), 3) AS first_footers_ms,
  round(1000 * median(q.footer_seconds) FILTER (WHERE q.nth > 1), 3) AS later_footers_ms
FROM (
  SELECT *, row_number() OVER (PARTITION BY attempt, shape ORDER BY at) AS nth FROM ledger_query
) AS q
JOIN (
  SELECT attempt, workload,
    max(CASE WHEN cache = 'footers' THEN size_limit END) AS footers,
    max(CASE WHEN cache = 'statistics' THEN size_limit END) AS statistics,
    max(CASE WHEN cache = 'listing' THEN size_limit END) AS listing
  FROM ledger_cache GROUP BY attempt, workload
) AS c ON c.attempt = q.attempt AND c.workload = q.workload
GROUP BY q.shape, c.workload, c.footers, c.statistics, c.listing
ORDER BY q.shape, c.workload
