"""Counts what may happen once in a run or query: one package load, one binding, one session a workload class."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Counts by name; counting a name twice is a defect of the runtime, not of its input."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def once(self, what: str) -> None:
        """Count `what`. Raises RuntimeError the second time."""
        self._counts[what] += 1
        if self._counts[what] > 1:
            raise RuntimeError(f"{what} was made {self._counts[what]} times in one run")

    def anew(self) -> Tally:
        """Return the tally that a run, or the readers after it, begin with: a pack is loaded, nothing else is made."""
        tally = Tally()
        tally._counts["load"] = self._counts["load"]
        return tally

    def count(self, kind: str) -> int:
        """Return how many things of a kind (the word before the first space) were counted."""
        return sum(n for what, n in self._counts.items() if what.partition(" ")[0] == kind)
