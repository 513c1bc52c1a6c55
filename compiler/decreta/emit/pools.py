"""Values that tell a statement's comparisons apart: its own literals, and their neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlglot import exp

from decreta.model.program import BoundRelation

_COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)


def pools(bound: BoundRelation) -> dict[str, dict[str, list[Any]]]:
    """Return for each input the columns that are compared with literals, and values on both sides of each boundary."""
    if bound.statement is None:
        return {}
    tree = bound.statement.tree
    tables = {t.alias_or_name: t.name for t in tree.find_all(exp.Table) if t.name in bound.inputs}
    found: dict[str, dict[str, set[Any]]] = {}
    for column, literal in _pairs(tree):
        name = tables.get(column.table) if column.table else (tables[next(iter(tables))] if len(tables) == 1 else None)
        if name is not None and (values := _neighbours(literal)):
            found.setdefault(name, {}).setdefault(column.name, set()).update(values)
    return {
        table: {name: sorted(values, key=repr) for name, values in sorted(columns.items())}
        for table, columns in sorted(found.items())
    }


def _pairs(tree: exp.Expr) -> Iterator[tuple[exp.Column, exp.Expr]]:
    for node in tree.find_all(*_COMPARED, exp.In, exp.Between):
        if isinstance(node, exp.In):
            others = list(node.expressions)
        elif isinstance(node, exp.Between):
            others = [node.args["low"], node.args["high"]]
        else:
            others = [node.args["expression"]]
            if isinstance(others[0], exp.Column):
                yield others[0], node.this
        if isinstance(node.this, exp.Column):
            yield from ((node.this, other) for other in others)


def _neighbours(literal: exp.Expr) -> list[Any]:
    if isinstance(literal, exp.Neg) and literal.this.is_int:
        value = -int(literal.this.name)
    elif literal.is_string:
        return [literal.name]
    elif literal.is_int:
        value = int(literal.name)
    else:
        return []
    return [value - 1, value, value + 1]
