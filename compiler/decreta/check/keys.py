"""Keys by proof: from the keys of a SELECT's tables and the equalities of its joins and filters.

A set of columns is claimed only if no rows that obey the inputs' keys can repeat it; what is not claimed is checked in
each run. Generated tests search for counter-models of every claim.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from decreta.check.rows import Flow, JoinFound, Qualified, SelectScope


def proven_keys(select: SelectScope, outputs: list[tuple[str, Flow, exp.Expr]]) -> frozenset[frozenset[str]]:
    """Return sets of output columns that are unique together, whatever the inputs hold within their own keys."""
    equal = Equalities(select)
    select.keys = frozenset(_candidates(select, equal))
    names: dict[Qualified, str] = {}
    for name, _, node in outputs:
        if isinstance(node, exp.Column):
            for same in equal.all_equal(qualified(select, node)):
                names.setdefault(same, name)
    keys = {frozenset(names[c] for c in key) for key in select.keys if key <= names.keys()}
    group = select.node.args.get("group")
    windows = [(n, node) for n, _, node in outputs if isinstance(node, exp.Window)]
    if group is not None:
        keys = _group_key(select, group, outputs, names)
    elif any(aggregates(node) for _, _, node in outputs):
        keys = {frozenset()}
    if any(node.find(exp.Explode, exp.Unnest) for _, _, node in outputs):
        keys, select.keys = set(), frozenset()
    for name, window in windows:
        if isinstance(window.this, exp.RowNumber):
            parts = window.args.get("partition_by") or []
            columns = [names.get(qualified(select, p)) if isinstance(p, exp.Column) else None for p in parts]
            if all(columns):
                keys.add(frozenset([name, *(c for c in columns if c)]))
    if (best := _first_of_group(select.node)) is not None:
        columns = [names.get(qualified(select, p)) if isinstance(p, exp.Column) else None for p in best]
        if all(columns):
            keys.add(frozenset(c for c in columns if c))
    distinct = select.node.args.get("distinct")
    if distinct is not None and not distinct.args.get("on"):
        keys.add(frozenset(name for name, _, _ in outputs))
    return frozenset(keys)


def qualified(select: SelectScope, node: exp.Column) -> Qualified:
    """Return the alias and name of a column that a SELECT mentions."""
    if node.table:
        return node.table, node.name
    return next((a, node.name) for a in [*select.sources, ""] if not a or node.name in select.sources[a].columns)


def _group_key(
    select: SelectScope, group: exp.Expr, outputs: list[tuple[str, Flow, exp.Expr]], names: Mapping[Qualified, str]
) -> set[frozenset[str]]:
    if any(group.args.get(kind) for kind in ("rollup", "cube", "grouping_sets", "all", "totals")):
        return set()
    by_node = {node: name for name, _, node in outputs}
    columns = {name for rows in select.sources.values() for name in rows.columns}
    found = []
    for e in group.expressions:
        name = by_node.get(e)
        if name is None and isinstance(e, exp.Column):
            # A column of a table is meant before an output of the same name, which may be computed from it.
            is_output = not e.table and e.name not in columns and e.name in by_node.values()
            name = e.name if is_output else names.get(qualified(select, e))
        found.append(name)
    return {frozenset(f for f in found if f)} if all(found) else set()


def _candidates(select: SelectScope, equal: Equalities) -> set[frozenset[Qualified]]:
    """Return sets of columns, constants left out, that are unique together in the joined rows."""
    clause = select.node.args.get("from_")
    if clause is None:
        return set()
    first = clause.this.alias_or_name
    keys = _keys_of(select, first, equal)
    seen = {first}
    for join in select.node.args.get("joins") or []:
        alias, side, kind = join.this.alias_or_name, join.side.upper(), join.kind.upper()
        theirs = _keys_of(select, alias, equal)
        on = Equalities(select, join) if side else equal
        reaches = [on.reach(key, seen) for key in theirs]
        covered = [on.reach(key, {alias}) for key in keys]
        if kind not in ("SEMI", "ANTI"):
            select.joins.append(_joined(select, join, seen, any(reaches), any(covered)))
        if side in ("RIGHT", "FULL"):
            return set()
        if kind in ("SEMI", "ANTI"):
            continue
        if any(reaches):
            pass  # each row meets at most one of theirs: our keys stay keys
        elif any(covered) and not side:
            keys = theirs
        else:
            keys = {ours | other for ours in keys for other in theirs}
        seen.add(alias)
    return keys


def _joined(select: SelectScope, join: exp.Join, seen: set[str], one_right: bool, one_left: bool) -> JoinFound:
    """Describe a join: the columns it equates and what keys prove of it."""
    alias = join.this.alias_or_name
    on = Equalities(select, join)
    pairs = []
    for column in select.sources[alias].columns if alias in select.sources else ():
        for other, name in sorted(on.all_equal((alias, column))):
            if other in seen:
                pairs.append(((other, name), column))
    tables = {select.tables.get(a) for (a, _), _ in pairs}
    equated = {column for _, column in pairs}
    keys = select.sources[alias].keys if alias in select.sources else frozenset()
    partial = (
        () if one_right else next((tuple(sorted(k)) for k in sorted(keys, key=sorted) if equated and equated < k), ())
    )
    left = tables.pop() if len(tables) == 1 else None
    return JoinFound(join, alias, select.tables.get(alias), tuple(pairs), left, one_right, one_left, partial)


def _keys_of(select: SelectScope, alias: str, equal: Equalities) -> set[frozenset[Qualified]]:
    rows = select.sources.get(alias)
    if rows is None:
        return set()
    return {frozenset((alias, c) for c in key if (alias, c) not in equal.constants) for key in rows.keys}


class Equalities:
    """Classes of columns that a SELECT, or one join of it, makes equal, and the columns it holds constant."""

    def __init__(self, select: SelectScope, only: exp.Join | None = None) -> None:
        self._select = select
        self._class: dict[Qualified, set[Qualified]] = {}
        self.constants: set[Qualified] = set()
        self._computed: dict[Qualified, set[str]] = {}
        """Columns that equal an expression, with the aliases that the expression reads."""
        conditions: list[exp.Expr] = []
        joins = [only] if only else (select.node.args.get("joins") or [])
        for join in joins:
            if only or not (join.side or join.kind.upper() == "ANTI"):
                conditions += [join.args["on"]] if join.args.get("on") else []
                for column in join.args.get("using") or []:
                    owners = [a for a, r in select.sources.items() if column.name in r.columns]
                    for other in owners[1:]:
                        self._merge((owners[0], column.name), (other, column.name))
        if not only and (where := select.node.args.get("where")) is not None:
            conditions.append(where.this)
        for condition in conditions:
            for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
                self._learn(part.unnest())

    def _learn(self, part: exp.Expr) -> None:
        if not isinstance(part, exp.EQ):
            return
        sides = [self._place(node) for node in (part.left, part.right)]
        if sides[0] and sides[1]:
            self._merge(sides[0], sides[1])
        for place, other in ((sides[0], part.right), (sides[1], part.left)):
            if place and isinstance(other, exp.Literal | exp.Parameter | exp.Boolean):
                self.constants.add(place)
            elif place and not isinstance(other, exp.Column) and not other.find(exp.Query):
                owners = {found[0] if (found := self._place(c)) else "" for c in other.find_all(exp.Column)}
                if "" not in owners and place[0] not in owners:
                    self._computed[place] = owners

    def _place(self, node: exp.Expr) -> Qualified | None:
        if not isinstance(node, exp.Column):
            return None
        for alias, rows in self._select.sources.items():
            if (not node.table or node.table == alias) and node.name in rows.columns:
                return alias, node.name
        return None

    def _merge(self, a: Qualified, b: Qualified) -> None:
        merged = self.all_equal(a) | self.all_equal(b)
        for column in merged:
            self._class[column] = merged

    def all_equal(self, column: Qualified) -> set[Qualified]:
        """Return `column` and all columns known to be equal to it."""
        return self._class.get(column, {column})

    def reach(self, key: frozenset[Qualified], aliases: set[str]) -> bool:
        """Whether each column of `key` is constant, or equal to a column or an expression over `aliases`."""
        return all(
            column in self.constants
            or any(alias in aliases for alias, _ in self.all_equal(column))
            or (column in self._computed and self._computed[column] <= aliases)
            for column in key
        )


def _first_of_group(select: exp.Select) -> list[exp.Expr] | None:
    """Return the grouping of `QUALIFY ROW_NUMBER() OVER (PARTITION BY …) = 1`, which leaves at most one row each."""
    qualify = select.args.get("qualify")
    if qualify is None or not isinstance(qualify.this, exp.EQ):
        return None
    window, one = qualify.this.left, qualify.this.right
    if isinstance(window, exp.Window) and isinstance(window.this, exp.RowNumber) and one.is_int:
        return list(window.args.get("partition_by") or [])
    return None


def aggregates(node: exp.Expr) -> bool:
    """Whether an expression aggregates the rows of its own SELECT; windows and inner queries do not."""
    if isinstance(node, exp.Query | exp.Window):
        return False
    if isinstance(node, exp.AggFunc):
        return True
    return any(aggregates(child) for child in node.iter_expressions())
