"""The code graph's query shapes, warm, each look-up with other values than the one before."""

from __future__ import annotations

import sysconfig
import time
from pathlib import Path
from typing import Any

from examples import samples
from report import Goal, kb, p50, p95, table

import decreta_runtime
from decreta_runtime.pack import Pack

ROOT = Path(__file__).resolve().parents[1]
TRAVERSALS = ("importers_of",)
"""Shapes that follow an edge from what they look up; the others are look-ups."""
GOAL_MS = {False: 20.0, True: 200.0}


def code_graph(folder: Path, part: str, times: int) -> tuple[list[Goal], str]:
    """Measure each shape of the pack over the interpreter's own library, or a part of it."""
    source = Path(sysconfig.get_path("stdlib")) / part
    with decreta_runtime.open(ROOT / "generated/code_graph", lake=str(folder)) as pack:
        pack.run({"python": f"stdlib:{source}"})
        files = pack.sql("SELECT COUNT(*) AS n FROM file").rows["n"][0].as_py()
        found, rows = [], []
        for shape in pack.manifest.queries:
            taken, bytes_read, share = measured(pack, shape, samples(pack, shape, times))
            goal = GOAL_MS[shape in TRAVERSALS]
            rows.append((shape, f"{p50(taken):.2f}", f"{p95(taken):.2f}", kb(bytes_read), f"{share:.4f}"))
            found.append(
                Goal(f"code_graph `{shape}`, warm p95", f"{goal:.0f} ms", f"{p95(taken):.2f} ms", p95(taken) < goal)
            )
    head = ("shape", "p50 ms", "p95 ms", "a look-up reads", "of what is eligible")
    return found, f"## The code graph's shapes over {files} files of the standard library\n\n{table(head, rows)}"


def measured(pack: Pack, shape: str, asks: list[dict[str, Any]]) -> tuple[list[float], float, float]:
    """Return each look-up's milliseconds, the bytes one reads, and their share of the bytes it could have read."""
    times, scanned, eligible = [], 0, 0
    for values in asks[:5]:
        pack.answer(shape, values)
    for values in asks:
        start = time.perf_counter()
        stats = pack.answer(shape, values).stats
        times.append(1000 * (time.perf_counter() - start))
        scanned, eligible = scanned + (stats.bytes_scanned or 0), eligible + stats.bytes_eligible
    return times, scanned / len(asks), scanned / max(1, eligible)
