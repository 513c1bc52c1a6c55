"""Which orders are total: no two rows of a SELECT, as its aggregates, windows or limit meet them, can tie in them.

What is not proven is not claimed: a SELECT of whose keys nothing is known has no total order.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from decreta.check.keys import Equalities
from decreta.check.rows import Qualified, SelectScope

Pin = Qualified | exp.Expr
"""What an order holds equal among rows that tie in it: a column, or an expression that is none."""

_SAME_ORDER = (exp.Paren, exp.Neg, exp.Ordered)
"""What gives other values to other values, so that no rows tie in it that do not tie in what it is made of."""


class Stream:
    """The rows of a SELECT: those that its joins and filter leave, or, `grouped`, one for each of their groups."""

    def __init__(self, select: SelectScope, grouped: bool = False) -> None:
        self._select, self._grouped = select, grouped
        self._equal = Equalities(select)
        self.keys: set[frozenset[Pin]] = {frozenset[Pin](key) for key in select.keys}
        if grouped:
            groups = group_of(select)
            pinned = self.pins(groups or ())
            self.keys = set() if groups is None else {key for key in self.keys if key <= pinned}
            if groups is not None:
                self.keys.add(frozenset(pin for g in groups if (pin := self._pin(g)) and not self._is_constant(pin)))

    def pins(self, expressions: Iterable[exp.Expr]) -> set[Pin]:
        """Return what is equal among rows that tie in all of `expressions`."""
        found: set[Pin] = set()
        for expression in expressions:
            if (pin := self._pin(expression)) is not None:
                found |= self._equal.all_equal(pin) if isinstance(pin, tuple) else {pin}
        return found

    def is_total(self, pins: set[Pin]) -> bool:
        """Whether no two rows are equal in all of `pins`."""
        closed = self._closed(pins)
        return any(key <= closed for key in self.keys)

    def gives(self, pins: set[Pin], value: exp.Expr) -> bool:
        """Whether rows that are equal in all of `pins` give the same `value`."""
        pin = self._pin(value)
        if pin in pins:
            return True
        opaque = (
            exp.Query,
            exp.AggFunc,
            exp.Window,
            exp.Explode,
            exp.Unnest,
            *((exp.Anonymous,) if self._grouped else ()),
        )
        if value.find(*opaque) is not None:
            return False
        known = self._closed(pins)
        return all(
            (p := self._pin(c)) is None or p in known or self._is_constant(p) for c in value.find_all(exp.Column)
        )

    def _closed(self, pins: set[Pin]) -> set[Pin]:
        """Return `pins` with all columns that follow from them: of each table of which they hold a key."""
        joins = {join.this.alias_or_name: join for join in self._select.node.args.get("joins") or []}
        if any(join.side.upper() in ("RIGHT", "FULL") for join in joins.values()):
            return pins
        found, before = set(pins), -1
        while len(found) > before:
            before, rows_so_far = len(found), True
            for alias in self._select.sources:
                join = joins.get(alias)
                if join is not None and join.side:
                    found |= self._given(alias, join, found) if rows_so_far else set()
                held = self._holds_key(alias, found) and (rows_so_far or join is None or not join.side)
                for column in self._select.sources[alias].columns if held else ():
                    found |= self._equal.all_equal((alias, column))
                rows_so_far = rows_so_far and held
        return found

    def _given(self, alias: str, join: exp.Join, pins: set[Pin]) -> set[Pin]:
        """Return the columns of a left join's table that equal one of `pins`, in all rows that are made of one row."""
        on = Equalities(self._select, join)
        columns = [(alias, column) for column in self._select.sources[alias].columns]
        return {column for column in columns if not pins.isdisjoint(on.all_equal(column)) or column in on.constants}

    def _holds_key(self, alias: str, pins: set[Pin]) -> bool:
        keys = self._select.sources[alias].keys
        return any(all((alias, c) in pins or self._is_constant((alias, c)) for c in key) for key in keys)

    def _is_constant(self, pin: Pin) -> bool:
        return isinstance(pin, tuple) and not self._equal.all_equal(pin).isdisjoint(self._equal.constants)

    def _pin(self, node: exp.Expr) -> Pin | None:
        """Return what an expression holds equal; None for what is the same in all rows, as a column from outside."""
        while isinstance(node, _SAME_ORDER):
            node = node.this
        if isinstance(node, exp.Literal):
            return None
        if not isinstance(node, exp.Column):
            return node
        for alias, rows in self._select.sources.items():
            if node.table in ("", alias) and node.name in rows.columns:
                return alias, node.name
        return None


def group_of(select: SelectScope) -> list[exp.Expr] | None:
    """Return the expressions that a SELECT groups by, none without a grouping; None for sets of groupings."""
    group = select.node.args.get("group")
    if group is None:
        return []
    if any(group.args.get(kind) for kind in ("rollup", "cube", "grouping_sets", "all", "totals")):
        return None
    return [written_out(select, e, of_table=True) for e in group.expressions]


def written_out(select: SelectScope, node: exp.Expr, *, of_table: bool = False) -> exp.Expr:
    """Return what stands for `node` in GROUP BY, ORDER BY or QUALIFY: the output of that number or name, or itself.

    A name that is both an output's and a table's means the table's where that is asked for; elsewhere engines differ,
    and a literal stands for it, which orders nothing.
    """
    inner = node.this if isinstance(node, exp.Ordered) else node
    if isinstance(inner, exp.Literal) and inner.is_int and 0 < int(inner.name) <= len(select.outputs):
        return select.outputs[int(inner.name) - 1][1]
    if not isinstance(inner, exp.Column) or inner.table:
        return inner
    output = next((made for name, made in select.outputs if name == inner.name), None)
    own = any(inner.name in rows.columns for rows in select.sources.values())
    if output is None or (own and of_table):
        return inner
    same = isinstance(output, exp.Column) and output.name == inner.name
    return output if same or not own else exp.Literal.string("")
