"""A column with listed values that is compared with something it never holds."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from decreta.diagnostics import Report, did_you_mean
from decreta.model.program import Bound, Checked, Statement
from decreta.sql import asked_for


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Report comparisons with a text that is none of the column's values: they hold never, or always."""
    statements = [r.statement for r in bound.relations.values() if r.statement is not None and r.relation.round is None]
    for statement in [*statements, *(q.statement for q in bound.queries.values())]:
        tables = {t.alias_or_name: t.name for t in statement.tree.find_all(exp.Table)}
        for column, literal in _compared(statement):
            values = _values(program, tables.get(column.table, ""), column.name)
            if values and literal.name not in values:
                report.error(
                    "D412",
                    f"`{column.name}` is never `{literal.name}`",
                    statement.span(column),
                    help=did_you_mean(literal.name, values),
                    related=asked_for(statement.text, statement.origin),
                )


def _compared(statement: Statement) -> Iterator[tuple[exp.Column, exp.Expr]]:
    for node in statement.tree.find_all(exp.EQ, exp.NEQ, exp.In):
        others = node.expressions if isinstance(node, exp.In) else [node.expression]
        if isinstance(node.this, exp.Column):
            yield from ((node.this, other) for other in others if other.is_string)


def _values(program: Checked, table: str, column: str) -> tuple[str, ...]:
    if table not in program.objects:
        return ()
    return next((c.values for c in program.objects[table].object.columns if c.name == column), ())
