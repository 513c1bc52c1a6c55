"""External indexes: which data files of a dataset hold a term. A Delta table of its own, term by term and file by file.

A data file never changes, so what the index says of a file holds for every version of the table that has the file. A
file that the index does not know is always read: an index that lags behind makes reading slower, never wrong.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionContext
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError

from decreta_runtime.access import said_by
from decreta_runtime.arrow import arrow_type, empty_batch
from decreta_runtime.contract.errors import DecretaError, LakeUnusable, WriteConflict
from decreta_runtime.contract.manifest import Ask, Column
from decreta_runtime.contract.policy import IndexValue
from decreta_runtime.groups import Groups
from decreta_runtime.lake import open_table, writing
from decreta_runtime.locations import Location, make_ready, open_in, remove, shown, sql_place, told
from decreta_runtime.narrow import prefix_of, scalar_of
from decreta_runtime.scan import Pinned, quote, sql_type

_FILE = "__file"
"""The column of the data file's path, relative to the table; a row without terms says that the file is known."""
_FORM, _FORM_IS = "decreta.index_form", "1"
"""What a commit says of how its rows are to be read; an index of another form is built anew."""
_TABLE_ID = "decreta.table_id"
"""What a commit says of whose files it names: a table made anew at the same place has another id."""
_REBUILD = "build it anew: `decreta index PACK --lake DIR --rebuild`"
_OLD, _NEW, _MARKS = "__index_kept", "__indexed", "__index_marks"


class Updated(NamedTuple):
    """What bringing an index up to date came to."""

    version: int
    files_added: int
    files_removed: int
    rows: int
    bytes: int
    anew: bool
    """Whether nothing was there, or nothing that could be read."""


@dataclass(frozen=True)
class TermIndex:
    """An index as it is at one version of its own table."""

    columns: tuple[Column, ...]
    table: DeltaTable
    path: Location
    memory_bytes: int
    """What its rows may take as Arrow arrays; of a larger index each look-up reads what it asks for."""

    @cached_property
    def rows(self) -> pa.Table | None:
        """All of its rows, those without terms first, the others by term; None if they take more than they may.

        Raises LakeUnusable.
        """
        if self.bytes > self.memory_bytes:
            return None
        with _reading(self.path):
            rows = self._groups.whole()
        return _sorted(rows, self.columns) if rows.nbytes <= self.memory_bytes else None

    @cached_property
    def known(self) -> frozenset[str]:
        """The data files that the index has read. Raises LakeUnusable."""
        with _reading(self.path):
            rows = self._groups.with_nulls() if self.rows is None else self.rows
            return _files(rows.filter(pc.is_null(rows[self.columns[0].name])))

    @property
    def bytes(self) -> int:
        """Bytes of its own data files."""
        return sum(self._actions["size_bytes"].to_pylist())

    @property
    def bytes_read(self) -> int:
        """Bytes of its own data files that have been read so far."""
        return self._groups.bytes_read

    @property
    def count(self) -> int:
        """Its rows, as its log counts them."""
        return sum(self._actions["num_records"].to_pylist())

    @property
    def own_files(self) -> tuple[Location, ...]:
        """Its own data files."""
        return tuple(self.path / unquote(path) for path in self._actions["path"].to_pylist())

    @cached_property
    def _actions(self) -> pa.Table:
        return pa.table(self.table.get_add_actions(flatten=True))

    @cached_property
    def _groups(self) -> Groups:
        files = dict(zip(self.own_files, self._actions["size_bytes"].to_pylist(), strict=True))
        return Groups(files, _schema(self.columns, pa.dictionary(pa.int32(), pa.string())), [_FILE])

    def files(self, asks: Sequence[Ask], given: Mapping[str, pa.Scalar]) -> frozenset[str] | None:
        """Return the known files that may hold rows satisfying `asks`; None if they say nothing of its first column.

        Raises LakeUnusable.
        """
        first, *others = self.columns
        terms = [found for ask in asks if (found := _terms(first, ask, given)) is not None]
        if not terms:
            return None
        with _reading(self.path):
            found = self._asked(terms) if self.rows is None else self._slices(self.rows, terms)
            for column in others:
                for more in (found_ for ask in asks if (found_ := _terms(column, ask, given)) is not None):
                    found = found.filter(more.mask(found[column.name]))
            return _files(found)

    def _slices(self, rows: pa.Table, asked: Sequence[_Terms]) -> pa.Table:
        """Return the rows of the terms that are fewest."""
        first = self._first
        places = range(first.null_count, len(first))
        ranges = [list(_ranges(first, places, terms)) for terms in asked]
        hits = min(ranges, key=lambda found: sum(stop - start for start, stop in found))
        slices = [rows.slice(start, stop - start) for start, stop in hits]
        return pa.concat_tables(slices) if slices else rows.slice(0, 0)

    @cached_property
    def _first(self) -> pa.Array:
        assert self.rows is not None
        return self.rows[self.columns[0].name].combine_chunks()

    def _asked(self, asked: Sequence[_Terms]) -> pa.Table:
        """Return the rows of all the terms, having read few others."""
        rows = self._groups.where(lambda least, most: all(terms.may_lie(least, most) for terms in asked))
        for terms in asked:
            rows = rows.filter(terms.mask(rows[self.columns[0].name]))
        return rows


