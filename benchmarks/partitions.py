"""`python benchmarks/partitions.py`: one value of a partitioned table, by links and by the Delta reader's other ways.

Medians of seven, warm; a look-up by `linked` is registered anew each time with the files that the log leaves for it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from datafusion import SessionConfig, SessionContext
from deltalake import DeltaTable, write_deltalake

from decreta_runtime.contract.manifest import Ask, AskValue, Column
from decreta_runtime.contract.policy import ScanValue
from decreta_runtime.metrics import scan_stats
from decreta_runtime.narrow import matching
from decreta_runtime.scan import Pinned, register_scan

COLUMNS = tuple(Column(name=n, type=t) for n, t in (("id", "int64"), ("v", "float64"), ("p", "string")))
LINKED = ScanValue(
    path="linked",
    log_pruning=True,
    pushdown=True,
    page_index=True,
    bloom_filters=True,
    columns="all",
    step_files=0,
    step_values=0,
)
ONE = "SELECT count(*) AS n, sum(id) AS s FROM t WHERE p = 'S0003' AND id < 1000"
ALL = "SELECT p, sum(v) AS v FROM t GROUP BY p"


def session() -> SessionContext:
    return SessionContext(SessionConfig().with_target_partitions(2).set("datafusion.execution.time_zone", "UTC"))


def milliseconds(act: Callable[[], object], times: int = 7) -> float:
    act()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append(1_000 * (time.perf_counter() - start))
    return statistics.median(taken)


def measure(parts: int, path: Path) -> None:
    rows = 2_000 * parts
    names = [f"S{k:04d}" for k in range(parts)]
    data = {
        "id": [k // parts for k in range(rows)],
        "v": [k / 7 for k in range(rows)],
        "p": [names[k % parts] for k in range(rows)],
    }
    write_deltalake(str(path), pa.table(data), partition_by="p")
    table = DeltaTable(str(path))
    pinned = Pinned("t", path, 0, table)
    asked = Ask(column="p", op="=", values=(AskValue(literal="S0003"),))
    plain, whole, narrow = session(), session(), session()
    plain.register_table("t", table)
    kept = register_scan(whole, pinned, COLUMNS, LINKED)

    def look_up() -> list[dict[str, int]]:
        if narrow.table_exist("t"):
            narrow.deregister_table("t")
        held = register_scan(narrow, pinned, COLUMNS, LINKED, matching(pinned, [[asked]], {}))
        found: list[dict[str, int]] = narrow.sql(ONE).to_pylist()
        assert held.links is not None
        return found

    frame = whole.sql(ONE)
    assert frame.to_pylist() == look_up() == plain.sql(ONE).to_pylist()
    stats = scan_stats(frame.execution_plan(), {"t": kept}, 0.0)
    one = [milliseconds(look_up), *(milliseconds(lambda c=c: c.sql(ONE).collect()) for c in (whole, plain))]  # type: ignore[misc]
    every = [milliseconds(lambda c=c: c.sql(ALL).collect()) for c in (whole, plain)]  # type: ignore[misc]
    shown = " | ".join(f"{ms:.1f}" for ms in [*one, *every])
    print(f"| {parts:,} | {shown} | {stats.bytes_scanned:,} of {stats.bytes_eligible:,} |", flush=True)


if __name__ == "__main__":
    print(
        "| partitions | one: narrowed | one: all linked | one: register_table | all: linked | all: register_table | bytes |"
    )
    print("|---|---|---|---|---|---|---|")
    for parts in (10, 100, 1_000):
        with tempfile.TemporaryDirectory() as folder:
            measure(parts, Path(folder) / "t")
