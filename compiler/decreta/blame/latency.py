"""Find the cause of a difference in latency: counters name it where they differ, and the clock confirms or searches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from decreta.blame.cause import Answer, cause_of
from decreta.blame.clock import ROUNDS, Clock, Times, TooNoisy
from decreta.blame.mixes import Mixer
from decreta.blame.search import Finding, Measure, Mix, Values, find_cause


@dataclass(frozen=True)
class Timed:
    """What was found by the clock."""

    finding: Finding | None
    """None where it is too noisy to name anything."""
    slower: dict[str, int]
    """Subject that certainly differs -> 1 where B is slower, -1 where A is."""
    certainty: float
    """How certain all of it is together."""
    by_counters: Answer
    """What counters name; the clock has confirmed it if it is the same finding."""
    runs: int
    rounds: int


def cause_of_latency(mixer: Mixer, rounds: int = ROUNDS) -> Timed | None:
    """Return the cause of a difference in latency; None where both sides act as one, so that no clock is asked.

    Raises InputInvalid where a side cannot be run.
    """
    none, every = frozenset[int](), frozenset(range(mixer.count))
    if mixer.key(none) == mixer.key(every):
        return None
    mixer.digests = False
    answer = cause_of(mixer, "latency")

    def times(mix: Mix) -> Times | None:
        measured = mixer.measured(mix, again=True)
        return None if measured is None else measured.seconds

    clock = Clock(times, none, every, tests=4 + math.ceil(math.log2(max(2, mixer.count))), rounds=rounds)
    slower: dict[str, int] = {}
    finding: Finding | None = None
    try:
        slower = clock.slower()
        finding = _confirmed(clock, slower, answer.finding) or find_cause(
            mixer.count, _measure(mixer, clock, slower), confirm=False
        )
    except TooNoisy:
        finding = None
    return Timed(finding, slower, 1 - clock.doubt, answer, mixer.runs, rounds)


def _confirmed(clock: Clock, slower: dict[str, int], finding: Finding | None) -> Finding | None:
    """Return what counters name if the clock says that it makes A as slow, or as quick, as B."""
    if finding is None:
        return None
    values = clock.verdicts(frozenset(finding.changes), slower)
    if not values or not all(values.values()):
        return None
    return Finding(finding.changes, dict.fromkeys(slower, finding.changes), finding.undone)


def _measure(mixer: Mixer, clock: Clock, slower: dict[str, int]) -> Measure:
    acts: dict[str, Values | None] = {}

    def measure(mix: Mix) -> Values | None:
        key = mixer.key(mix)
        if key is None:
            return None
        if key not in acts:
            known = {mixer.key(end): end for end in (clock.none, clock.every)}
            acts[key] = clock.verdicts(known.get(key, mix), slower)
        return acts[key]

    return measure
