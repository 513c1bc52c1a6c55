"""Source adapter: a folder of JSON files, each a list of readings."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa

from decreta_runtime.adapter import Unit


def units(root, path, options):
    """Yield a unit a file."""
    for file in sorted(Path(path).glob("*.json")):
        data = file.read_bytes()
        yield Unit(f"{root}:{file.name}", "sha256:" + hashlib.sha256(data).hexdigest(), str(file), len(data))


def extract(units, schemas):
    """Return the readings of all files."""
    rows = [row for unit in units for row in json.loads(Path(unit.location).read_bytes())]
    return {
        name: pa.RecordBatch.from_arrays(
            [pa.array([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema
        )
        for name, schema in schemas.items()
    }
