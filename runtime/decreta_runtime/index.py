"""External indexes: which data files of a dataset hold a term. A Delta table of its own, term by term and file by file.

A data file never changes, so what the index says of a file holds for every version of the table that has the file. A
file that the index does not know is always read: an index that lags behind makes reading slower, never wrong.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionContext
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from decreta_runtime.access import said_by
from decreta_runtime.arrow import arrow_type
from decreta_runtime.contract.errors import LakeUnusable, WriteConflict
from decreta_runtime.contract.manifest import Ask, Column
from decreta_runtime.lake import open_table, writing
from decreta_runtime.locations import Location, open_in, remove, shown, sql_place, told
from decreta_runtime.narrow import prefix_of, scalar_of
from decreta_runtime.scan import Pinned, quote, sql_type

_FILE = "file"
"""The column of the data file's path, relative to the table; a row without terms says that the file is known."""


_ANEW = "the next run builds it anew; until then every file is read"


class Updated(NamedTuple):
    """What bringing an index up to date came to."""

    version: int
    files_added: int
    files_removed: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class TermIndex:
    """An index as it is at one version of its own table."""

    columns: tuple[Column, ...]
    table: DeltaTable

    @cached_property
    def rows(self) -> pa.Table:
        """All of its rows, those without terms first, the others by term. Raises LakeUnusable."""
        schema = _schema(self.columns)
        try:
            found = pa.table(self.table.scan())
            if found.column_names != schema.names:
                raise LakeUnusable(f"the index has the columns {', '.join(found.column_names)}", help=_ANEW)
            return _sorted(found.cast(schema), self.columns)
        except LakeUnusable:
            raise
        except Exception as error:  # noqa: BLE001 - the reader raises several kinds, bare Exception among them
            raise LakeUnusable(f"the index cannot be read: {said_by(error)}", help=_ANEW) from None

    @cached_property
    def known(self) -> frozenset[str]:
        """The data files that the index has read."""
        return frozenset(self.rows[_FILE].to_pylist())

    @property
    def bytes(self) -> int:
        """Bytes of its own data files."""
        return sum(pa.table(self.table.get_add_actions(flatten=True))["size_bytes"].to_pylist())

    def files(self, asks: Sequence[Ask], given: Mapping[str, pa.Scalar]) -> frozenset[str] | None:
        """Return the known files that may hold rows satisfying `asks`; None if they say nothing of its first column."""
        ranges = [found for ask in asks if (found := self._ranges(ask, given)) is not None]
        if not ranges:
            return None
        hits = min(ranges, key=lambda found: sum(stop - start for start, stop in found))
        slices = [self.rows.slice(start, stop - start) for start, stop in hits]
        found = pa.concat_tables(slices) if slices else self.rows.slice(0, 0)
        for ask in asks:
            found = self._filtered(found, ask, given)
        return frozenset(found[_FILE].to_pylist())

    @cached_property
    def _first(self) -> pa.Array:
        return self.rows[self.columns[0].name].combine_chunks()

    def _ranges(self, ask: Ask, given: Mapping[str, pa.Scalar]) -> list[tuple[int, int]] | None:
        """Return where in its rows the terms of a condition on its first column stand."""
        first = self.columns[0]
        if ask.column != first.name or ask.op not in ("=", "in", "like"):
            return None
        values = [scalar_of(value, given, arrow_type(first.type)) for value in ask.values]
        if any(value is None for value in values):
            return None
        terms = [value.as_py() for value in values if value is not None]
        nulls = self._first.null_count
        places = range(nulls, len(self._first))

        def key(i: int) -> Any:
            return self._first[i].as_py()

        if ask.op != "like":
            return [
                (nulls + bisect.bisect_left(places, term, key=key), nulls + bisect.bisect_right(places, term, key=key))
                for term in dict.fromkeys(terms)
                if term is not None
            ]
        prefix = prefix_of(terms[0]) if terms[0] is not None else None
        if not prefix:
            return None
        start = bisect.bisect_left(places, prefix, key=key)
        stop = bisect.bisect_right(places, prefix, key=lambda i: str(key(i))[: len(prefix)])
        return [(nulls + start, nulls + stop)]

    def _filtered(self, rows: pa.Table, ask: Ask, given: Mapping[str, pa.Scalar]) -> pa.Table:
        """Take away rows whose other terms do not satisfy a condition."""
        column = next((c for c in self.columns[1:] if c.name == ask.column), None)
        if column is None or ask.op not in ("=", "in"):
            return rows
        values = [scalar_of(value, given, arrow_type(column.type)) for value in ask.values]
        if any(value is None for value in values):
            return rows
        wanted = pa.array([value.as_py() for value in values if value is not None], arrow_type(column.type))
        return rows.filter(pc.is_in(rows[column.name], wanted))


def open_index(path: Location, columns: tuple[Column, ...]) -> TermIndex | None:
    """Return the index at `path`, None if there is none. Raises LakeUnusable if its log cannot be read."""
    table = open_table(path)
    return None if table is None else TermIndex(columns, table)


