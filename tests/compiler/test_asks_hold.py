"""Every row that a condition takes satisfies what was read of the condition's plan, whatever values are in it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from datafusion import SessionConfig, SessionContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decreta.check.asks import conditions
from decreta.engine import Engine
from decreta_runtime.arrow import arrow_type
from decreta_runtime.contract.manifest import Column
from decreta_runtime.narrow import condition_of, scalar_of

TYPES = {
    "h": "int32",
    "i": "int64",
    "s": "string",
    "m": "decimal(10,2)",
    "d": "date",
    "t": "timestamp",
    "l": "timestamp_local",
    "f": "float64",
}
MOMENTS = [datetime(y, 1, 1, microsecond=us, tzinfo=UTC) for y in (1969, 1970, 2024) for us in (0, 1, 999_999)]
VALUES: dict[str, list[Any]] = {
    "h": [-5, -1, 0, 1, 5],
    "i": [-(2**53), -5, -1, 0, 1, 5],
    "s": ["", "5", "05", "-5", "a", "A", "a_", "ab", "a%b", "a\\b", "it's", "1.00"],
    "m": [Decimal(v) for v in ("-5.00", "-1.50", "0.00", "1.00", "1.49", "5.00")],
    "d": [date(1969, 12, 31), date(1970, 1, 1), date(1970, 1, 6), date(2024, 1, 1)],
    "t": MOMENTS,
    "l": [moment.replace(tzinfo=None) for moment in MOMENTS],
    "f": [-5.0, -0.0, 0.0, 1.5, 5.0, float("nan")],
}
SQL = {"d": "DATE '{}'", "t": "TIMESTAMP '{}'", "l": "TIMESTAMP '{}'", "s": "'{}'"}
CASTS = ("BIGINT", "INT", "VARCHAR", "DECIMAL(10, 2)", "DATE", "DOUBLE")


def written(name: str, value: Any) -> str:
    return SQL.get(name, "{}").format(str(value).replace("'", "''")) if value == value else "'NaN'"


def side(draw: st.DrawFn, name: str) -> str:
    """Return a value as a literal or a parameter, perhaps of another column's type, perhaps cast."""
    of = draw(st.sampled_from([name, name, name, *TYPES]))
    plain = draw(st.sampled_from([f"${of}", *(written(of, value) for value in VALUES[of])]))
    cast = draw(st.sampled_from(["", "", *CASTS]))
    return f"CAST({plain} AS {cast})" if cast else plain


@st.composite
def predicates(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(TYPES)))
    cast = draw(st.sampled_from(["", "", "", *CASTS]))
    left = f"TRY_CAST({name} AS {cast})" if cast else name
    form = draw(
        st.sampled_from(["compare", "compare", "cast", "given", "mirrored", "in", "between", "like", "not", "or"])
    )
    one, two = side(draw, name), side(draw, name)
    op = draw(st.sampled_from(["=", "<", "<=", ">", ">=", "<>", "IS NOT DISTINCT FROM"]))
    return {
        "compare": f"{left} {op} {one}",
        "cast": f"TRY_CAST({name} AS BIGINT) = {draw(st.sampled_from(['$i', '$h', '1', '-5', '5']))}",
        "given": f"{name} = TRY_CAST(${draw(st.sampled_from(sorted(TYPES)))} AS {draw(st.sampled_from(CASTS))})",
        "mirrored": f"{one} {op} {left}",
        "in": f"{left} IN ({one}, {two})",
        "between": f"{left} BETWEEN {one} AND {two}",
        "like": f"s LIKE {draw(st.sampled_from(['$s', written('s', draw(st.sampled_from(VALUES['s'])))]))}",
        "not": f"NOT ({left} {op} {one})",
        "or": f"({left} {op} {one} OR {left} = {two})",
    }[form]


KINDS = TYPES | {f"${name}": kind for name, kind in TYPES.items()}


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = Engine()
    made.register("x", [Column(name=name, type=kind, nullable=True) for name, kind in TYPES.items()])
    return made


ROWS = pa.table(
    {
        "n": pa.array(range(13), pa.int64()),
        **{name: pa.array([*v, *[None] * (13 - len(v))], arrow_type(TYPES[name])) for name, v in VALUES.items()},
    }
)


def held(engine: Engine, context: SessionContext, where: str, drawn: dict[str, Any]) -> int:
    """Return how many conditions were read of a predicate; fail if one of them loses a row that it takes."""
    values = {name: pa.scalar(value, arrow_type(TYPES[name])) for name, value in drawn.items()}
    try:
        (_, condition), *_ = engine.scans(f"SELECT * FROM x WHERE {where}", {}) or [("", None)]
        frame = context.sql(f"SELECT n FROM x WHERE {where}", param_values=values)
        taken = set(frame.to_pydict()["n"])
    except Exception:  # noqa: BLE001 - a condition that cannot be planned or computed gives no rows
        return 0
    count = 0
    for ask in conditions(condition, KINDS) if condition else ():
        sides = [scalar_of(value, values, arrow_type(TYPES[ask.column])) for value in ask.values]
        if (weaker := condition_of(ask, sides)) is not None:
            count += 1
            assert taken <= set(context.table("x").filter(weaker).to_pydict()["n"]), (where, condition, ask, sides)
    return count


@pytest.fixture(scope="module")
def context() -> SessionContext:
    made = SessionContext(SessionConfig().with_target_partitions(1).set("datafusion.execution.time_zone", "UTC"))
    made.register_record_batches("x", [ROWS.to_batches()])
    return made


def test_rows_taken_satisfy_what_is_asked(engine: Engine, context: SessionContext) -> None:
    asked = 0

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(predicates(), min_size=1, max_size=2), st.data())
    def law(parts: list[str], data: st.DataObject) -> None:
        nonlocal asked
        drawn = {name: data.draw(st.sampled_from(values), name) for name, values in VALUES.items()}
        asked += held(engine, context, " AND ".join(parts), drawn)

    law()
    assert asked > 20, "the law would hold of conditions that ask nothing"


@pytest.mark.parametrize("name", TYPES)
def test_casts_lose_no_row(engine: Engine, context: SessionContext, name: str) -> None:
    given = {of: values[-1] for of, values in VALUES.items()}
    for value in ("$i", "1", "-5"):
        held(engine, context, f"TRY_CAST({name} AS BIGINT) = {value}", given)
    kind = {"string": "VARCHAR", "int64": "BIGINT", "int32": "INT", "float64": "DOUBLE"}.get(TYPES[name], TYPES[name])
    for of in TYPES:
        for last in VALUES[of]:
            held(engine, context, f"{name} = TRY_CAST(${of} AS {kind})", given | {of: last})
