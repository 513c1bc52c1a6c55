"""Which look-up must come first: found from joins, and never where it could lose a row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from datafusion import SessionConfig, SessionContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decreta.engine import Engine
from decreta.plans import Meeting
from decreta_runtime.contract.manifest import Column

COLUMNS = tuple(Column(name=name, type="int64", nullable=True) for name in ("k", "j", "v"))
TABLES = ("a", "b", "c")
NARROWED = {
    "SELECT b.v FROM b JOIN a ON b.k = a.k WHERE a.v = 1": {("b", "k", "a", "k")},
    "SELECT a.v, b.v FROM a LEFT JOIN b ON b.k = a.k AND b.v > a.j WHERE a.v = 1": {("b", "k", "a", "k")},
    "SELECT a.v, b.v FROM b RIGHT JOIN a ON b.k = a.k WHERE a.v = 1": {("b", "k", "a", "k")},
    "SELECT b.v FROM b WHERE b.k IN (SELECT k FROM a WHERE v = 1)": {("b", "k", "a", "k")},
    "SELECT a.v FROM a WHERE a.v = 1 AND EXISTS (SELECT 1 FROM b WHERE b.k = a.k)": {("b", "k", "a", "k")},
    "SELECT x.w FROM (SELECT k AS kk, v AS w FROM b WHERE j > 0) AS x JOIN a ON x.kk = a.k WHERE a.v = 1": {
        ("b", "k", "a", "k")
    },
    "SELECT b.v FROM b JOIN c ON b.j = c.j JOIN a ON b.k = a.k WHERE a.v = 1": {("b", "k", "a", "k")},
    "SELECT b.v FROM a JOIN c ON c.k = a.k LEFT JOIN b ON b.k = c.k WHERE a.v = 1": {
        ("b", "k", "a", "k"),
        ("c", "k", "a", "k"),
    },
    "SELECT b.v FROM b JOIN a ON b.k = a.k WHERE a.v = 1 ORDER BY b.v LIMIT 1000": {("b", "k", "a", "k")},
}
LEFT_ALONE = [
    "SELECT b.v FROM b LEFT JOIN a ON b.k = a.k AND a.v = 1",
    "SELECT a.v, b.v FROM a FULL JOIN b ON b.k = a.k",
    "SELECT a.v, b.v FROM (SELECT * FROM a WHERE v = 1) AS a FULL JOIN b ON b.k = a.k",
    "SELECT b.v FROM b WHERE b.k NOT IN (SELECT k FROM a WHERE v = 1)",
    "SELECT b.v FROM b WHERE NOT EXISTS (SELECT 1 FROM a WHERE a.k = b.k AND a.v = 1)",
    "SELECT k FROM b INTERSECT SELECT k FROM a WHERE v = 1",
    "SELECT b.v FROM b JOIN a ON b.k IS NOT DISTINCT FROM a.k WHERE a.v = 1",
    "SELECT x.v FROM (SELECT * FROM b ORDER BY v, k, j LIMIT 3) AS x JOIN a ON x.k = a.k WHERE a.v = 1",
    "SELECT x.n FROM (SELECT v, count(*) AS n, max(k) AS k FROM b GROUP BY v) AS x JOIN a ON x.k = a.k WHERE a.v = 1",
    "SELECT x.n FROM (SELECT k, row_number() OVER (ORDER BY v, k, j) AS n FROM b) AS x JOIN a ON x.k = a.k WHERE a.v = 1",
    "SELECT b.v FROM b JOIN a ON b.k + 1 = a.k WHERE a.v = 1",
    "SELECT b.v FROM b JOIN a ON b.k < a.k WHERE a.v = 1",
    "SELECT b.v FROM b JOIN a ON b.k = a.k OR b.j = a.j WHERE a.v = 1",
    "SELECT x.v FROM (SELECT k, v FROM b UNION ALL SELECT k, v FROM c) AS x JOIN a ON x.k = a.k WHERE a.v = 1",
    "SELECT b.v FROM b JOIN a ON b.k = a.k WHERE a.v = 1 AND b.v > (SELECT max(v) FROM b)",
    "SELECT c.v, b.v FROM c LEFT JOIN b ON b.j = c.j LEFT JOIN a ON b.k = a.k AND a.v = 1",
]


def engine() -> Engine:
    made = Engine()
    for table in TABLES:
        made.register(table, COLUMNS)
    return made


def narrowing(sql: str) -> dict[str, list[Meeting]]:
    """Return the tables all of whose scans meet a row that `v = 1` looks up."""
    scans, meetings = engine().meetings(sql, {})
    found: dict[str, list[Meeting]] = {}
    for meeting in meetings:
        if meeting.table != meeting.giver and meeting.condition and "v = Int64(1)" in meeting.condition:
            found.setdefault(meeting.table, []).append(meeting)
    return {table: each for table, each in found.items() if len({m.scan for m in each}) == scans.count(table)}


@pytest.mark.parametrize("sql", NARROWED)
def test_joins_that_want_only_what_meets(sql: str) -> None:
    found = {(m.table, m.column, m.giver, m.gives) for each in narrowing(sql).values() for m in each}
    assert found == NARROWED[sql]


@pytest.mark.parametrize("sql", LEFT_ALONE)
def test_joins_that_keep_more(sql: str) -> None:
    assert "b" not in narrowing(sql)


values = st.one_of(st.none(), st.integers(0, 3))
tables = st.lists(st.tuples(values, values, values), max_size=8)


def answer(sql: str, rows: dict[str, list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    context = SessionContext(SessionConfig().with_target_partitions(1))
    for name, table in rows.items():
        columns = list(zip(*table, strict=True)) or [(), (), ()]
        batch = pa.table({c.name: pa.array(v, pa.int64()) for c, v in zip(COLUMNS, columns, strict=True)})
        context.register_record_batches(name, [batch.to_batches() or [pa.RecordBatch.from_pylist([], batch.schema)]])
    found = [tuple(row.values()) for batch in context.sql(sql).collect() for row in batch.to_pylist()]
    return sorted(found, key=repr)


@pytest.mark.parametrize("sql", [*NARROWED, *LEFT_ALONE])
def test_rows_that_meet_nothing_make_no_difference(sql: str) -> None:
    found = narrowing(sql)

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(a=tables, b=tables, c=tables)
    def law(**rows: list[tuple[Any, ...]]) -> None:
        place = {column.name: i for i, column in enumerate(COLUMNS)}
        less = dict(rows)
        for table, each in found.items():
            wanted = [
                (place[m.column], {row[place[m.gives]] for row in rows[m.giver] if row[place["v"]] == 1} - {None})
                for m in each
            ]
            less[table] = [row for row in rows[table] if any(row[i] in given for i, given in wanted)]
        assert answer(sql, less) == answer(sql, rows)

    law()
