"""Source adapter: a folder of Parquet files, a table each, as tpchgen-cli writes them, with daily batches beside them.

`<table>.parquet` and `<table>/*.parquet` are the first load, `batches/<day>/<table>.parquet` what a day brought. A unit
is one row group, so that memory stays bounded whatever a file holds; its fingerprint covers the row group's own bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from decreta_runtime.adapter import Unit, UnitChanged


def units(root: str, path: str, options: Mapping[str, Any]) -> Iterable[Unit]:
    """Yield each row group of each Parquet file under `path`."""
    if options:
        raise ValueError(f"unknown options: {', '.join(sorted(options))}")
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    for file in sorted(folder.rglob("*.parquet")):
        relative = file.relative_to(folder)
        if _table(relative) is not None:
            yield from _groups(root, relative, file)


def _groups(root: str, relative: Path, file: Path) -> Iterator[Unit]:
    with pq.ParquetFile(file) as parquet:
        for i in range(parquet.metadata.num_row_groups):
            data = _bytes(file, parquet.metadata, i)
            key = f"{root}:{relative.as_posix()}#{i}"
            name = _table(relative)
            yield Unit(key, _fingerprint(parquet, data), f"{file}#{i}", len(data), streams=(name,) if name else ())


def extract(units: Sequence[Unit], schemas: Mapping[str, pa.Schema]) -> Mapping[str, pa.RecordBatch]:
    """Return the rows of the units' tables, each in the stream of its name."""
    found: dict[str, list[pa.Table]] = {stream: [schema.empty_table()] for stream, schema in schemas.items()}
    for unit in units:
        stream = _table(Path(unit.key.partition(":")[2].rpartition("#")[0]))
        if stream in schemas:
            found[stream].append(_rows(unit, schemas[stream]))
    return {stream: _batch(pa.concat_tables(tables)) for stream, tables in found.items()}


def file_of(unit: Unit) -> str:
    """Return the file that a unit is a row group of."""
    return unit.location.rpartition("#")[0]


def _rows(unit: Unit, schema: pa.Schema) -> pa.Table:
    file, _, group = unit.location.rpartition("#")
    with pq.ParquetFile(file) as parquet:
        i = int(group)
        if i >= parquet.metadata.num_row_groups:
            raise UnitChanged(unit.key)
        if _fingerprint(parquet, _bytes(Path(file), parquet.metadata, i)) != unit.fingerprint:
            raise UnitChanged(unit.key)
        return parquet.read_row_group(i, columns=schema.names).select(schema.names).cast(schema)


def _batch(table: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(table.to_struct_array().combine_chunks())


def _table(relative: Path) -> str | None:
    """Return the table that a file belongs to by its place, or None if it is no table's."""
    parts = relative.parts
    if len(parts) == 3 and parts[0] == "batches":
        return relative.stem
    if len(parts) == 2 and parts[0] != "batches":
        return parts[0]
    return relative.stem if len(parts) == 1 else None


def _fingerprint(parquet: pq.ParquetFile, data: bytes) -> str:
    return "sha256:" + hashlib.sha256(str(parquet.schema_arrow).encode() + data).hexdigest()


def _bytes(file: Path, metadata: pq.FileMetaData, i: int) -> bytes:
    """Return the bytes of a row group's columns."""
    group = metadata.row_group(i)
    columns = [group.column(c) for c in range(group.num_columns)]
    starts = [c.dictionary_page_offset or c.data_page_offset for c in columns]
    stop = max(start + c.total_compressed_size for start, c in zip(starts, columns, strict=True))
    with file.open("rb") as opened:
        opened.seek(min(starts))
        return opened.read(stop - min(starts))
