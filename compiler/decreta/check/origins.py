"""Where a column of a statement comes from, when it is passed on unchanged: through aliases, queries and relations."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from decreta.model.program import BoundRelation

_DEEP = 32
"""Steps after which a column is taken to come from nowhere: recursion passes on its own."""


def origin(
    column: exp.Column, relations: Mapping[str, BoundRelation] | None = None, steps: int = _DEEP
) -> tuple[str, str] | None:
    """Return the table and its column that `column` is, or None if it is computed or cannot be told.

    With `relations` it goes on through relations to the object whose column they pass on.
    """
    select = column.find_ancestor(exp.Select)
    while select is not None:
        sources = _sources(select)
        source = sources.get(column.table) if column.table else None
        if not column.table and sources:
            source = next(iter(sources.values())) if len(sources) == 1 else None
            if source is None:
                return None
        if source is not None:
            return _behind(source, column.name, relations or {}, steps)
        select = select.find_ancestor(exp.Select)
    return None


def passed_on(relation: BoundRelation, name: str, relations: Mapping[str, BoundRelation]) -> tuple[str, str] | None:
    """Return the table and its column that an output column of a relation is, or None if it is computed."""
    return None if relation.statement is None else _output(relation.statement.tree, name, relations, _DEEP)


def _sources(select: exp.Select) -> dict[str, exp.Expr]:
    clause = select.args.get("from_")
    nodes = [clause.this] if clause else []
    nodes += [join.this for join in select.args.get("joins") or []]
    return {node.alias_or_name: node for node in nodes}


def _behind(source: exp.Expr, name: str, relations: Mapping[str, BoundRelation], steps: int) -> tuple[str, str] | None:
    if steps == 0:
        return None
    if isinstance(source, exp.Subquery):
        return _output(source.this, name, relations, steps)
    if not isinstance(source, exp.Table):
        return None
    if (cte := _cte(source)) is not None:
        return None if cte.args["alias"].args.get("columns") else _output(cte.this, name, relations, steps)
    relation = relations.get(source.name)
    if relation is not None and relation.statement is not None:
        return _output(relation.statement.tree, name, relations, steps) or (source.name, name)
    return source.name, name


def _cte(table: exp.Table) -> exp.CTE | None:
    around: exp.Expr | None = table
    while around is not None:
        clause = around.args.get("with_")
        for cte in clause.expressions if clause is not None else []:
            if cte.alias == table.name and isinstance(cte, exp.CTE):
                return cte
        around = around.parent
    return None


def _output(query: exp.Expr, name: str, relations: Mapping[str, BoundRelation], steps: int) -> tuple[str, str] | None:
    if not isinstance(query, exp.Select):
        return None
    for projection in query.expressions:
        if projection.alias_or_name == name and isinstance(projection.unalias(), exp.Column):
            return origin(projection.unalias(), relations, steps - 1)
    return None
