"""Register one pinned table with a session, by the path that the policy names. Nothing here chooses.

`native` is one Parquet scan of exactly the snapshot's files. `delta` reads through delta-rs. The plain table provider
of the two libraries is never used: it pushes no filter down and reads everything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote as percent_encode
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import SessionContext
from deltalake import DeltaTable

from decreta_runtime.arrow import empty_batch, require, schema_of
from decreta_runtime.contract import types
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import ScanValue


class Footer(NamedTuple):
    """What the footer of one data file says: its rows and row groups, and the bytes of each column."""

    file: str
    """Its name without folders."""
    rows: int
    row_groups: int
    columns: dict[str, int]


@dataclass(frozen=True)
class Pinned:
    """One version of one Delta table."""

    name: str
    path: Path
    version: int
    table: DeltaTable
    place: str | None = None
    """How a table of others is named by who bound it; None for a table that the pack writes."""

    @cached_property
    def table_id(self) -> str:
        """The table's own id, another one when a table is made anew at the same place."""
        return str(self.table.metadata().id)

    @cached_property
    def actions(self) -> pa.Table:
        """The log's entry of each data file: path, size, rows and statistics."""
        return pa.table(self.table.get_add_actions(flatten=True))

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The snapshot's data files."""
        return tuple(str(self.path / unquote(path)) for path in self.actions["path"].to_pylist())

    @cached_property
    def bytes(self) -> int:
        """Bytes of all data files."""
        return sum(self.actions["size_bytes"].to_pylist())

    @cached_property
    def rows(self) -> int | None:
        """Rows by the files' statistics; None if a file has none, or if deleted rows would count."""
        known = "num_records" in self.actions.column_names
        counts = self.actions["num_records"].to_pylist() if known else [None] * len(self.files)
        if None in counts or "deletionVectors" in (self.table.protocol().reader_features or []):
            return None
        return sum(counts)

    @cached_property
    def entries(self) -> dict[str, tuple[int, int | None]]:
        """Bytes and rows of each data file by its name without folders, as the log has them."""
        names = [unquote(path).rpartition("/")[2] for path in self.actions["path"].to_pylist()]
        known = "num_records" in self.actions.column_names
        rows = self.actions["num_records"].to_pylist() if known else [None] * len(names)
        return dict(zip(names, zip(self.actions["size_bytes"].to_pylist(), rows, strict=True), strict=True))

    @cached_property
    def sample(self) -> Footer | None:
        """The footer of the largest data file, which stands for all of them; None if it cannot be read."""
        sizes = self.actions["size_bytes"].to_pylist()
        if not sizes:
            return None
        try:
            path = max(zip(sizes, self.files, strict=True))[1]
            footer = pq.read_metadata(path)
        except (OSError, pa.ArrowInvalid):
            return None
        columns: dict[str, int] = {}
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                name = chunk.path_in_schema.partition(".")[0]
                columns[name] = columns.get(name, 0) + chunk.total_compressed_size
        return Footer(path.rpartition("/")[2], footer.num_rows, footer.num_row_groups, columns)

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns, as Arrow has them."""
        return pa.schema(self.table.schema().to_arrow())

    def require_files(self, files: Sequence[str] | None = None) -> None:
        """Raise LakeUnusable if a data file, or one of `files`, is gone: the engine would skip it without a word."""
        for path in self.files if files is None else files:
            if not os.path.exists(path):  # noqa: PTH110 - asked for each file of each look-up
                raise LakeUnusable(
                    f"the file {path} of `{self.name}` version {self.version} is gone",
                    help="restore it from a backup, or run the pack again to write the table anew",
                )


@dataclass(frozen=True)
class Scanned:
    """What a registered scan may read."""

    path: str
    pinned: Pinned
    files: int
    bytes: int
    folder: str
    """Where the files lie, as the engine's plans write it."""
    held: int
    """Bytes of the rows that the session holds in memory for it; none of a native scan."""
    listed: tuple[str, ...]
    """The files that the scan names: all of the snapshot, or those that may hold what is asked for."""
    value: ScanValue
    """What the policy says of it."""

    def require_files(self) -> None:
        """Raise LakeUnusable if a file went after it was registered. Asked after reading, it holds for the reading."""
        if self.path == "native":
            self.pinned.require_files(self.listed)


def register_scan(
    context: SessionContext,
    pinned: Pinned,
    columns: Sequence[Column],
    value: ScanValue,
    listed: tuple[str, ...] | None = None,
) -> Scanned:
    """Make `pinned` a table of `context` under its name with the contract's `columns`.

    `listed` are the files to read of a native scan; all of the snapshot without it. Raises SchemaMismatch if the table
    does not have the columns, LakeUnusable if one of the files is gone.
    """
    subject = f"the table `{pinned.name}` at {pinned.path}"
    require(pinned.schema, columns, subject)
    files, held = pinned.files if listed is None else listed, 0
    if value.path == "native" and files:
        pinned.require_files(files)
        _native(context, pinned, columns, value, files)
    else:
        batches = _read(pinned, columns) if files else []
        held = sum(batch.nbytes for batch in batches)
        context.register_record_batches(pinned.name, [batches or [empty_batch(schema_of(columns))]])
    folder = str(pinned.path).strip("/") + "/"
    return Scanned(value.path, pinned, len(pinned.files), pinned.bytes, folder, held, files, value)


def _native(
    context: SessionContext, pinned: Pinned, columns: Sequence[Column], value: ScanValue, files: Sequence[str]
) -> None:
    # Columns are declared, never inferred, so that files of an older schema read as null where a column is new.
    # Not-null is a promise that checks must be able to find broken, so the scan does not take it for granted.
    declared = ", ".join(f"{quote(c.name)} {sql_type(c)}" for c in columns)
    # As URLs, because in a path `*`, `?` and `[` are patterns, and one that matches nothing is an empty table.
    listed = ", ".join(f"'file://{percent_encode(path, safe='/')}'" for path in files)
    options = {
        "format.pushdown_filters": value.pushdown,
        "format.enable_page_index": value.page_index,
        "format.bloom_filter_on_read": value.bloom_filters,
    }
    chosen = ", ".join(f"'{name}' '{str(on).lower()}'" for name, on in options.items())
    context.sql(
        f"CREATE EXTERNAL TABLE {quote(pinned.name)} ({declared}) "
        f"STORED AS PARQUET LOCATION ({listed}) OPTIONS ({chosen})"
    )


def _read(pinned: Pinned, columns: Sequence[Column]) -> list[pa.RecordBatch]:
    # Whole, not streamed: DataFusion takes a stream once, and a statement may read a table several times.
    try:
        rows: list[pa.RecordBatch] = pa.table(pinned.table.scan(columns=[c.name for c in columns])).to_batches()
    except Exception as error:  # noqa: BLE001 - the reader raises several kinds, bare Exception among them
        words = str(error).strip().split("\n")[0]
        raise LakeUnusable(
            f"`{pinned.name}` version {pinned.version} at {pinned.path} cannot be read: {words}",
            help="restore its files from a backup, or run the pack again to write the table anew",
        ) from None
    return rows


def quote(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def sql_type(column: Column) -> str:
    """Return a column's type as the engine writes it."""
    names = types.names_of(column.type)
    assert names is not None  # the compiler knows no other types
    return names.sql
