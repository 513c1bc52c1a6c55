"""Calibration by simulation: response surfaces of many shapes, drawn at random, and what must never happen on any of them.

A surface gives each workload class a cost at each rung, which may change with time. The world here is nothing but that, so
that what is asked of the rules is asked of `advance` alone.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from decreta.calibrate import Knob, Owner, advance
from decreta.calibrate.judge import Bounds, interleaved, judge
from decreta_runtime.contract.calibration import (
    CalibrationLock,
    Figure,
    Sample,
    Seen,
    Timed,
    Vote,
    decoded,
    encoded,
    in_force,
    overrides,
)

BOUNDS = Bounds(votes=2, reversals=2, class_percent=10, clock_runs=5, deviations=3, patience=3)
ENGINE, FEATURES = {"datafusion": "55.0.0"}, {"native_scan": True}
OWNER = Owner("demo", "local", "0.1.0")
CLASSES = ("interactive_query", "report")
BATCHES = 4


class Surface(NamedTuple):
    """The cost of each class at (rung, epoch), and how far a batch is from it."""

    kind: str
    rungs: int
    start: int
    costs: Callable[[int, int], dict[str, float]]
    noise: float


def surface(kind: str, seed: int) -> Surface:
    draw = random.Random(f"{kind}{seed}")
    rungs = draw.randint(3, 9)
    start, best = draw.randrange(rungs), draw.randrange(rungs)
    level = {name: draw.uniform(2e4, 2e6) for name in CLASSES}
    slope = {name: draw.uniform(0.06, 0.6) for name in CLASSES}
    drift = draw.choice((-1, 1)) / draw.randint(40, 200) if kind == "drifting" else 0.0
    cliff = draw.uniform(1.5, 20.0)

    def costs(rung: int, epoch: int) -> dict[str, float]:
        found = {}
        for name in CLASSES:
            away = abs(rung - min(rungs - 1.0, max(0.0, best + drift * epoch)))
            factor = {
                "flat": 1.0,
                "accident": 0.8 if epoch % 7 == 3 else 1.0,
                "cliffed": 1.0 + slope[name] * away if rung <= best else cliff + away,
            }.get(kind, (1.0 + slope[name]) ** away)
            found[name] = level[name] * factor
        return found

    return Surface(kind, rungs, start, costs, 0.004 if kind == "noisy" else 0.0)


def hostile(seed: int) -> Surface:
    """Costs without any form: what is asked there is only that no harm is done."""
    draw = random.Random(f"hostile{seed}")
    rungs = draw.randint(2, 9)
    table = {name: [draw.uniform(0.5, 3.0) * 1e5 for _ in range(rungs)] for name in CLASSES}
    return Surface(
        "hostile",
        rungs,
        draw.randrange(rungs),
        lambda rung, _: {n: table[n][rung] for n in CLASSES},
        draw.choice((0.0, 0.05)),
    )


def knob(surface: Surface) -> Knob:
    ladder = tuple(4**i for i in range(surface.rungs))
    return Knob("x.knob", "rows", ladder, ladder[surface.start], "lookup_bytes", (), 2, 0.02, 1, 40)


def sample(surface: Surface, rung: int, value: int, epoch: int, draw: random.Random) -> Sample:
    figures = {}
    for name, cost in surface.costs(rung, epoch).items():
        batches = [cost * (1 + draw.gauss(0, surface.noise)) for _ in range(BATCHES)]
        mean = sum(batches) / BATCHES
        deviation = (sum((b - mean) ** 2 for b in batches) / (BATCHES - 1)) ** 0.5
        figures[name] = {"shape": Figure(batches=BATCHES, mean=round(mean), deviation=round(deviation))}
    return Sample(
        policy_digest=f"sha256:{value}", values={"x.knob": value}, inputs="i", rest="r", digests={"t": "d"},
        runs=(epoch,), figures={"lookup_bytes": figures},
    )  # fmt: skip


def seen(found: Sample, epoch: int) -> Seen:
    return Seen(until_us=epoch, sample=found, timeline=(), engine=ENGINE, features=FEATURES)


class Told(NamedTuple):
    """The rung in force at each epoch, and the lock after each."""

    rungs: list[int]
    locks: list[CalibrationLock]


def simulate(surface: Surface, epochs: int, seed: int = 0) -> Told:
    asked, draw = knob(surface), random.Random(seed)
    lock: CalibrationLock | None = None
    rungs, locks = [], []
    for epoch in range(1, epochs + 1):
        value = asked.declared if lock is None else in_force(lock, "x.knob", "0.1.0", FEATURES) or asked.declared
        assert value in asked.ladder, "it never leaves its bounds"
        rungs.append(asked.ladder.index(value))
        found = sample(surface, rungs[-1], int(value), epoch, draw)
        lock = advance(lock, seen(found, epoch), {"x.knob": asked}, BOUNDS, OWNER)
        assert lock is not None
        locks.append(lock)
    return Told(rungs, locks)


def expiries(told: Told) -> set[int]:
    """Return the epochs before which an override has expired: it ends as a whole."""
    return {i + 1 for i, lock in enumerate(told.locks) if lock.knobs["x.knob"].why.startswith("expired")}


def check(surface: Surface, told: Told, seed: int) -> None:
    jumps = [i for i in range(1, len(told.rungs)) if abs(told.rungs[i] - told.rungs[i - 1]) > 1]
    assert set(jumps) <= expiries(told), "one rung an epoch"
    state = told.locks[-1].knobs["x.knob"]
    assert given_up(told, surface) <= 2, "never more than two reversals"
    assert not_worse(surface, told), "no class more than 10 % worse for more than an epoch"
    if surface.kind in ("convex", "noisy", "drifting", "cliffed") and reachable(surface):
        near = [abs(rung - optimum(surface, i)) <= 1 for i, rung in enumerate(told.rungs[: 2 * surface.rungs], 1)]
        assert any(near), f"within one rung of {optimum(surface, 1)} of {surface.rungs}: {told.rungs}"
        if surface.kind != "drifting":
            settled = told.rungs[4 * surface.rungs :]
            assert not settled or abs(settled[-1] - optimum(surface, 1)) <= 1
    if surface.kind in ("flat", "accident"):
        assert state.value == state.declared, "no override without a gain"


def given_up(told: Told, surface: Surface) -> int:
    """Return how often the rung in force went back to the one kept, expiries apart."""
    ladder, expired = knob(surface).ladder, expiries(told)
    count, back = 0, False
    for i, (was, now) in enumerate(itertools.pairwise(told.rungs), 1):
        home = ladder.index(int(told.locks[i - 1].knobs["x.knob"].value))
        nearer = abs(now - home) < abs(was - home)
        count += nearer and not back and i not in expired
        back = nearer and now != home
    return count


def total(surface: Surface, rung: int, epoch: int) -> float:
    return sum(surface.costs(rung, epoch).values())


def optimum(surface: Surface, epoch: int) -> int:
    return min(range(surface.rungs), key=lambda rung: total(surface, rung, epoch))


def reachable(surface: Surface) -> bool:
    """Whether each rung on the way from where it began is visibly better than the one before."""
    best = optimum(surface, 1)
    step = 1 if best > surface.start else -1
    way = list(range(surface.start, best, step))
    return all(total(surface, r + step, 1) < 0.97 * total(surface, r, 1) for r in way)


def not_worse(surface: Surface, told: Told) -> bool:
    """Whether no class was above 110 % of its cost at the declared rung, at that time, for two epochs in a row."""
    # Means of few batches are off by their noise; of what drifts, how it was is an epoch or two old.
    slack = 1.14 if surface.kind == "drifting" else 1.10 * (1 + 3 * surface.noise)
    bad = [
        any(cost > slack * surface.costs(surface.start, i)[name] + 1 for name, cost in surface.costs(rung, i).items())
        for i, rung in enumerate(told.rungs, 1)
    ]
    if surface.kind == "drifting":  # how it is now is compared with how it was: only what a step has done counts
        moved = [i for i in range(1, len(told.rungs)) if told.rungs[i] != told.rungs[i - 1]]
        bad = [flag and i in moved for i, flag in enumerate(bad)]
    return not any(a and b and told.rungs[i] == told.rungs[i + 1] for i, (a, b) in enumerate(itertools.pairwise(bad)))


KINDS = ("flat", "accident", "convex", "cliffed", "noisy", "drifting")


@pytest.mark.parametrize("kind", KINDS)
def test_a_knob_finds_its_place_on_surfaces_drawn_at_random(kind: str) -> None:
    for seed in range(60):
        drawn = surface(kind, seed)
        check(drawn, simulate(drawn, 60, seed), seed)


def test_costs_without_any_form_do_no_harm() -> None:
    for seed in range(60):
        drawn = hostile(seed)
        check(drawn, simulate(drawn, 60, seed), seed)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_epochs_on_many_surfaces(kind: str) -> None:
    for seed in range(1000, 1100):
        drawn = surface(kind, seed)
        check(drawn, simulate(drawn, 1000, seed), seed)


# -- the rules one by one


def votes(before: Sample, after: Sample, timeline: tuple[Timed, ...] = ()) -> Vote:
    told = Seen(until_us=1, sample=after, timeline=timeline, engine=ENGINE, features=FEATURES)
    return judge(knob(surface("convex", 0)), before, told, 1, BOUNDS)


def measured(digest: str, **classes: int) -> Sample:
    figures = {name: {"shape": Figure(batches=2, mean=mean, deviation=0)} for name, mean in classes.items()}
    return Sample(
        policy_digest=digest, values={}, inputs="i", rest="r", digests={"t": "d"}, runs=(1,),
        figures={"lookup_bytes": figures},
    )  # fmt: skip


def test_a_class_may_not_pay_for_another() -> None:
    vote = votes(measured("a", one=1000, two=100), measured("b", one=500, two=111))
    assert vote.verdict == "better" and vote.veto, vote
    assert not votes(measured("a", one=1000, two=100), measured("b", one=500, two=110)).veto


def test_other_rows_end_a_trial_and_other_inputs_give_no_vote() -> None:
    before, after = measured("a", one=1000), measured("b", one=500)
    assert votes(before, replace(after, digests={"t": "other"})).veto
    assert votes(before, replace(after, digests={})).verdict == "unclear"
    for unlike in (replace(after, inputs="other"), replace(after, rest="other")):
        assert votes(before, unlike).verdict == "unclear"


def test_a_clock_is_asked_only_of_runs_in_turn_and_only_where_counters_agree() -> None:
    slow, quick = measured("a", one=1000), measured("b", one=1000)
    turn = tuple(
        Timed(policy_digest=d, clock="lookup", microseconds=t + i)
        for i in range(5)
        for d, t in (("a", 2000), ("b", 1000))
    )
    assert votes(slow, quick, turn).verdict == "better"
    assert votes(slow, quick, turn[:-1]).verdict == "same", "four pairs are too few"
    blocks = tuple(sorted(turn, key=lambda timed: timed.policy_digest))
    assert len(interleaved(blocks, ("a", "b"))) == 1
    assert votes(slow, quick, blocks).verdict == "same", "not in turn"
    assert votes(slow, measured("b", one=1050), turn).verdict == "worse", "counters before clocks"


def test_the_same_ledger_gives_the_same_bytes_and_nothing_new_changes_nothing() -> None:
    drawn = surface("noisy", 3)
    first, second = simulate(drawn, 30, 5).locks[-1], simulate(drawn, 30, 5).locks[-1]
    assert encoded(first) == encoded(second)
    again = seen(sample(drawn, 0, 1, 30, random.Random(1)), 30)
    assert advance(first, again, {"x.knob": knob(drawn)}, BOUNDS, OWNER) is first


def kept_lock() -> tuple[Surface, CalibrationLock]:
    drawn = next(s for s in (surface("convex", i) for i in range(99)) if abs(optimum(s, 1) - s.start) >= 2)
    lock = simulate(drawn, 40).locks[-1]
    assert lock.knobs["x.knob"].proof is not None
    return drawn, lock


def test_an_override_ends_with_the_version_of_the_pack_and_is_seen_to() -> None:
    _, lock = kept_lock()
    state = lock.knobs["x.knob"]
    assert in_force(lock, "x.knob", "0.1.0", FEATURES) == state.value
    assert in_force(lock, "x.knob", "0.2.0", FEATURES) is None
    assert overrides(lock, "0.1.0").alive == {"x.knob": state.value}
    assert overrides(lock, "0.2.0").expired == {"x.knob": state.value}


def test_an_override_that_nobody_verifies_expires() -> None:
    drawn, lock = kept_lock()
    asked, draw = knob(drawn), random.Random(1)
    for epoch in range(41, 41 + asked.lasts + 1):
        value = in_force(lock, "x.knob", "0.1.0", FEATURES) or asked.declared
        found = sample(drawn, asked.ladder.index(value), int(value), epoch, draw)
        new = advance(lock, seen(replace(found, inputs="others"), epoch), {"x.knob": asked}, BOUNDS, OWNER)
        assert new is not None
        lock = new
    assert overrides(lock, "0.1.0").alive == {}
    assert overrides(lock, "0.1.0").expired.keys() == {"x.knob"}


@pytest.mark.parametrize("broken", ["votes", "class_percent", "reversals", "direction"])
def test_a_wrong_rule_is_found(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the surfaces ask can fail: with a rule broken, some surface shows it."""
    if broken == "direction":
        monkeypatch.setattr(
            Knob, "next_to", lambda self, rung, step: self.ladder[(self.ladder.index(rung) + step) % len(self.ladder)]
        )
    else:
        loose = {"votes": 1, "class_percent": 60, "reversals": 9}[broken]
        monkeypatch.setattr(f"{__name__}.BOUNDS", BOUNDS._replace(**{broken: loose}))
    with pytest.raises(AssertionError):
        for seed in range(200):
            for drawn in (*(surface(kind, seed) for kind in KINDS), hostile(seed)):
                check(drawn, simulate(drawn, 60, seed), seed)


@pytest.mark.parametrize(
    "text", ["{", '{"more": 1}', '{"more": ' + "[" * 100_000, '{"format": 1, "more": ' + "[" * 100_000]
)
def test_a_broken_lock_is_told_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="no calibration lock"):
        decoded(text)
