"""What a query shape asks of each dataset: the conditions that the engine's own optimizer brings down to its scans.

They come through views, joins and transitive equalities, as far as the optimizer proves them. Whatever is not of a
known form is left out: fewer conditions keep more files, never fewer rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import sqlglot
from sqlglot import exp

from decreta.engine import Engine, PlanRefused
from decreta.model.program import CheckedQuery, CheckedRelation
from decreta.sql import DataFusion
from decreta_runtime.contract.manifest import Ask, AskValue

Asks = dict[str, tuple[tuple[Ask, ...], ...]]

_OPERATORS: dict[type[exp.Expr], str] = {exp.EQ: "=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
_MIRRORED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.EQ: exp.EQ, exp.LT: exp.GT, exp.LTE: exp.GTE, exp.GT: exp.LT, exp.GTE: exp.LTE,
}  # fmt: skip
_INTEGERS = {"SMALLINT", "INT", "INT32", "BIGINT", "INT64"}
_TEXTS = ("utf8", "utf8view", "largeutf8")


def asks(query: CheckedQuery, relations: Mapping[str, CheckedRelation], engine: Engine) -> Asks:
    """Return for each dataset that a shape reads what each of its scans asks; nothing where one scan asks nothing."""
    if any("\n" in literal.this for literal in query.bound.statement.tree.find_all(exp.Literal)):
        return {}  # the planner's words are read line by line
    views = {name: relations[name].sql or "" for name in query.views}
    try:
        scans = engine.scans(query.sql, views)
    except PlanRefused:
        return {}
    found: dict[str, list[tuple[Ask, ...]]] = {}
    for table, condition in scans:
        found.setdefault(table, []).append(conditions(condition) if condition else ())
    return {
        table: tuple(dict.fromkeys(each))
        for table, each in sorted(found.items())
        if table in query.datasets and all(each)
    }


def conditions(text: str) -> tuple[Ask, ...]:
    """Return the conjuncts of a filter as the planner prints it, those of a known form."""
    try:
        tree = sqlglot.parse_one(text, dialect=DataFusion)
    except sqlglot.errors.SqlglotError:
        return ()
    parts = list(tree.flatten()) if isinstance(tree, exp.And) else [tree]
    return tuple(sorted((ask for part in parts if (ask := _condition(part.unnest()))), key=lambda a: (a.column, a.op)))


def _condition(node: exp.Expr) -> Ask | None:
    if type(node) in _MIRRORED and _column(node.this) is None:
        node = _MIRRORED[type(node)](this=node.expression, expression=node.this)  # the value is written first
    column = _column(node.this)
    if column is None or node.args.get("negate"):
        return None
    if isinstance(node, exp.In):
        listed = node.expressions[0].expressions if len(node.expressions) == 1 else node.expressions
        return _ask(column, "in", listed)
    if isinstance(node, exp.Like):
        return _ask(column, "like", [node.expression])
    operator = _OPERATORS.get(type(node))
    return _ask(column, operator, [node.expression]) if operator else None


def _ask(column: str, operator: str, sides: Sequence[exp.Expr]) -> Ask | None:
    values = [_value(side) for side in sides]
    known = tuple(value for value in values if value is not None)
    return Ask(column=column, op=operator, values=known) if known and len(known) == len(values) else None  # type: ignore[arg-type]


def _column(node: exp.Expr | None) -> str | None:
    """Return the column of a bare one, or of one that is only made a wider whole number."""
    if isinstance(node, exp.Cast) and node.to.sql() in _INTEGERS:
        node = node.this
    return node.name if isinstance(node, exp.Column) else None


def _value(node: exp.Expr) -> AskValue | None:
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Parameter):
        node = node.this
    if isinstance(node, exp.Parameter):
        return AskValue(parameter=node.name)
    if isinstance(node, exp.Int64):
        return AskValue(literal=int(node.this.name))
    if not isinstance(node, exp.Anonymous) or not node.expressions:
        return None
    kind, first = node.name.lower(), node.expressions[0]
    if re.fullmatch(r"u?int\d+|timestampmicrosecond", kind) and first.name.lstrip("-").isdigit():
        return AskValue(literal=int(first.name))
    if kind in (*_TEXTS, "date32") and isinstance(first, exp.Column):
        return AskValue(literal=first.name)
    if kind == "decimal128" and isinstance(first, exp.Literal):
        return AskValue(literal=first.name)
    return None
