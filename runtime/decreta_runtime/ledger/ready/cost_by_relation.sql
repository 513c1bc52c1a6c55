-- What relations cost in bytes read and written, at a price for each byte; of all runs, those that were refused too.
-- $price_per_byte float64
SELECT subject, count(DISTINCT attempt) AS attempts, sum(bytes_scanned) AS bytes_read, sum(bytes_written) AS bytes_written,
  sum(unknown) AS reads_unknown,
  (coalesce(sum(bytes_scanned), 0) + coalesce(sum(bytes_written), 0)) * $price_per_byte AS cost
FROM (
  SELECT subject, attempt, bytes_scanned, CASE WHEN action = 'spill' THEN bytes ELSE 0 END AS bytes_written,
    CASE WHEN bytes_scanned IS NULL THEN 1 ELSE 0 END AS unknown
  FROM ledger_step WHERE rows IS NOT NULL
  UNION ALL
  SELECT dataset AS subject, attempt, bytes_scanned, bytes AS bytes_written,
    CASE WHEN bytes_scanned IS NULL THEN 1 ELSE 0 END AS unknown
  FROM ledger_write
) AS moved
GROUP BY subject
ORDER BY cost DESC, subject
