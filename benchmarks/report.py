"""What tables of results have in common: goals beside what was measured, and the machine that measured it."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Goal(NamedTuple):
    """One figure beside what it should reach; `reached` is None where nothing could be measured."""

    what: str
    goal: str
    measured: str
    reached: bool | None


def goals(found: Iterable[Goal]) -> str:
    """Return goals as a table."""
    words = {True: "yes", False: "**no**", None: "not measured"}
    return table(("what", "to reach", "measured", "reached"), [(*g[:3], words[g.reached]) for g in found])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- |", "|---|").replace(" --- |", "---|")


def machine() -> str:
    """Return the machine in words, with how busy it is: times of a busy one say little."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {platform.system()}, "
        f"load average {load:.1f}"
    )


def command(target: str) -> str:
    """Return how a benchmark was started: its target of make, and the options that a person added."""
    options = [word for word in sys.argv[1:] if "/" not in word]
    return f"`make {target}`" if not options else f"`python benchmarks/{Path(sys.argv[0]).name} {' '.join(options)}`"


def p50(times: Sequence[float]) -> float:
    return statistics.median(times)


def p95(times: Sequence[float]) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * 95 // 100)]


def kb(count: float) -> str:
    return f"{count / 1000:,.0f} KB"
