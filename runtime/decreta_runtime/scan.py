"""Register one pinned table with a session, by the path that the policy names. Nothing here chooses.

`native` is one Parquet scan of exactly the snapshot's files. `linked` is the same of a partitioned table, by way of a
folder of links. `delta` reads through delta-rs. The plain table provider of the two libraries is never used: it pushes
no filter down and reads everything.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datafusion import Expr, SessionContext, col, functions, lit
from deltalake import DeltaTable

from decreta_runtime.access import said_by
from decreta_runtime.arrow import arrow_type, empty_batch, require, schema_of
from decreta_runtime.contract import types
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import ScanValue
from decreta_runtime.links import ORDINAL, Links
from decreta_runtime.locations import Location, is_local, missing, named, open_in, planned, shown, sql_place

_NAN = {"float32": pa.scalar(math.nan, pa.float32()), "float64": pa.scalar(math.nan, pa.float64())}


class Footer(NamedTuple):
    """What the footer of one data file says: its rows and row groups, and the bytes of each column."""

    file: str
    rows: int
    row_groups: int
    sizes: Counter[str]


class RowGroups(NamedTuple):
    """What the footers of a table's files say of one column."""

    total: int
    ranges: list[tuple[Any, Any]]
    """Least and greatest value of each row group that has other values than null."""


UNPRUNED = ScanValue(
    path="native",
    log_pruning=False,
    pushdown=False,
    page_index=False,
    bloom_filters=False,
    columns="all",
    step_files=0,
    step_values=0,
)
"""How files are read of which nothing is to be left out: those that a run has just written, or compares whole."""


