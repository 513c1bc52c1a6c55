"""`make bench-regret`: how far each query shape is from the best settings that a sweep finds, and engine defaults beside it.

`python benchmarks/regret.py [--minutes 40] [--quick] [--cpu]` writes benchmarks/results/regret.md; with `--quick` it prints alone. What
is swept stands in the rules' ladders and in the policy's contract (`knobs.py`). Each setting is an edited policy over a lake that
a run under that policy has written; the runtime is the public one. Counters come first: pairs are made only of settings that
read no more, or took no longer, than the policy's. The best is chosen by one set of runs and told by another, because the least of many
noisy figures is mostly luck.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engines import bytes_read
from examples import samples
from knobs import Candidate, candidates, effective, written
from policies import engine_scan, engine_session, engine_write, variant
from report import Goal, command, goals, machine, table
from tables import tpch
from unseen import unseen_pack

import decreta_runtime
from decreta_runtime.pack import Pack

ROOT = Path(__file__).resolve().parents[1]
RUNS, HELD_OUT = 3, 7
AT_LEAST_MS, AT_MOST_ASKS = 30.0, 7
"""A shape is asked for so much time, a few times at most, each time with other values: the same ones under all policies."""
SLACK = 1.02
"""A setting within this of the policy's figure is worth trying beside another."""
POLICY, ENGINE = ("as compiled",), ("engine defaults",)
ENGINE_EDITS = (engine_session, engine_scan, engine_write)
SINGLES, PAIRS = 0.5, 0.75
"""Shares of a pack's time by which settings one by one, and pairs, are to end."""


class Cost(NamedTuple):
    """What asking a shape costs: warm milliseconds, bytes that the warm plan counted, bytes of the first time."""

    ms: float
    bytes: int
    first: int


@dataclass
class Sweep:
    """One pack, its lakes by how they were written, and what each shape cost under each policy tried."""

    name: str
    pack: Path
    folder: Path
    sources: dict[str, str]
    ends: float
    """The time, as `time.monotonic` has it, at which this sweep is to be over."""
    clock: Callable[[], float] = time.perf_counter
    began: float = field(default_factory=time.monotonic)
    policy: dict[str, Any] = field(default_factory=dict)
    lakes: dict[str, Path] = field(default_factory=dict)
    costs: dict[str, dict[tuple[str, ...], list[Cost]]] = field(default_factory=dict)
    keys: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Shape -> what it depends on -> the candidate that showed it first: what changes nothing for it is not asked."""
    known: dict[tuple[str, ...], tuple[Any, ...]] = field(default_factory=dict)
    asks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    untried: int = 0

    def __post_init__(self) -> None:
        self.policy = json.loads((self.pack / "policy/local.json").read_bytes())

    def before(self, share: float) -> bool:
        return time.monotonic() < self.began + share * (self.ends - self.began)

    def lake(self, pack: Path, policy: dict[str, Any]) -> Path:
        """Return a lake that a run under this policy has written."""
        key = written(policy)
        if key not in self.lakes:
            place = self.folder / f"lake{len(self.lakes)}"
            with decreta_runtime.open(pack, lake=str(place)) as opened:
                opened.run(self.sources)
            self.lakes[key] = place
        return self.lakes[key]

    def open(self, names: tuple[str, ...], edits: Sequence[Any]) -> tuple[Pack, dict[str, Any]]:
        folder = variant(self.pack, self.folder / "generated" / "variant", *edits)
        policy = json.loads((folder / "policy/local.json").read_bytes())
        self.known[names] = tuple(edits)
        return decreta_runtime.open(folder, lake=str(self.lake(folder, policy))), policy

    def measure(self, names: tuple[str, ...], edits: Sequence[Any], shapes: Iterable[str] | None = None) -> None:
        """Ask the shapes for which this policy is one that nobody has tried, or has tried under these names."""
        pack, policy = self.open(names, edits)
        with pack:
            for shape in pack.manifest.queries if shapes is None else shapes:
                key = effective(policy, pack.manifest, shape)
                first = self.keys.setdefault(shape, {}).setdefault(key, names)
                if first == names:
                    cost = ask(pack, shape, self.asked(pack, shape), self.clock)
                    self.costs.setdefault(shape, {}).setdefault(names, []).append(cost)
        del pack
        gc.collect()

    def asked(self, pack: Pack, shape: str) -> list[dict[str, Any]]:
        """Return what a shape is asked, as often as its first policy has time for."""
        if shape not in self.asks:
            drawn = samples(pack, shape, AT_MOST_ASKS)
            once = ask(pack, shape, drawn[:1], self.clock).ms
            self.asks[shape] = drawn[: max(1, math.ceil(AT_LEAST_MS / once))]
        return self.asks[shape]

    def least(self, shape: str, names: tuple[str, ...]) -> Cost:
        """Return the least of each figure: what others do to the machine only adds to them."""
        return Cost(*map(min, zip(*self.costs[shape][names], strict=True)))


def ask(pack: Pack, shape: str, asks: Sequence[dict[str, Any]], clock: Callable[[], float]) -> Cost:
    before, times, read = bytes_read(), list[float](), 0
    pack.answer(shape, asks[0])
    first = bytes_read() - before
    for values in asks:
        start = clock()
        stats = pack.answer(shape, values).stats
        times.append(1000 * (clock() - start))
        # What delta-rs reads leaves no counters: then the whole table was.
        read += stats.bytes_eligible if stats.bytes_scanned is None else stats.bytes_scanned
    return Cost(statistics.median(times), read, first)


def swept(sweep: Sweep, runs: int) -> None:
    """Try the policy, the engine's defaults, each setting alone, then pairs of those that promise something."""
    alone = candidates(sweep.policy)
    for i in range(runs):
        sweep.measure(POLICY, ())
        sweep.measure(ENGINE, ENGINE_EDITS)
        for at, candidate in enumerate(alone):
            if not sweep.before(SINGLES):
                sweep.untried += len(alone) - at if i == 0 else 0
                break
            sweep.measure((candidate.name,), (candidate.edit,))
    pairs = promising_pairs(sweep, alone)
    for i in range(runs):
        for at, (pair, shapes) in enumerate(pairs):
            if not sweep.before(PAIRS):
                sweep.untried += len(pairs) - at if i == 0 else 0
                break
            sweep.measure(tuple(c.name for c in pair), tuple(c.edit for c in pair), shapes)


