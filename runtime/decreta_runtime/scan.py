"""Register one pinned table with a session, by the path that the policy names. Nothing here chooses.

`native` is one Parquet scan of exactly the snapshot's files. `delta` reads through delta-rs. The plain table provider
of the two libraries is never used: it pushes no filter down and reads everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from datafusion import SessionContext
from deltalake import DeltaTable

from decreta_runtime.arrow import differences, empty_batch, schema_of
from decreta_runtime.contract import types
from decreta_runtime.contract.errors import LakeUnusable, SchemaMismatch
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import ScanValue


@dataclass(frozen=True)
class Pinned:
    """One version of one Delta table."""

    name: str
    path: Path
    version: int
    table: DeltaTable

    def files(self) -> list[tuple[str, int]]:
        """Return the snapshot's data files with their sizes in bytes."""
        actions = pa.table(self.table.get_add_actions(flatten=True))
        paths = (str(self.path / unquote(path)) for path in actions["path"].to_pylist())
        return list(zip(paths, actions["size_bytes"].to_pylist(), strict=True))


@dataclass(frozen=True)
class Scanned:
    """What a registered scan may read."""

    path: str
    files: int
    bytes: int
    folder: str
    """Where the files lie, as the engine's plans write it."""


def register_scan(context: SessionContext, pinned: Pinned, columns: Sequence[Column], value: ScanValue) -> Scanned:
    """Make `pinned` a table of `context` under its name with the contract's `columns`.

    Raises SchemaMismatch if the table does not have them, LakeUnusable if one of its files is gone.
    """
    found = pa.schema(pinned.table.schema().to_arrow())
    if words := differences(found, columns):
        raise SchemaMismatch(
            f"the table `{pinned.name}` at {pinned.path} is not as compiled: {'; '.join(words)}",
            help="correct the object's spec and regenerate, or bind another table",
        )
    files = pinned.files()
    total = sum(size for _, size in files)
    if not files:
        context.register_record_batches(pinned.name, [[empty_batch(schema_of(columns))]])
    elif value.path == "native":
        _native(context, pinned, columns, [path for path, _ in files], value)
    else:
        # Not streamed: DataFusion takes a stream once, and a statement may read a table several times.
        rows = pa.table(pinned.table.scan(columns=[c.name for c in columns]).read_all())
        context.register_record_batches(pinned.name, [rows.to_batches() or [empty_batch(schema_of(columns))]])
    return Scanned(value.path, len(files), total, str(pinned.path).strip("/") + "/")


def _native(
    context: SessionContext, pinned: Pinned, columns: Sequence[Column], files: list[str], value: ScanValue
) -> None:
    for path in files:
        # The engine skips a file that is gone without a word.
        if not Path(path).exists():
            raise LakeUnusable(
                f"the file {path} of `{pinned.name}` version {pinned.version} is gone",
                help="restore it from a backup, or run the pack again to write the table anew",
            )
    # Columns are declared, never inferred, so that files of an older schema read as null where a column is new.
    # Not-null is a promise that checks must be able to find broken, so the scan does not take it for granted.
    declared = ", ".join(f"{quote(c.name)} {_sql(c)}" for c in columns)
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in files)
    options = {"format.pushdown_filters": value.pushdown, "format.enable_page_index": value.page_index}
    chosen = ", ".join(f"'{name}' '{str(on).lower()}'" for name, on in options.items())
    context.sql(
        f"CREATE EXTERNAL TABLE {quote(pinned.name)} ({declared}) "
        f"STORED AS PARQUET LOCATION ({listed}) OPTIONS ({chosen})"
    )


def quote(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _sql(column: Column) -> str:
    names = types.names_of(column.type)
    assert names is not None  # the compiler knows no other types
    return names.sql