@dataclass(frozen=True)
class Pinned:
    """One version of one Delta table."""

    name: str
    path: Location
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
        folder = str(self.path)  # joined as text: of a thousand files, paths as objects cost ten milliseconds
        return tuple(os.path.join(folder, unquote(path)) for path in self.actions["path"].to_pylist())  # noqa: PTH118

    @cached_property
    def partitions(self) -> dict[str, pa.Array]:
        """The value of each partition column, file by file, as the log has it and as the Delta reader gives it."""
        names = self.table.metadata().partition_columns
        return {name: self._partition(name) for name in names}

    def _partition(self, name: str) -> pa.Array:
        values = self.actions[f"partition.{name}"].combine_chunks()
        if not (pa.types.is_string(values.type) and values.null_count):
            return values
        # The log's entries say null of the empty text too; the reader keeps them apart, and so does its pruning.
        empty = frozenset(self.table.file_uris(file_pruning_predicate=f"{quote(name)} = ''"))
        blank = pa.array([uri in empty for uri in self.table.file_uris()], pa.bool_())
        return pc.if_else(blank, "", values)

    @cached_property
    def bytes(self) -> int:
        """Bytes of all data files."""
        return sum(self.actions["size_bytes"].to_pylist())

    @cached_property
    def rows(self) -> int | None:
        """Rows by the files' statistics; None if a file has none, or if deleted rows would count."""
        known = "num_records" in self.actions.column_names
        counts = self.actions["num_records"].to_pylist() if known else [None] * len(self.files)
        if None in counts or not self.tight:
            return None
        return sum(counts)

    @property
    def files_with_rows(self) -> int:
        """Data files whose rows the log counts, as statistics do; one without any is never skipped."""
        known = "num_records" in self.actions.column_names
        return len(self.files) - self.actions["num_records"].null_count if known else 0

    @cached_property
    def tight(self) -> bool | None:
        """Whether statistics bound no rows but those that are there; None if a deletion vector cannot be read."""
        if "deletionVectors" not in (self.table.protocol().reader_features or []):
            return True
        try:
            return not self.table.deletion_vectors().read_all().num_rows
        except Exception:  # noqa: BLE001 - the reader raises several kinds
            return None

    @cached_property
    def entries(self) -> dict[str, tuple[int, int | None]]:
        """Bytes and rows of each data file, as the log has them."""
        known = "num_records" in self.actions.column_names
        rows = self.actions["num_records"].to_pylist() if known else [None] * len(self.files)
        return dict(zip(self.files, zip(self.actions["size_bytes"].to_pylist(), rows, strict=True), strict=True))

    @cached_property
    def sample(self) -> Footer | None:
        """The footer of the largest data file, which stands for all of them; None if it cannot be read.

        Nor in an object store: a look-up there would ask for it first.
        """
        if not self.files or not isinstance(self.path, Path):
            return None
        try:
            path = max(zip(self.actions["size_bytes"].to_pylist(), self.files, strict=True))[1]
            footer = pq.read_metadata(path)
        except (OSError, pa.ArrowInvalid):
            return None
        sizes: Counter[str] = Counter()
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                sizes[chunk.path_in_schema.partition(".")[0]] += chunk.total_compressed_size
        return Footer(path, footer.num_rows, footer.num_row_groups, sizes)

    def row_groups(self, column: str) -> RowGroups | None:
        """Read of each data file's footer what bounds a column; None if something does not, or is no bound.

        None in an object store, where each footer is a request.
        """
        if not isinstance(self.path, Path):
            return None
        ranges, total = [], 0
        try:
            for group in (f.row_group(i) for f in map(pq.read_metadata, self.files) for i in range(f.num_row_groups)):
                total += 1
                names = [group.column(i).path_in_schema for i in range(group.num_columns)]
                chunk = group.column(names.index(column))
                said = chunk.statistics
                if said is not None and said.has_null_count and said.null_count == chunk.num_values:
                    continue
                if said is None or not said.has_min_max or isinstance(said.min, float):
                    return None
                ranges.append((said.min, said.max))
        except (OSError, ValueError, pa.ArrowException):
            return None
        return RowGroups(total, ranges)

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns, as Arrow has them."""
        return pa.schema(self.table.schema().to_arrow())

    @property
    def again(self) -> str:
        """What a run of the pack would do about a file that is lost, in words: a table of others it only reads."""
        done = "write the table anew" if self.place is None else "read the table as it is now"
        return f"run the pack again to {done}"

    def require_files(self, files: Sequence[str] | None = None) -> None:
        """Raise LakeUnusable if a data file, or one of `files`, is gone: the engine would skip it without a word."""
        path = missing(self.path, self.files if files is None else files)
        if path is not None:
            raise LakeUnusable(
                f"the file {path} of `{self.name}` version {self.version} is gone",
                help=f"restore it from a backup, or {self.again}",
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
    """Bytes of the rows that the session holds in memory for it; none of a scan of files."""
    listed: tuple[str, ...]
    """The files that the scan names: all of the snapshot, or those that may hold what is asked for."""
    value: ScanValue
    """What the policy says of it."""
    links: Links | None = None
    """What a linked scan reads by. They go with this object, so it is kept for as long as the table is read."""

    @property
    def of_files(self) -> bool:
        """Whether the engine reads the files itself, so that its plans count what was read."""
        return reads_files(self.path)

    def file_of(self, path: str) -> str:
        """Return the data file of which the engine writes `path` in its metrics."""
        return named(self.pinned.path, path) if self.links is None else self.links.file_of(path)

    def is_in(self, plan: str) -> bool:
        """Whether a part of a plan, as the engine writes it, scans this table."""
        if self.links is not None or isinstance(self.pinned.path, Path):
            return self.folder in plan
        # Plans write keys without their bucket, and one key may end another.
        return any(planned(self.pinned.path, path) in plan for path in self.listed)

    def require_files(self) -> None:
        """Raise LakeUnusable if a file went after it was registered. Asked after reading, it holds for the reading."""
        if self.of_files:
            self.pinned.require_files(self.listed)


def reads_files(path: str) -> bool:
    """Whether by a scan path the engine reads the files itself, rather than rows that delta-rs has read."""
    return path != "delta"


def register_scan(
    context: SessionContext,
    pinned: Pinned,
    columns: Sequence[Column],
    value: ScanValue,
    listed: tuple[str, ...] | None = None,
) -> Scanned:
    """Make `pinned` a table of `context` under its name with the contract's `columns`.

    `listed` are the files to read, where the path names files; all of the snapshot without it. Keep what is returned
    while the table is read. Raises SchemaMismatch if the table does not have the columns, LakeUnusable if one of the
    files is gone.
    """
    subject = f"the table `{pinned.name}` at {pinned.path}"
    require(pinned.schema, columns, subject)
    files, held, links = pinned.files if listed is None else listed, 0, None
    folder: Location = pinned.path
    if reads_files(value.path) and files:
        pinned.require_files(files)
        open_in(context, folder)
        if value.path == "linked":
            links = _linked(context, pinned, columns, value, files)
            folder = links.folder
        else:
            _native(context, pinned, columns, value, files)
    else:
        batches = _read(pinned, columns) if files else []
        held = sum(batch.nbytes for batch in batches)
        context.register_record_batches(pinned.name, [batches or [empty_batch(schema_of(columns))]])
    return Scanned(value.path, pinned, len(pinned.files), pinned.bytes, shown(folder), held, files, value, links)


def _native(
    context: SessionContext, pinned: Pinned, columns: Sequence[Column], value: ScanValue, files: Sequence[str]
) -> None:
    locations = ", ".join(sql_place(path) for path in files)
    _declare(context, pinned.name, columns, f"LOCATION ({locations})", value)
    if any(column.type in _NAN for column in columns):
        _show(context, pinned.name, [_meant(column) for column in columns])


def _linked(
    context: SessionContext, pinned: Pinned, columns: Sequence[Column], value: ScanValue, files: Sequence[str]
) -> Links:
    chosen = frozenset(files)
    at = pa.array([i for i, path in enumerate(pinned.files) if path in chosen], pa.int64())
    links = Links([pinned.files[i] for i in at.to_pylist()], {n: v.take(at) for n, v in pinned.partitions.items()})
    own = [column for column in columns if column.name not in pinned.partitions]
    # The engine takes the name of a partition column as it stands: quoted, it finds no such column.
    place = f"PARTITIONED BY ({ORDINAL}) LOCATION {sql_place(str(links.folder) + '/')}"
    _declare(context, pinned.name, [*own, Column(name=ORDINAL, type="int32")], place, value)
    values = {c.name: links.values_of(c.name, arrow_type(c.type)) for c in columns if c.name in pinned.partitions}
    shown = [values[c.name](col(ORDINAL)).alias(c.name) if c.name in values else _meant(c) for c in columns]
    _show(context, pinned.name, shown)
    return links


def _declare(context: SessionContext, name: str, columns: Sequence[Column], place: str, value: ScanValue) -> None:
    # Columns are declared, never inferred, so that files of an older schema read as null where a column is new.
    # Not-null is a promise that checks must be able to find broken, so the scan does not take it for granted.
    declared = ", ".join(f"{quote(c.name)} {sql_type(c)}" for c in columns)
    options = {
        "format.pushdown_filters": value.pushdown,
        "format.enable_page_index": value.page_index,
        "format.bloom_filter_on_read": value.bloom_filters,
    }
    chosen = ", ".join(f"'{name}' '{str(on).lower()}'" for name, on in options.items())
    context.sql(f"CREATE EXTERNAL TABLE {quote(name)} ({declared}) STORED AS PARQUET {place} OPTIONS ({chosen})")


def _show(context: SessionContext, name: str, columns: Sequence[Expr]) -> None:
    """Put in the place of a declared table what its columns mean."""
    frame = context.table(name).select(*columns)
    context.deregister_table(name)
    context.register_table(name, frame.into_view())


def _meant(column: Column) -> Expr:
    """Return a column of the files as the engine may compare it."""
    if column.type not in _NAN:
        return col(column.name)
    # NaN stands in no statistics, yet the engine counts it as the greatest value: by them it would skip a file that
    # holds one, and take max() from them. It cannot see through a function that gives each value back.
    return functions.nanvl(col(column.name), lit(_NAN[column.type])).alias(column.name)


def hides_nan(table: DeltaTable, columns: Sequence[Column]) -> bool:
    """Whether a file of a table may have NaN beside one other number in one of `columns`.

    Statistics leave NaN out. Where they say that a column has one value in a file and no nulls, the engine takes that
    value for all of the file's rows, and reads no NaN. Where the log says nothing of a file, its footer is asked.
    """
    floats = [column.name for column in columns if column.type in _NAN]
    if not floats:
        return False
    told = pa.table(table.get_add_actions(flatten=True))
    unknown = pa.nulls(told.num_rows, pa.float64())

    def said(name: str) -> pa.ChunkedArray:
        return told[name] if name in told.column_names else unknown

    several = pc.fill_null(pc.greater(told["num_records"], 1), fill_value=True)
    for name in floats:
        nulls, low, high = said(f"null_count.{name}"), said(f"min.{name}"), said(f"max.{name}")
        cleared = [pc.fill_null(found, fill_value=False) for found in (pc.greater(nulls, 0), pc.less(low, high))]
        doubted = pc.and_not(several, pc.or_(*cleared))
        known = pc.and_(pc.is_valid(nulls), pc.is_valid(low))
        if pc.any(pc.and_(doubted, known)).as_py():
            return True
        paths = told["path"].filter(pc.and_not(doubted, known)).to_pylist()
        if any(_footer_hides_nan(table.table_uri, unquote(path), name) for path in paths):
            return True
    return False


def _footer_hides_nan(folder: str, path: str, column: str) -> bool:
    """Whether a file's footer says of a column what `hides_nan` asks of the log; what cannot be read here may."""
    if not is_local(folder):
        return True
    try:
        footer = pq.read_metadata(os.path.join(unquote(folder.removeprefix("file://")), path))  # noqa: PTH118
    except (OSError, pa.ArrowInvalid):
        return True  # whoever reads the file says what is wrong with it
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    chunks = [c for g in groups for c in map(g.column, range(g.num_columns)) if c.path_in_schema == column]
    said = [chunk.statistics for chunk in chunks if chunk.statistics is not None]
    bounds = {bound for found in said if found.has_min_max for bound in (found.min, found.max)}
    return len(bounds) == 1 and not any(found.null_count for found in said)


def _read(pinned: Pinned, columns: Sequence[Column]) -> list[pa.RecordBatch]:
    # Whole, not streamed: DataFusion takes a stream once, and a statement may read a table several times.
    try:
        rows: list[pa.RecordBatch] = pa.table(pinned.table.scan(columns=[c.name for c in columns])).to_batches()
    except Exception as error:  # noqa: BLE001 - the reader raises several kinds, bare Exception among them
        words = said_by(error)
        raise LakeUnusable(
            f"`{pinned.name}` version {pinned.version} at {pinned.path} cannot be read: {words}",
            help=f"restore its files from a backup, or {pinned.again}",
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
