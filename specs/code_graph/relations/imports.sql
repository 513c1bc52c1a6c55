SELECT
  t.import_id,
  t.file_id AS src_file_id,
  CASE WHEN bound.name IS NULL AND sub.file_id IS NOT NULL THEN sub.file_id ELSE base.file_id END AS dst_file_id,
  CASE
    WHEN bound.name IS NULL AND sub.file_id IS NOT NULL THEN sub.module
    WHEN base.file_id IS NOT NULL THEN base.module
    ELSE SPLIT_PART(t.target, '.', 1)
  END AS target,
  t.name,
  t.span_start,
  CASE
    WHEN bound.name IS NOT NULL THEN 'binding'
    WHEN sub.file_id IS NOT NULL THEN 'submodule'
    WHEN base.file_id IS NULL THEN 'external'
    WHEN t.name IS NULL THEN 'module'
    ELSE 'module_unbound'
  END AS via,
  CAST(2 AS TINYINT) AS tier
FROM import_target AS t
LEFT JOIN module_file AS base ON t.target = base.module
LEFT JOIN module_file AS sub ON t.target || '.' || t.name = sub.module
LEFT JOIN (SELECT DISTINCT m.file_id, m.name FROM module_definition AS m) AS bound
  ON base.file_id = bound.file_id AND t.name = bound.name
