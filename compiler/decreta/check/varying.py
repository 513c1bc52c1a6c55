"""What of a query's result another run over the same data need not repeat, and why: by column, and of its rows.

A column is left out of what varies only if the values in it are the same in any run, taken together. A cause that
decides how many rows there are is one of the rows. A limit keeps as many in any run, so ties there are a cause of the
columns alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from decreta.check.rows import SelectScope
from decreta.check.scope import Scoped
from decreta.check.sensitivity import SENSITIVITY, called
from decreta.check.totality import Stream, group_of, written_out
from decreta.check.unsettled import Unsettled, aggregates, is_window, key_help, of_aggregate, of_window, over
from decreta.engine import Engine
from decreta_runtime.contract.capabilities import Volatility

Cause = Unsettled | str
"""A place of the statement, or the column or rows of what it reads, in words."""
Causes = frozenset[Cause]
_NONE: Causes = frozenset()


@dataclass(frozen=True)
class Varies:
    """Why each column of a query may differ from run to run, and why it may have other rows."""

    columns: Mapping[str, Causes] = field(default_factory=dict)
    rows: Causes = _NONE

    def all(self) -> Causes:
        """Return all causes there are."""
        return self.rows.union(*self.columns.values())

    def with_rows(self, causes: Causes) -> Varies:
        """Return this with more causes of its rows."""
        return replace(self, rows=self.rows | causes)

    def with_columns(self, causes: Causes, but: Iterable[str] = ()) -> Varies:
        """Return this with more causes of each of its columns, `but` some."""
        return replace(self, columns={c: old if c in but else old | causes for c, old in self.columns.items()})


def varying(
    query: exp.Query,
    scoped: Scoped,
    tables: Mapping[str, Varies],
    volatilities: Mapping[str, Volatility],
    engine: Engine,
) -> Varies:
    """Return what of a query varies, over `tables` of which something does."""
    return _Walker(scoped, tables, volatilities, engine).query(query, {}, None)


class _Here:
    """A SELECT on the way: what varies of the tables in its sight, and of its rows after joins and filter."""

    def __init__(self, scope: SelectScope, ctes: Mapping[str, Varies], outer: _Here | None) -> None:
        self.node, self.scope, self.ctes, self.outer = scope.node, scope, ctes, outer
        self.sources: dict[str, Varies] = {}
        self.rows = _NONE
        self.joined = Stream(scope)
        having = self.node.args.get("having")
        made = [*(value for _, value in scope.outputs), *([having.this] if having is not None else [])]
        self.grouped = self.node.args.get("group") is not None or any(aggregates(value) for value in made)
        self.stream = Stream(scope, grouped=True) if self.grouped else self.joined
        """The rows as windows and limits meet them."""


class _Walker:
    def __init__(
        self, scoped: Scoped, tables: Mapping[str, Varies], volatilities: Mapping[str, Volatility], engine: Engine
    ) -> None:
        self.scoped, self.tables, self.volatilities, self.engine = scoped, tables, volatilities, engine
        self._told: dict[tuple[int, str], Unsettled] = {}

    # -- queries

    def query(self, node: exp.Expr, ctes: Mapping[str, Varies], outer: _Here | None) -> Varies:
        ctes = self._with(node, ctes, outer)
        if isinstance(node, exp.Select):
            return self._select(node, ctes, outer)
        if isinstance(node, exp.SetOperation):
            return self._cut_anew(node, self._united(node, ctes, outer))
        return self._cut_anew(node, self.query(node.this, ctes, outer))

    def _with(self, node: exp.Expr, ctes: Mapping[str, Varies], outer: _Here | None) -> Mapping[str, Varies]:
        clause, known = node.args.get("with_"), dict(ctes)
        if clause is None:
            return ctes
        for cte in clause.expressions:
            again = clause.args.get("recursive") and isinstance(cte.this, exp.SetOperation)
            if again:
                known[cte.alias] = _named(cte, self.query(cte.this.left, known, outer))
            found = _named(cte, self.query(cte.this, known, outer))
            while again and found != known[cte.alias]:
                known[cte.alias] = found
                found = _named(cte, self.query(cte.this, known, outer))
            known[cte.alias] = found
        return known

    def _united(self, node: exp.SetOperation, ctes: Mapping[str, Varies], outer: _Here | None) -> Varies:
        left, right = self.query(node.left, ctes, outer), self.query(node.right, ctes, outer)
        pairs = zip(left.columns.items(), right.columns.values(), strict=True)
        found = Varies({name: a | b for (name, a), b in pairs}, left.rows | right.rows)
        return found if isinstance(node, exp.Union) and not node.args.get("distinct") else found.with_rows(found.all())

    def _cut_anew(self, node: exp.Expr, found: Varies) -> Varies:
        """Return what the limit of a query in parentheses, or of a set operation, leaves of it."""
        order, names = node.args.get("order"), list(found.columns)
        if not _is_cut(node):
            return found
        by = [o.this for o in order.expressions] if order is not None else []
        pins = {names[int(e.name) - 1] if e.is_int else e.name for e in by if isinstance(e, exp.Column | exp.Literal)}
        read = pins | {column.name for e in by for column in e.find_all(exp.Column)}
        found = found.with_columns(_NONE.union(*(found.columns.get(name, _NONE) for name in read)))
        if any(key <= pins for key in self.scoped.queries[id(node)].keys):
            return found
        return found.with_columns(self._limit(node, order, "order by all that it returns"), but=pins)

    def _select(self, node: exp.Select, ctes: Mapping[str, Varies], outer: _Here | None) -> Varies:
        here = _Here(self.scoped.selects[id(node)], ctes, outer)
        self._sources(here)
        if (where := node.args.get("where")) is not None:
            here.rows |= self._of(where.this, here)
        for join in node.args.get("joins") or []:
            using = [exp.column(column.name) for column in join.args.get("using") or []]
            here.rows |= self._of(join.args.get("on"), here) | self._of_all(using, here)
        found = Varies({name: self._of(value, here) for name, value in here.scope.outputs}, self._groups(here))
        lists = [name for name, value in here.scope.outputs if value.find(exp.Explode, exp.Unnest)]
        found = found.with_rows(_NONE.union(*(found.columns[name] for name in lists)))
        return self._cut(here, self._distinct(here, self._qualified(here, found)))

    def _sources(self, here: _Here) -> None:
        clause = here.node.args.get("from_")
        nodes = [clause.this] if clause is not None else []
        for node in [*nodes, *(join.this for join in here.node.args.get("joins") or [])]:
            if isinstance(node, exp.Table):
                found = here.ctes.get(node.name) or self.tables.get(node.name, Varies())
            elif isinstance(node, exp.Subquery):
                found = self.query(node, here.ctes, here.outer)
            else:
                found = Varies(rows=self._of(node, here))
            here.sources[node.alias_or_name] = found
            here.rows |= found.rows
            if node.args.get("sample") is not None:
                here.rows |= self._tell(node, "a sample keeps any rows", "keep them by a column")

    def _groups(self, here: _Here) -> Causes:
        """Return why a SELECT may have other rows once it has grouped them; one that aggregates all has one."""
        group, having = here.node.args.get("group"), here.node.args.get("having")
        found = here.rows if group is not None or not here.grouped else _NONE
        if group is not None:
            found |= self._of_all(group_of(here.scope) or [group], here)
        return found | self._of(having.this if having is not None else None, here)

    def _qualified(self, here: _Here, found: Varies) -> Varies:
        """Return what QUALIFY leaves: of the first rows of each group as many in any run, whichever they are."""
        qualify = here.node.args.get("qualify")
        if qualify is None:
            return found
        if (number := _first_rows(here.scope, qualify.this)) is None:
            return found.with_rows(self._of(qualify.this, here))
        parts, order, _ = over(number, here.node)
        return self._first_of_each(here, found, parts, order, self._own(number, here))

    def _distinct(self, here: _Here, found: Varies) -> Varies:
        distinct, order = here.node.args.get("distinct"), here.node.args.get("order")
        if distinct is None:
            return found
        if not distinct.args.get("on"):
            return found.with_rows(found.all())
        parts = [written_out(here.scope, e) for e in distinct.args["on"].expressions]
        by = [written_out(here.scope, o) for o in order.expressions] if order is not None else []
        found = found.with_rows(self._of_all(distinct.args["on"].expressions, here))
        ties = _NONE
        if order is None:
            ties = self._tell(here.node, "DISTINCT ON without an order keeps any rows", "add ORDER BY")
        elif not here.stream.is_total(here.stream.pins([*parts, *by])):
            ties = self._tell(order, "of rows that tie in DISTINCT ON, any is kept", key_help(here.stream))
        return self._first_of_each(here, found, parts, by, ties)

    def _first_of_each(
        self, here: _Here, found: Varies, parts: list[exp.Expr], by: list[exp.Expr], ties: Causes
    ) -> Varies:
        """Return what varies of the first rows of each group: all that neither the group nor the order settles."""
        group, pins = here.stream.pins(parts), here.stream.pins([*parts, *by])
        settled = {name for name, value in here.scope.outputs if here.stream.gives(pins, value)}
        by_group = {name for name, value in here.scope.outputs if here.stream.gives(group, value)}
        found = found.with_columns(ties, but=settled).with_columns(self._of_all(by, here), but=by_group)
        return found.with_rows(self._of_all(parts, here))

    def _cut(self, here: _Here, found: Varies) -> Varies:
        """Return what a limit leaves: as many rows in any run, but any of those that tie."""
        order, distinct = here.node.args.get("order"), here.node.args.get("distinct")
        if not _is_cut(here.node):
            return found
        by = [written_out(here.scope, o) for o in order.expressions] if order is not None else []
        pins = here.stream.pins(by)
        settled = {name for name, value in here.scope.outputs if here.stream.gives(pins, value)}
        found = found.with_columns(self._of_all([*by, *(order.expressions if order is not None else [])], here))
        if any(key <= settled for key in self.scoped.queries[id(here.node)].keys):
            return found
        if distinct is None and here.stream.is_total(pins):
            return found
        return found.with_columns(self._limit(here.node, order, key_help(here.stream)), but=settled)

    def _limit(self, node: exp.Expr, order: exp.Expr | None, help: str) -> Causes:
        if order is None:
            return self._tell(node, "a limit without an order keeps any rows", "add ORDER BY with a key at its end")
        return self._tell(order, "of rows that tie at a limit, any are kept", help)

    # -- expressions

    def _of_all(self, nodes: Iterable[exp.Expr], here: _Here) -> Causes:
        return _NONE.union(*(self._of(node, here) for node in nodes))

    def _of(self, node: exp.Expr | None, here: _Here) -> Causes:
        """Return why an expression may differ from run to run."""
        if node is None:
            return _NONE
        if isinstance(node, exp.Query):
            found = self.query(node, here.ctes, here)
            return found.rows if isinstance(node.parent, exp.Exists) else found.all()
        if isinstance(node, exp.Column):
            return self._column(node, here)
        parts = list(node.iter_expressions())
        if isinstance(node, exp.Window):
            groups, order, _ = over(node, here.node)
            parts += [*groups, *order]
        return self._of_all(parts, here) | self._own(node, here)

    def _column(self, node: exp.Column, inner: _Here) -> Causes:
        here: _Here | None = inner
        while here is not None:
            sources = [here.sources.get(alias, Varies()) for alias, rows in here.scope.sources.items()
                       if node.table in ("", alias) and node.name in rows.columns]  # fmt: skip
            if sources:
                return _NONE.union(*(source.columns.get(node.name, _NONE) for source in sources))
            if not node.table and not isinstance(node.find_ancestor(exp.Order, exp.Group, exp.Having, exp.Qualify,
                                                                    exp.Select), exp.Select):  # fmt: skip
                made = next((value for name, value in here.scope.outputs if name == node.name), None)
                if made is not None:
                    return self._of(made, here)
            here = here.outer
        return _NONE

    def _own(self, node: exp.Expr, here: _Here) -> Causes:
        """Return why a node, whatever it is made of, may differ from run to run by itself."""
        if isinstance(node, exp.Window):
            return self._keep(of_window(node, here.node, here.stream, self.engine))
        name = called(node)
        if name in SENSITIVITY and not is_window(node):
            return here.rows | self._keep(of_aggregate(node, here.joined, group_of(here.scope) or [], self.engine))
        if self.volatilities.get(name, "immutable") != "immutable":
            help = "take the value from a column"
            return self._keep(Unsettled(node, f"`{name}` gives other values in another run", help, by_order=False))
        return _NONE

    def _tell(self, node: exp.Expr, words: str, help: str) -> Causes:
        return self._keep(Unsettled(node, words, help))

    def _keep(self, found: Unsettled | None) -> Causes:
        """Return the one cause of these words at a node, however often the node is looked at."""
        return _NONE if found is None else frozenset([self._told.setdefault((id(found.node), found.words), found)])


def _is_cut(query: exp.Expr) -> bool:
    """Whether a query keeps only so many of its rows."""
    return any(query.args.get(clause) for clause in ("limit", "offset"))


def _first_rows(scope: SelectScope, condition: exp.Expr) -> exp.Window | None:
    """Return the ROW_NUMBER of a condition that holds for so many of each of its groups, or for that one."""
    if not isinstance(condition, exp.EQ | exp.LT | exp.LTE) or not condition.right.is_int:
        return None
    number = written_out(scope, condition.left)
    return number if isinstance(number, exp.Window) and isinstance(number.this, exp.RowNumber) else None


def _named(cte: exp.CTE, found: Varies) -> Varies:
    """Return what varies of a query of a WITH clause, by the names that the clause gives to its columns."""
    names = [column.name for column in cte.args["alias"].args.get("columns") or []]
    if len(names) != len(found.columns):
        return found
    return replace(found, columns=dict(zip(names, found.columns.values(), strict=True)))
