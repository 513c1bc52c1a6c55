"""Rows for tests: made from contracts, drawn at random from small pools, or written in examples."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from datafusion import SessionContext

from decreta_runtime.arrow import schema_of
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import Check, Column
from decreta_runtime.scan import quote

ROWS = 6
"""Rows of a random table: enough for two groups with ties in each."""
VALUES = 3
"""Distinct values a column draws from: few, so that rows meet."""

Row = dict[str, Any]
Pools = Mapping[str, Mapping[str, Sequence[Any]]]
"""Table → column → values that its statements compare the column with, and their neighbours."""


def register(
    context: SessionContext, name: str, columns: Sequence[Column], rows: Sequence[Row], *, split: bool = False
) -> None:
    """Make a table of `rows`, each a partition of its own if `split`."""
    # Not-null is left out as scans leave it out: a check must be able to find a null.
    schema = pa.schema([field.with_nullable(True) for field in schema_of(columns)])
    parts = [[row] for row in rows] if split and rows else [list(rows)]
    context.register_record_batches(name, [[pa.RecordBatch.from_pylist(part, schema=schema)] for part in parts])


def register_empty(context: SessionContext, name: str, columns: Sequence[Column]) -> None:
    """Make an empty table whose columns are as null as their contract."""
    listed = []
    for column in columns:
        names = types.names_of(column.type)
        assert names is not None
        listed.append(f"{quote(column.name)} {names.sql}{'' if column.nullable else ' NOT NULL'}")
    context.sql(f"CREATE TABLE {quote(name)} ({', '.join(listed)})")


def plain_row(columns: Sequence[Column], i: int) -> Row:
    """Return a row that keeps every promise of a contract; rows of different `i` differ in every column they can."""
    return {column.name: None if column.nullable else _value(column, i) for column in columns}


def _value(column: Column, i: int) -> Any:
    kind = column.type
    if column.values:
        return column.values[i % len(column.values)]
    if kind == "string":
        return f"text{i}"
    if kind == "binary":
        return bytes([i % 256]) * (column.length or 1)
    if kind == "bool":
        return i % 2 == 1
    if kind.startswith("int"):
        return i
    if kind.startswith("float"):
        return float(i)
    if kind.startswith("decimal"):
        return Decimal(i)
    if kind == "date":
        return date.fromordinal(738_000 + i)
    if kind == "timestamp":
        return datetime.fromtimestamp(1_700_000_000 + i, UTC)
    if kind == "timestamp_local":
        return datetime.fromtimestamp(1_700_000_000 + i, UTC).replace(tzinfo=None)
    return [_value(Column(name=column.name, type=kind[5:-1]), i)]


def random_table(
    columns: Sequence[Column],
    key: Sequence[str],
    draw: random.Random,
    pools: Mapping[str, Sequence[Any]],
    one_in: int = 2,
) -> list[Row]:
    """Return a few rows that obey a contract and its key, with values that meet, repeat and lie on boundaries.

    One value in `one_in` of a column that has a pool is not of it.
    """
    rows = [{c.name: _random_value(c, draw, pools, one_in) for c in columns} for _ in range(draw.randrange(ROWS + 1))]
    unique: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        unique.setdefault(tuple(row[c] for c in key) if key else (len(unique),), row)
    return list(unique.values())


def within_checks(context: SessionContext, name: str, rows: list[Row], checks: Sequence[Check]) -> list[Row]:
    """Return the rows of a registered table that keep its declared predicates."""
    kept = rows
    for check in checks:
        if check.kind == "where":
            broken_rows = multiset(context.sql(check.sql).to_arrow_table().to_pylist())
            kept = [row for row in kept if not broken_rows[next(iter(multiset([row])))]]
    return kept


def _random_value(column: Column, draw: random.Random, pools: Mapping[str, Sequence[Any]], one_in: int) -> Any:
    if column.nullable and not draw.randrange(4):
        return None
    pool = pools.get(column.name, ())
    if pool and draw.randrange(one_in):
        return _from_text(column.type, draw.choice(pool))
    return _value(column, draw.randrange(VALUES))


def typed(columns: Sequence[Column], row: Row) -> Row:
    """Return a row as written in a spec with its values in the types of the contract."""
    kinds = {column.name: column.type for column in columns}
    return {name: _from_text(kinds[name], value) for name, value in row.items()}


def _from_text(kind: str, value: Any) -> Any:
    if not isinstance(value, str):
        return Decimal(str(value)) if kind.startswith("decimal") and value is not None else value
    if kind.startswith("decimal"):
        return Decimal(value)
    if kind.startswith("int"):
        return int(Decimal(value).to_integral_value())
    if kind.startswith("float"):
        return float(value)
    if kind == "date":
        return datetime.fromisoformat(value).date()
    if kind.startswith("timestamp"):
        return datetime.fromisoformat(value)
    return bytes.fromhex(value) if kind == "binary" else value


def multiset(rows: Sequence[Row]) -> Counter[str]:
    """Count equal rows."""
    return Counter(repr(sorted(row.items())) for row in rows)


def broken(columns: Sequence[Column], key: tuple[str, ...], kind: str, good: Sequence[Row]) -> list[list[Row]]:
    """Return tables that break a promise, each in one way."""
    last = dict(good[-1])
    if kind == "key":
        return [[*good, {**last, **{name: good[0][name] for name in key}}]]
    found = []
    for column in columns:
        if not column.nullable:
            found.append([*good, {**last, column.name: None}])
        if column.values:
            found.append([*good, {**last, column.name: "none of the values"}])
        if column.length is not None:
            found.append([*good, {**last, column.name: b"x" * (column.length + 1)}])
    return found