def promising_pairs(sweep: Sweep, alone: list[Candidate]) -> list[tuple[tuple[Candidate, ...], list[str]]]:
    """Return pairs of different knobs with the shapes for which neither reads more nor takes longer than the policy."""
    wanted: dict[tuple[Candidate, ...], list[str]] = {}
    gains: dict[tuple[Candidate, ...], float] = {}
    for shape, found in sweep.costs.items():
        base = sweep.least(shape, POLICY)
        good = {}
        for candidate in alone:
            if (candidate.name,) in found:
                cost = sweep.least(shape, (candidate.name,))
                if cost.bytes <= SLACK * base.bytes or cost.ms <= SLACK * base.ms:
                    good[candidate] = base.ms / cost.ms
        for pair in itertools.combinations(good, 2):
            if pair[0].knob != pair[1].knob:
                wanted.setdefault(pair, []).append(shape)
                gains[pair] = max(gains.get(pair, 0.0), good[pair[0]] * good[pair[1]])
    return sorted(wanted.items(), key=lambda item: -gains[item[0]])


class Regret(NamedTuple):
    """How much longer than the best found a shape takes, as compiled and with engine defaults; and what is the best."""

    pack: str
    shape: str
    policy: float
    engine: float
    best: tuple[str, ...]
    ms: float
    bytes: float
    """Bytes as compiled, over the least that any setting tried has read."""


def told(sweep: Sweep, rounds: int) -> list[Regret]:
    """Measure anew, in turn, what the sweep holds for best, the policy and the engine's defaults."""
    best = {shape: min(found, key=lambda names: sweep.least(shape, names).ms) for shape, found in sweep.costs.items()}
    # What a default changes nothing of was not asked under that name: it costs what the policy costs.
    sides = {names: [s for s, b in best.items() if b == names] for names in set(best.values())}
    sides |= {POLICY: list(best), ENGINE: [s for s in best if ENGINE in sweep.costs[s]]}
    taken: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    order = list(sides)
    for i in range(rounds):
        for names in order[i % len(order) :] + order[: i % len(order)]:
            pack, _ = sweep.open(names, sweep.known[names])
            with pack:
                for shape in sides[names]:
                    taken.setdefault((shape, names), []).append(
                        ask(pack, shape, sweep.asked(pack, shape), sweep.clock).ms
                    )
            del pack
            gc.collect()
    middle = {key: statistics.median(times) for key, times in taken.items()}
    return [regret_of(sweep, shape, names, middle) for shape, names in best.items()]


