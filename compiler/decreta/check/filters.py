"""Which columns a statement compares with values, and which of them by equality: what statistics and indexes serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from decreta.model.program import BoundQuery

_SERVED = (exp.EQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between, exp.In)
_EQUALITIES = (exp.EQ, exp.In)

Columns = Mapping[str, tuple[str, ...]]


def filters(query: BoundQuery) -> tuple[Columns, Columns]:
    """Return the columns that a shape's predicates compare with values, by table, and those compared by equality."""
    tree = query.statement.tree
    tables = {t.alias_or_name: t.name for t in tree.find_all(exp.Table) if t.name in query.inputs}
    only = next(iter(tables.values())) if len(set(tables.values())) == 1 else ""
    served: dict[str, set[str]] = {}
    equal: dict[str, set[str]] = {}
    for where in tree.find_all(exp.Where):
        for node in where.find_all(*_SERVED):
            for column in _asked(node):
                if table := tables.get(column.table, only):
                    served.setdefault(table, set()).add(column.name)
                    if isinstance(node, _EQUALITIES):
                        equal.setdefault(table, set()).add(column.name)
    return _sorted(served), _sorted(equal)


def _sorted(found: Mapping[str, set[str]]) -> Columns:
    return {table: tuple(sorted(columns)) for table, columns in sorted(found.items())}


def _asked(node: exp.Expr) -> Iterator[exp.Column]:
    """Yield the bare column of a predicate whose other side reads no column."""
    sides = [node.this, node.args.get("expression")]
    for column, other in (sides, sides[::-1]):
        if isinstance(column, exp.Column) and (other is None or not other.find(exp.Column)):
            yield column
