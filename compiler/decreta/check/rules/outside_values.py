"""A column with listed values that is compared with something it never holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sqlglot import exp

from decreta.check.origins import origin, passed_on
from decreta.diagnostics import Report, did_you_mean
from decreta.model.program import Bound, Checked, Statement, Written
from decreta.model.spec import CheckSpec, WhereCheck
from decreta.sql import asked_for, parse_expression

_Values = Callable[[exp.Column], tuple[str, ...]]


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Report comparisons with a text that is none of the column's values: they hold never, or always."""

    def values(column: exp.Column) -> tuple[str, ...]:
        return _values(program, origin(column, bound.relations))

    statements = [r.statement for r in bound.relations.values() if r.statement is not None and r.relation.round is None]
    for statement in [*statements, *(q.statement for q in bound.queries.values())]:
        _check_statement(statement, values, report)
    for obj in program.resolved.objects.values():
        own = {c.name: c.values for c in obj.columns}
        _check_predicates(Written(None, obj.doc), obj.checks, own, report)
    for bound_relation in bound.relations.values():
        relation = bound_relation.relation
        if relation.round is None and relation.written.spec.checks:
            names = [c.name for c in program.relations[relation.name].columns]
            given = {n: _values(program, passed_on(bound_relation, n, bound.relations)) for n in names}
            _check_predicates(relation.written, relation.written.spec.checks, given, report)


def _check_predicates(
    written: Written[object], checks: Mapping[str, CheckSpec], listed: Mapping[str, tuple[str, ...]], report: Report
) -> None:
    for name, found in checks.items():
        if isinstance(found, WhereCheck):
            text = written.text("checks", name, "where")
            if (tree := parse_expression(text, Report())) is not None:
                statement = Statement(exp.select(tree), text, text.whole())

                def values(column: exp.Column) -> tuple[str, ...]:
                    return listed.get(column.name, ())

                _check_statement(statement, values, report)


def _check_statement(statement: Statement, values: _Values, report: Report) -> None:
    for column, literal in _compared(statement.tree):
        known = values(column)
        if known and literal.name not in known:
            report.error(
                "D412",
                f"`{column.name}` is never `{literal.name}`",
                statement.span(column),
                help=str(did_you_mean(literal.name, known)),  # what data says is nobody's slip
                related=asked_for(statement.text, statement.origin),
            )


def _compared(tree: exp.Expr) -> Iterator[tuple[exp.Column, exp.Expr]]:
    for node in tree.find_all(exp.EQ, exp.NEQ, exp.In, exp.Case):
        if isinstance(node, exp.In):
            pairs = [(node.this, value) for value in node.expressions]
        elif isinstance(node, exp.Case):
            pairs = [(node.this, branch.this) for branch in node.args["ifs"]]
        else:
            pairs = [(node.this, node.expression), (node.expression, node.this)]
        yield from ((c, text) for c, text in pairs if isinstance(c, exp.Column) and text.is_string)


def _values(program: Checked, place: tuple[str, str] | None) -> tuple[str, ...]:
    if place is None or place[0] not in program.objects:
        return ()
    return next((c.values for c in program.objects[place[0]].object.columns if c.name == place[1]), ())
