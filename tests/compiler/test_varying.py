"""What of a query's result may differ from run to run: statement by statement, and by running what is said not to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from datafusion import SessionConfig, SessionContext

from decreta.check.recursion import check_recursion, plan_recursive
from decreta.check.rows import Flow, Rows
from decreta.check.scope import scope
from decreta.check.sensitivity import SENSITIVITY
from decreta.check.unsettled import Unsettled
from decreta.check.varying import Varies, varying
from decreta.diagnostics import Report
from decreta.engine import Engine
from decreta.source import Embedded, SourceText
from decreta.sql import parse_query, print_query
from decreta_runtime.contract.capabilities import Volatility
from decreta_runtime.contract.manifest import Column

READING = {"id": "int64", "grp": "int64", "name": "string", "w": "float64", "d": "decimal(10,2)", "n": "int32"}
SALE = {"sale": "int64", "buyer": "int64", "at": "timestamp"}
TABLES: dict[str, tuple[dict[str, str], list[str]]] = {
    "t": (READING, ["id"]),
    "s": (SALE, ["sale"]),
    "bag": ({"g": "int64", "x": "int64"}, []),
    "v": ({"grp": "int64", "sum": "float64", "c": "int64"}, ["grp"]),
}
"""Columns and key; of `v` somebody has declared that `sum` varies."""
VOLATILITIES: dict[str, Volatility] = {"random": "volatile", "current_timestamp": "stable", "current_date": "stable"}
KNOWN = {
    name: Rows({c: Flow() for c in columns}, frozenset([frozenset(key)]) if key else frozenset())
    for name, (columns, key) in TABLES.items()
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = Engine()
    for name, (columns, _) in TABLES.items():
        found.register(name, [Column(name=c, type=kind, nullable=False) for c, kind in columns.items()])
    return found


def varies(sql: str, engine: Engine) -> Varies:
    text = Embedded(SourceText("test.sql", sql), sql, (0,))
    report = Report()
    statement = parse_query(text, text.whole(), report)
    assert statement is not None, report.diagnostics()
    scoped = scope(statement, KNOWN, report)
    check_recursion(statement, report)
    assert not report.failed, report.diagnostics()
    plan_recursive(statement, engine, engine.plan(print_query(statement.tree)))
    declared: Mapping[str, Varies] = {"v": Varies({"sum": frozenset(["`v.sum`"])})}
    return varying(statement.tree, scoped, declared, VOLATILITIES, engine)


def named(sql: str, engine: Engine) -> set[str]:
    """Return the columns that vary, and `*` if it is the rows."""
    found = varies(sql, engine)
    return {name for name, causes in found.columns.items() if causes} | ({"*"} if found.rows else set())


SETTLED = """
SELECT grp, SUM(d) AS q FROM t GROUP BY grp
SELECT grp, AVG(d) AS q FROM t GROUP BY grp
SELECT grp, AVG(n) AS q FROM t GROUP BY grp
SELECT grp, MEDIAN(w) AS q, MIN(w) AS a, COUNT(w) AS c FROM t GROUP BY grp
SELECT grp, SUM(CASE WHEN w > 1.5 THEN 1 ELSE 0 END) AS q FROM t GROUP BY grp
SELECT grp, SUM(CASE WHEN w IN (1.5, 2.5) THEN n ELSE 0 END) AS q FROM t GROUP BY grp
SELECT grp, SUM(n) FILTER (WHERE w > 0.5) AS q FROM t GROUP BY grp
SELECT grp, SUM(CAST(w * 0.5 AS DECIMAL(20, 4))) AS q FROM t GROUP BY grp
SELECT grp, SUM(n / 3) AS q FROM t GROUP BY grp
SELECT buyer, SUM(date_part('day', at)) AS q FROM s GROUP BY buyer
SELECT id, SUM(w) AS q FROM t GROUP BY id
SELECT id, SUM(w) OVER (PARTITION BY grp ORDER BY name, id) AS q FROM t
SELECT id, STDDEV(w) OVER (ORDER BY id) AS q FROM t
SELECT id, SUM(n) OVER (PARTITION BY grp ORDER BY name) AS q FROM t
SELECT id, SUM(n) OVER (ORDER BY name ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS q FROM t
SELECT id, RANK() OVER (ORDER BY name) AS q, DENSE_RANK() OVER (ORDER BY grp) AS p FROM t
SELECT id, ROW_NUMBER() OVER (PARTITION BY grp ORDER BY name, id) AS q FROM t
SELECT id, ROW_NUMBER() OVER (PARTITION BY grp ORDER BY -id) AS q FROM t
SELECT id, ROW_NUMBER() OVER w AS q FROM t WINDOW w AS (PARTITION BY grp ORDER BY name, id)
SELECT grp, ROW_NUMBER() OVER (ORDER BY COUNT(*), grp) AS q FROM t GROUP BY grp
SELECT grp, ROW_NUMBER() OVER (ORDER BY c, grp) AS q FROM (SELECT grp, COUNT(*) AS c FROM t GROUP BY grp) AS g
SELECT t.id, s.sale, ROW_NUMBER() OVER (PARTITION BY t.id ORDER BY s.at, s.sale) AS q FROM t JOIN s ON s.buyer = t.grp
SELECT s.sale, ROW_NUMBER() OVER (ORDER BY t.name, s.sale) AS q FROM s LEFT JOIN t ON s.buyer = t.id
SELECT id, LEAD(n) OVER (PARTITION BY grp ORDER BY id) AS q FROM t
SELECT id, FIRST_VALUE(name) OVER (PARTITION BY grp ORDER BY name) AS q FROM t
SELECT grp, STRING_AGG(name, ',' ORDER BY name) AS q FROM t GROUP BY grp
SELECT grp, ARRAY_AGG(n ORDER BY name, id) AS q FROM t GROUP BY grp
SELECT grp, array_sort(ARRAY_AGG(n)) AS q, array_length(ARRAY_AGG(n)) AS c FROM t GROUP BY grp
SELECT s.buyer, ANY_VALUE(t.name) AS q FROM s JOIN t ON t.id = s.buyer GROUP BY s.buyer
SELECT id FROM t ORDER BY name, id LIMIT 2
SELECT id, name FROM t ORDER BY 1 LIMIT 2
SELECT name FROM t ORDER BY name LIMIT 2
SELECT id FROM t WHERE id = 1 ORDER BY name LIMIT 1
SELECT grp, COUNT(*) AS c FROM t GROUP BY grp ORDER BY c, grp LIMIT 2
SELECT COUNT(*) AS c FROM t LIMIT 1
SELECT DISTINCT grp, n FROM t ORDER BY n, grp LIMIT 2
SELECT grp FROM t UNION SELECT sale FROM s ORDER BY grp LIMIT 2
SELECT t.id FROM t WHERE EXISTS (SELECT 1 AS one FROM s LIMIT 1)
SELECT COUNT(*) AS c FROM (SELECT id FROM t LIMIT 5) AS l
SELECT DISTINCT ON (grp) grp, n FROM t ORDER BY grp, name, id
SELECT grp, n FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY grp ORDER BY n) = 1
WITH RECURSIVE r AS (SELECT id AS x FROM t UNION SELECT s.sale FROM r JOIN s ON s.buyer = r.x) SELECT x FROM r
WITH RECURSIVE r AS (SELECT id AS x FROM t) SELECT x FROM r
SELECT v.grp, v.c FROM v WHERE v.c > 1
SELECT COUNT(*) AS c FROM v
SELECT t.id, v.c FROM t JOIN v ON v.grp = t.grp
"""
OPEN = """
q| SELECT grp, SUM(w) AS q FROM t GROUP BY grp
q| SELECT grp, AVG(id) AS q FROM t GROUP BY grp
q| WITH x AS (SELECT grp, w * 2 AS ww FROM t) SELECT grp, SUM(ww) AS q FROM x GROUP BY grp
q| WITH x(grp, f) AS (SELECT grp, w FROM t) SELECT grp, AVG(f) AS q FROM x GROUP BY grp
q| SELECT x.grp, SUM(x.r) AS q FROM (SELECT grp, sqrt(n) AS r FROM t) AS x GROUP BY x.grp
q| WITH x AS (SELECT grp, w FROM t UNION ALL SELECT grp, w FROM t) SELECT grp, SUM(w) AS q FROM x GROUP BY grp
q| SELECT grp, SUM(CASE WHEN n > 1 THEN 0 ELSE w END) AS q FROM t GROUP BY grp
q| SELECT x.g, SUM(x.f) AS q FROM (SELECT grp AS g, n AS f FROM t UNION ALL SELECT grp, w FROM t) AS x GROUP BY x.g
q| SELECT grp, SUM(sqrt(n)) AS q FROM t GROUP BY grp
q| SELECT grp, SUM(arrow_cast(n, 'Float64')) AS q FROM t GROUP BY grp
q| SELECT buyer, SUM(date_part('epoch', at)) AS q FROM s GROUP BY buyer
q| SELECT grp, SUM(DISTINCT w) AS q FROM t GROUP BY grp
q| SELECT id, (SELECT SUM(o.w * t.n) FROM t AS o WHERE o.grp = t.grp) AS q FROM t
q| SELECT grp, VAR_POP(n) AS q FROM t GROUP BY grp
q| SELECT grp, CORR(n, w) AS q FROM t GROUP BY grp
q| SELECT grp, REGR_SLOPE(n, w) AS q FROM t GROUP BY grp
q| SELECT grp, MEAN(w) AS q FROM t GROUP BY grp
q| SELECT grp, APPROX_MEDIAN(n) AS q FROM t GROUP BY grp
q| SELECT grp, APPROX_PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY n) AS q FROM t GROUP BY grp
q| SELECT id, SUM(w) OVER (PARTITION BY grp) AS q FROM t
q| SELECT id, SUM(w) OVER (PARTITION BY grp ORDER BY name) AS q FROM t
q| SELECT id, SUM(n) OVER (ORDER BY name ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS q FROM t
q| SELECT id, ROW_NUMBER() OVER () AS q FROM t
q| SELECT g, ROW_NUMBER() OVER (ORDER BY g, x) AS q FROM bag
q| SELECT id, ROW_NUMBER() OVER w AS q FROM t WINDOW w AS (PARTITION BY grp ORDER BY name)
q| WITH x AS (SELECT id, grp, name FROM t) SELECT id, ROW_NUMBER() OVER (PARTITION BY grp ORDER BY name) AS q FROM x
q| SELECT t.id, ROW_NUMBER() OVER (ORDER BY t.id) AS q FROM t JOIN s ON s.buyer = t.grp
q| SELECT grp, ROW_NUMBER() OVER (ORDER BY COUNT(*)) AS q FROM t GROUP BY grp
q| SELECT id, NTILE(4) OVER (ORDER BY name) AS q FROM t
q| SELECT id, LAG(name) OVER (ORDER BY name) AS q FROM t
q| SELECT id, NTH_VALUE(n, 2) OVER (PARTITION BY grp ORDER BY name) AS q FROM t
q| SELECT id, array_to_string(ARRAY_AGG(n) OVER (PARTITION BY grp), ',') AS q FROM t
q| SELECT grp, STRING_AGG(name, ',' ORDER BY n) AS q FROM t GROUP BY grp
q| SELECT grp, FIRST_VALUE(n ORDER BY name) AS q FROM t GROUP BY grp
q| SELECT grp, ANY_VALUE(n) AS q FROM t GROUP BY grp
q| SELECT grp, ARRAY_AGG(x.n) AS q FROM (SELECT grp, n FROM t ORDER BY n) AS x GROUP BY grp
q| SELECT DISTINCT ON (grp) grp, n AS q FROM t ORDER BY grp, name
q| SELECT grp, name, id AS q FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY grp ORDER BY name) = 1
q| SELECT name, id AS q FROM t ORDER BY name LIMIT 2
q| SELECT id AS q FROM t LIMIT 2
q| SELECT id AS q FROM t OFFSET 2
q| SELECT -id AS id, id AS q FROM t ORDER BY id LIMIT 2
q| SELECT t.id AS q FROM t JOIN s ON s.buyer = t.grp ORDER BY t.name LIMIT 2
q| SELECT COUNT(*) AS c, grp AS q FROM t GROUP BY grp ORDER BY c LIMIT 2
q| SELECT id AS q FROM t UNION ALL SELECT sale FROM s LIMIT 2
q| SELECT id, (SELECT s.sale FROM s LIMIT 1) AS q FROM t
q| SELECT id, random() AS q FROM t
q| SELECT id, now() AS q FROM t
q| SELECT grp, v.sum + 1 AS q FROM v
q| SELECT MAX(v.sum) AS q, COUNT(*) AS c FROM v
q| SELECT COUNT(*) AS q FROM v WHERE v.sum > 1
q| SELECT v.grp AS q FROM v ORDER BY v.sum, v.grp LIMIT 1
q| SELECT v.grp, ROW_NUMBER() OVER (ORDER BY v.sum, v.grp) AS q FROM v
*| SELECT v.grp FROM v WHERE v.sum > 1
*| SELECT v.grp FROM v JOIN t ON t.w = v.sum
*| SELECT grp FROM t GROUP BY grp HAVING SUM(w) > 1
*| SELECT id FROM t WHERE grp IN (SELECT v.grp FROM v WHERE v.sum > 1)
*| SELECT id FROM t WHERE grp IN (SELECT s.buyer FROM s LIMIT 1)
*| SELECT id FROM t WHERE EXISTS (SELECT 1 AS one FROM v WHERE v.grp = t.grp AND v.sum > 1)
*| SELECT id FROM t WHERE random() < 0.5
*| SELECT id FROM t TABLESAMPLE (10 PERCENT)
*| WITH x AS (SELECT id, ROW_NUMBER() OVER (PARTITION BY grp ORDER BY name) AS k FROM t) SELECT id FROM x WHERE k <= 1
*| SELECT id FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY grp ORDER BY name) > 1
*q| SELECT DISTINCT v.sum AS q FROM v
*q| SELECT unnest(make_array(v.sum)) AS q FROM v
q| SELECT unnest(make_array(id, id)) AS q, unnest(make_array(1, 2)) AS i FROM t ORDER BY id LIMIT 3
*q| SELECT v.sum AS q, COUNT(*) AS c FROM v GROUP BY v.sum
*q| SELECT v.sum AS q FROM v UNION SELECT t.w FROM t
*q| WITH RECURSIVE r AS (SELECT v.sum AS q FROM v UNION SELECT t.w FROM r JOIN t ON t.w > r.q) SELECT q FROM r
"""


@pytest.mark.parametrize("sql", SETTLED.strip().splitlines())
def test_what_is_total_is_let_pass(sql: str, engine: Engine) -> None:
    assert named(sql, engine) == set()


@pytest.mark.parametrize("line", OPEN.strip().splitlines())
def test_what_varies_is_found_in_the_columns_and_rows_that_it_reaches(line: str, engine: Engine) -> None:
    where, _, sql = line.partition("| ")
    assert named(sql, engine) & {"*", "q"} == {*where}


def test_a_cause_is_told_once(engine: Engine) -> None:
    found = varies("WITH x AS (SELECT SUM(w) AS a FROM t) SELECT x.a, y.a AS b FROM x CROSS JOIN x AS y", engine)
    assert len([cause for cause in found.all() if isinstance(cause, Unsettled)]) == 1


def test_every_aggregate_and_window_of_the_engine_is_judged() -> None:
    context = SessionContext(SessionConfig().with_information_schema(True))
    listed = context.sql(
        "SELECT DISTINCT routine_name AS name FROM information_schema.routines WHERE function_type IN ('AGGREGATE', 'WINDOW')"
    )
    assert set(listed.to_pydict()["name"]) == set(SENSITIVITY)


class Draw:
    """Statements over `t`, drawn at random: sources with and without keys, and what depends on orders over them."""

    SOURCES = (
        "t AS a",
        "(SELECT id, grp, name, w * 0.1 AS w, n FROM t) AS a",
        "(SELECT id, grp, name, w, n FROM t ORDER BY {order} LIMIT 9) AS a",
        "(SELECT a.id, a.grp, a.name, a.w, b.n FROM t AS a JOIN t AS b ON b.id = a.n) AS a",
        "(SELECT a.id, a.grp, b.name, a.w, b.n FROM t AS a LEFT JOIN t AS b ON b.grp = a.n) AS a",
        "(SELECT DISTINCT grp AS id, grp, name, CAST(n AS DOUBLE) AS w, n FROM t) AS a",
        "(SELECT grp AS id, grp, MIN(name) AS name, SUM({number}) AS w, COUNT(*) AS n FROM t GROUP BY grp) AS a",
        "(SELECT id, grp, name, w, ROW_NUMBER() OVER (PARTITION BY grp ORDER BY {order}) AS n FROM t) AS a",
        "(SELECT id, grp, name, w, n FROM t UNION ALL SELECT id, n, name, w, grp FROM t) AS a",
        "(SELECT id, grp, name, n AS w, n FROM t UNION ALL SELECT id, n, name, w, grp FROM t) AS a",
        "(SELECT id, grp, name, w, n FROM t UNION SELECT id, n, name, w, grp FROM t) AS a",
        "t AS a JOIN (SELECT id AS i FROM t WHERE n > 1) AS b ON b.i = a.id",
        "t AS a LEFT JOIN (SELECT grp AS g, id AS i FROM t) AS b ON b.g = a.grp AND b.i = a.n",
    )
    AGGREGATES = (
        "SUM({number})", "AVG({number})", "SUM(DISTINCT {number})", "STDDEV({number})", "MIN({number})", "MEDIAN(w)",
        "COUNT({number})", "ARRAY_AGG({number} ORDER BY {order})", "STRING_AGG(name, ',' ORDER BY {order})",
        "FIRST_VALUE({number} ORDER BY {order})", "LAST_VALUE({number})", "array_sort(ARRAY_AGG(n))",
        "SUM({number}) FILTER (WHERE n > 1)", "CORR({number}, n)", "ANY_VALUE(grp)", "MAX(name)",
    )  # fmt: skip
    WINDOWS = (
        "ROW_NUMBER()", "RANK()", "LAG({number})", "LEAD(name)", "FIRST_VALUE({number})", "LAST_VALUE(name)", "NTILE(3)",
        "SUM({number})", "AVG({number})", "COUNT(*)", "MAX({number})", "NTH_VALUE(n, 2)", "CUME_DIST()",
    )  # fmt: skip
    FRAMES = (
        "",
        "",
        "",
        " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
        " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    )
    SHAPES = (
        "SELECT a.grp, {aggregate} AS q, {aggregate} AS p FROM {source} GROUP BY a.grp",
        "SELECT a.grp, a.name, {aggregate} AS q FROM {source} GROUP BY a.grp, a.name ORDER BY {group}{group}a.name LIMIT 3",
        "SELECT a.grp, COUNT(*) AS q FROM {source} GROUP BY a.grp HAVING {aggregate} IS NOT NULL AND COUNT(*) > 1",
        "SELECT a.grp, {aggregate} AS q, ROW_NUMBER() OVER (ORDER BY {group}a.grp) AS p FROM {source} GROUP BY a.grp",
        "SELECT a.grp, COUNT(*) AS c, RANK() OVER (ORDER BY COUNT(*)) AS q, ROW_NUMBER() OVER (ORDER BY COUNT(*)) AS p FROM {source} GROUP BY a.grp",
        "SELECT {aggregate} AS q FROM {source}",
        "SELECT a.id, a.grp, {window} AS q FROM {source}",
        "SELECT a.id, {window} AS q, {window} AS p FROM {source} ORDER BY {order} LIMIT 4",
        "SELECT a.id, a.name, a.n FROM {source} ORDER BY {order} LIMIT 3 OFFSET 1",
        "SELECT DISTINCT a.grp, a.name FROM {source} ORDER BY a.name LIMIT 3",
        "SELECT DISTINCT a.grp, a.name FROM {source} ORDER BY a.name, a.grp LIMIT 3",
        "SELECT DISTINCT ON (a.grp) a.grp, a.name, a.id, a.n FROM {source} ORDER BY a.grp, {order}",
        "SELECT a.id, a.name, a.n, a.grp FROM {source} QUALIFY ROW_NUMBER() OVER (PARTITION BY a.grp ORDER BY {order}) <= 2",
        "SELECT x.id, x.q FROM (SELECT a.id, {window} AS q FROM {source}) AS x WHERE x.q IS NOT NULL AND x.q <= 2",
        "SELECT COUNT(*) AS c, MAX(x.q) AS q, COUNT(DISTINCT x.q) AS p FROM (SELECT {window} AS q FROM {source}) AS x",
        "SELECT x.q, COUNT(*) AS c FROM (SELECT {number} AS q FROM {source} ORDER BY {order} LIMIT 5) AS x GROUP BY x.q",
        "SELECT a.id, (SELECT {aggregate} FROM t AS b WHERE b.grp = a.grp) AS q FROM {source}",
        "SELECT a.id FROM {source} WHERE a.n IN (SELECT {aggregate} AS q FROM t GROUP BY grp)",
    )  # fmt: skip

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.sql = self._filled(self._random.choice(self.SHAPES))

    def _filled(self, text: str) -> str:
        while (start := text.find("{")) >= 0:
            stop = text.index("}", start)
            text = text[:start] + getattr(self, f"_{text[start + 1 : stop]}")() + text[stop + 1 :]
        return text

    def _source(self) -> str:
        return self._random.choice(self.SOURCES)

    def _aggregate(self) -> str:
        return self._random.choice(self.AGGREGATES)

    def _number(self) -> str:
        return self._random.choice(
            [
                "w",
                "w",
                "n",
                "n * 0.1",
                "grp",
                "-n",
                "CAST(w AS DECIMAL(38, 3))",
                "sqrt(n)",
                "CASE WHEN n > 1 THEN 0 ELSE w END",
            ]
        )

    def _group(self) -> str:
        return self._random.choice(["", "COUNT(*), ", "a.grp DESC, ", "SUM(n), "])

    def _order(self) -> str:
        terms = self._random.sample(["name", "grp DESC", "n", "-n", "id", "id DESC"], self._random.randint(1, 3))
        return ", ".join(terms)

    def _window(self) -> str:
        parts = self._random.choice(["", "PARTITION BY grp ", "PARTITION BY grp, name "])
        order = self._random.choice(["ORDER BY {order}", "ORDER BY {order}", ""])
        return f"{self._random.choice(self.WINDOWS)} OVER ({parts}{order}{self._random.choice(self.FRAMES)})"


def answers(sql: str, rows: list[tuple[Any, ...]], seed: int) -> list[dict[str, list[str]]] | None:
    """Return what the engine answers over the same rows, in other orders, batches and parts; None if it refuses."""
    schema = pa.schema([("id", pa.int64()), ("grp", pa.int64()), ("name", pa.string()), ("w", pa.float64()), ("d", pa.decimal128(10, 2)), ("n", pa.int32())])  # fmt: skip
    found, shuffle = [], random.Random(seed)
    for parts in (1, 2, 3, 1):
        shuffle.shuffle(rows)
        context = SessionContext(SessionConfig().with_target_partitions(parts).with_batch_size(4 * parts))
        batches = [pa.RecordBatch.from_arrays([pa.array(c, t) for c, t in zip(zip(*rows[i::3], strict=True), schema.types, strict=True)], schema=schema) for i in range(3)]  # fmt: skip
        context.register_record_batches("t", [[batch] for batch in batches])
        try:
            answer = context.sql(sql).to_arrow_table().to_pydict()
        except BaseException as refused:  # the engine does not implement it, or panics
            if isinstance(refused, KeyboardInterrupt):
                raise
            return None
        found.append({name: [repr(value) for value in values] for name, values in answer.items()})
    return found


def differs(a: dict[str, list[str]], b: dict[str, list[str]], columns: list[str]) -> bool:
    """Whether two answers have other rows, as far as these columns tell."""
    if not a:
        return False
    bags = [Counter(zip(*(answer[c] for c in columns), strict=True)) for answer in (a, b)]
    return bags[0] != bags[1] or len(next(iter(a.values()))) != len(next(iter(b.values())))


def contradicted(seed: int, engine: Engine) -> tuple[str, bool, bool] | None:
    """Return a drawn statement, whether it answered otherwise in some run, and whether in what is said not to vary."""
    sql, draw = Draw(seed).sql, random.Random(seed)
    rows: list[tuple[Any, ...]] = [
        (
            i,
            draw.randint(0, 2),
            draw.choice("xyz"),
            draw.random() * 10.0 ** draw.randint(-6, 9),
            None,
            draw.randint(0, 3),
        )
        for i in range(24)
    ]
    try:
        found = named(sql, engine)
    except Exception as refused:  # noqa: BLE001 - the planner's refusals, before anything runs
        assert type(refused).__name__ == "PlanRefused", sql
        return None
    if (given := answers(sql, rows, seed)) is None:
        return None
    columns = list(given[0])
    settled = [c for c in columns if c not in found]
    varied = any(differs(given[0], other, columns) for other in given[1:])
    return sql, varied, "*" not in found and any(differs(given[0], other, settled) for other in given[1:])


def test_what_is_said_to_be_total_answers_alike_in_any_order(engine: Engine) -> None:
    drawn = [found for seed in range(300) if (found := contradicted(seed, engine)) is not None]
    assert [sql for sql, _, wrong in drawn if wrong] == []
    assert sum(varied for _, varied, _ in drawn) > len(drawn) / 4


@pytest.mark.parametrize(
    "value", ["CASE WHEN n > 1 THEN 0 ELSE w END", "(SELECT n AS f FROM t UNION SELECT w FROM t LIMIT 1)"]
)
def test_a_column_is_typed_as_it_runs(value: str, engine: Engine) -> None:
    """As it is read, the planner types a CASE and a UNION by the first branch: 0 is an int64, and `n` an int32."""
    assert [column.type for column in engine.plan(f"SELECT {value} AS q FROM t")] == ["float64"]
