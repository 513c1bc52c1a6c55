"""Measure a compiled pack: run it into an empty lake, ask its shapes their examples, and count what that came to.

For tools that compare policies: nothing acts by what is measured. Counters come from the ledger and the executed plans.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from decreta_runtime.pack import Pack

Sources = Mapping[str, Sequence[str]]
"""Source or bound table → its places."""
_FIGURES = ("rows", "bytes", "files", "rows_read", "bytes_scanned")
_STATS = ("bytes_scanned", "bytes_eligible", "index_bytes", "files_read", "row_groups_read", "rows_scanned")
_LEDGER = f"""SELECT kind, subject, {", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in _FIGURES)}
FROM ledger WHERE kind IN ('index', 'maintenance', 'refresh', 'scan', 'step', 'write') GROUP BY kind, subject"""
_DIGITS = 6
"""Places of floats that count: the last ones of a sum depend on the order in which it was made."""


class Measured(Struct, frozen=True, kw_only=True):
    """What one run, and asking each shape once, came to."""

    counters: dict[str, int]
    """`kind/subject/figure` → bytes, rows or files; what was not counted is absent."""
    digests: dict[str, str]
    """Stored dataset, and `query/shape` → digest of its rows, in whatever order they came."""
    seconds: dict[str, float]
    """`run`, and `query/shape` → seconds."""


def measure(
    folder: Path, environment: str, sources: Sources, *, digests: bool = True, shapes: Collection[str] | None = None
) -> Measured:
    """Measure the pack in `folder` under its policy of `environment`. Raises DecretaError."""
    with tempfile.TemporaryDirectory(prefix="decreta-measure-") as lake, Pack(folder, lake=lake, env=environment) as it:
        start = time.perf_counter()
        it.run(sources)
        seconds, counters, found = {"run": time.perf_counter() - start}, _counted(it), dict[str, str]()
        it.maintain(sources)
        for name, entry in sorted(it.manifest.queries.items()):
            if entry.parameters.keys() != entry.example.keys() or (shapes is not None and name not in shapes):
                continue
            values = {p: value_of(entry.parameters[p], value) for p, value in entry.example.items()}
            answer = it.answer(name, values)
            seconds[f"query/{name}"] = answer.stats.seconds
            figures = {figure: getattr(answer.stats, figure) for figure in _STATS}
            counters |= {f"query/{name}/{figure}": n for figure, n in figures.items() if n is not None}
            if digests:
                found[f"query/{name}"] = rows_digest(answer.rows)
        if digests:
            for name in it.manifest.datasets():
                found[name] = rows_digest(it.sql(f'SELECT * FROM "{name}"').rows)
    return Measured(counters=counters, digests=found, seconds=seconds)


def time_shapes(it: Pack, shapes: Collection[str]) -> dict[str, float]:
    """Return the seconds that each of these shapes takes to answer its example, in an open pack."""
    found = {}
    for name in shapes:
        entry = it.manifest.queries[name]
        values = {p: value_of(entry.parameters[p], value) for p, value in entry.example.items()}
        found[name] = it.answer(name, values).stats.seconds
    return found


def _counted(it: Pack) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in it.ledger(_LEDGER).to_pylist():
        name = f"{row['kind']}/{row['subject']}"
        found |= {f"{name}/{figure}": row[figure] for figure in _FIGURES if row[figure] is not None}
    return found


def value_of(kind: str, value: Any) -> Any:
    """Return a value of a shape's example as its parameter's type."""
    if kind == "date":
        return date.fromisoformat(value)
    return Decimal(value) if kind.startswith("decimal") else value


def rows_digest(rows: pa.Table) -> str:
    """Return a digest of rows that depends neither on their order nor on the last digits of floats."""
    columns = [_plain(rows[name].combine_chunks()) for name in rows.column_names]
    table = pa.table(columns, names=[str(i) for i in range(len(columns))])
    if columns:
        table = table.sort_by([(name, "ascending") for name in table.column_names])
    hashed = hashlib.sha256(repr([(f.name, str(f.type)) for f in rows.schema]).encode())
    for column in table.columns:
        for chunk in pa.chunked_array(column).cast(pa.large_string()).combine_chunks().fill_null("\0").to_pylist():
            hashed.update(chunk.encode() + b"\x1f")
    return "sha256:" + hashed.hexdigest()


def _plain(column: Any) -> pa.Array:
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_floating(column.type):
        return pc.round(column, ndigits=_DIGITS)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pa.array([None if v is None else repr(v) for v in column.to_pylist()], pa.large_string())
    return column
