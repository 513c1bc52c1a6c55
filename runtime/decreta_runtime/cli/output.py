"""How rows look on standard output."""

from __future__ import annotations

import base64
import json
import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.table import Table

from decreta_runtime.pack import Answer

FORMATS = ("table", "json", "csv", "arrow")


def print_answer(answer: Answer, form: str, stats: bool) -> None:
    """Print rows in the form asked for; with `stats` their cost, inside the JSON object or on stderr."""
    if form == "json":
        rows = answer.rows.to_pylist()
        whole: Any = {"rows": rows, "stats": msgspec.to_builtins(answer.stats)} if stats else rows
        print(json.dumps(whole, indent=2, ensure_ascii=False, default=_plain))
        return
    if form == "csv":
        pyarrow.csv.write_csv(_flat(answer.rows), sys.stdout.buffer)
    elif form == "arrow":
        with pa.ipc.new_stream(sys.stdout.buffer, answer.rows.schema) as writer:
            writer.write_table(answer.rows)
    else:
        print_rows(answer.rows)
    if stats:
        print(describe(answer), file=sys.stderr)


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
    for row in rows.to_pylist():
        table.add_row(*("" if value is None else str(_shown(value)) for value in row.values()))
    if console.is_terminal:
        console.print(table, markup=False)
    else:
        # Into a pipe: no wrapping at a width that nobody sees.
        Console(width=100_000, soft_wrap=True).print(table, markup=False)


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _flat(rows: pa.Table) -> pa.Table:
    """Return `rows` with lists and binaries as text, which CSV has no form of its own for."""
    columns = {}
    for field in rows.schema:
        column = rows[field.name]
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            column = pa.array(
                [
                    None if v is None else json.dumps(v, default=_plain) if isinstance(v, list) else v.hex()
                    for v in column.to_pylist()
                ],
                pa.string(),
            )
        columns[field.name] = column
    return pa.table(columns)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)
