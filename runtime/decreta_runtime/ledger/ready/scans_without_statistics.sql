-- Tables whose newest scan met files that the log says nothing of: such a file is never skipped.
SELECT dataset, table_version, at, path, files, files_with_statistics, bytes
FROM (
  SELECT *, row_number() OVER (PARTITION BY dataset ORDER BY at DESC) AS newest FROM ledger_scan
) AS scans
WHERE newest = 1 AND (files_with_statistics IS NULL OR files_with_statistics < files)
ORDER BY bytes DESC, dataset
