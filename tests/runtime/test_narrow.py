"""Files that the Delta log's statistics rule out hold no row that a condition would take: for any table and condition."""

from __future__ import annotations

import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datafusion import SessionConfig, SessionContext
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decreta_runtime.contract.manifest import Ask, AskValue
from decreta_runtime.narrow import condition_of, matching
from decreta_runtime.scan import Pinned

TYPES = {
    "i": pa.int64(),
    "s": pa.string(),
    "d": pa.date32(),
    "t": pa.timestamp("us", "UTC"),
    "l": pa.timestamp("us"),
    "m": pa.decimal128(10, 2),
    "f": pa.float64(),
    "b": pa.bool_(),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "i": st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1]),
    "s": st.text("ab%_\\é'", max_size=4) | st.sampled_from(["a" * 70, "a" * 64 + "b", "é" * 40]),
    "d": st.dates(date(2023, 12, 30), date(2024, 1, 3)),
    "t": st.integers(0, 3_000_003).map(lambda us: datetime.fromtimestamp(0, UTC).replace(microsecond=us % 1_000_000)),
    "l": st.integers(0, 999_999).map(lambda us: datetime(1970, 1, 1, microsecond=us)),
    "m": st.integers(-300, 300).map(lambda cents: Decimal(cents) / 100),
    "f": st.sampled_from([-1.5, 0.0, -0.0, 1.5, float("inf"), float("nan")]),
    "b": st.booleans(),
}
OPERATORS = {"=": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "IN", "like": "LIKE"}


def table_of(folder: Path, files: list[dict[str, list[Any]]], configuration: dict[str, str]) -> Pinned:
    for columns in files:
        rows = pa.table({name: pa.array(columns[name], kind) for name, kind in TYPES.items()})
        write_deltalake(str(folder), rows, mode="append", configuration=configuration)
    table = DeltaTable(str(folder))
    return Pinned("t", folder, table.version(), table)


def rows_of(files: tuple[str, ...], condition: str, value: pa.Scalar | list[pa.Scalar]) -> list[Any]:
    """Return the rows that the engine takes from some files, each row as text."""
    import pyarrow.parquet as pq

    context = SessionContext(SessionConfig().with_target_partitions(1).set("datafusion.execution.time_zone", "UTC"))
    batches = [batch for path in files for batch in pq.ParquetFile(path).read().to_batches()]
    schema = pa.schema(list(TYPES.items()))
    context.register_record_batches("t", [batches or [pa.RecordBatch.from_pylist([], schema=schema)]])
    values = value if isinstance(value, list) else [value]
    given_values = {f"p{i}": v for i, v in enumerate(values)}
    found = context.sql(f"SELECT * FROM t WHERE {condition}", param_values=given_values).to_pylist()
    return sorted(repr(sorted(row.items())) for row in found)


columns_of_a_file = st.integers(1, 4).flatmap(
    lambda n: st.fixed_dictionaries(
        {
            name: st.one_of(st.lists(values | st.none(), min_size=n, max_size=n), st.just([None] * n))
            for name, values in VALUES.items()
        }
    )
)


@pytest.mark.parametrize("indexed", ["32", "0", "3"])
def test_no_row_is_lost(indexed: str) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(files=st.lists(columns_of_a_file, min_size=1, max_size=4), data=st.data())
    def law(files: list[dict[str, list[Any]]], data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pinned = table_of(Path(folder) / "t", files, {"delta.dataSkippingNumIndexedCols": indexed})
            for _ in range(6):
                column = data.draw(st.sampled_from(sorted(TYPES)))
                op = data.draw(st.sampled_from(sorted(set(OPERATORS) - ({"like"} if column != "s" else set()))))
                count = data.draw(st.integers(1, 3)) if op == "in" else 1
                values = [pa.scalar(data.draw(VALUES[column]), TYPES[column]) for _ in range(count)]
                listed = ", ".join(f"$p{i}" for i in range(count))
                condition = f"{column} {OPERATORS[op]} " + (f"({listed})" if op == "in" else listed)
                ask = Ask(column=column, op=op, values=tuple(AskValue(parameter=f"p{i}") for i in range(count)))  # type: ignore[arg-type]
                kept = matching(pinned, [[ask]], {f"p{i}": v for i, v in enumerate(values)})
                assert rows_of(kept, condition, values) == rows_of(pinned.files, condition, values), (condition, values)

    law()


def test_files_are_left_out(tmp_path: Path) -> None:
    """The law above would hold of a function that keeps everything; this one does not."""
    plain = {name: [None] for name in TYPES}
    files = [{**plain, "i": [i], "s": [f"s{i}"], "d": [date(2024, 1, 1 + i)]} for i in range(5)]
    pinned = table_of(tmp_path / "t", files, {})

    def count(column: str, op: str, *literals: Any) -> int:
        ask = Ask(column=column, op=op, values=tuple(AskValue(literal=v) for v in literals))  # type: ignore[arg-type]
        return len(matching(pinned, [[ask]], {}))

    assert [count("i", "=", 3), count("i", "<", 2), count("i", ">=", 3), count("i", "in", 0, 4)] == [1, 2, 2, 2]
    assert [count("s", "like", "s1%"), count("s", "like", "%1"), count("d", "=", "2024-01-03")] == [1, 5, 1]
    assert count("m", "=", "1.00") == 0, "nothing but nulls"
    assert count("i", "=", 99) == 0
    one, two = ([Ask(column="i", op="=", values=(AskValue(literal=v),))] for v in (1, 2))
    assert len(matching(pinned, [one, two], {})) == 2, "each scan of the shape has its files"
    assert len(matching(pinned, [one + two], {})) == 0


def test_a_condition_of_very_many_values_can_be_asked() -> None:
    context, count = SessionContext(), 100_000
    context.register_record_batches("t", [pa.table({"i": pa.array([1, None, count], pa.int64())}).to_batches()])
    values = [pa.scalar(i) for i in range(count)]
    condition = condition_of(Ask(column="i", op="in", values=tuple(AskValue(literal=i) for i in range(count))), values)
    assert condition is not None and context.table("t").filter(condition).to_pydict() == {"i": [1]}
