"""The search for causes over simulated outcomes: what is planted is found, in few measurements, whatever else changed."""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from decreta.blame.search import Finding, Mix, Values, find_cause

World = Callable[[Mix], Values | None]


def counted(world: World) -> tuple[World, list[Mix]]:
    asked: list[Mix] = []

    def measure(mix: Mix) -> Values | None:
        values = world(mix)
        if values is not None:
            asked.append(mix)
        return values

    return measure, asked


def found_in(count: int, world: World) -> tuple[Finding | None, int]:
    measure, asked = counted(world)
    return find_cause(count, measure), len(asked)


@given(st.integers(1, 200), st.data())
def test_one_cause_takes_a_logarithm_of_runs(count: int, data: st.DataObject) -> None:
    cause = data.draw(st.integers(0, count - 1))
    symptoms = data.draw(st.integers(1, 5))
    found, runs = found_in(count, lambda mix: {f"s{i}": (cause in mix) * (i + 1) for i in range(symptoms)})
    assert found is not None and found.changes == (cause,) and found.undone
    assert runs <= 4 + math.ceil(math.log2(count))


def test_one_of_thirty_takes_nine_runs_at_most() -> None:
    for cause in range(30):
        found, runs = found_in(30, lambda mix, cause=cause: {"bytes": int(cause in mix)})
        assert found is not None and found.changes == (cause,)
        assert runs <= 9


@given(st.integers(2, 60), st.data())
@settings(max_examples=200)
def test_two_causes(count: int, data: st.DataObject) -> None:
    """Of two symptoms, adding up in one, only together, or the one hiding the other: both are named."""
    one, two = data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True))
    worlds: dict[str, World] = {
        "apart": lambda mix: {"a": one in mix, "b": two in mix},
        "added": lambda mix: {"a": 3 * (one in mix) + 5 * (two in mix)},
        "together": lambda mix: {"a": one in mix and two in mix},
        "hidden": lambda mix: {"a": 7 if {one, two} <= mix else 1 if one in mix else 2 if two in mix else 0},
    }
    found, runs = found_in(count, worlds[data.draw(st.sampled_from(sorted(worlds)))])
    assert found is not None and found.changes == tuple(sorted((one, two)))
    assert runs <= 6 + 2 * math.ceil(math.log2(count))


@given(st.integers(2, 60), st.data())
def test_either_of_two_is_enough_and_that_is_said(count: int, data: st.DataObject) -> None:
    one, two = data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True))
    found, _ = found_in(count, lambda mix: {"a": one in mix or two in mix})
    assert found is not None and len(found.changes) == 1 and found.changes[0] in (one, two)
    assert found.undone is False


@given(st.integers(1, 40), st.data())
@settings(max_examples=200)
def test_mixes_that_cannot_be_measured(count: int, data: st.DataObject) -> None:
    """Some changes cannot stand without others; the cause is named, with what it cannot stand without."""
    cause = data.draw(st.integers(0, count - 1))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    needs = [pair for pair in data.draw(st.lists(pairs, max_size=4)) if pair[0] != pair[1]]

    def world(mix: Mix) -> Values | None:
        return None if any(a in mix and b not in mix for a, b in needs) else {"a": cause in mix}

    found, _ = found_in(count, world)
    assert found is not None and cause in found.changes
    assert world(frozenset(found.changes)) == {"a": True}
    for change in found.changes:  # nothing can be left out
        rest = frozenset(found.changes) - {change}
        assert not rest or world(rest) in (None, {"a": False})


@given(st.integers(1, 20), st.integers(0, 2**32))
@settings(max_examples=200)
def test_whatever_the_outcomes_what_is_named_suffices(count: int, seed: int) -> None:
    """Outcomes without any sense: what is named still gives B, and none of it can be left out."""

    def world(mix: Mix) -> Values | None:
        every = frozenset(range(count))
        fixed = {frozenset(): 0, every: 1}
        return {"a": fixed.get(mix, hash((seed, tuple(sorted(mix)))) % 3)}

    found, _ = found_in(count, world)
    assert found is not None
    changes = frozenset(found.changes)
    assert world(changes) == {"a": 1}
    assert all(world(changes - {c}) != {"a": 1} for c in changes)


def test_no_difference_has_no_cause() -> None:
    assert found_in(9, lambda mix: {"a": 1}) == (None, 2)


def test_masked_in_between() -> None:
    """Changes that undo each other's effect on the way do not mislead."""
    cause, mask, unmask = 3, 5, 6

    def world(mix: Mix) -> Values:
        return {"a": cause in mix and not (mask in mix and unmask not in mix)}

    found, _ = found_in(10, world)
    assert found is not None and found.changes == (cause,)
