SELECT
  r.import_id,
  r.file_id AS src_file_id,
  CASE WHEN bound.name IS NULL AND r.sub_file_id IS NOT NULL THEN r.sub_file_id ELSE r.base_file_id END AS dst_file_id,
  CASE
    WHEN bound.name IS NULL AND r.sub_file_id IS NOT NULL THEN r.sub_module
    WHEN r.base_file_id IS NOT NULL THEN r.base_module
    ELSE SPLIT_PART(r.target, '.', 1)
  END AS target,
  r.name,
  r.span_start,
  CASE
    WHEN bound.name IS NOT NULL THEN 'binding'
    WHEN r.sub_file_id IS NOT NULL THEN 'submodule'
    WHEN r.base_file_id IS NULL THEN 'external'
    WHEN r.name IS NULL THEN 'module'
    ELSE 'module_unbound'
  END AS via,
  CAST(2 AS TINYINT) AS tier
FROM import_reach AS r
LEFT JOIN bound_import AS bound ON r.file_id = bound.file_id AND r.import_id = bound.import_id
