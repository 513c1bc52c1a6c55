"""Source adapter: a folder of `<day>.csv` files with the passages of a day each."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from decreta_runtime.adapter import Unit, UnitChanged


def units(root: str, path: str, options: Mapping[str, Any]) -> Iterable[Unit]:
    """Yield the file of each day."""
    for file in sorted(Path(path).glob("*.csv")):
        data = file.read_bytes()
        yield Unit(f"{root}:{file.name}", _digest(data), str(file), len(data), file.stem)


def extract(units: Sequence[Unit], schemas: Mapping[str, pa.Schema]) -> Mapping[str, pa.RecordBatch]:
    """Return the passages of each day."""
    rows = []
    for unit in units:
        data = Path(unit.location).read_bytes()
        if _digest(data) != unit.fingerprint:
            raise UnitChanged(unit.key)
        for gate, plate, speed in csv.reader(data.decode().splitlines()):
            day = date.fromisoformat(Path(unit.location).stem)
            rows.append({"day": day, "gate_id": int(gate), "plate": plate, "speed": int(speed)})
    return {name: pa.RecordBatch.from_pylist(rows, schema=schema) for name, schema in schemas.items()}


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
