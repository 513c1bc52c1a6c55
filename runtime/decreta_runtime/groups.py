"""Sorted Parquet files, read by the row groups that may hold what is asked. The bytes that it takes are counted.

Footers are read once, row groups each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from decreta_runtime.locations import Location, open_parts

_TAIL = b"0000PAR1"
"""What stands behind a footer: its length and the magic word."""


class _Group(NamedTuple):
    file: Location
    footer: pq.FileMetaData
    place: int
    """Which row group of its file it is, the first first."""
    bounds: tuple[Any, Any] | None
    """Least and greatest value of the first column; None where nothing bounds it."""
    nulls: int | None
    """How often the first column is null; None where that is not told."""
    rows: int
    bytes: int


class Groups:
    """The row groups of some files, each sorted by its first column, nulls first."""

    def __init__(self, files: Mapping[Location, int], schema: pa.Schema, texts: Sequence[str]) -> None:
        """Take `files` of `schema`, with their bytes; columns `texts`, which repeat themselves, become dictionaries."""
        self.bytes_read = 0
        self._files, self._schema, self._texts = files, schema, list(texts)

    def whole(self) -> pa.Table:
        """Return all rows. Raises what the reader raises, as all of this does."""
        return self._read(self._all)

    def with_nulls(self) -> pa.Table:
        """Return at least the rows whose first column is null."""
        return self._read([group for group in self._all if group.nulls != 0])

    def where(self, may_hold: Callable[[Any, Any], bool]) -> pa.Table:
        """Return at least the rows of groups whose least and greatest value `may_hold` what is asked."""
        filled = [group for group in self._all if group.nulls != group.rows]
        return self._read([group for group in filled if group.bounds is None or may_hold(*group.bounds)])

    @cached_property
    def _all(self) -> list[_Group]:
        return [group for file in self._files for group in self._groups(file)]

    def _groups(self, file: Location) -> list[_Group]:
        with self._open(file, None) as opened:
            footer = opened.metadata
        self.bytes_read += footer.serialized_size + len(_TAIL)
        found = []
        for place in range(footer.num_row_groups):
            group = footer.row_group(place)
            told = group.column(0).statistics
            size = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
            bounds = (told.min, told.max) if told is not None and told.has_min_max else None
            nulls = told.null_count if told is not None and told.has_null_count else None
            found.append(_Group(file, footer, place, bounds, nulls, group.num_rows, size))
        return found

    def _read(self, groups: Sequence[_Group]) -> pa.Table:
        tables = [self._table(group) for group in groups]
        return pa.concat_tables(tables).unify_dictionaries() if tables else self._schema.empty_table()

    def _table(self, group: _Group) -> pa.Table:
        self.bytes_read += group.bytes
        with self._open(group.file, group.footer) as opened:
            # One group is too little for threads: starting them takes longer than reading.
            found = opened.read_row_group(group.place, use_threads=False).select(self._schema.names)
        return found.cast(self._schema)

    def _open(self, file: Location, footer: pq.FileMetaData | None) -> pq.ParquetFile:
        parts = open_parts(file, self._files[file])
        # Of a store a group is asked for at once; of a folder that starts threads, which take longer than reading.
        at_once = not isinstance(file, Path)
        return pq.ParquetFile(parts, metadata=footer, pre_buffer=at_once, read_dictionary=self._texts)
