"""Recursive queries: only monotone operators may lead back, and their nullability is a fixed point.

DataFusion 55 types the first branch of a recursive query as nullable whatever it reads, never ends on `UNION ALL` over
a cycle, and has no place for a message; so this module holds the rules, and finds the nulls branch by branch.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from decreta.diagnostics import Report
from decreta.engine import Engine, PlannedColumn
from decreta.model.program import Statement
from decreta.sql import asked_for, print_query
from decreta_runtime.contract.manifest import Column

_STEP = "__step"
"""The name under which the rows so far are planned; no spec may begin a name with `_`."""


def recursive_queries(tree: exp.Expr) -> Iterator[exp.CTE]:
    """Yield the WITH clauses that read themselves."""
    for clause in tree.find_all(exp.With):
        if clause.args.get("recursive"):
            yield from (cte for cte in clause.expressions if any(_reads(cte.this, cte.alias)))


def check_recursion(statement: Statement, report: Report) -> None:
    """Report every operator that would have to take rows back, or would never end."""
    for cte in recursive_queries(statement.tree):
        query = cte.this
        if not isinstance(query, exp.Union) or not query.args.get("distinct"):
            _report(statement, query, "a recursive query unites with UNION, not UNION ALL", "write UNION", report)
            continue
        if any(_reads(query.left, cte.alias)):
            _report(statement, query.left, "the first branch reads the query itself", "put it second", report)
        for node, words in _not_monotone(query.right, cte.alias):
            help = "compute it in a relation of its own, before or after"
            _report(statement, node, f"{words} inside a recursive query", help, report)


def plan_recursive(statement: Statement, engine: Engine, planned: list[PlannedColumn]) -> list[PlannedColumn]:
    """Return `planned` with the nulls that really can occur, for a statement with one recursive query at its top."""
    clause = statement.tree.args.get("with_")
    if clause is None or len(clause.expressions) != 1 or not clause.args.get("recursive"):
        return planned
    cte = clause.expressions[0]
    if not isinstance(cte.this, exp.SetOperation):
        return planned  # called recursive, and is not
    names = [column.name for column in cte.args["alias"].args.get("columns") or []]
    found = _columns(engine.plan(print_query(cte.this.left)), names)
    for _ in range(len(found) + 1):
        step = _columns(_over(cte.this.right, cte.alias, found, engine), names)
        merged = [a._replace(nullable=a.nullable or b.nullable) for a, b in zip(found, step, strict=True)]
        if merged == found:
            break
        found = merged
    outer = statement.tree.copy()
    outer.set("with_", None)
    return _over(outer, cte.alias, found, engine)


def _columns(planned: list[PlannedColumn], names: list[str]) -> list[PlannedColumn]:
    return [p._replace(name=n) for p, n in zip(planned, names, strict=True)] if names else planned


def _over(query: exp.Expr, alias: str, rows: list[PlannedColumn], engine: Engine) -> list[PlannedColumn]:
    """Plan `query` over a table that stands for the rows so far."""
    tree = query.copy()
    for table in list(tree.find_all(exp.Table)):
        if table.name == alias:
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))
            table.this.set("this", _STEP)
    columns = [Column(name=r.name, type=r.type or "string", nullable=r.nullable) for r in rows]
    with engine.table(_STEP, columns):
        return engine.plan(print_query(tree))


def _reads(query: exp.Expr, name: str) -> Iterator[exp.Table]:
    return (table for table in query.find_all(exp.Table) if table.name == name)


def _not_monotone(step: exp.Expr, name: str) -> Iterator[tuple[exp.Expr, str]]:
    for node in step.find_all(exp.AggFunc, exp.Window, exp.Except, exp.Intersect, exp.Limit, exp.Join, exp.Not):
        if isinstance(node, exp.Join):
            if node.side or node.kind.upper() == "ANTI":
                yield node.this, f"a {(node.side or node.kind).lower()} join"
        elif isinstance(node, exp.Not):
            if any(any(_reads(inner, name)) for inner in node.find_all(exp.Query)):
                yield node, "a negated query over itself"
        elif not isinstance(node.parent, exp.Window):
            yield node, {"Window": "a window", "Limit": "a limit"}.get(type(node).__name__, "an aggregate")
    yield from ((group, "a grouping") for group in step.find_all(exp.Group))


def _report(statement: Statement, node: exp.Expr, words: str, help: str, report: Report) -> None:
    related = asked_for(statement.text, statement.origin)
    report.error("D315", words, statement.span(node), help=help, related=related)
