"""Run or maintain a pack with a fault at one step after another, inside a process that the shim is preloaded into.

`drive.py PACK FOLDER POINTS once|after run|maintain` finds below FOLDER the lakes `before` (or none) and `new` of undisturbed runs, and the
`source` of the new one; POINTS is `FIRST:STEP` or `count`. Until no step is left it prints one JSON line a point.
"""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

import decreta_runtime
from decreta_runtime import maintain, settle
from decreta_runtime.contract.errors import DecretaError

SHIM = ctypes.CDLL(None)
SHIM.faults_failed.restype = ctypes.c_char_p
SHIM.faults_disarm.restype = ctypes.c_long


def rows_of(path: Path, version: int) -> list[Any]:
    import pyarrow as pa

    table = pa.table(DeltaTable(str(path), version=version).scan().read_all())
    return sorted((tuple(map(repr, row.values())) for row in table.to_pylist()), key=repr)


def seen(pack: str, lake: Path) -> dict[str, list[Any]] | None:
    """Return the rows that a reader sees, None where there is no complete run."""
    try:
        with decreta_runtime.open(pack, lake=str(lake)) as opened:
            versions = opened.versions()
            name = opened.manifest.pack
    except DecretaError as error:
        if "no complete run" in error.message or "is no lake" in error.message or "does not exist" in error.message:
            return None
        raise
    return {dataset: rows_of(lake / name / dataset, version) for dataset, version in versions.items()}


def work(opened: Any, source: Path, verb: str) -> list[str]:
    """Run or maintain; return what was left undone."""
    if verb == "run":
        opened.run({"python": str(source)})
        return []
    found = opened.maintain()
    undone = [
        f"{u.table}: {u.found.detail.code} {u.found.detail.why}"
        for u in found
        if u.found and u.found.action == "failed"
    ]
    return undone + [f"{upkeep.table}: {upkeep.why}" for upkeep in found if upkeep.why]


def attempt(pack: str, lake: Path, source: Path, n: int, after: bool, verb: str) -> tuple[str, str, int]:
    """Do it with a fault at step `n`; return what came of it, which step failed, and how many there were."""
    SHIM.faults_arm(str(lake).encode(), ctypes.c_long(n), int(after), errno.ENOSPC if after else errno.EIO)
    try:
        with decreta_runtime.open(pack, lake=str(lake)) as opened:
            work(opened, source, verb)
        outcome = "done"
    except DecretaError as error:
        outcome = f"{error.code}: {error.message}" if error.help else f"no help: {error.message}"
    except BaseException:  # noqa: BLE001 - whatever it is, it is no typed error
        outcome = "untyped: " + traceback.format_exc()
    steps = SHIM.faults_disarm()
    return outcome, SHIM.faults_failed().decode(), steps


def judge(pack: str, lake: Path, source: Path, old: Any, new: Any, verb: str) -> list[str]:
    """Return what is wrong after a fault: readers see whole runs, the next one completes, verify finds nothing."""
    wrong = []
    if seen(pack, lake) not in (old, new):
        wrong.append("a reader sees neither the run before nor the new one")
    with decreta_runtime.open(pack, lake=str(lake)) as opened:
        wrong += work(opened, source, verb)
        numbers = [row["run_seq"] for row in opened.ledger("SELECT run_seq FROM runs ORDER BY 1").to_pylist()]
        opened.ledger("SELECT count(*) FROM ledger")
        findings = opened.verify_lake(data=True).findings
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"runs {numbers}")
    if seen(pack, lake) != new:
        wrong.append("the next run has other rows")
    return wrong + [f"{finding.kind} {finding.file}: {finding.words}" for finding in findings]


def main() -> None:
    pack, folder, points, after, verb = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "after", sys.argv[5]
    # A process of its own is not preloaded into: what one is for is tested apart.
    maintain.within = settle.within = lambda seconds, function, *args: function(*args)
    before, source = folder / "before", folder / "source"
    old = seen(pack, before)
    new = seen(pack, folder / "new") if verb == "run" else old
    lake = folder / f"lake-{points.replace(':', '-')}-{sys.argv[4]}"
    n, step = (0, 1) if points == "count" else map(int, points.split(":"))
    while True:
        shutil.rmtree(lake, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, lake)
        outcome, failed, steps = attempt(pack, lake, source, n, after, verb)
        if points == "count":
            print(json.dumps({"steps": steps, "outcome": outcome}), flush=True)
            return
        if not failed:
            break  # none is left
        try:
            wrong = judge(pack, lake, source, old, new, verb)
        except BaseException:  # noqa: BLE001 - told, and the next point tried
            wrong = [traceback.format_exc()]
        print(json.dumps({"n": n, "failed": failed, "outcome": outcome, "wrong": wrong}), flush=True)
        n += step


if __name__ == "__main__":
    main()
