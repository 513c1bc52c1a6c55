"""What the joins of an optimized plan say of its scans: whose rows are wanted only where they meet another's.

Only what is proven is told: names are followed from a scan up through projections, filters, sorts and joins, and
whatever else stands in between ends the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_BOTH, _LEFT, _RIGHT = ("Inner", "LeftSemi", "RightSemi"), ("Left",), ("Right",)
_OPEN_LEFT = ("Inner", "Left", "LeftSemi", "LeftAnti")
"""Joins where rows of the left side may as well be left out before the join as after it."""
_OPEN_RIGHT = ("Inner", "Right", "RightSemi", "RightAnti")


class Meeting(NamedTuple):
    """Rows of a scan are wanted only where their `column` equals `gives` of a row of the scan of `giver`."""

    scan: int
    """Which scan of the plan, the first first."""
    table: str
    column: str
    giver: str
    gives: str
    condition: str | None
    """What stands right above the giver's scan, so that all of its rows satisfy it."""


class _Origin(NamedTuple):
    """The scan that a column comes from, unchanged."""

    scan: int
    table: str
    column: str
    condition: str | None
    open: bool
    """Whether rows can be left out by the column inside the scan as well as where we are."""
    equal: tuple[_Origin, ...] = ()
    """Columns of other scans that have the same value in every row where we are."""


_Columns = dict[str, _Origin]


class Meetings:
    """A walk over one plan."""

    def __init__(self, plan: Any) -> None:
        self.found: list[Meeting] = []
        self._scans = 0
        self._columns(plan)

    def _columns(self, plan: Any, condition: str | None = None) -> _Columns:
        """Return what the output columns of a plan stand for, as far as they come from scans unchanged."""
        kind, node, inputs = _kind(plan), plan.to_variant(), plan.inputs()
        if kind == "TableScan":
            return self._scan(node, condition)
        if kind == "Join":
            return self._join(node, self._columns(inputs[0]), self._columns(inputs[1]))
        if len(inputs) != 1 or kind not in ("SubqueryAlias", "Projection", "Filter", "Sort", "Limit"):
            for given in inputs:
                self._columns(given)
            return {}
        found = self._columns(inputs[0], _words(node.predicate()) if kind == "Filter" else None)
        if kind == "SubqueryAlias":
            names = [name.rpartition(".")[2] for name in found]
            return {
                f"{node.alias()}.{name}": origin
                for name, origin in zip(names, found.values(), strict=True)
                if names.count(name) == 1
            }
        if kind == "Projection":
            return dict(_projected(node.projections(), found))
        if kind == "Limit" or (kind == "Sort" and node.get_fetch_val() is not None):
            return _closed(found)
        return found

    def _scan(self, node: Any, condition: str | None) -> _Columns:
        scan, table = self._scans, node.table_name()
        self._scans += 1
        whole = node.fetch() is None
        return {
            f"{table}.{column}": _Origin(scan, table, column, condition, whole) for _, column in node.projection() or ()
        }

    def _join(self, node: Any, left: _Columns, right: _Columns) -> _Columns:
        kind = str(node.join_type())
        if not node.null_equals_null():
            for one, other in node.on():
                ours, theirs = (
                    columns.get(_words(side)) if _kind(side) == "Column" else None
                    for columns, side in ((left, one), (right, other))
                )
                if ours is None or theirs is None:
                    continue
                if kind in (*_BOTH, *_RIGHT):
                    self._meet(ours, theirs)
                if kind in (*_BOTH, *_LEFT):
                    self._meet(theirs, ours)
                if kind == "Inner":
                    left[_words(one)], right[_words(other)] = _equal(ours, theirs), _equal(theirs, ours)
        left = left if kind in _OPEN_LEFT else _closed(left)
        right = right if kind in _OPEN_RIGHT else _closed(right)
        if kind in ("LeftSemi", "LeftAnti"):
            return left
        if kind in ("RightSemi", "RightAnti"):
            return right
        # An unknown kind may name new columns; one that both sides have names neither.
        same = left.keys() & right.keys()
        return {name: origin for name, origin in {**left, **right}.items() if name not in same}

    def _meet(self, taker: _Origin, giver: _Origin) -> None:
        for taking in (taker, *taker.equal):
            for giving in (giver, *giver.equal):
                if taking.open:
                    wanted = (taking.scan, taking.table, taking.column)
                    self.found.append(Meeting(*wanted, giving.table, giving.column, giving.condition))


def _equal(one: _Origin, other: _Origin) -> _Origin:
    """Return a column with those that a join makes it equal to."""
    more = (other, *other.equal)
    return one._replace(equal=(*one.equal, *(origin._replace(equal=()) for origin in more)))


def _projected(expressions: list[Any], found: _Columns) -> Iterator[tuple[str, _Origin]]:
    for expression in expressions:
        node = expression.to_variant()
        if _kind(expression) == "Alias":
            inner = node.expr()
            if _kind(inner) == "Column" and (origin := found.get(_words(inner))):
                yield node.alias(), origin
        elif _kind(expression) == "Column" and (origin := found.get(_words(expression))):
            yield _words(expression), origin


def _closed(columns: _Columns) -> _Columns:
    return {
        name: origin._replace(open=False, equal=tuple(same._replace(open=False) for same in origin.equal))
        for name, origin in columns.items()
    }


def _kind(node: Any) -> str:
    """Return what kind an operator or expression is; some expressions the binding cannot show."""
    try:
        return type(node.to_variant()).__name__
    except Exception:  # noqa: BLE001 - the binding raises bare Exception
        return ""


def _words(expression: Any) -> str:
    """Return an expression as the planner prints it."""
    return str(expression).removeprefix("Expr(").removesuffix(")")
