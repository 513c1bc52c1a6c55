"""A relation under random edits of its inputs: refreshed group by group it is what it is when computed as a whole."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from decreta_runtime.contract.manifest import Column, RelationEntry
from decreta_runtime.testing.rows import Pools, Row, multiset, random_table

QUICK = settings(
    max_examples=6, stateful_step_count=6, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
Tables = dict[str, list[Row]]
_SEEDS = st.integers(0, 2**16)


class Refreshed(RuleBasedStateMachine):
    """Small tables of a relation's inputs; each step changes one of them, and what it touches is computed again."""

    entry: RelationEntry
    columns: Mapping[str, tuple[Column, ...]]
    keys: Mapping[str, tuple[str, ...]]
    pools: Pools
    kept: Callable[[str, list[Row]], list[Row]]
    compute: Callable[[Tables], list[Row]]

    @initialize(seed=_SEEDS)
    def begin(self, seed: int) -> None:
        """Begin with some rows in each input, and compute the whole."""
        self.given: Tables = {name: self._drawn(name, random.Random(seed + i)) for i, name in enumerate(self.columns)}
        self.rows = type(self).compute(self.given)

    @rule(seed=_SEEDS, at=_SEEDS)
    def add(self, seed: int, at: int) -> None:
        """Let rows come to an input."""
        name = self._input(at)
        self._become(name, [*self.given[name], *self._drawn(name, random.Random(seed))])

    @rule(seed=_SEEDS, at=_SEEDS)
    def edit(self, seed: int, at: int) -> None:
        """Put the values of another row in the place of some of one's own."""
        name, draw = self._input(at), random.Random(seed)
        rows, others = [dict(row) for row in self.given[name]], self._drawn(name, draw)
        if rows and others:
            draw.choice(rows).update({c: v for c, v in others[0].items() if draw.randrange(2)})
        self._become(name, rows)

    @rule(at=_SEEDS, row=_SEEDS)
    def delete(self, at: int, row: int) -> None:
        """Let a row go."""
        name = self._input(at)
        rows = self.given[name]
        self._become(name, [r for i, r in enumerate(rows) if i != row % max(len(rows), 1)])

    @rule(seed=_SEEDS, at=_SEEDS)
    def rename(self, seed: int, at: int) -> None:
        """Let all rows of a group belong to another, with those that it has."""
        name, draw = self._input(at), random.Random(seed)
        column = self._groups(name)
        found = [] if column is None else [row[column] for row in self.given[name]]
        if column is not None and found:
            old, new = draw.choice(found), draw.choice([*found, *(r[column] for r in self._drawn(name, draw))])
            self._become(name, [{**r, column: new} if r[column] == old else r for r in self.given[name]])

    def _groups(self, name: str) -> str | None:
        assert self.entry.groups is not None
        return self.entry.groups.inputs.get(name)

    def _input(self, at: int) -> str:
        assert self.entry.groups is not None
        names = [*sorted(self.entry.groups.inputs), *self.columns]  # those with groups twice as often
        return names[at % len(names)]

    def _drawn(self, name: str, draw: random.Random) -> list[Row]:
        return self._sound(name, random_table(self.columns[name], self.keys[name], draw, self.pools.get(name, {})))

    def _sound(self, name: str, rows: Sequence[Row]) -> list[Row]:
        key, unique = self.keys[name], dict[Any, Row]()
        for i, row in enumerate(rows):
            unique.setdefault(tuple(row[c] for c in key) if key else i, row)
        return type(self).kept(name, list(unique.values()))

    def _become(self, name: str, rows: Sequence[Row]) -> None:
        """Refresh the relation's rows after an input has changed, and hold them against all of them computed anew."""
        groups, before = self.entry.groups, self.given
        assert groups is not None
        self.given = {**before, name: self._sound(name, rows)}
        if multiset(self.given[name]) == multiset(before[name]):
            return
        whole = type(self).compute(self.given)
        differs = self._differing(name, before[name], self.given[name])
        if name in groups.whole and differs:
            self.rows = whole
            return
        touched = {row[column] for row in differs if (column := self._groups(name)) is not None}
        narrow = {n: [r for r in self.given[n] if r[c] in touched] for n, c in groups.inputs.items()}
        again = type(self).compute({**self.given, **narrow})
        assert all(row[groups.column] in touched for row in again), "rows of a group come from that group"
        self.rows = [row for row in self.rows if row[groups.column] not in touched] + again
        assert multiset(self.rows) == multiset(whole), f"{groups.column} in {touched}: {self.given}"

    def _differing(self, name: str, before: Sequence[Row], after: Sequence[Row]) -> list[Row]:
        """Return the rows that came or went, as far as the relation reads them."""
        columns = {*self.entry.required.get(name, ()), *([c] if (c := self._groups(name)) is not None else [])}
        sides = [[{c: row[c] for c in columns} for row in rows] for rows in (before, after)]
        now, then = (multiset(side) for side in sides)
        apart = (then - now) + (now - then)
        return [row for side in sides for row in side if apart[next(iter(multiset([row])))]]


def refresh(**of: Any) -> None:
    """Try random sequences of edits on a relation, always the same."""
    machine: Any = type(
        "Refreshed", (Refreshed,), {name: staticmethod(v) if callable(v) else v for name, v in of.items()}
    )
    case = machine.TestCase
    case.settings = QUICK
    case("runTest").runTest()
