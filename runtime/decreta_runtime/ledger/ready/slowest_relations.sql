-- The relations and tables that complete runs spent most time on.
-- $limit int64 = 20
SELECT subject, count(DISTINCT attempt) AS runs, sum(seconds) AS seconds, max(seconds) AS slowest,
  sum(rows) AS rows, sum(rows_read) AS rows_read, sum(bytes_scanned) AS bytes_scanned
FROM (
  SELECT subject, attempt, seconds, rows, rows_read, bytes_scanned FROM ledger_step WHERE complete AND rows IS NOT NULL
  UNION ALL
  SELECT dataset AS subject, attempt, seconds, rows, rows_read, bytes_scanned FROM ledger_write WHERE complete
) AS computed
WHERE seconds IS NOT NULL
GROUP BY subject
ORDER BY seconds DESC, subject
LIMIT $limit
