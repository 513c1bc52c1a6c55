"""The effect of each changed decision alone, measured beside the others in each round, and what none explains."""

from __future__ import annotations

from dataclasses import dataclass

from decreta.blame.clock import Interval, interval
from decreta.blame.decisions import PackMixer, pointer
from decreta.blame.search import Mix
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.measure import Measured

ROUNDS = 7
"""Repetitions: the least and the most of so many differences hold the median by 0.98."""
FIGURES = ("latency", "bytes", "maintenance_cost")
UNITS = {"latency": "milliseconds", "bytes": "bytes", "maintenance_cost": "bytes"}


@dataclass(frozen=True)
class Effect:
    """What one change does to A, alone. None of a change that cannot stand alone."""

    name: str
    figures: dict[str, Interval] | None


@dataclass(frozen=True)
class Effects:
    """All changes, the two sides whole, and what is left when the effects of single changes are taken off."""

    each: tuple[Effect, ...]
    whole: dict[str, Interval]
    residual: dict[str, Interval]
    rounds: int


def effects(mixer: PackMixer, rounds: int = ROUNDS) -> Effects:
    """Measure A, A with each change, and B in turn, `rounds` times. Raises InputInvalid if a side cannot be run."""
    none, every = frozenset[int](), frozenset(range(mixer.count))
    singles = [frozenset({i}) for i in range(mixer.count)] if mixer.count > 1 else []
    taken = _rounds(mixer, [none, *singles, every], rounds)
    if none not in taken or every not in taken:
        raise InputInvalid("one of the sides does not run", help="see what was said above, and mend it")
    names = [*map(pointer, mixer.edits), *(f"input {name}" for name in mixer.inputs)]
    runs = {mix: [costs(measured) for measured in found] for mix, found in taken.items()}
    whole = {f: [b[f] - a[f] for a, b in zip(runs[none], runs[every], strict=True)] for f in FIGURES}
    rest = {figure: list(gaps) for figure, gaps in whole.items()}
    found = []
    for mix in singles or [every]:
        name = names[min(mix)] if mix else "nothing"
        if mix not in runs:
            found.append(Effect(name, None))
            continue
        gaps = {f: [b[f] - a[f] for a, b in zip(runs[none], runs[mix], strict=True)] for f in FIGURES}
        rest = {f: [r - g for r, g in zip(rest[f], gaps[f], strict=True)] for f in FIGURES}
        found.append(Effect(name, _intervals(gaps)))
    return Effects(tuple(found), _intervals(whole), _intervals(rest), rounds)


def costs(measured: Measured) -> dict[str, float]:
    """Return what a run and asking its shapes cost: milliseconds, bytes read and written, bytes that upkeep rewrote."""
    counters = measured.counters.items()
    read = sum(n for name, n in counters if name.rpartition("/")[2] in ("bytes_read", "index_bytes"))
    wrote = sum(n for name, n in counters if name.startswith(("write/", "index/")) and name.endswith("/bytes"))
    upkeep = sum(n for name, n in counters if name.startswith("maintenance/") and name.endswith("/bytes"))
    return {"latency": 1000 * sum(measured.seconds.values()), "bytes": read + wrote, "maintenance_cost": upkeep}


def _rounds(mixer: PackMixer, mixes: list[Mix], rounds: int) -> dict[Mix, list[Measured]]:
    taken: dict[Mix, list[Measured]] = {mix: [] for mix in mixes}
    for i in range(rounds):
        at = i % len(taken)
        for mix in [*taken][at:] + [*taken][:at]:
            measured = mixer.measured(mix, again=True)
            if measured is None:
                del taken[mix]
            else:
                taken[mix].append(measured)
    return taken


def _intervals(gaps: dict[str, list[float]]) -> dict[str, Interval]:
    return {figure: interval(found) for figure, found in gaps.items()}
