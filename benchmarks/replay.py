"""Measure packages: packing a run of code_graph, what a replay costs above the run, and the digests of rows.

`python benchmarks/replay.py [SOURCE]` writes benchmarks/results/replay.md. The run reads SOURCE, else the standard library
of the interpreter. Runs and replays take turns; a replay's own cost is its time without that of the run and of digesting.
"""

from __future__ import annotations

import argparse
import os
import random
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
from report import Goal, goals, machine, p50

import decreta_runtime
from decreta_runtime.package import make_package, read_package, results_of
from decreta_runtime.record import last_run
from decreta_runtime.replay import replay
from decreta_runtime.rowdigest import quick_digest, rows_digest

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
ROWS = 2_000_000
T = TypeVar("T")


class Taken(NamedTuple):
    """Seconds that something took: by the clock, and of all processors, which a busy machine does not stretch."""

    clock: float
    processors: float


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", default=sysconfig.get_path("stdlib"), help="Python source to read")
    source = parser.parse_args().source
    packing, runs, replays, digests, count = of_packages({"python": [f"main:{source}"]})
    own = replays.processors - runs.processors - digests.processors
    share = own / runs.processors
    rows = sum(count.values())
    found = [
        Goal(
            f"packing a run of code_graph over {Path(source).name} without data, {rows:,} rows",
            "2 s",
            said(packing),
            packing.clock <= 2,
        ),
        Goal(
            "a replay's own cost above the run and the digest, in processor time",
            "5 %",
            f"{share:.1%}: replay {said(replays)}, run {said(runs)}, digest {said(digests)}",
            share <= 0.05,
        ),
    ]
    for (what, goal), taken in zip(
        (("digest that no collision fools", 1_000_000), ("digest for gates", 10_000_000)), of_digests(), strict=True
    ):
        rate = ROWS / taken.clock
        measured = f"{rate / 1e6:.1f} M rows/s; {ROWS / taken.processors / 1e6:.1f} M a processor second"
        found.append(Goal(f"{what}, {ROWS:,} rows of 5 columns", f"{goal:,} rows/s", measured, rate >= goal))
    head = f"Made by `python benchmarks/replay.py` on {machine()}; medians of {ROUNDS}, digests the best of 5."
    text = f"# Packages and replay\n\n{head}\n\n{goals(found)}\n"
    print(text)
    (ROOT / "benchmarks/results/replay.md").write_text(text)


def said(taken: Taken) -> str:
    return f"{taken.clock:.2f} s ({taken.processors:.2f} s of processors)"


def middle(taken: list[Taken]) -> Taken:
    return Taken(*(p50(values) for values in zip(*taken, strict=True)))


def of_packages(
    places: dict[str, list[str]],
) -> tuple[Taken, Taken, Taken, Taken, dict[str, int]]:
    """Return what packing, a run, a replay and digesting take, and the rows of each dataset."""
    packing, runs, replays, digests = [list[Taken]() for _ in range(4)]
    with tempfile.TemporaryDirectory() as scratch:
        file, count = Path(scratch) / "a.package", dict[str, int]()
        for turn in range(ROUNDS):
            with decreta_runtime.open(str(ROOT / "generated/code_graph"), lake=f"{scratch}/lake{turn}") as pack:
                timed(runs, lambda: pack.run(places))
                record = last_run(pack.lake, "code_graph")
                assert record is not None
                results = timed(digests, lambda: results_of(pack, record))  # noqa: B023
                file.write_bytes(timed(packing, lambda: make_package(pack, places)))
            count = {name: rows.count for name, rows in results.rows.items()}
            found = timed(replays, lambda: replay(read_package(file), places))
            assert found.equal, found.first
    return middle(packing), middle(runs), middle(replays), middle(digests), count


def of_digests() -> tuple[Taken, Taken]:
    """Return what the collision-proof digest and the one for gates take, over rows in no order."""
    draw = random.Random(3)
    numbers = pa.array(draw.sample(range(ROWS), ROWS))
    table = pa.table(
        {
            "id": numbers,
            "word": pa.array([f"k{i % 500}" for i in range(ROWS)]),
            "value": pa.array([draw.gauss(0, 1) for _ in range(ROWS)]),
            "sparse": pa.array([None, "é"] * (ROWS // 2)),
            "price": numbers.cast(pa.decimal128(20, 0)),
        }
    )
    exact, quick = list[Taken](), list[Taken]()
    for _ in range(5):
        timed(exact, lambda: rows_digest(table.to_batches(8192), table.schema))
        timed(quick, lambda: quick_digest(table))
    return min(exact), min(quick)


def timed(into: list[Taken], work: Callable[[], T]) -> T:
    start, before = time.perf_counter(), os.times()
    found = work()
    into.append(Taken(time.perf_counter() - start, sum(os.times()[:4]) - sum(before[:4])))
    return found


if __name__ == "__main__":
    main()
