"""Compare by the clock: interleaved repetitions, sign tests, and "too noisy" where these are not certain. Pure.

Each round takes every mix once, so that whatever slows the machine slows all of them. Of paired differences only the
sign counts: no distribution is assumed. What is not certain is never guessed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from decreta.blame.search import Mix, Values

ROUNDS = 17
"""Repetitions of each mix: sixteen of seventeen signs alike are certain beyond 0.9997, so one may be an accident."""
LOOKED = 3
"""Repetitions that choose what is asked about, and count for nothing else."""
SUBJECTS = 3
"""Subjects that are asked about: each more makes all of them less certain."""
CERTAINTY = "0.99"
"""What a whole answer is to be certain by; each of its tests shares what is left."""
ENOUGH = 0.75
"""The share of a difference that a mix must show to be as B: of two causes of like weight neither does alone."""

Times = Mapping[str, float]
"""Subject → seconds of one repetition."""


class Interval(NamedTuple):
    """A median and between which bounds it lies, by order statistics."""

    low: float
    middle: float
    high: float
    certainty: float
    """The probability that the bounds hold the median."""


class TooNoisy(Exception):
    """Repetitions do not agree well enough to say anything."""


def interval(differences: Sequence[float]) -> Interval:
    """Return the median of paired differences with the tightest bounds that are certain by 0.95, or the widest."""
    ordered, n = sorted(differences), len(differences)
    cut = max((k for k in range((n + 1) // 2) if 1 - 2 * tail(n, n - k) >= 0.95), default=0)
    return Interval(ordered[cut], statistics.median(ordered), ordered[n - 1 - cut], 1 - 2 * tail(n, n - cut))


def tail(n: int, k: int) -> float:
    """Return how likely k or more of n fair coins show heads."""
    return sum(math.comb(n, i) for i in range(k, n + 1)) / float(2**n)


def sign(differences: Sequence[float], doubt: float) -> int | None:
    """Return 1 or -1 where the median of differences is above or below 0 but for some `doubt`, else None."""
    above, below = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    n = len(differences)
    if tail(n, max(above, below)) > doubt / 2:
        return None
    return 1 if above > below else -1


@dataclass
class Clock:
    """Measures mixes against A and B by repetitions, and tells for each subject which of the two it is like."""

    times: Callable[[Mix], Times | None]
    """Takes one repetition; None where the mix cannot run."""
    none: Mix
    every: Mix
    tests: int
    """How many tests an answer may take: what each may leave in doubt is shared out between them."""
    rounds: int = ROUNDS
    doubt: float = 0.0
    """What all the answers given so far may be wrong by together."""

    def slower(self) -> dict[str, int]:
        """Return the subjects in which A and B plainly differ, with 1 where B is slower. Raises TooNoisy if none is.

        Plainly is more than certainly: repetitions of one side lie so close together that a mix can be told from both.
        """
        subjects = self._plainest()
        found = self._repeated(self.rounds, self.none, self.every)
        share, signs = self._share(max(1, len(subjects))), {}
        for subject in subjects:
            a, b = ([taken[side][subject] for taken in found] for side in (self.none, self.every))
            which = sign([y - x for x, y in zip(a, b, strict=True)], share)
            if which is not None and _placeable([x * which for x in a], [y * which for y in b], share):
                signs[subject] = which
        if not signs:
            raise TooNoisy
        self.doubt += self._share(1)
        return signs

    def verdicts(self, mix: Mix, slower: Mapping[str, int]) -> Values | None:
        """Return for each such subject whether a mix is as B; None if it cannot run. Raises TooNoisy."""
        if mix in (self.none, self.every):
            return dict.fromkeys(slower, mix == self.every)
        found = self._repeated(self.rounds, self.none, mix, self.every)
        if not found:
            return None
        values = {}
        for subject, way in slower.items():
            if subject not in found[0][mix]:  # a shape that it has lost takes no time
                values[subject] = False
                continue
            sides = ([taken[side][subject] * way for taken in found] for side in (self.none, mix, self.every))
            which = sign(_past(*sides), self._share(len(slower)))
            if which is None:
                raise TooNoisy
            values[subject] = which > 0
        self.doubt += self._share(1)
        return values

    def _plainest(self) -> list[str]:
        """Return the subjects that seem to differ, those of most time first."""
        looked = self._repeated(LOOKED, self.none, self.every)
        gaps: dict[str, float] = {}
        apart: dict[str, bool] = {}
        for subject in looked[0][self.none].keys() & looked[0][self.every].keys() if looked else ():
            a, b = ([taken[side][subject] for taken in looked] for side in (self.none, self.every))
            gaps[subject] = abs(statistics.median(b) - statistics.median(a))
            apart[subject] = gaps[subject] > max(a) - min(a) + max(b) - min(b)
        return sorted(gaps, key=lambda subject: (not apart[subject], -gaps[subject], subject))[:SUBJECTS]

    def _share(self, of: int) -> float:
        return (1 - float(CERTAINTY)) / self.tests / of

    def _repeated(self, rounds: int, *mixes: Mix) -> list[dict[Mix, Times]]:
        found = []
        for i in range(rounds):
            taken = {}
            for mix in mixes[i % len(mixes) :] + mixes[: i % len(mixes)]:
                times = self.times(mix)
                if times is None:
                    return []
                taken[mix] = times
            found.append(taken)
        return found


def _past(a: Sequence[float], mix: Sequence[float], b: Sequence[float]) -> list[float]:
    """Return by how much each repetition of a mix is past the point from which it counts as B's, the slower one."""
    return [m - (x + ENOUGH * (y - x)) for x, m, y in zip(a, mix, b, strict=True)]


def _placeable(a: Sequence[float], b: Sequence[float], doubt: float) -> bool:
    """Whether a mix that is as A, and one that is as B, would be told to be so: each side's next repetition is one."""
    as_a, as_b = (sign(_past(a, [*side[1:], side[0]], b), doubt) for side in (a, b))
    return (as_a, as_b) == (-1, 1)
