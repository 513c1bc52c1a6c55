"""TPC-H's 22 queries: shapes of the retail pack beside the same SQL put by hand to DataFusion over the same files."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from datafusion import SessionConfig, SessionContext
from deltalake import DeltaTable
from examples import example
from report import Goal, table
from tables import tpch

import decreta_runtime
from decreta_runtime.arrow import arrow_type
from decreta_runtime.load import load
from decreta_runtime.pack import Pack
from decreta_runtime.tally import Tally

ROOT = Path(__file__).resolve().parents[1]
PACK = ROOT / "generated/retail"
RUNS = 2
BOUND, WORST = 1.03, 1.15
SAMPLES = 2000

Ratios = dict[str, list[float]]


def tpch_queries(folder: Path, scale: float, rounds: int) -> tuple[list[Goal], str]:
    """Run the retail pack at a scale, then its report shapes beside the same by hand, two runs of several rounds."""
    source = tpch(folder / "load", scale)
    with decreta_runtime.open(PACK, lake=str(folder / "lake")) as pack:
        pack.run({"tpch": str(source)})
    runs, times = [], {}
    for _ in range(RUNS):
        ratios, times = one_run(folder / "lake", rounds)
        runs.append(ratios)
    pooled = {shape: [ratio for run in runs for ratio in run[shape]] for shape in runs[0]}
    mean, bound = geometric_mean(pooled), upper_bound(pooled)
    middle = [{shape: statistics.median(found) for shape, found in run.items()} for run in runs]
    slow = [shape for shape in pooled if all(run[shape] > WORST for run in middle)]
    rows = [
        (shape, *(f"{ms:.1f}" for ms in times[shape]), *(f"{run[shape]:.3f}" for run in middle)) for shape in pooled
    ]
    head = ("shape", "decreta ms", "by hand ms", *(f"ratio, run {i + 1}" for i in range(RUNS)))
    what = f"TPC-H 22, scale {scale}, against hand-written DataFusion"
    found = [
        Goal(
            what,
            f"upper 95 % bound of the geometric mean at most {BOUND}",
            f"{mean:.3f}, bound {bound:.3f}",
            bound <= BOUND,
        ),
        Goal(f"{what}: queries", f"none above {WORST} in two of two runs", ", ".join(slow) or "none", not slow),
    ]
    return (
        found,
        f"## TPC-H's queries at scale {scale}, medians of {rounds} interleaved pairs a run\n\n{table(head, rows)}",
    )


def one_run(lake: Path, rounds: int) -> tuple[Ratios, dict[str, tuple[float, float]]]:
    """Ask both sides each query in turn; return the ratio of each pair, and the medians of their milliseconds."""
    with decreta_runtime.open(PACK, lake=str(lake)) as pack:
        hand = by_hand(pack, lake)
        shapes = [name for name, entry in pack.manifest.queries.items() if entry.workload == "report"]
        taken: dict[str, list[tuple[float, float]]] = {shape: [] for shape in shapes}
        for i in range(-1, rounds):  # the first round warms both up
            for shape in shapes:
                values = example(pack.manifest.queries[shape])
                ways = (lambda s=shape, v=values: pack.query(s, **v), lambda s=shape, v=values: hand(s, v))  # type: ignore[misc]
                pair = timed(ways) if i % 2 else timed(ways[::-1])[::-1]
                if i >= 0:
                    taken[shape].append(pair)
    ratios = {shape: [ours / theirs for ours, theirs in pairs] for shape, pairs in taken.items()}
    middle = {s: (statistics.median(o for o, _ in p), statistics.median(t for _, t in p)) for s, p in taken.items()}
    return ratios, middle


def by_hand(pack: Pack, lake: Path) -> Callable[[str, dict[str, Any]], pa.Table]:
    """Return a session as a careful person makes it: all cores, and exactly the files of each table's snapshot."""
    context = SessionContext(SessionConfig().with_target_partitions(2))
    for name in pack.manifest.datasets():
        files = ", ".join(f"'{path}'" for path in DeltaTable(str(lake / "retail" / name)).file_uris())
        if files:
            context.sql(f'CREATE EXTERNAL TABLE "{name}" STORED AS PARQUET LOCATION ({files})')
    sql = load(PACK, Tally()).module("queries").SQL

    def query(shape: str, values: dict[str, Any]) -> pa.Table:
        kinds = pack.manifest.queries[shape].parameters
        given = {name: pa.scalar(value, arrow_type(kinds[name])) for name, value in values.items()}
        return context.sql(sql[shape], param_values=given).to_arrow_table()

    return query


def timed(ways: tuple[Callable[[], Any], ...]) -> tuple[float, ...]:
    found = []
    for way in ways:
        start = time.perf_counter()
        way()
        found.append(1000 * (time.perf_counter() - start))
    return tuple(found)


def geometric_mean(ratios: Ratios) -> float:
    return math.exp(statistics.fmean(math.log(statistics.median(found)) for found in ratios.values()))


def upper_bound(ratios: Ratios) -> float:
    """Return the upper end of the mean's 95 % interval: rounds drawn anew, with the same seed each time."""
    draw = random.Random(1)
    rounds = len(next(iter(ratios.values())))
    means = []
    for _ in range(SAMPLES):
        chosen = [draw.randrange(rounds) for _ in range(rounds)]
        means.append(geometric_mean({shape: [found[i] for i in chosen] for shape, found in ratios.items()}))
    return sorted(means)[SAMPLES * 975 // 1000]
