"""Say of a Delta table of others what a spec of it needs: its columns, and a key that its rows keep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from decreta_runtime.arrow import plain
from decreta_runtime.contract import types
from decreta_runtime.contract.errors import InputInvalid, LakeUnusable
from decreta_runtime.lake import open_table
from decreta_runtime.locations import located

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_KEY_COLUMNS = 6
"""How many of the first columns are tried in pairs as a key: most tables have theirs in front."""


class DescribedColumn(NamedTuple):
    """A column as a spec would have it, and what the data say of its values."""

    name: str
    type: str
    nullable: bool
    evidence: str


class Described(NamedTuple):
    """A table of others as it is now."""

    name: str
    place: str
    version: int
    rows: int
    files: int
    bytes: int
    partitions: tuple[str, ...]
    columns: tuple[DescribedColumn, ...]
    left_out: tuple[str, ...]
    """What cannot be in a spec, and why."""
    key: tuple[str, ...]
    key_evidence: str


def describe(url: str) -> Described:
    """Read one table's schema, log and rows. Raises InputInvalid if it cannot be bound, LakeUnusable if not read."""
    path = located(url, Path.cwd())
    table = open_table(path)
    if table is None:
        raise InputInvalid(f"there is no Delta table at {path}", help="name the folder that holds `_delta_log`")
    name = re.sub(r"\W+", "_", path.name.lower()).strip("_")
    if not _NAME.fullmatch(name):
        raise InputInvalid(f"`{path.name}` gives no name for an object", help="rename the folder: a-z, 0-9 and _")
    schema = pa.schema(table.schema().to_arrow())
    kept, left_out = _columns(schema)
    if not kept:
        raise InputInvalid(f"no column of {path} can be in a spec: {'; '.join(left_out)}", help="see docs/specs.md")
    rows, nulls, distinct = _counted(table, kept)
    columns = tuple(_described(schema.field(c), nulls[c], distinct[c], rows) for c in kept)
    key, evidence = _key(table, columns, rows, distinct)
    actions = table.get_add_actions(flatten=True)
    sizes = pa.table(actions).column("size_bytes").to_pylist()
    partitions = tuple(table.metadata().partition_columns)
    return Described(
        name,
        str(path),
        table.version(),
        rows,
        len(sizes),
        sum(sizes),
        partitions,
        columns,
        tuple(left_out),
        key,
        evidence,
    )


def _columns(schema: pa.Schema) -> tuple[list[str], list[str]]:
    kept, left_out = [], []
    for field in schema:
        if not _NAME.fullmatch(field.name):
            left_out.append(f"{field.name!r} is no name: a-z, 0-9 and _")
        elif types.from_arrow(str(field.type)) is None:
            left_out.append(f"{field.name} is {_one_line(str(field.type))}, a type that specs do not have")
        else:
            kept.append(field.name)
    return kept, left_out


def _one_line(words: str) -> str:
    """Return `words` fit for a comment: names inside a type may hold any character."""
    return "".join(c if c.isprintable() else "?" for c in words)


def _described(field: pa.Field, nulls: int, distinct: int, rows: int) -> DescribedColumn:
    spec = types.from_arrow(str(field.type))
    assert spec is not None
    nullable = bool(nulls) or (field.nullable and not rows)
    evidence = [f"{distinct} distinct"] if distinct else []
    if nulls:
        evidence.append(f"{nulls} nulls in {rows} rows")
    elif field.nullable and not nullable:
        evidence.append(f"no null in {rows} rows, though the table allows them")
    return DescribedColumn(field.name, spec, nullable, "; ".join(evidence))


def _counted(table: DeltaTable, columns: Sequence[str]) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return the rows, and for each column its nulls and its distinct values, one column in memory at a time."""
    rows, nulls, distinct = 0, {}, {}
    for name in columns:
        column = _read(table, [name]).column(name)
        rows, nulls[name] = len(column), column.null_count
        distinct[name] = 0 if pa.types.is_nested(column.type) else pc.count_distinct(column).as_py()
    return rows, nulls, distinct


def _key(
    table: DeltaTable, columns: Sequence[DescribedColumn], rows: int, distinct: dict[str, int]
) -> tuple[tuple[str, ...], str]:
    """Return columns that are unique together, one before two, earlier before later."""
    if not rows:
        return (), "the table is empty: nothing shows a key"
    full = [c for c in columns if not c.nullable and not c.type.startswith(("list", "float"))]
    for column in full:
        if distinct[column.name] == rows:
            return (column.name,), f"unique in {rows} rows; is it meant to be?"
    names = [c.name for c in full[:_KEY_COLUMNS]]
    for pair in combinations(names, 2):
        if distinct[pair[0]] * distinct[pair[1]] < rows:
            continue
        if _read(table, pair).group_by(list(pair)).aggregate([]).num_rows == rows:
            return pair, f"unique together in {rows} rows; are they meant to be?"
    return (), f"no column and no two of the first {_KEY_COLUMNS} are unique in {rows} rows"


def _read(table: DeltaTable, columns: Sequence[str]) -> pa.Table:
    try:
        return plain(pa.table(pa.RecordBatchReader.from_stream(table.scan(columns=list(columns))).read_all()))
    except (OSError, DeltaError, pa.ArrowException) as error:
        words = f"the rows at {table.table_uri} cannot be read: {str(error).splitlines()[0]}"
        raise LakeUnusable(words, help="restore its files from a backup, or leave the table out") from None
