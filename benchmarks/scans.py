"""`make bench-scans`: what selective queries cost beside peers, how a look-up grows, TPC-H, and the workload classes.

`python benchmarks/scans.py [PEERS] [--quick] [--only PART …] [--write]` writes benchmarks/results/scans.md; with `--quick` or
`--only` it prints alone unless told to write. PEERS is the `bin` folder of an environment with `polars duckdb daft deltalake`; without it those are left
out. All runs are interleaved, times are medians, counters exact; compare ratios, not milliseconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from code_graph_shapes import code_graph
from engines import ENGINES, Worker
from report import Goal, command, goals, kb, machine, p50, table
from shapes import GROWTH
from tables import Made, growth_pack, orders_pack
from tpch import tpch_queries
from workloads import workload_classes

ROOT = Path(__file__).resolve().parents[1]
BESIDE = "register_table"
"""The engine that look-ups are to be five times faster than; the best of the others is the other goal."""


class Scale(NamedTuple):
    """How much of everything is measured."""

    look_ups: float
    """TPC-H's scale of the tables that look-ups read."""
    queries: float
    """TPC-H's scale of its 22 queries."""
    runs: float
    """TPC-H's scale of whole runs."""
    rounds: int
    asks: int
    source: str
    """What of Python's own library the code graph is made from."""


FULL = Scale(look_ups=0.2, queries=1, runs=0.1, rounds=7, asks=10, source="")
QUICK = Scale(look_ups=0.01, queries=0.01, runs=0.01, rounds=2, asks=3, source="json")
Part = Callable[[Path, Scale, Path | None], tuple[list[Goal], str]]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("peers", nargs="?", type=lambda text: Path(text).absolute())
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments.add_argument("--write", action="store_true")
    given = arguments.parse_args()
    found: list[Goal] = []
    texts = []
    for name in given.only:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            reached, text = PARTS[name](Path(folder), QUICK if given.quick else FULL, given.peers)
        found += reached
        texts.append(text)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    made = f"Made by {command('bench-scans')} on {machine()}."
    if left := [name for name in PARTS if name not in given.only]:
        made += f" Left out: {', '.join(left)}."
    text = f"# Scans that read almost nothing\n\n{made}\n\n{goals(found)}\n\n" + "\n\n".join(texts) + "\n"
    print(text)
    if given.write or not (given.quick or left):
        (ROOT / "benchmarks/results/scans.md").write_text(text)


# -- look-ups beside peers


def look_ups(folder: Path, scale: Scale, peers: Path | None) -> tuple[list[Goal], str]:
    """Point, range and join look-ups of a table of 100 files, by each engine over the same files."""
    made = orders_pack(folder, scale.look_ups)
    write_work(folder, made)
    known = [name for name, engine in ENGINES.items() if engine.ours or peers is not None]
    start = {name: (lambda n=name: worker(n, folder, peers)) for name in known}  # type: ignore[misc]
    warm = measure_warm(start, made, scale)
    cold = measure_cold(start, made, scale)
    rows = []
    for shape in made.asks:
        for name in known:
            w, c = warm[shape][name], cold[shape][name]
            times = f"{w['ms']:.2f}", f"{w['cpu']:.2f}", f"{c['ms']:.1f}"
            rows.append((shape, ENGINES[name].title, *times, kb(w["bytes"]), kb(c["bytes"]), w["files"]))
    head = ("shape", "engine", "warm p50 ms", "CPU ms", "cold open and query ms", "warm", "cold", "files")
    first = ", ".join(f"{ENGINES[name].title} {cold['first'][name]['ms']:.0f}" for name in known)
    text = (
        f"## Look-ups of a table of 100 files, TPC-H scale {scale.look_ups}\n\n{table(head, rows)}\n\n"
        f"Medians of {scale.rounds} rounds of {scale.asks} look-ups, each engine in a process of its own, in turn. Cold is a pack, "
        "session or table opened anew in a process that has done so before; all engines give the same rows. Bytes are what "
        f"the process read. The very first open and query of a process, engines imported, took (ms): {first}."
    )
    return look_up_goals(warm, cold, known), text


def write_work(folder: Path, made: Made) -> None:
    places = {"pack": str(made.pack), "lake": str(made.lake), "tables": str(made.tables), "shapes": list(made.asks)}
    (folder / "work.json").write_text(json.dumps(places))


def worker(name: str, work: Path, peers: Path | None) -> Worker:
    python = Path(sys.executable) if ENGINES[name].ours or peers is None else peers / "python"
    return Worker(python, name, work)


Start = dict[str, Callable[[], Worker]]
Found = dict[str, dict[str, dict[str, Any]]]


def measure_warm(start: Start, made: Made, scale: Scale) -> Found:
    """Ask every engine the same look-ups in turn, several rounds over; each opened once. Raises if rows differ."""
    workers = {name: begin() for name, begin in start.items()}
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    last: Found = {shape: {} for shape in made.asks}
    for one in workers.values():
        one.open()
    for i in range(-1, scale.rounds):  # the first round warms up
        for shape, asks in made.asks.items():
            for name in turned(list(workers), i):
                found = workers[name].ask(shape, asks[: scale.asks])
                last[shape][name] = found
                if i >= 0:
                    times.setdefault((shape, name), []).append((statistics.median(found["ms"]), found["cpu"]))
    for one in workers.values():
        one.__exit__()
    for shape, engines in last.items():
        if len({tuple(found["digests"]) for found in engines.values()}) != 1:
            raise RuntimeError(
                f"engines give different rows for {shape}: { {n: f['digests'] for n, f in engines.items()} }"
            )
        for name, found in engines.items():
            counted = found["counters"][-1]
            files = f"{counted['files']} of {counted['of']}" if counted else ""
            ms, cpu = (p50(column) for column in zip(*times[shape, name], strict=True))
            engines[name] = {"ms": ms, "cpu": cpu, "bytes": found["bytes"], "files": files}
    return last


