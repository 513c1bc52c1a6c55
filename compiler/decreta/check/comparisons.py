"""Find comparisons of unlike types, which the engine would coerce in silence (`engine-facts` 17)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from decreta.check.scope import Comparison
from decreta.diagnostics import Report
from decreta.engine import Engine, PlanRefused
from decreta.model.program import Statement
from decreta.sql import asked_for, parse_type, print_inline
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import Column

_Probe = tuple[exp.Select, list[exp.Expr]]


def check_comparisons(
    comparisons: Iterable[Comparison],
    statement: Statement,
    tables: Mapping[str, tuple[Column, ...]],
    parameters: Mapping[str, str],
    engine: Engine,
    report: Report,
) -> None:
    """Report each comparison whose operands are of unlike types."""
    typer = Typer(tables, parameters, engine)
    for comparison in comparisons:
        left = typer.type_of(comparison.left, comparison.select)
        right = typer.type_of(comparison.right, comparison.inner or comparison.select)
        if left and right and not alike(left, right):
            report.error(
                "D308",
                f"`{print_inline(comparison.left)}` is {left}, `{print_inline(comparison.right)}` is {right}",
                statement.span(comparison.node),
                help=_advice(left, right),
                related=asked_for(statement.text, statement.origin),
            )


def alike(left: str, right: str) -> bool:
    """Whether values of two spec types compare without a cast that could fail or surprise."""
    return left == right or (types.is_numeric(left) and types.is_numeric(right))


def _advice(left: str, right: str) -> str:
    if {left, right} == {"string", "date"}:
        return "write the literal as DATE '2024-01-31'"
    return "compare like with like, or write the CAST that you mean"


class Typer:
    """Knows an operand's type at once where it is a plain column or literal, and asks the planner otherwise."""

    def __init__(self, tables: Mapping[str, tuple[Column, ...]], parameters: Mapping[str, str], engine: Engine) -> None:
        self.tables = tables
        self.parameters, self.engine = parameters, engine

    def type_of(self, node: exp.Expr, select: exp.Select) -> str | None:
        """Return the spec type of `node` inside `select`, or None where it cannot be told apart from the rest."""
        if isinstance(node, exp.Paren):
            return self.type_of(node.this, select)
        if isinstance(node, exp.Parameter):
            return self.parameters.get(node.name)
        if isinstance(node, exp.Literal):
            return "string" if node.is_string else ("int64" if node.is_int else "float64")
        if isinstance(node, exp.Column) and (found := self._of_table(node, select)):
            return found
        return self._planned(node, select)

    def _of_table(self, node: exp.Column, select: exp.Select) -> str | None:
        clause = select.args.get("from_")
        sources = [clause.this] if clause else []
        sources += [join.this for join in select.args.get("joins") or []]
        plain = [s for s in sources if isinstance(s, exp.Table)]
        if len(plain) != len(sources) and not node.table:
            return None
        ctes = {cte.alias for cte in select.root().find_all(exp.CTE)}
        for table in plain:
            mine = table.name not in ctes and (not node.table or table.alias_or_name == node.table)
            for column in self.tables.get(table.name, ()) if mine else ():
                if column.name == node.name:
                    return column.type
        return None

    def _planned(self, node: exp.Expr, select: exp.Select) -> str | None:
        probe = exp.Select(expressions=[exp.alias_(node.copy(), "operand")])
        for key in ("from_", "joins", *(["group"] if node.find(exp.AggFunc) else [])):
            if value := select.args.get(key):
                probe.set(key, [v.copy() for v in value] if isinstance(value, list) else value.copy())
        ctes = [cte.copy() for around in _around(select) for cte in around.args["with_"].expressions]
        if ctes:
            recursive = any(around.args["with_"].args.get("recursive") for around in _around(select))
            probe.set("with_", exp.With(expressions=ctes, recursive=recursive))
        for parameter in list(probe.find_all(exp.Parameter)):
            if kind := self.parameters.get(parameter.name):
                parameter.replace(exp.Cast(this=exp.Null(), to=parse_type(kind)))
        try:
            return self.engine.plan(print_inline(probe))[0].type
        except PlanRefused:
            return None  # it sees tables of a query around it; the whole statement is still planned


def _around(select: exp.Select) -> list[exp.Expr]:
    """Return the queries around `select`, outermost first, that have a WITH clause."""
    found: list[exp.Expr] = []
    node: exp.Expr | None = select
    while node is not None:
        if isinstance(node, exp.Query) and node.args.get("with_"):
            found.insert(0, node)
        node = node.parent
    return found
