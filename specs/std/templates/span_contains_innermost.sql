SELECT c.id AS container_id, m.id AS member_id, CARRY(c, m)
FROM container AS c
JOIN member AS m
  ON c.file = m.file AND c.start <= m.start AND m.stop <= c.stop
  AND NOT (c.start = m.start AND m.stop = c.stop)
QUALIFY ROW_NUMBER() OVER (PARTITION BY m.id ORDER BY c.start DESC, c.stop, c.id) = 1
