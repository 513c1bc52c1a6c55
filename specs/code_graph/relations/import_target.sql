-- A relative import starts at the package of its file: one dot is that package, each further dot its parent.
SELECT
  p.import_id,
  p.file_id,
  p.span_start,
  p.name,
  CASE
    WHEN p.level = 0 THEN p.module
    WHEN p.keep < 1 THEN NULL
    WHEN p.module = '' THEN ARRAY_TO_STRING(ARRAY_SLICE(p.parts, 1, p.keep), '.')
    ELSE ARRAY_TO_STRING(ARRAY_SLICE(p.parts, 1, p.keep), '.') || '.' || p.module
  END AS target
FROM (
  SELECT
    i.import_id,
    i.file_id,
    i.span_start,
    i.name,
    i.level,
    i.module,
    STRING_TO_ARRAY(f.module, '.') AS parts,
    CAST(ARRAY_LENGTH(STRING_TO_ARRAY(f.module, '.')) AS BIGINT) + CASE WHEN f.is_package THEN 1 ELSE 0 END - i.level AS keep
  FROM import AS i
  JOIN file AS f ON i.file_id = f.file_id
) AS p
