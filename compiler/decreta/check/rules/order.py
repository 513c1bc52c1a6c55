"""A result that depends on the order in which the engine happens to meet its rows."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from decreta.check.origins import origin
from decreta.diagnostics import Report
from decreta.model.program import Bound, Checked, CheckedRelation, Statement
from decreta.sql import asked_for
from decreta_runtime.contract.manifest import Column

_FIRST = (exp.RowNumber, exp.FirstValue, exp.LastValue)
_FLOATS = (exp.DataType.Type.FLOAT, exp.DataType.Type.DOUBLE)
_LISTS = (exp.ArrayAgg, exp.GroupConcat, exp.First, exp.FirstValue, exp.Last, exp.LastValue)


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Find limits without an order, numbers over ties, lists in no order, and sums of floating-point values.

    A relation must be made total, or declare what of it varies; of a query shape it is a warning, for nothing is kept.
    """
    for relation in bound.relations.values():
        statement, spec = relation.statement, relation.relation.written.spec
        if statement is not None and relation.relation.round is None and not spec.varies:
            found = Report()
            _ties(statement, program, found)
            _of_statement(statement, program, found)
            for mistake in found.diagnostics():
                help = f"{mistake.help}; or declare `varies: {{COLUMN: any}}`"
                report.error(mistake.code, mistake.message, mistake.span, help=help, related=mistake.related)
    for query in bound.queries.values():
        _of_statement(query.statement, program, report)
    for name, checked in program.relations.items():
        _inherited(name, checked, program, report)


def _of_statement(statement: Statement, program: Checked, report: Report) -> None:
    _float_sums(statement, program, report)
    _limits(statement, program, report)
    _lists(statement, report)
    _firsts(statement, program, report)


def _inherited(name: str, checked: CheckedRelation, program: Checked, report: Report) -> None:
    """Find columns that are made from what varies, and rows that come or go by it, of which nothing is declared."""
    written = checked.bound.relation.written
    if checked.bound.relation.round is not None:
        return
    varying = {f"{r}.{c}" for r in checked.required if r in program.relations for c in _varies(program.relations[r])}
    for column, origins in checked.lineage.items():
        if (from_ := sorted(varying & {*origins})) and column not in written.spec.varies:
            words = f"`{name}.{column}` is made from `{from_[0]}`, which varies from run to run"
            report.error("D604", words, written.place("relation"), help=f"declare it too: `varies: {{{column}: any}}`")
    read = {f"{table}.{column}" for table, columns in checked.required.items() for column in columns}
    if varying & read and not written.spec.varies and not any(varying & {*of} for of in checked.lineage.values()):
        help = "declare what is no more certain: `varies: {COLUMN: any}`"
        words = f"rows of `{name}` come and go by `{min(varying & read)}`, which varies from run to run"
        report.error("D604", words, written.place("relation"), help=help)


def _varies(checked: CheckedRelation) -> Iterable[str]:
    return checked.bound.relation.written.spec.varies


def _limits(statement: Statement, program: Checked, report: Report) -> None:
    for limit in statement.tree.find_all(exp.Limit):
        around = limit.parent
        if not isinstance(around, exp.Query) or isinstance(around.parent, exp.Exists):
            continue  # any row shows that there is one
        order = around.args.get("order")
        if order is None:
            words, help = "a limit without an order keeps any rows", "add ORDER BY with a key at its end"
            _warn(statement, around, words, help, report)
        elif isinstance(around, exp.Select) and not (around.args.get("distinct") or around.args.get("group")):
            _reaches_key(around, order, [], "of rows that tie at a limit, any are kept", statement, program, report)


def _firsts(statement: Statement, program: Checked, report: Report) -> None:
    """Warn of DISTINCT ON, which keeps the first row of each group, without an order or with one that has ties."""
    for select in statement.tree.find_all(exp.Select):
        distinct, order = select.args.get("distinct"), select.args.get("order")
        if distinct is None or not distinct.args.get("on"):
            continue
        if order is None:
            _warn(statement, select, "DISTINCT ON without an order keeps any rows", "add ORDER BY", report)
        else:
            words = "of rows that tie in DISTINCT ON, any is kept"
            _reaches_key(select, order, distinct.args["on"].expressions, words, statement, program, report)