def regret_of(
    sweep: Sweep, shape: str, best: tuple[str, ...], middle: dict[tuple[str, tuple[str, ...]], float]
) -> Regret:
    ours = middle[shape, POLICY]
    theirs = middle.get((shape, ENGINE), ours)
    least = min(ours, theirs, middle[shape, best])
    fewest = min(sweep.least(shape, names).bytes for names in sweep.costs[shape])
    name = POLICY if least == ours else ENGINE if least == theirs else best
    share = sweep.least(shape, POLICY).bytes / max(1, fewest)
    return Regret(sweep.name, shape, ours / least - 1, theirs / least - 1, name, ours, share)


# -- packs and results


def sweeps(
    folder: Path, scale: float, part: str, minutes: float, names: Sequence[str], clock: Callable[[], float]
) -> Iterable[Sweep]:
    """Yield the sweep of each pack, the next one begun when the one before is over."""
    load, source = tpch(folder / "load", scale), Path(sysconfig.get_path("stdlib")) / part
    end = time.monotonic() + 60 * minutes
    packs = {
        "code_graph": lambda: (ROOT / "generated/code_graph", {"python": f"stdlib:{source}"}),
        "retail": lambda: (ROOT / "generated/retail", {"tpch": str(load)}),
        "unseen": lambda: unseen_pack(folder / "project", load),
    }
    for i, name in enumerate(names):
        ends = time.monotonic() + (end - time.monotonic()) / (len(names) - i)
        pack, sources = packs[name]()
        yield Sweep(name, pack, folder / name, sources, ends, clock)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=40)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--cpu", action="store_true", help="measure CPU time, on a machine that others use, too")
    given = arguments.parse_args()
    scale, part, minutes = (0.01, "json", 0.5) if given.quick else (0.1, "", given.minutes)
    clock = time.process_time if given.cpu else time.perf_counter
    names = ("code_graph", "unseen") if given.quick else ("code_graph", "retail", "unseen")
    found: list[Regret] = []
    tried = untried = 0
    with tempfile.TemporaryDirectory() as folder:
        for sweep in sweeps(Path(folder), scale, part, minutes, names, clock):
            swept(sweep, 1 if given.quick else RUNS)
            found += told(sweep, 1 if given.quick else HELD_OUT)
            tried += len(sweep.known)
            untried += sweep.untried
    text = shown(found, scale, tried, untried, "CPU time" if given.cpu else "time")
    print(text)
    if not given.quick:
        (ROOT / "benchmarks/results/regret.md").write_text(text)


def shown(found: list[Regret], scale: float, tried: int, untried: int, what: str) -> str:
    seen, unseen = ([r for r in found if (r.pack == "unseen") is new] for new in (False, True))
    figures = [
        g
        for title, part in (("both packs", seen), ("unseen shapes, skewed data", unseen))
        for g in figures_of(title, part)
    ]
    rows = [
        (r.pack, r.shape, f"{r.ms:.2f}", f"{r.policy:.1%}", f"{r.engine:.1%}", ", ".join(r.best), f"{r.bytes:.2f}")
        for r in found
    ]
    head = ("pack", "shape", "ms", "regret", "with engine defaults", "best found", "bytes over the least found")
    return (
        f"# Regret: the policy beside the best settings found\n\nMade by {command('bench-regret')} on {machine()}; TPC-H scale "
        f"{scale}. {tried} policies were tried, {untried} were left when time was over.\n\n{goals(figures)}\n\n"
        f"Regret is how much more {what} a shape takes than under the best policy found, in medians of runs that the best was not "
        f"chosen by.\n\n{table(head, rows)}\n"
    )


def figures_of(title: str, found: list[Regret]) -> list[Goal]:
    ours = sorted(r.policy for r in found)
    median, p90 = statistics.median(ours), ours[min(len(ours) - 1, len(ours) * 9 // 10)]
    beside = statistics.fmean(r.engine for r in found)
    skill = 1 - statistics.fmean(ours) / beside if beside else None
    return [
        Goal(f"regret, {title}: median", "2 %", f"{median:.1%}", median <= 0.02),
        Goal(f"regret, {title}: p90", "10 %", f"{p90:.1%}", p90 <= 0.10),
        Goal(
            f"skill, {title}",
            "0.8",
            "no regret of defaults" if skill is None else f"{skill:.2f}",
            None if skill is None else skill >= 0.8,
        ),
    ]


if __name__ == "__main__":
    main()
