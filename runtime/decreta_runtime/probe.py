"""`make probe`: see what the installed pair of engines does, and write it down as a capability file.

A capability is what was seen here, through the runtime's own scan, never what a version promises. The file is committed
and an input of compilation; nothing is probed in a run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from datafusion import SessionConfig, SessionContext
from deltalake import DeltaTable, WriterProperties, write_deltalake

from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import ScanValue
from decreta_runtime.guards import installed_engine
from decreta_runtime.metrics import ScanStats, scan_stats
from decreta_runtime.scan import Pinned, Scanned, register_scan

_ROWS, _GROUP = 40_000, 1_000
_COLUMNS = (
    Column(name="id", type="int64"),
    Column(name="word", type="string", nullable=True),
    Column(name="at", type="timestamp"),
    Column(name="parts", type="list<int32>"),
    Column(name="later", type="int64", nullable=True),
)
_NATIVE = ScanValue(path="native", pushdown=False, page_index=False, bloom_filters=False, columns="all")
_FILTERED = ScanValue(path="native", pushdown=True, page_index=True, bloom_filters=False, columns="all")
_DELTA = ScanValue(path="delta", pushdown=False, page_index=False, bloom_filters=False, columns="all")


def probe() -> dict[str, Any]:
    """Return the capability file's content for the installed engines."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = _table(Path(folder) / "a table")
        whole = _rows(pinned, _DELTA, "true")[0]
        same = _rows(pinned, _NATIVE, "true")[0] == whole and len(whole) == _ROWS + 1
        one, narrow = _rows(pinned, _NATIVE, "id = 777")
        read = narrow.row_groups_read is not None and narrow.row_groups_total is not None
        pruned = read and narrow.row_groups_read < narrow.row_groups_total  # type: ignore[operator]
        few, filtered = _rows(pinned, _FILTERED, "word = 'w7' AND id < 3000")
        rows_left = filtered.rows_scanned
        features = {
            "native_scan": same and len(one) == 1 and pruned,
            "row_filters": rows_left is not None and 0 < rows_left == len(few) < _GROUP,
        }
    context = SessionContext(SessionConfig().with_information_schema(True))
    settings = context.sql("SELECT name FROM information_schema.df_settings ORDER BY name").to_pydict()["name"]
    return {"engine": installed_engine(), "features": features, "settings": settings}


def _table(path: Path) -> Pinned:
    """Write a table of two files, the older without the column `later`."""
    rows = {
        "id": list(range(_ROWS)),
        "word": [None if i % 11 == 0 else f"w{i % 97}" for i in range(_ROWS)],
        "at": pa.array(range(_ROWS), pa.timestamp("us", "UTC")),
        "parts": pa.array([[i, i + 1] for i in range(_ROWS)], pa.list_(pa.int32())),
    }
    properties = WriterProperties(max_row_group_size=_GROUP)
    write_deltalake(str(path), pa.table(rows), writer_properties=properties)
    one = pa.table({name: pa.chunked_array([pa.array(pa.table(rows)[name][:1])]) for name in rows})
    one = one.set_column(0, "id", pa.array([_ROWS])).append_column("later", pa.array([1]))
    write_deltalake(str(path), one, mode="append", schema_mode="merge")
    table = DeltaTable(str(path))
    return Pinned("probed", path, table.version(), table)


def _rows(pinned: Pinned, value: ScanValue, predicate: str) -> tuple[list[dict[str, Any]], ScanStats]:
    config = SessionConfig().with_target_partitions(1).set("datafusion.execution.time_zone", "UTC")
    context = SessionContext(config)
    scanned: Scanned = register_scan(context, pinned, _COLUMNS, value)
    frame = context.sql(f"SELECT * FROM probed WHERE {predicate} ORDER BY id")
    batches = frame.collect()
    stats = scan_stats(frame.execution_plan(), {pinned.name: scanned}, 0.0)
    return [row for batch in batches for row in batch.to_pylist()], stats


def main() -> None:
    """Write the capability file into the folder named on the command line."""
    found = probe()
    name = "+".join(f"{engine}-{version}" for engine, version in sorted(found["engine"].items()))
    path = Path(sys.argv[1]) / f"{name}.json"
    path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    print(f"{path}: {', '.join(n for n, seen in found['features'].items() if seen) or 'nothing'} seen")


if __name__ == "__main__":
    main()
