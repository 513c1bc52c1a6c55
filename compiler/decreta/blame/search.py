"""Find the smallest set of changes that explains a difference, in few measurements. Pure: what is measured is given.

Changes are numbered and applied in order. For each symptom a prefix of them is sought by halving after which it
is B's and before which it is not: the change at that boundary is needed, whatever others do. It is kept, and the search
goes on below it until what is kept suffices alone. So one cause among n takes about log2 n measurements, and two that
only work together, hide each other or add up are found likewise. At the end whatever can be left out is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

Mix = frozenset[int]
"""The changes that are taken over from B; all others are as in A."""
Values = Mapping[str, Hashable]
"""Symptom → what was measured of it."""
Measure = Callable[[Mix], Values | None]
"""None where a mix cannot be measured: it does not compile, or its run fails."""
Same = Callable[[str, Hashable, Hashable], bool]


@dataclass(frozen=True)
class Finding:
    """The smallest set of changes after which all symptoms are B's."""

    changes: tuple[int, ...]
    symptoms: Mapping[str, tuple[int, ...]]
    """Symptom that differs → those of the changes that were found for it."""
    undone: bool | None
    """Whether B without these changes is as A: if not, others would have done the same. None where it cannot run."""


def equal(_symptom: str, one: Hashable, other: Hashable) -> bool:
    """Compare as counters are compared that do not vary."""
    return one == other


def find_cause(count: int, measure: Measure, same: Same = equal, *, confirm: bool = True) -> Finding | None:
    """Return what explains the difference between none and all of `count` changes; None if there is no difference.

    Raises ValueError if one of the two cannot be measured. `confirm` asks what is left of the difference when the
    changes found are taken out of B.
    """
    search = _Search(count, measure, same)
    targets = search.targets()
    if not targets:
        return None
    chains = {target: search.explain(target) for target in targets}
    found = search.least(search.joined(frozenset().union(*chains.values()), targets), targets)
    symptoms = {target: tuple(sorted(chain & found)) or tuple(sorted(found)) for target, chain in chains.items()}
    undone = search.undone(found, targets) if confirm else None
    return Finding(tuple(sorted(found)), symptoms, undone)


@dataclass
class _Search:
    count: int
    measure: Measure
    same: Same
    known: dict[Mix, Values | None] = field(default_factory=dict)

    def targets(self) -> list[str]:
        """Return the symptoms that differ between A and B."""
        none, every = self._values(frozenset()), self._values(self._prefix(self.count))
        if none is None or every is None:
            raise ValueError("A" if none is None else "B")
        self.none, self.every = none, every
        names = sorted(none.keys() | every.keys())
        return [name for name in names if not self.same(name, none.get(name), every.get(name))]

    def explain(self, target: str) -> Mix:
        """Return changes that together give a symptom B's value: one that suffices is known, or is sought."""
        enough = [mix for mix in self.known if len(mix) == 1 and self._is_b(mix, target)]
        return min(enough, key=sorted) if enough else self._grown(frozenset(), target)

    def joined(self, found: Mix, targets: Iterable[str]) -> Mix:
        """Return the changes with what else is needed where the causes of one symptom disturb another's."""
        for target in targets:
            found = self._grown(found, target)
        return found

    def least(self, found: Mix, targets: Iterable[str]) -> Mix:
        """Return the changes without any that can be left out alone."""
        for change in sorted(found, reverse=True) if len(found) > 1 else ():
            fewer = found - {change}
            if all(self._is_b(fewer, target) for target in targets):
                return self.least(fewer, targets)
        return found

    def undone(self, found: Mix, targets: Iterable[str]) -> bool | None:
        """Return whether B without these changes is as A in all symptoms."""
        values = self._values(self._prefix(self.count) - found)
        if values is None:
            return None
        return all(self.same(target, values.get(target), self.none.get(target)) for target in targets)

    def _grown(self, base: Mix, target: str) -> Mix:
        while not self._is_b(base, target):
            low, high = self._boundary(base, target)
            base |= frozenset(range(low, high))
        return base

    def _boundary(self, base: Mix, target: str) -> tuple[int, int]:
        """Return the shortest stretch of changes, usually one, before which the symptom is not B's and after it is."""
        low, high = self._narrowest(base, target)
        while high - low > 1:
            middle = (low + high) // 2
            for at in sorted(range(low + 1, high), key=lambda i: abs(i - middle)):
                values = self._values(base | self._prefix(at))
                if values is not None:
                    break
            else:
                return low, high  # nothing in between can be measured: these changes hold together
            if self.same(target, values.get(target), self.every.get(target)):
                high = at
            else:
                low = at
        return low, high

    def _narrowest(self, base: Mix, target: str) -> tuple[int, int]:
        """Return the closest two prefixes known beside `base` of which only the longer one shows B's value."""
        ends: list[tuple[int, bool]] = [(0, False)]
        for at in range(1, self.count):
            values = self.known.get(base | self._prefix(at))
            if values is not None:
                ends.append((at, self.same(target, values.get(target), self.every.get(target))))
        ends.append((self.count, True))
        steps = [(low, high) for (low, before), (high, after) in itertools.pairwise(ends) if after and not before]
        return min(steps, key=lambda step: step[1] - step[0])

    def _is_b(self, mix: Mix, target: str) -> bool:
        values = self._values(mix)
        return values is not None and self.same(target, values.get(target), self.every.get(target))

    def _values(self, mix: Mix) -> Values | None:
        if mix not in self.known:
            self.known[mix] = self.measure(mix)
        return self.known[mix]

    def _prefix(self, stop: int) -> Mix:
        return frozenset(range(stop))
