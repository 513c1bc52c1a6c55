"""Source adapter: a folder of CSV files with a header, a table each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from decreta_runtime.adapter import Unit, UnitChanged


def units(root: str, path: str, options: Mapping[str, Any]) -> Iterable[Unit]:
    """Yield each `<stream>.csv` of a folder."""
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    for file in sorted(folder.glob("*.csv")):
        data = file.read_bytes()
        yield Unit(f"{root}:{file.name}", _digest(data), str(file), len(data))


def extract(units: Sequence[Unit], schemas: Mapping[str, pa.Schema]) -> Mapping[str, pa.RecordBatch]:
    """Return the rows of each file in the stream of its name."""
    tables = {stream: [schema.empty_table()] for stream, schema in schemas.items()}
    for unit in units:
        data = Path(unit.location).read_bytes()
        if _digest(data) != unit.fingerprint:
            raise UnitChanged(unit.key)
        stream = Path(unit.location).stem
        if schema := schemas.get(stream):
            types = {field.name: field.type for field in schema}
            read = csv.read_csv(pa.BufferReader(data), convert_options=csv.ConvertOptions(column_types=types))
            tables[stream].append(read.select(schema.names).cast(schema))
    return {
        name: pa.RecordBatch.from_struct_array(pa.concat_tables(found).to_struct_array().combine_chunks())
        for name, found in tables.items()
    }


def file_of(unit: Unit) -> str:
    """Return the file that a unit is: what a package with data holds of it."""
    return unit.location


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
