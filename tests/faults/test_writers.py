"""Many writers append to one table while readers read and it is compacted: each batch once, whole, and in its writer's order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from decreta_runtime.record import Ledger, note_digests
from tests.conftest import ROOT
from tests.faults.extent import ALL
from tests.runtime.test_maintenance import Bench, here

__all__ = ["here"]

WRITERS, APPENDS, READERS = (8, 50, 2) if ALL else (3, 6, 1)
ROWS = 3
"""Rows of a batch."""

WRITE = """
import json, sys, time
from decreta_runtime.lake import Lake
from decreta_runtime.record import Ledger
lake, writer, appends, rows = Lake(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for i in range(appends):
    ledger = Ledger("many", "sha256:00")
    for _ in range(rows):
        ledger.add("query", writer, str(i), None)
    ledger.write(lake)
    print(json.dumps([writer, i, time.monotonic()]), flush=True)
"""
READ = """
import collections, json, sys, time
import pyarrow as pa
from decreta_runtime.lake import Lake, open_table
lake, stop = Lake(sys.argv[1]), sys.argv[2]
import os
while not os.path.exists(stop):
    begun, table = time.monotonic(), open_table(lake.ledger)
    if table is None:
        continue
    rows = pa.table(table.scan(columns=["subject", "action"])).to_pylist()
    seen = collections.Counter(f"{row['subject']} {row['action']}" for row in rows)
    print(json.dumps([table.version(), begun, seen]), flush=True)
"""


class Process:
    """A process whose lines go to a file: into a pipe that nobody reads it would stop to write, and so to look."""

    def __init__(self, place: Path, code: str, *args: str) -> None:
        self.place, env = place, {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
        with place.open("w") as out:
            self.process = subprocess.Popen([sys.executable, "-c", code, *args], stdout=out, env=env)

    def lines(self) -> list[Any]:
        assert self.process.wait(900) == 0
        return [json.loads(line) for line in self.place.read_text().splitlines()]


def check(acknowledged: list[tuple[str, int, float]], observed: list[tuple[int, float, dict[str, int]]]) -> list[str]:
    """Return what no order of whole appends explains: the history of a table that only grows.

    A version shows whole batches only, the same to all who read it; a later one shows no less; each writer's batches
    come in its order; and what was acknowledged before a reader began is there.
    """
    wrong, by_version = [], dict[int, dict[str, int]]()
    for version, begun, seen in sorted(observed, key=lambda o: (o[0], o[1])):
        wrong += [f"version {version} has {n} rows of {batch}" for batch, n in seen.items() if n != ROWS]
        if by_version.setdefault(version, seen) != seen:
            wrong.append(f"version {version} was read in two ways")
        missed = [f"{w} {i}" for w, i, at in acknowledged if at < begun and f"{w} {i}" not in seen]
        wrong += [f"version {version} was read after {batch} was acknowledged, without it" for batch in missed]
        for writer, n in Counter(batch.split()[0] for batch in seen).items():
            if any(f"{writer} {i}" not in seen for i in range(n)):
                wrong.append(f"version {version} has batches of {writer} out of order")
    versions = sorted(by_version)
    for before, after in pairwise(versions):
        if not by_version[before].keys() <= by_version[after].keys():
            wrong.append(f"version {after} has lost what {before} had")
    return wrong


def test_the_checker_finds_what_it_looks_for() -> None:
    whole = [(1, 0.0, {"a 0": 3}), (2, 1.0, {"a 0": 3, "a 1": 3})]
    assert check([("a", 0, 0.5), ("a", 1, 0.9)], whole) == []
    for acknowledged, observed in (
        ([], [(1, 0.0, {"a 0": 2})]),  # torn
        ([], [(1, 0.0, {"a 0": 6})]),  # doubled
        ([], [(1, 0.0, {"a 1": 3})]),  # out of order
        ([], [(1, 0.0, {"a 0": 3}), (2, 1.0, {})]),  # lost
        ([], [(1, 0.0, {"a 0": 3}), (1, 1.0, {})]),  # one version, two answers
        ([("a", 0, 0.5)], [(1, 1.0, {})]),  # acknowledged and not there
    ):
        assert check(acknowledged, observed), observed


def batches(table: DeltaTable) -> dict[str, int]:
    rows = pa.table(table.scan(columns=["subject", "action"]).read_all()).to_pylist()
    return dict(Counter(f"{row['subject']} {row['action']}" for row in rows))


def test_writers_readers_and_compaction(tmp_path: Path, here: None) -> None:
    """The engine's own compaction, which goes together with appends, and ours, which steps back from any, by turns."""
    bench, stop = Bench(tmp_path), tmp_path / "stop"
    lake = bench.lake

    def maintained() -> str:
        return next(found.action for name, found in bench.keeper.records() if name == "_ledger")

    readers = [Process(tmp_path / f"read {i}", READ, str(lake.root), str(stop)) for i in range(READERS)]
    writers = [
        Process(tmp_path / f"wrote {i}", WRITE, str(lake.root), f"w{i}", str(APPENDS), str(ROWS))
        for i in range(WRITERS)
    ]
    compactions, tried = 0, Counter[str]()
    while any(writer.process.poll() is None for writer in writers):
        if lake.ledger.exists() and (lake.ledger / "_delta_log").exists():
            if compactions % 2:
                tried[maintained()] += 1
            else:
                DeltaTable(str(lake.ledger)).optimize.compact()  # always from a fresh handle
            compactions += 1
        time.sleep(0.2)
    acknowledged = [(w, i, at) for writer in writers for w, i, at in writer.lines()]
    for i in range(8):
        ledger = Ledger("many", "sha256:00")
        for _ in range(ROWS):
            ledger.add("query", "last", str(i), None)
        ledger.write(lake)
    assert maintained() == "acted", "with nobody in its way"
    stop.touch()
    observed = [(v, begun, seen) for reader in readers for v, begun, seen in reader.lines()]
    assert len(acknowledged) == WRITERS * APPENDS and compactions and set(tried) <= {"acted", "failed", "none"}
    assert check(acknowledged, observed) == []
    for version, _, seen in observed[:: max(1, len(observed) // 20)]:
        assert batches(DeltaTable(str(lake.ledger), version=version)) == seen, "what a reader saw has been committed"
    expected = {f"w{w} {i}": ROWS for w in range(WRITERS) for i in range(APPENDS)} | {
        f"last {i}": ROWS for i in range(8)
    }
    assert batches(DeltaTable(str(lake.ledger))) == expected
    note_digests(lake, "many")
