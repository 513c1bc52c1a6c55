"""What repetitions may say: never more than they show."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decreta.blame.clock import Clock, TooNoisy, interval, sign, tail
from decreta.blame.search import Mix, Values, find_cause


def machine(causes: dict[int, float], noise: float, rng: random.Random):
    """Simulate a run: a second, what each change adds, and what others on the machine add to it."""

    def times(mix: Mix) -> dict[str, float]:
        return {"run": 1.0 + sum(cost for cause, cost in causes.items() if cause in mix) + noise * rng.random()}

    return times


def asked(count: int, clock: Clock):
    slower = clock.slower()

    def measure(mix: Mix) -> Values | None:
        return clock.verdicts(mix, slower)

    return find_cause(count, measure, confirm=False)


@given(st.integers(2, 30), st.data())
@settings(max_examples=40, deadline=None)
def test_a_cause_well_above_noise_is_named(count: int, data: st.DataObject) -> None:
    cause, rng = data.draw(st.integers(0, count - 1)), random.Random(data.draw(st.integers(0, 999)))
    clock = Clock(machine({cause: 1.0}, 0.1, rng), frozenset(), frozenset(range(count)), tests=10)
    found = asked(count, clock)
    assert found is not None and found.changes == (cause,)
    assert clock.doubt <= 0.0101


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_two_causes_of_like_weight_are_both_named(data: st.DataObject) -> None:
    one, two = data.draw(st.lists(st.integers(0, 11), min_size=2, max_size=2, unique=True))
    clock = Clock(machine({one: 1.0, two: 1.0}, 0.05, random.Random(one)), frozenset(), frozenset(range(12)), tests=12)
    found = asked(12, clock)
    assert found is not None and set(found.changes) == {one, two}


def test_noise_names_nothing_nearly_always() -> None:
    """Nothing was changed that takes time: of two hundred comparisons hardly one is wrong, whatever the noise."""
    wrong = 0
    for seed in range(200):
        clock = Clock(machine({}, 1.0, random.Random(seed)), frozenset(), frozenset(range(8)), tests=7)
        try:
            clock.slower()
            wrong += 1
        except TooNoisy:
            pass
    assert wrong <= 2


def test_a_cause_within_noise_is_too_noisy() -> None:
    clock = Clock(machine({3: 0.05}, 1.0, random.Random(1)), frozenset(), frozenset(range(8)), tests=7)
    with pytest.raises(TooNoisy):
        asked(8, clock)


def test_few_repetitions_are_certain_of_nothing() -> None:
    assert sign([1.0, 1.0, 1.0], 0.01) is None
    assert sign([1.0] * 15, 0.01) == 1 and sign([-1.0] * 15, 0.01) == -1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_an_interval_holds_its_median(gaps: list[float]) -> None:
    found = interval(gaps)
    assert found.low <= found.middle <= found.high
    assert found.certainty >= 0.95 or (found.low, found.high) == (min(gaps), max(gaps))
    assert tail(len(gaps), 0) == 1
