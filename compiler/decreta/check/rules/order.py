"""A result that depends on the order in which the engine happens to meet its rows."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from decreta.diagnostics import Report
from decreta.model.program import Bound, Checked, Statement
from decreta.sql import asked_for
from decreta_runtime.contract.manifest import Column

_FIRST = (exp.RowNumber, exp.FirstValue, exp.LastValue)


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Warn of limits without an order, numbers over ties, and sums of floating-point values."""
    for name, relation in bound.relations.items():
        if relation.statement is not None and relation.relation.round is None:
            tables = _types(relation.statement, program)
            _limits(relation.statement, name, report)
            _ties(relation.statement, program, report)
            _float_sums(relation.statement, tables, report)
    for name, query in bound.queries.items():
        _limits(query.statement, name, report)


def _limits(statement: Statement, name: str, report: Report) -> None:
    for limit in statement.tree.find_all(exp.Limit):
        around = limit.parent
        if isinstance(around, exp.Query) and around.args.get("order") is None:
            words, help = "a limit without an order keeps any rows", "add ORDER BY with a key at its end"
            _warn(statement, around, words, help, report)


def _ties(statement: Statement, program: Checked, report: Report) -> None:
    """Warn of a ROW_NUMBER whose order does not reach a key of the one table that the SELECT reads."""
    for window in statement.tree.find_all(exp.Window):
        select = window.find_ancestor(exp.Select)
        if not isinstance(window.this, _FIRST) or select is None or select.args.get("joins"):
            continue
        table = select.args["from_"].this if select.args.get("from_") else None
        keys = _keys(table.name, program) if isinstance(table, exp.Table) else []
        order = window.args.get("order")
        parts = [*(window.args.get("partition_by") or []), *(o.this for o in (order.expressions if order else []))]
        named = {p.name for p in parts if isinstance(p, exp.Column)}
        if keys and not any(key <= named for key in keys):
            known = " or ".join(f"({', '.join(sorted(key))})" for key in keys)
            help = f"end its order with a key of `{table.name}`: {known}" if table is not None else ""
            _warn(statement, window, "rows that tie are numbered in any order", help, report)


def _keys(name: str, program: Checked) -> list[set[str]]:
    if name in program.objects:
        key = program.objects[name].key
    elif name in program.relations:
        key = program.relations[name].key
    else:
        return []
    return [set(key.columns)] if key else []


def _float_sums(statement: Statement, types: Mapping[str, str], report: Report) -> None:
    for total in statement.tree.find_all(exp.Sum, exp.Avg):
        floats = [c for c in total.find_all(exp.Column) if types.get(f"{c.table}.{c.name}", "").startswith("float")]
        if floats:
            help = "sum decimals: CAST the column, or declare it decimal(p,s)"
            _warn(statement, total, "a sum of floats differs with the order of its rows", help, report)


def _types(statement: Statement, program: Checked) -> dict[str, str]:
    """Return the types of the columns of the tables that a statement reads, under their aliases."""
    found: dict[str, str] = {}
    for table in statement.tree.find_all(exp.Table):
        if table.name in program.objects:
            columns: tuple[Column, ...] = program.objects[table.name].object.columns
        elif table.name in program.relations:
            columns = program.relations[table.name].columns
        else:
            continue
        found |= {f"{table.alias_or_name}.{c.name}": c.type for c in columns}
    return found


def _warn(statement: Statement, node: exp.Expr, words: str, help: str, report: Report) -> None:
    place = statement.span(node)
    report.warning("D604", words, place, help=help, related=asked_for(statement.text, statement.origin))