def _readable(path: Location, columns: tuple[Column, ...]) -> TermIndex | None:
    try:
        index = open_index(path, columns)
        return index if index is not None and index.rows is not None else None
    except LakeUnusable:
        return None


def narrowed_by(
    index: TermIndex, pinned: Pinned, scans: Sequence[Sequence[Ask]], given: Mapping[str, pa.Scalar]
) -> tuple[str, ...] | None:
    """Return the snapshot's files that may hold rows for one of `scans`; None where the index does not serve all."""
    found: set[str] = set()
    for asks in scans:
        if (files := index.files(asks, given)) is None:
            return None
        found |= files
    kept = found | (set(relative_files(pinned)) - index.known)
    return tuple(path for path, name in zip(pinned.files, relative_files(pinned), strict=True) if name in kept)


def relative_files(pinned: Pinned) -> tuple[str, ...]:
    """Return the snapshot's data files as the log names them, decoded."""
    return tuple(unquote(path) for path in pinned.actions["path"].to_pylist())


def update_index(
    context: SessionContext,
    pinned: Pinned,
    columns: tuple[Column, ...],
    path: Location,
) -> Updated:
    """Read the files that the index at `path` does not know, and forget those that the snapshot no longer has.

    One commit: an append while files only came, else the whole index anew; so too where what is there cannot be read,
    or is of other columns. Raises LakeUnusable, WriteConflict.
    """
    if apart := {c.name for c in columns} & set(pinned.table.metadata().partition_columns):
        words = f"`{min(apart)}` stands in the log, by which files are listed anyway, and not in the files"
        raise LakeUnusable(words, help="index a column that is no partition column")
    index = _readable(path, columns)
    now, known = set(relative_files(pinned)), index.known if index is not None else frozenset()
    new, gone = sorted(now - known), known - now
    rows = _read(context, pinned, columns, new)
    if index is not None and not new and not gone:
        return Updated(index.table.version(), 0, 0, index.rows.num_rows, index.bytes)
    mode = "append" if index is not None and not gone else "overwrite"
    if index is not None and gone:
        kept = index.rows.filter(pc.is_in(index.rows[_FILE], pa.array(sorted(known & now), pa.string())))
        rows = pa.concat_tables([kept, rows])
    rows = _sorted(rows, columns)
    said = {"decreta.dataset": pinned.name, "decreta.dataset_version": str(pinned.version)}
    properties = CommitProperties(custom_metadata=said, max_commit_retries=0)
    if index is None:
        remove(path)  # nothing is lost: an index is made from its dataset
    try:
        with writing(f"the index at {path}"):
            target = str(path) if index is None else index.table
            write_deltalake(target, rows, mode=mode, commit_properties=properties)  # type: ignore[call-overload]
    except CommitFailedError as error:
        words = str(error).split("\n")[0]
        raise WriteConflict(f"the index at {path} was changed by another writer: {words}", help="run again") from None
    done = open_index(path, columns)
    assert done is not None
    return Updated(done.table.version(), len(new), len(gone), done.rows.num_rows, done.bytes)


def _read(context: SessionContext, pinned: Pinned, columns: tuple[Column, ...], files: Sequence[str]) -> pa.Table:
    """Return each distinct term of each file, and a row without terms for every file."""
    schema = _schema(columns)
    markers = pa.table({**{c.name: pa.nulls(len(files), arrow_type(c.type)) for c in columns}, _FILE: list(files)})
    if not files:
        return markers.cast(schema)
    table = "__indexed"
    declared = ", ".join(f"{quote(c.name)} {sql_type(c)}" for c in columns)
    listed = ", ".join(sql_place(str(pinned.path / file)) for file in files)
    open_in(context, pinned.path)
    context.sql(f"CREATE EXTERNAL TABLE {table} ({declared}) STORED AS PARQUET LOCATION ({listed})")
    try:
        terms = ", ".join(quote(c.name) for c in columns)
        frame = context.sql(f"SELECT DISTINCT {terms}, input_file_name() AS {_FILE} FROM {table}")
        found = pa.Table.from_batches([b.to_pyarrow() for b in frame.execute_stream()], None) if files else markers
    finally:
        context.deregister_table(table)
    names = {shown(pinned.path) + file: file for file in files}
    paths = [names[told(pinned.path, path)] for path in found[_FILE].to_pylist()]
    found = found.set_column(found.num_columns - 1, _FILE, pa.array(paths, pa.string()))
    return pa.concat_tables([markers.cast(schema), found.cast(schema)])


def _schema(columns: Sequence[Column]) -> pa.Schema:
    terms = [pa.field(c.name, arrow_type(c.type)) for c in columns]
    return pa.schema([*terms, pa.field(_FILE, pa.string())])


def _sorted(rows: pa.Table, columns: Sequence[Column]) -> pa.Table:
    keys: Any = [(column.name, "ascending", "at_start") for column in columns]
    return rows.take(pc.sort_indices(rows, sort_keys=keys))
