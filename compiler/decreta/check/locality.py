"""Locality by proof: whether a query over its inputs is the union, group by group, of itself over each group alone.

A query is local to an output column that is never null when every table it reads has a column that the joins make
equal to it, and every grouping, window and set operation keeps the groups apart. Rows of a table with a null there
belong to no group, and no row of the output comes of them. A table without such a column may be read whole by each
group: over it as it stands, the query still falls apart by the others. What is not proven is not claimed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from sqlglot import exp

from decreta.check.keys import Equalities, aggregates, qualified
from decreta.check.rows import NOT_LOCAL, WHOLE, Flow, Local, Qualified, Rows, SelectScope


def local_columns(select: SelectScope, outputs: list[tuple[str, Flow, exp.Expr]]) -> Local:
    """Return the output columns that a SELECT is local to, each with the column of every table that goes with it."""
    node = select.node
    joins = {join.this.alias_or_name: join for join in node.args.get("joins") or []}
    if (
        node.args.get("from_") is None
        or any(node.args.get(clause) for clause in ("limit", "offset"))
        or any(join.side.upper() in ("RIGHT", "FULL") for join in joins.values())
        or (node.args.get("distinct") is not None and node.args["distinct"].args.get("on"))
        or _has_inner_query(node)
    ):
        return NOT_LOCAL
    equal = Equalities(select)
    found = {}
    for name, _, output in outputs:
        if isinstance(output, exp.Column):
            column = qualified(select, output)
            preserved = column[0] not in joins or not joins[column[0]].side
            same = equal.all_equal(column)
            if preserved and _keeps_apart(select, same, outputs) and (map_ := _inputs(select, same, joins)) is not None:
                found[name] = map_
    return found


def without_nulls(rows: Rows, nulls: Collection[str]) -> Rows:
    """Return what is known of a query, whose columns `nulls` may be null: it is local to none of them."""
    return replace(rows, local={name: way for name, way in rows.local.items() if name not in nulls})


def united(left: Local, right: Local, names: list[tuple[str, str]]) -> Local:
    """Return the locality of a set operation from that of its branches; `names` pairs their columns."""
    found = {}
    for name, other in names:
        if name in left and other in right and (both := _merged(left[name], right[other])) is not None:
            found[name] = both
    return found


def _has_inner_query(node: exp.Select) -> bool:
    """Whether an expression of a SELECT holds a query, whose tables are not among those that its joins equate."""
    clauses = [*node.expressions, *(node.args.get(clause) for clause in ("where", "group", "having", "qualify"))]
    clauses += [join.args.get("on") for join in node.args.get("joins") or []]
    return any(clause is not None and clause.find(exp.Query) for clause in clauses)


def _keeps_apart(select: SelectScope, same: set[Qualified], outputs: list[tuple[str, Flow, exp.Expr]]) -> bool:
    """Whether groupings and windows contain a column of the class `same`."""

    def contains(expressions: list[exp.Expr]) -> bool:
        named = {qualified(select, e) for e in expressions if isinstance(e, exp.Column)}
        return bool(named & same) or any(_determined(select, alias, named) for alias, _ in same)

    group = select.node.args.get("group")
    if group is not None and not contains(group.expressions):
        return False
    if group is None and any(aggregates(node) for _, _, node in outputs):
        return False
    clauses = [*select.node.expressions, *(c for c in [select.node.args.get("qualify")] if c is not None)]
    windows = [window for clause in clauses for window in clause.find_all(exp.Window)]
    return all(contains(window.args.get("partition_by") or []) for window in windows)


def _determined(select: SelectScope, alias: str, named: set[Qualified]) -> bool:
    """Whether columns hold a key of a table, and with it each of its other columns."""
    keys = select.sources[alias].keys if alias in select.sources else frozenset()
    return any(key and {(alias, column) for column in key} <= named for key in keys)


def _inputs(select: SelectScope, same: set[Qualified], joins: Mapping[str, exp.Join]) -> Mapping[str, str] | None:
    """Return for every table below the column that goes with the class `same`, or None if one has none."""
    found: Mapping[str, str] = {}
    for alias, rows in select.sources.items():
        join = joins.get(alias)
        reach = same
        if join is not None and (join.side or join.kind.upper() in ("SEMI", "ANTI")):
            on = Equalities(select, join)
            reach = set().union(*(on.all_equal(column) for column in same))
        ways = [rows.local[c] for c in sorted(c for a, c in reach if a == alias and c in rows.local)]
        ways = [*sorted(ways, key=lambda way: list(way.values()).count(WHOLE)), dict.fromkeys(rows.tables, WHOLE)]
        merged = next((m for way in ways if (m := _merged(found, way)) is not None), None)
        if merged is None:
            return None
        found = merged
    return found if set(found.values()) != {WHOLE} else None


def _merged(left: Mapping[str, str], right: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return both together, or None if a table would have to fall apart by two columns."""
    if any(right.get(table, column) != column for table, column in left.items()):
        return None
    return {**left, **right}