def measure_cold(start: Start, made: Made, scale: Scale) -> Found:
    """In a fresh process each round: open and ask for the first time, then open anew and ask, once a shape."""
    samples: dict[tuple[str, str], list[dict[str, float]]] = {}
    for i in range(scale.rounds):
        for name in turned(list(start), i):
            with start[name]() as one:
                for shape in ("first", *made.asks):
                    asks = made.asks["point" if shape == "first" else shape]
                    opened, asked = one.open(), one.ask("point" if shape == "first" else shape, [asks[i % len(asks)]])
                    whole = {"ms": opened["ms"] + asked["ms"][0], "bytes": opened["bytes"] + asked["bytes"]}
                    samples.setdefault((shape, name), []).append(whole)
    found: Found = {}
    for (shape, name), all_of_them in samples.items():
        middle = {k: p50([sample[k] for sample in all_of_them]) for k in ("ms", "bytes")}
        found.setdefault(shape, {})[name] = middle
    return found


def turned(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]


def look_up_goals(warm: Found, cold: Found, known: list[str]) -> list[Goal]:
    found = []
    others = [name for name in known if name not in ("decreta", BESIDE)]
    for shape in ("point", "key_range"):
        ours, beside = warm[shape]["decreta"], warm[shape][BESIDE]
        times, share = beside["ms"] / ours["ms"], ours["bytes"] / beside["bytes"]
        measured = f"{times:.1f} times, {share:.3f} of the bytes"
        goal = "5 times faster at p50, 0.1 of the bytes"
        found.append(Goal(f"{shape} against `register_table(DeltaTable)`", goal, measured, times >= 5 and share <= 0.1))
        best = min(others, key=lambda name: warm[shape][name]["ms"])
        least = warm[shape][best]["ms"]
        measured = f"{ours['ms']:.2f} ms, {ENGINES[best].title} {least:.2f} ms"
        found.append(Goal(f"{shape}, warm p50", "at or below the best peer", measured, ours["ms"] <= least))
    measured = cold["point"]["decreta"]["ms"]
    found.append(Goal("point, cold open and query", "8 ms", f"{measured:.1f} ms", measured <= 8))
    measured = warm["point"]["decreta"]["bytes"]
    found.append(Goal("a point look-up reads", "150 KB", kb(measured), measured <= 150_000))
    ours, join = warm["unsorted_join"]["decreta"], warm["unsorted_join"]
    fewest, fastest = (min(others, key=lambda name: join[name][k]) for k in ("bytes", "ms"))
    measured = (
        f"{join[fewest]['bytes'] / ours['bytes']:.1f} times fewer bytes than {ENGINES[fewest].title}; "
        f"{ours['ms']:.1f} ms, {ENGINES[fastest].title} {join[fastest]['ms']:.1f} ms"
    )
    reached = 5 * ours["bytes"] <= join[fewest]["bytes"] and ours["ms"] <= join[fastest]["ms"]
    goal = "5 times fewer bytes, and faster, than the best peer"
    return [*found, Goal("join filtered on an unsorted key", goal, measured, reached)]


# -- growth


def growth(folder: Path, scale: Scale, peers: Path | None) -> tuple[list[Goal], str]:
    """One look-up of a table at 1, 10 and 100 times the rows and files, beside deltalake's own query engine."""
    made = growth_pack(folder)
    write_work(folder, made)
    names = ("decreta", "query_builder")
    start = {name: (lambda n=name: worker(n, folder, peers)) for name in names}  # type: ignore[misc]
    warm = measure_warm(start, made, scale)
    shapes = list(made.asks)
    rows = [
        (
            f"{times}×",
            *(
                f"{warm[shape][name]['ms']:.2f} ms, {warm[shape][name]['cpu']:.2f} ms CPU, {kb(warm[shape][name]['bytes'])}"
                for name in names
            ),
        )
        for times, shape in zip(GROWTH, shapes, strict=True)
    ]
    ours = [warm[shape]["decreta"]["ms"] for shape in shapes]
    steps = [b / a for a, b in itertools.pairwise(ours)]
    shown = " and ".join(f"{step:.2f}" for step in steps)
    head = ("rows and files", *(ENGINES[name].title for name in names))
    text = f"## Growth of a point look-up, from 10 files to 1,000\n\n{table(head, rows)}"
    return [Goal("growth of a point look-up, 1× → 10× → 100×", "below 1.3 each step", shown, max(steps) < 1.3)], text


PARTS: dict[str, Part] = {
    "look_ups": look_ups,
    "growth": growth,
    "code_graph": lambda folder, scale, _: code_graph(folder, scale.source, 40 if scale is QUICK else 200),
    "tpch": lambda folder, scale, _: tpch_queries(folder, scale.queries, scale.rounds),
    "workloads": lambda folder, scale, _: workload_classes(folder, scale.runs, scale.rounds),
}

if __name__ == "__main__":
    main()
