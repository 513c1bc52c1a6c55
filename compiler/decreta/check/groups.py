"""By which column a relation is refreshed group by group, and why not better: chosen among what locality has proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from decreta.check.rows import WHOLE, JoinFound, Rows
from decreta.model.program import Object, Relation
from decreta_runtime.contract.manifest import Column, Groups

GROUP_TYPES = ("int8", "int16", "int32", "int64", "string", "date")
"""Types whose values the engine and the Delta log compare alike, as a predicate names them."""


def group_columns(objects: Mapping[str, Object]) -> dict[str, str]:
    """Return the column by which each object's rows are replaced, of those that have one."""
    return {name: obj.changes.column for name, obj in objects.items() if obj.changes.column is not None}


def asked_for(objects: Mapping[str, Object]) -> bool:
    """Whether some object tells how it changes, so that it pays to know how relations fall apart."""
    return any(obj.changes.kind != "rebuild" for obj in objects.values())


def groups(rows: Rows, columns: Sequence[Column], known: Mapping[str, str]) -> Groups | None:
    """Return the column with the fewest inputs read whole, best one by which inputs are replaced themselves."""
    types = {column.name: column.type for column in columns if not column.nullable}
    found = [(name, way) for name, way in rows.local.items() if types.get(name) in GROUP_TYPES]
    if not found:
        return None

    def cost(choice: tuple[str, Mapping[str, str]]) -> tuple[int, int]:
        _, way = choice
        return list(way.values()).count(WHOLE), sum(known.get(table) != column for table, column in way.items())

    name, way = min(found, key=cost)
    whole = tuple(sorted(table for table, column in way.items() if column == WHOLE))
    return Groups(column=name, inputs={t: c for t, c in way.items() if c != WHOLE}, whole=whole)


def why_not(relation: Relation, tree: exp.Query | None, found: Groups | None, joins: Sequence[JoinFound]) -> str:
    """Return in words why changes do not, or not all of them, recompute their groups alone; nothing if they do."""
    if relation.call is not None or tree is None:
        return "a table function may look at all of its input"
    if found is None:
        return f"falls apart by no column: {_cause(tree)}"
    words = "; ".join(_whole(table, joins) for table in found.whole)
    return f"not local to {found.column}: {words}" if words else ""


def _whole(table: str, joins: Sequence[JoinFound]) -> str:
    on = next((join.on for join in joins if join.table == table), None)
    if on is None:
        return f"`{table}` is read whole"
    names = ", ".join(sorted(column for _, column in on))
    return f"`{table}` is joined on {names} only" if names else f"`{table}` is joined on no equality"


def _cause(tree: exp.Query) -> str:
    if not isinstance(tree, exp.Select):
        return "its branches have no such column in common"
    if any(tree.args.get(clause) for clause in ("limit", "offset")):
        return "a limit is taken over all rows"
    joins = tree.args.get("joins") or []
    if any(join.side.upper() in ("RIGHT", "FULL") for join in joins):
        return "its join keeps rows of both sides"
    if tree.args.get("group") is not None or any(tree.find_all(exp.AggFunc)):
        return "groupings and windows take rows together from everywhere"
    return "an expression holds a query" if tree.find(exp.Subquery, exp.Exists) else "no column of it is passed through"