def _lists(statement: Statement, report: Report) -> None:
    """Warn of aggregates that follow the order of their rows, which nobody says."""
    for call in statement.tree.find_all(*_LISTS):
        window = isinstance(call.parent, exp.Window)
        if not window and call.find(exp.Order) is None and not isinstance(call.parent, exp.WithinGroup):
            _warn(statement, call, "it takes its rows in any order", "add ORDER BY inside the call", report)


def _ties(statement: Statement, program: Checked, report: Report) -> None:
    """Warn of a ROW_NUMBER whose order does not reach a key of the one table that the SELECT reads."""
    for window in statement.tree.find_all(exp.Window):
        select = window.find_ancestor(exp.Select)
        if isinstance(window.this, _FIRST) and select is not None:
            words = "rows that tie are numbered in any order"
            parts = window.args.get("partition_by") or []
            _reaches_key(select, window.args.get("order"), parts, words, statement, program, report)


def _reaches_key(
    select: exp.Select,
    order: exp.Expr | None,
    parts: list[exp.Expr],
    words: str,
    statement: Statement,
    program: Checked,
    report: Report,
) -> None:
    """Warn unless an order, within `parts`, ends with a key of the one table that a SELECT reads."""
    if select.args.get("joins") or not select.args.get("from_"):
        return
    table = select.args["from_"].this
    keys = _keys(table.name, program) if isinstance(table, exp.Table) else []
    aliases = {e.alias: e.unalias() for e in select.expressions if isinstance(e, exp.Alias)}
    named = set()
    for part in [*parts, *(o.this for o in (order.expressions if order else []))]:
        column = aliases.get(part.name, part) if isinstance(part, exp.Column) and not part.table else part
        if isinstance(column, exp.Column):
            found = origin(column) if column.find_ancestor(exp.Select) else None
            named.add(found[1] if found else column.name)
    if keys and not any(key <= named for key in keys):
        known = " or ".join(f"({', '.join(sorted(key))})" for key in keys)
        _warn(statement, order or select, words, f"end its order with a key of `{table.name}`: {known}", report)


def _keys(name: str, program: Checked) -> list[set[str]]:
    if name in program.objects:
        key = program.objects[name].key
    elif name in program.relations:
        key = program.relations[name].key
    else:
        return []
    return [set(key.columns)] if key else []


def _float_sums(statement: Statement, program: Checked, report: Report) -> None:
    for total in statement.tree.find_all(exp.Sum, exp.Avg):
        if any(_is_float(node, program) for node in total.find_all(exp.Column, exp.Cast, exp.Literal)):
            help = "sum decimals: CAST the column, or declare it decimal(p,s)"
            _warn(statement, total, "a sum of floats differs with the order of its rows", help, report)


def _is_float(node: exp.Expr, program: Checked) -> bool:
    """Whether an operand makes its sum one of floats; what a CAST or a comparison is made of does not."""
    if isinstance(node.find_ancestor(exp.Cast, exp.AggFunc, exp.Predicate), exp.Cast | exp.Predicate):
        return False
    if isinstance(node, exp.Cast):
        return node.to.this in _FLOATS
    if isinstance(node, exp.Literal):
        return not node.is_string and not node.is_int
    return isinstance(node, exp.Column) and _type(node, program).startswith("float")


def _type(column: exp.Column, program: Checked) -> str:
    """Return the type of a column that is one of an object's or relation's; "" for one that is computed."""
    place = None if column.find_ancestor(exp.Cast) else origin(column)
    if place is None:
        return ""
    columns: tuple[Column, ...] = ()
    if place[0] in program.objects:
        columns = program.objects[place[0]].object.columns
    elif place[0] in program.relations:
        columns = program.relations[place[0]].columns
    return next((c.type for c in columns if c.name == place[1]), "")


def _warn(statement: Statement, node: exp.Expr, words: str, help: str, report: Report) -> None:
    place = statement.span(node)
    report.warning("D604", words, place, help=help, related=asked_for(statement.text, statement.origin))
