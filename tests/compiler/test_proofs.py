"""Keys by proof, lineage, domains and cut points, over small bodies of SQL."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decreta.check.rows import Flow, Rows
from decreta.check.scope import scope
from decreta.diagnostics import Report
from decreta.source import Embedded, SourceText
from decreta.sql import parse_query

TABLES = {
    "a": Rows(
        {c: Flow(frozenset([f"a.{c}"]), frozenset({"thing"} if c == "id" else ())) for c in ("id", "g", "v")},
        frozenset([frozenset(["id"])]),
        {c: {"a": c} for c in ("id", "g", "v")},
    ),
    "b": Rows(
        {c: Flow(frozenset([f"b.{c}"]), frozenset({"thing"} if c == "aid" else ())) for c in ("bid", "aid", "w")},
        frozenset([frozenset(["bid"])]),
        {c: {"b": c} for c in ("bid", "aid", "w")},
    ),
}


def keys_of(sql: str) -> set[frozenset[str]]:
    return set(rows_of(sql).keys)


def rows_of(sql: str) -> Rows:
    source = SourceText("test.sql", sql)
    text = Embedded(source, sql, (0,))
    report = Report()
    statement = parse_query(text, text.whole(), report)
    assert statement is not None, report.diagnostics()
    found = scope(statement, TABLES, report, local=True)
    assert not report.failed, report.diagnostics()
    return found.rows


@pytest.mark.parametrize(
    ("sql", "key", "proven"),
    [
        ("SELECT a.id FROM a", {"id"}, True),
        ("SELECT a.g FROM a", {"g"}, False),
        ("SELECT a.id AS x FROM a WHERE a.g = 1", {"x"}, True),
        ("SELECT b.bid, a.v FROM b JOIN a ON b.aid = a.id", {"bid"}, True),
        ("SELECT b.bid, a.v FROM b LEFT JOIN a ON b.aid = a.id", {"bid"}, True),
        ("SELECT a.id FROM a LEFT JOIN b ON b.aid = a.id", {"id"}, False),
        ("SELECT a.id, b.bid FROM a JOIN b ON b.aid = a.id", {"bid"}, True),
        ("SELECT a.id, b.bid FROM a JOIN b ON b.w = a.v", {"id", "bid"}, True),
        ("SELECT a.id, b.bid FROM a JOIN b ON b.w = a.v", {"id"}, False),
        ("SELECT a.id FROM a FULL JOIN b ON b.aid = a.id", {"id"}, False),
        ("SELECT a.g, count(*) AS n FROM a GROUP BY a.g", {"g"}, True),
        ("SELECT a.g, count(*) AS n FROM a GROUP BY a.g, a.v", {"g"}, False),
        ("SELECT a.g % 2 AS g, count(*) AS n FROM a GROUP BY a.g", {"g"}, False),
        ("SELECT a.g % 2 AS g, count(*) AS n FROM a GROUP BY g", {"g"}, False),
        ("SELECT a.g % 2 AS h, count(*) AS n FROM a GROUP BY h", {"h"}, True),
        ("SELECT a.g AS h, count(*) AS n FROM a GROUP BY g", {"h"}, True),
        ("SELECT max(a.v) AS m FROM a", set(), True),
        ("SELECT a.g, (SELECT max(b.w) FROM b) AS m FROM a", set(), False),
        ("SELECT DISTINCT a.g, a.v FROM a", {"g", "v"}, True),
        ("SELECT a.id FROM a UNION ALL SELECT b.aid FROM b", {"id"}, False),
        ("SELECT a.id FROM a UNION SELECT b.aid FROM b", {"id"}, True),
        ("SELECT a.g FROM a QUALIFY ROW_NUMBER() OVER (PARTITION BY a.g ORDER BY a.id) = 1", {"g"}, True),
        ("SELECT a.g FROM a QUALIFY ROW_NUMBER() OVER (PARTITION BY a.g ORDER BY a.id) = 2", {"g"}, True),
        ("SELECT a.g FROM a QUALIFY ROW_NUMBER() OVER (PARTITION BY a.g ORDER BY a.id) <= 2", {"g"}, False),
        ("SELECT a.g FROM a QUALIFY RANK() OVER (PARTITION BY a.g ORDER BY a.id) = 1", {"g"}, False),
        ("SELECT s.g FROM (SELECT a.g, ROW_NUMBER() OVER (PARTITION BY a.g ORDER BY a.v) AS n FROM a) AS s "
         "WHERE s.n = 1", {"g"}, True),
        ("SELECT a.id FROM a WHERE EXISTS (SELECT 1 AS x FROM b WHERE b.aid = a.id)", {"id"}, True),
        ("SELECT a.id FROM a LEFT ANTI JOIN b ON b.aid = a.id", {"id"}, True),
        ("SELECT b.bid FROM b JOIN a ON b.aid + 1 = a.id", {"bid"}, True),
        ("SELECT b.bid FROM b JOIN a ON b.aid < a.id", {"bid"}, False),
        ("WITH x AS (SELECT a.id FROM a) SELECT x.id FROM x", {"id"}, True),
    ],
)  # fmt: skip
def test_keys(sql: str, key: set[str], proven: bool) -> None:
    assert any(candidate <= key for candidate in keys_of(sql)) == proven


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_small_tables_contradict_a_proof(data: st.DataObject) -> None:
    """The law behind `proven`: random joins of random tables, run by a real engine, keep every key that is claimed."""
    import duckdb
    import pyarrow as pa

    join = data.draw(st.sampled_from(["JOIN", "LEFT JOIN"]))
    on = data.draw(
        st.sampled_from(["b.aid = a.id", "b.w = a.v", "b.bid = a.id", "b.aid = a.id AND b.w = a.g", "b.aid + 1 = a.id"])
    )
    where = data.draw(st.sampled_from(["", " WHERE a.g = 1", " WHERE b.bid = 1", " WHERE a.id = b.w"]))
    sql = f"SELECT a.id, a.g, b.bid, b.w FROM a {join} b ON {on}{where}"
    small = st.integers(0, 2)
    a = data.draw(st.lists(st.tuples(small, small, small), max_size=4, unique_by=lambda r: r[0]))
    b = data.draw(st.lists(st.tuples(small, small, small), max_size=4, unique_by=lambda r: r[0]))
    connection = duckdb.connect()
    for name, columns, rows in (("a", ("id", "g", "v"), a), ("b", ("bid", "aid", "w"), b)):
        table = pa.table({c: pa.array([r[i] for r in rows], pa.int64()) for i, c in enumerate(columns)})
        connection.register(name, table)
    found = connection.execute(sql).fetchall()
    names = ("id", "g", "bid", "w")
    for key in keys_of(sql):
        values = [tuple(row[names.index(c)] for c in sorted(key)) for row in found]
        assert len(values) == len(set(values)), (sql, key, a, b, found)


@pytest.mark.parametrize(
    ("sql", "local"),
    [
        ("SELECT a.g FROM a", True),
        ("SELECT a.g, b.w FROM a JOIN b ON b.w = a.g", True),
        ("SELECT a.g, (SELECT count(*) FROM b) AS n FROM a", False),
        ("SELECT a.g FROM a JOIN b ON b.w = a.g AND EXISTS (SELECT 1 AS x FROM b AS c WHERE c.bid = b.aid)", False),
        ("SELECT a.g FROM a UNION SELECT b.w FROM b", True),
        ("SELECT a.g FROM a UNION SELECT b.w FROM b LIMIT 2", False),
        ("(SELECT a.g FROM a UNION SELECT b.w FROM b) LIMIT 2", False),
    ],
)
def test_locality(sql: str, local: bool) -> None:
    assert ("g" in rows_of(sql).local) == local


def test_keys_of_the_first_branch_are_none_of_a_recursion() -> None:
    source = SourceText(
        "test.sql",
        "WITH RECURSIVE r AS (SELECT a.id AS x, a.id AS y FROM a UNION SELECT r.x, b.bid AS y FROM b JOIN r ON r.x = b.aid) "
        "SELECT r.x, r.y FROM r",
    )
    text = Embedded(source, source.text, (0,))
    statement = parse_query(text, text.whole(), Report())
    assert statement is not None
    found = scope(statement, TABLES, Report())
    assert [join.one_right for join in found.joins if join.alias == "r"] == [False]


def test_lineage_and_domains_follow_values() -> None:
    rows = rows_of(
        "SELECT a.id, COALESCE(b.aid, a.id) AS either, MAX(a.id) AS top, a.id + 1 AS next "
        "FROM a JOIN b ON b.aid = a.id GROUP BY a.id, b.aid"
    )
    assert rows.columns["either"] == Flow(frozenset(["a.id", "b.aid"]), frozenset(["thing"]))
    assert rows.columns["top"].domain == {"thing"}
    assert rows.columns["next"] == Flow(frozenset(["a.id"]), frozenset())