class _Terms(NamedTuple):
    """What is looked up: values, or what they begin with."""

    values: pa.Array
    prefix: str | None = None

    def mask(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Say of each value whether it is looked up; a null is not."""
        if self.prefix is None:
            return pc.is_in(column, self.values)
        return pc.fill_null(pc.starts_with(column, self.prefix), False)

    def may_lie(self, least: Any, most: Any) -> bool:
        """Whether what is looked up may lie between two values."""
        if self.prefix is None:
            return any(least <= value.as_py() <= most for value in self.values)
        return bool(least[: len(self.prefix)] <= self.prefix <= most)


def _terms(column: Column, ask: Ask, given: Mapping[str, pa.Scalar]) -> _Terms | None:
    """Return what a condition looks up in a column of an index; None if it is no look-up there."""
    if ask.column != column.name or ask.op not in ("=", "in", "like"):
        return None
    kind = arrow_type(column.type)
    values = [scalar_of(value, given, kind) for value in ask.values]
    if any(value is None for value in values):
        return None
    terms = [value.as_py() for value in values if value is not None and value.is_valid]
    if ask.op != "like":
        return _Terms(pa.array(terms, kind))
    prefix = prefix_of(terms[0]) if terms else ""
    return _Terms(pa.array([], kind), prefix) if prefix else None


def _ranges(first: pa.Array, places: range, terms: _Terms) -> Iterator[tuple[int, int]]:
    """Yield where in the sorted `first` the terms stand; `places` are those without null."""

    def key(i: int) -> Any:
        return first[i].as_py()

    nulls, prefix = places.start, terms.prefix
    if prefix is not None:
        start = bisect.bisect_left(places, prefix, key=key)
        stop = bisect.bisect_right(places, prefix, key=lambda i: str(key(i))[: len(prefix)])
        yield nulls + start, nulls + stop
    for term in dict.fromkeys(terms.values.to_pylist()):
        yield nulls + bisect.bisect_left(places, term, key=key), nulls + bisect.bisect_right(places, term, key=key)


def open_index(path: Location, columns: tuple[Column, ...], pinned: Pinned, memory_bytes: int) -> TermIndex | None:
    """Return the index at `path` of the table `pinned`, None if there is none.

    Raises LakeUnusable if its log cannot be read, or if it has other columns, is of another form or of another table.
    """
    table = open_table(path)
    if table is None:
        return None
    index = TermIndex(columns, table, path, memory_bytes)
    with _reading(path):
        found = pa.schema(table.schema().to_arrow())
        said = table.history(1)[0]
    words = None
    if [(f.name, _plain_type(f.type)) for f in found] != [(f.name, f.type) for f in _schema(columns)]:
        words = "it has other columns than the pack declares"
    elif said.get(_FORM) != _FORM_IS:
        words = "it was written by another version, or by others"
    elif said.get(_TABLE_ID) != pinned.table_id:
        words = f"it is of a table that was at {pinned.path} before"
    if words is not None:
        raise LakeUnusable(f"the index at {path} cannot be used: {words}", help=_REBUILD)
    return index


def narrowed_by(
    index: TermIndex, pinned: Pinned, scans: Sequence[Sequence[Ask]], given: Mapping[str, pa.Scalar]
) -> tuple[str, ...] | None:
    """Return the snapshot's files that may hold rows for one of `scans`; None where the index does not serve all.

    Raises LakeUnusable.
    """
    found: set[str] = set()
    for asks in scans:
        if (files := index.files(asks, given)) is None:
            return None
        found |= files
    names = relative_files(pinned)
    kept = found | (set(names) - index.known)
    return tuple(path for path, name in zip(pinned.files, names, strict=True) if name in kept)


def relative_files(pinned: Pinned) -> tuple[str, ...]:
    """Return the snapshot's data files as the log names them, decoded."""
    return tuple(unquote(path) for path in pinned.actions["path"].to_pylist())


def update_index(
    context: SessionContext,
    pinned: Pinned,
    columns: tuple[Column, ...],
    path: Location,
    *,
    value: IndexValue,
    rebuild: bool = False,
) -> Updated:
    """Read the files that the index at `path` does not know, and forget those that the snapshot no longer has.

    One commit: an append while files only came, else the whole index anew. What cannot be read, and with `rebuild`
    whatever is there, is thrown away first. Raises LakeUnusable, WriteConflict.
    """
    try:
        index = None if rebuild else open_index(path, columns, pinned, 0)
        known = index.known if index is not None else frozenset()
    except LakeUnusable:
        index, known = None, frozenset()
    now = set(relative_files(pinned))
    new, gone = sorted(now - known), known - now
    if index is not None and not new and not gone:
        return Updated(index.table.version(), 0, 0, index.count, index.bytes, False)
    _require_own_columns(pinned, columns)
    for place in (pinned.path, path):
        open_in(context, place)
    with _writing(path):
        if index is None:
            remove(path)
            make_ready(path)
        kept = [str(file) for file in index.own_files] if index is not None and gone else ()
        rows = _rows(context, pinned, columns, new, kept, known & now)
        said = {"decreta.dataset": pinned.name, "decreta.dataset_version": str(pinned.version)}
        said |= {_FORM: _FORM_IS, _TABLE_ID: pinned.table_id}
        write_deltalake(
            str(path) if index is None else index.table,
            pa.RecordBatchReader.from_batches(_schema(columns), rows),
            mode="append" if index is not None and not gone else "overwrite",
            writer_properties=WriterProperties(
                max_row_group_size=value.row_group_rows,
                compression=value.compression.upper(),  # type: ignore[arg-type]
            ),
            commit_properties=CommitProperties(custom_metadata=said, max_commit_retries=0),
        )
    done = open_index(path, columns, pinned, 0)
    assert done is not None  # it has just been committed
    return Updated(done.table.version(), len(new), len(gone), done.count, done.bytes, index is None)


def _require_own_columns(pinned: Pinned, columns: Sequence[Column]) -> None:
    """Raise LakeUnusable if the columns do not stand in the data files under their names: they would read as null."""
    about = pinned.table.metadata()
    parted = [column.name for column in columns if column.name in about.partition_columns]
    if parted:
        words = f"`{parted[0]}` stands in the log, by which files are listed anyway, and not in the files"
        raise LakeUnusable(
            f"`{pinned.name}` cannot be indexed: {words}", help="index a column that is no partition column"
        )
    if about.configuration.get("delta.columnMapping.mode", "none") != "none":
        words = "its files name columns otherwise than the table"
        raise LakeUnusable(f"`{pinned.name}` cannot be indexed: {words}", help="take the index out of the spec")


def _rows(
    context: SessionContext,
    pinned: Pinned,
    columns: tuple[Column, ...],
    new: Sequence[str],
    kept: Sequence[str],
    known: frozenset[str],
) -> Iterator[pa.RecordBatch]:
    """Yield by term, as the engine sorts them: each distinct term of each new file and a row without terms for it.

    Of the index's own files `kept` those rows come with them that are of files still `known`.
    """
    terms, schema = ", ".join(quote(c.name) for c in columns), _schema(columns)
    markers = pa.table({_FILE: pa.array(new, pa.string())})
    context.register_record_batches(_MARKS, [markers.to_batches() or [empty_batch(markers.schema)]])
    none = ", ".join(f"CAST(NULL AS {sql_type(c)}) AS {quote(c.name)}" for c in columns)
    parts = [f"SELECT {none}, {_FILE} FROM {_MARKS}"]
    if new:
        _list(context, _NEW, columns, [str(pinned.path / file) for file in new])
        # The function alone is computed where the file is read; in an expression the engine may deal rows out before.
        named = f"SELECT DISTINCT {terms}, input_file_name() AS {_FILE} FROM {_NEW}"
        parts.append(f"SELECT {terms}, '/' || {_FILE} AS {_FILE} FROM ({named})")
    if kept:
        _list(context, _OLD, (*columns, Column(name=_FILE, type="string")), kept)
        parts.append(f"SELECT {terms}, {_FILE} FROM {_OLD}")
    order = ", ".join(f"{quote(c.name)} NULLS FIRST" for c in columns)
    names = {shown(pinned.path) + file: file for file in new}
    try:
        for batch in context.sql(f"{' UNION ALL '.join(parts)} ORDER BY {order}").execute_stream():
            rows = batch.to_pyarrow()
            found = rows[_FILE].cast(pa.string()).dictionary_encode()
            texts = found.dictionary.to_pylist()
            files = pa.array([_named(pinned.path, text, names, known | {*new}) for text in texts], pa.string())
            rows = rows.set_column(rows.num_columns - 1, _FILE, files.take(found.indices)).cast(schema)
            yield rows.filter(pc.is_valid(rows[_FILE]))
    finally:
        for table in (_MARKS, *([_NEW] if new else ()), *([_OLD] if kept else ())):
            context.deregister_table(table)


def _list(context: SessionContext, name: str, columns: Sequence[Column], files: Sequence[str]) -> None:
    """Make Parquet files a table."""
    declared = ", ".join(f"{quote(c.name)} {sql_type(c)}" for c in columns)
    listed = ", ".join(map(sql_place, files))
    context.sql(f"CREATE EXTERNAL TABLE {name} ({declared}) STORED AS PARQUET LOCATION ({listed})")


@contextmanager
def _reading(path: Location) -> Iterator[None]:
    """Turn what the reader says about an index that fails into LakeUnusable."""
    try:
        yield
    except DecretaError:
        raise
    except Exception as error:  # noqa: BLE001 - the reader raises several kinds, bare Exception among them
        raise LakeUnusable(f"the index at {path} cannot be read: {said_by(error)}", help=_REBUILD) from None


@contextmanager
def _writing(path: Location) -> Iterator[None]:
    """Turn what goes wrong while an index is built into an error of ours: its data stay right without it."""
    try:
        with writing(f"the index at {path}"):
            yield
    except DecretaError:
        raise
    except CommitFailedError as error:
        words = str(error).split("\n")[0]
        raise WriteConflict(f"the index at {path} was changed by another writer: {words}", help=_REBUILD) from None
    except Exception as error:  # noqa: BLE001 - the engine raises bare Exception
        words = said_by(error).removeprefix("DataFusion error: ")
        raise LakeUnusable(f"the index at {path} cannot be built: {words}", help=_REBUILD) from None


def _named(location: Location, text: str, names: Mapping[str, str], known: frozenset[str]) -> str | None:
    """Return a data file as the log names it; `text` is its path as the engine has it behind `/`, or such a name.

    None of a file that was known and is gone.
    """
    if not text.startswith("/"):
        return text if text in known else None
    path = text.removeprefix("/")
    found = names.get(path.removeprefix("file://").lstrip("/")) or names.get(told(location, path))
    if found is None:
        raise ValueError(f"the engine names a file that nobody asked for: {path}")
    return found


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type as columns declare it, whatever way of holding texts the reader prefers."""
    return pa.string() if pa.types.is_string_view(kind) or pa.types.is_large_string(kind) else kind


def _files(rows: pa.Table) -> frozenset[str]:
    return frozenset(rows[_FILE].unique().to_pylist())


def _schema(columns: Sequence[Column], file: pa.DataType | None = None) -> pa.Schema:
    terms = [pa.field(c.name, arrow_type(c.type)) for c in columns]
    return pa.schema([*terms, pa.field(_FILE, file or pa.string())])


def _sorted(rows: pa.Table, columns: Sequence[Column]) -> pa.Table:
    keys: Any = [(column.name, "ascending", "at_start") for column in columns]
    return rows.take(pc.sort_indices(rows, sort_keys=keys))
