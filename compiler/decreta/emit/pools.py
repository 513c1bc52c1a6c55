"""Values that tell a statement's comparisons apart: its own constants, and their neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlglot import exp

from decreta.model.program import BoundRelation

_COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
_MONTHS = {"MONTH": 1, "YEAR": 12}
_LENGTHS = {
    "SECOND": timedelta(seconds=1),
    "MINUTE": timedelta(minutes=1),
    "HOUR": timedelta(hours=1),
    "DAY": timedelta(days=1),
    "WEEK": timedelta(weeks=1),
}
_STEPS = (-2, -1, 0, 1, 2)
"""Two values on each side of a boundary: of one alone, the least is the greatest."""
_BASE = datetime(2024, 1, 10)
"""A moment to measure intervals from, of dates and timestamps alike; every month has its day."""


def pools(bound: BoundRelation) -> dict[str, dict[str, list[Any]]]:
    """Return for each input the columns that are compared with constants, and values on both sides of each boundary."""
    if bound.statement is None:
        return {}
    tree = bound.statement.tree
    tables = {t.alias_or_name: t.name for t in tree.find_all(exp.Table) if t.name in bound.inputs}
    found: dict[str, dict[str, set[Any]]] = {}
    for column, values in _boundaries(tree):
        name = tables.get(column.table) if column.table else (tables[next(iter(tables))] if len(tables) == 1 else None)
        if name is not None and values:
            found.setdefault(name, {}).setdefault(column.name, set()).update(values)
    return {
        table: {name: sorted(values, key=repr) for name, values in sorted(columns.items())}
        for table, columns in sorted(found.items())
    }


def _boundaries(tree: exp.Expr) -> Iterator[tuple[exp.Column, list[Any]]]:
    for left, right in _pairs(tree):
        for one, other in ((left, right), (right, left)):
            if not isinstance(one, exp.Column):
                continue
            yield one, _neighbours(other)
            if isinstance(other, exp.Add | exp.Sub) and isinstance(other.this, exp.Column):
                base, values = _shifted(other)
                yield other.this, base
                yield one, values
    for node in tree.find_all(exp.Like, exp.ILike):
        if isinstance(node.this, exp.Column) and node.expression.is_string:
            yield node.this, _alike(node.expression.name)


def _pairs(tree: exp.Expr) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    for node in tree.find_all(*_COMPARED, exp.In, exp.Between):
        if isinstance(node, exp.In):
            others = list(node.expressions)
        elif isinstance(node, exp.Between):
            others = [node.args["low"], node.args["high"]]
        else:
            others = [node.args["expression"]]
        yield from ((node.this, other) for other in others)


def _neighbours(constant: exp.Expr) -> list[Any]:
    """Return a constant, and what lies before and after it where that can be told."""
    if isinstance(constant, exp.Cast):
        if constant.this.is_string and constant.to.this in exp.DataType.TEMPORAL_TYPES:
            return _moments(constant.this.name)
        inner = constant.this
        if inner.is_string and constant.to.this in exp.DataType.NUMERIC_TYPES:
            inner = exp.Literal.number(inner.name)
        return _neighbours(inner) if inner.is_number else []
    if isinstance(constant, exp.Neg):
        return [-v if isinstance(v, int) else str(-Decimal(v)) for v in _neighbours(constant.this)]
    if constant.is_string:
        return [constant.name]
    if not constant.is_number:
        return []
    if constant.is_int:
        value = int(constant.name)
        return [value + n for n in _STEPS]
    try:
        number = Decimal(constant.name)
    except InvalidOperation:
        return []
    step = Decimal(1).scaleb(int(number.as_tuple().exponent))
    return [str(number + n * step) for n in _STEPS]


def _moments(text: str) -> list[Any]:
    try:
        if len(text) == len("2024-01-31"):
            day = date.fromisoformat(text)
            return [(day + timedelta(days=n)).isoformat() for n in _STEPS]
        moment = datetime.fromisoformat(text)
        return [(moment + timedelta(seconds=n)).isoformat() for n in _STEPS]
    except (ValueError, OverflowError):
        return []


def _shifted(sum_: exp.Add | exp.Sub) -> tuple[list[Any], list[Any]]:
    """Return a value for the column of `column ± constant`, and values on both sides of the sum."""
    constant, sign = sum_.expression, 1 if isinstance(sum_, exp.Add) else -1
    if constant.is_int:
        return [0], [sign * int(constant.name) + n for n in _STEPS]
    if not isinstance(constant, exp.Interval) or not constant.this or not constant.this.name.isdigit():
        return [], []
    number, unit = sign * int(constant.this.name), (constant.text("unit").upper().removesuffix("S"))
    try:
        if unit in _MONTHS:
            years, month = divmod(_BASE.month - 1 + number * _MONTHS[unit], 12)
            moment = _BASE.replace(year=_BASE.year + years, month=month + 1)
        elif unit in _LENGTHS:
            moment = _BASE + number * _LENGTHS[unit]
        else:
            return [], []
    except (ValueError, OverflowError):
        return [], []
    whole = moment.time() == _BASE.time()
    values = _moments(moment.date().isoformat() if whole else moment.isoformat())
    return [_BASE.date().isoformat()], values


def _alike(pattern: str) -> list[Any]:
    """Return texts that a pattern matches in different ways, and some that it nearly does."""
    least, more = (pattern.replace("_", "x").replace("%", rest) for rest in ("", "x"))
    return [least, more, f"x{least}", f"{least}x"]
