"""Measure deciding and obeying: all decisions of 1,000 relations that are datasets too, and loading their policy.

`python benchmarks/decide.py` writes benchmarks/results/decide.md. Medians of seven runs in one process.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wide_project import write_project

from decreta.bind import bind
from decreta.check import check
from decreta.decide import decide
from decreta.diagnostics import Report
from decreta.emit import emit
from decreta.project import Project
from decreta.read import read_pack
from decreta.resolve import resolve
from decreta.toolchain import toolchain
from decreta_runtime.contract.policy import Policy
from decreta_runtime.load import load
from decreta_runtime.tally import Tally
from decreta_runtime.verify import entries

ROOT = Path(__file__).resolve().parents[1]
RUNS = 7


def measured(what: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median seconds of a call, and what it gave last."""
    seconds, found = [], None
    for _ in range(RUNS):
        start = time.perf_counter()
        found = what()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), found


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, report = Path(temporary), Report()
        write_project(folder, 1000)
        project = Project(folder)
        files = read_pack(folder / "specs/wide", "specs/wide", report)
        resolved = resolve(files, read_pack(project.library(), "specs/std", report), report)
        assert resolved is not None
        bound = bind(resolved, report)
        assert bound is not None
        checked = check(bound, report)
        assert checked is not None
        deciding, decided = measured(lambda: decide(checked, Report()))
        out = folder / "generated/wide"
        for path, data in emit(decided, toolchain()).items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(data)
        policy = (out / "policy/local.json").read_bytes()
        pack = load(out, Tally())
        decoding, read = measured(lambda: Policy(policy))
        resolving, pointers = measured(lambda: len(list(entries(pack, Policy(policy)))))
    decisions = sum(len(read.decisions(domain)) for domain in ("scan", "cache", "write", "session"))
    text = (
        "# Deciding, and obeying what was decided\n\n"
        f"By `python benchmarks/decide.py`, {os.cpu_count()} cores, Python {platform.python_version()}; medians of {RUNS} "
        "runs in one process. 1,000 relations, each stored, over ten tables of others.\n\n"
        "| what | result | goal |\n|---|---|---|\n"
        f"| all {decisions:,} decisions, from facts to policy | {deciding:.2f} s | 1 s |\n"
        f"| load the policy ({len(policy):,} bytes) | {decoding * 1000:.0f} ms | |\n"
        f"| load it and resolve all {pointers:,} entries | {resolving * 1000:.0f} ms | 50 ms |\n"
    )
    (ROOT / "benchmarks/results/decide.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
