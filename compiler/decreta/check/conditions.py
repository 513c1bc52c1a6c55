"""Find conditions that are neither true nor false, and windows where rows are still being chosen.

The planner types what a statement gives, not what it asks by the way: both would fail in the run, on the first rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from decreta.check.comparisons import Typer
from decreta.diagnostics import Report
from decreta.engine import Engine
from decreta.model.program import Statement
from decreta.sql import asked_for, print_inline
from decreta_runtime.contract.manifest import Column

_CHOOSE: dict[type[exp.Expr], str] = {exp.Where: "WHERE", exp.Join: "ON", exp.Having: "HAVING"}


def check_conditions(
    statement: Statement,
    tables: Mapping[str, tuple[Column, ...]],
    parameters: Mapping[str, str],
    engine: Engine,
    report: Report,
) -> None:
    """Report each condition that is of another type than bool, and each window inside WHERE, ON or HAVING."""
    typer = Typer(tables, parameters, engine)
    related = asked_for(statement.text, statement.origin)
    for node in statement.tree.find_all(exp.Where, exp.Having, exp.Qualify, exp.Join, exp.Case, exp.Window):
        if isinstance(node, exp.Window):
            around = node.find_ancestor(*_CHOOSE, exp.Query, exp.Qualify)
            if around is not None and (clause := _CHOOSE.get(type(around))):
                words = f"a window ranks the rows that {clause} has chosen, and cannot stand in it"
                help = "write QUALIFY, or put the window into a query or relation of its own"
                report.error("D313", words, statement.span(node), help=help, related=related)
            continue
        for leaf in (leaf for condition in _asked(node) for leaf in _leaves(condition)):
            select = node.find_ancestor(exp.Select)
            kind = typer.type_of(leaf, select) if select is not None else None
            if kind not in (None, "bool"):
                words = f"`{print_inline(leaf)}` is {kind}, and a condition is true or false"
                report.error("D308", words, statement.span(leaf), help="compare it with something", related=related)


def _asked(node: exp.Expr) -> list[exp.Expr]:
    """Return the conditions that a clause asks."""
    if isinstance(node, exp.Join):
        return [node.args["on"]] if node.args.get("on") else []
    if isinstance(node, exp.Case):
        return [] if node.this else [branch.this for branch in node.args["ifs"]]
    return [node.this]


def _leaves(node: exp.Expr) -> Iterator[exp.Expr]:
    """Yield each part of a condition that is no comparison by its form."""
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Boolean):
        yield from _leaves(node.this)
    elif isinstance(node, exp.Connector | exp.Not | exp.Paren):
        for side in node.iter_expressions():
            yield from _leaves(side)
    elif not isinstance(node, exp.Predicate | exp.Boolean | exp.Null):
        yield node
