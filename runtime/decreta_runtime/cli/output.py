"""How rows look on standard output."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.table import Table

from decreta_runtime.cli.picture import picture
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.pack import Answer

FORMATS = ("table", "json", "csv", "arrow")


def print_answer(answer: Answer, form: str, stats: bool) -> None:
    """Print rows in the form asked for; with `stats` their cost, inside the JSON object or on stderr."""
    if form == "json" and stats:
        whole = {"rows": _objects(answer.rows), "stats": msgspec.to_builtins(answer.stats)}
        print(json.dumps(whole, indent=2, ensure_ascii=not _unicode()))
        return
    print_table(answer.rows, form)
    if stats:
        print("\n".join([describe(answer), *picture(answer.stats.ladder)]), file=sys.stderr)


def print_table(rows: pa.Table, form: str) -> None:
    """Print rows in the form asked for."""
    if form == "json":
        print(json.dumps(_objects(rows), indent=2, ensure_ascii=not _unicode()))
    elif form == "csv":
        pyarrow.csv.write_csv(_flat(rows), sys.stdout.buffer)
    elif form == "arrow":
        with pa.ipc.new_stream(sys.stdout.buffer, rows.schema) as writer:
            writer.write_table(rows)
    else:
        print_rows(rows)


def _objects(rows: pa.Table) -> list[dict[str, Any]]:
    _unique(rows.column_names)
    return [{name: _plain(value) for name, value in row.items()} for row in rows.to_pylist()]


def describe(answer: Answer) -> str:
    """Say in a line what an answer cost."""
    s = answer.stats
    read = "unknown" if s.bytes_scanned is None else f"{s.bytes_scanned:,}"
    files = "unknown" if s.files_read is None else f"{s.files_read:,}"
    return (
        f"{answer.rows.num_rows:,} rows in {s.seconds * 1000:.1f} ms; "
        f"{read} of {s.bytes_eligible:,} bytes, {files} of {s.files_total:,} files"
    )


def print_rows(rows: pa.Table) -> None:
    """Print rows as a table for people."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for field in rows.schema:
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        table.add_column(field.name, justify="right" if numeric else "left", overflow="fold")
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        table.add_row(*(_text(value) for value in row))
    if console.is_terminal:
        console.print(table, markup=False)
    else:
        # Into a pipe: no wrapping at a width that nobody sees.
        Console(width=100_000, soft_wrap=True).print(table, markup=False)


def _flat(rows: pa.Table) -> pa.Table:
    """Return `rows` with all that CSV has no form of its own for as text."""
    columns = []
    for column in rows.columns:
        if any(asked(column.type) for asked in _IN_CSV):
            columns.append(column)
        else:
            columns.append(pa.array([None if v is None else _text(v) for v in column.to_pylist()], pa.string()))
    return pa.table(columns, names=rows.column_names)


_IN_CSV = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_date,
    pa.types.is_timestamp,
)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(_plain(value), ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers that it lacks as null, bytes as base64, the rest as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)


def _unique(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            words = f"{names.count(name)} columns are called `{name}`, a JSON object can have one"
            raise InputInvalid(words, help="give them names: SELECT … AS …, or ask for another --format")


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
