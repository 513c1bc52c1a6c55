"""Which files of a snapshot can hold rows that a query shape asks for, by the statistics of the Delta log.

A file is left out only where its statistics show that no row satisfies the conditions. Without statistics, or with ones
that do not bound a value (floats: NaN stands in no bound; decimals of so many digits that the log rounds them), it is
kept. The value of a partition column is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import reduce
from operator import ge, gt, le, lt
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import Expr, column, functions, literal

from decreta_runtime.contract.manifest import Ask, AskValue
from decreta_runtime.scan import Pinned

_MILLISECOND = 1000
"""Microseconds. The log cuts timestamps down to milliseconds, so that a greatest value may lie so much higher."""

_EXACT_DIGITS = 15
"""The log has decimals as floats: with so many digits they come back as they were, with more they are rounded."""

_COMPARED = {"<": lt, "<=": le, ">": gt, ">=": ge}


def matching(pinned: Pinned, scans: Iterable[Iterable[Ask]], given: Mapping[str, pa.Scalar]) -> tuple[str, ...]:
    """Return the snapshot's files that may hold rows for one of `scans`, each with conditions that all hold.

    `given` are the values of the shape's parameters.
    """
    every = pa.array([True] * pinned.actions.num_rows, pa.bool_())
    kept = [reduce(pc.and_, (_may_match(pinned, ask, given) for ask in asks), every) for asks in scans]
    mask = reduce(pc.or_, kept).to_pylist()
    return tuple(path for path, keep in zip(pinned.files, mask, strict=True) if keep)


def _may_match(pinned: Pinned, ask: Ask, given: Mapping[str, pa.Scalar]) -> pa.Array:
    every = pa.array([True] * pinned.actions.num_rows, pa.bool_())
    least, most = _bounds(pinned, ask.column)
    if least is None or most is None:
        return every
    values = [scalar_of(value, given, least.type) for value in ask.values]
    if any(value is None or not value.is_valid for value in values):
        return every
    found = reduce(pc.or_, (_within(ask.op, least, most, value) for value in values))
    return pc.and_(pc.fill_null(found, True), pc.invert(_all_null(pinned, ask.column)))


def _bounds(pinned: Pinned, column: str) -> tuple[Any, Any]:
    """Return the least and greatest values of a column by file: of a partition column both are the value itself."""
    exact = pinned.partitions.get(column)
    if exact is None:
        return _bound(pinned.actions, f"min.{column}"), _bound(pinned.actions, f"max.{column}")
    return (None, None) if pa.types.is_floating(exact.type) else (exact, exact)


def unbounded(pinned: Pinned, column: str) -> int:
    """Return in how many files of the snapshot nothing bounds a column's values in the log; nulls alone are bounds."""
    least, most = _bounds(pinned, column)
    if least is None or most is None:
        return len(pinned.files)
    known = pc.or_(pc.and_(pc.is_valid(least), pc.is_valid(most)), _all_null(pinned, column))
    return len(pinned.files) - (pc.sum(known).as_py() or 0)


def _within(op: str, least: pa.ChunkedArray, most: pa.ChunkedArray, value: pa.Scalar) -> Any:
    """Say of each file whether a value between its bounds may satisfy the condition."""
    if op == "like":
        prefix = prefix_of(value.as_py())
        starts = pc.utf8_slice_codeunits(least, 0, len(prefix)) if prefix else least
        return pc.or_kleene(pc.and_(pc.less_equal(starts, prefix), pc.greater_equal(most, prefix)), not prefix)
    low, high = pc.less_equal(least, value), pc.greater_equal(most, value)
    if op in ("=", "in"):
        return pc.and_(low, high)
    if op in ("<", "<="):
        return pc.less(least, value) if op == "<" else low
    return pc.greater(most, value) if op == ">" else high


def _bound(actions: pa.Table, name: str) -> Any:
    """Return the least or greatest values of a column by file, None if they bound nothing."""
    if name not in actions.column_names:
        return None
    found = actions[name]
    if pa.types.is_floating(found.type) or pa.types.is_nested(found.type):
        return None
    if pa.types.is_timestamp(found.type) and name.startswith("max."):
        return pc.add(found.cast(pa.int64()), _MILLISECOND).cast(found.type)
    if pa.types.is_decimal(found.type) and found.type.precision > _EXACT_DIGITS:
        limit = pa.scalar(Decimal(1).scaleb(_EXACT_DIGITS - found.type.scale), found.type)
        return pc.if_else(pc.less(pc.abs(found), limit), found, pa.scalar(None, found.type))
    return found.cast(pa.string()) if pa.types.is_string_view(found.type) else found


def _all_null(pinned: Pinned, column: str) -> Any:
    """Say of each file whether it is known to hold nothing but nulls, which satisfy no condition."""
    actions, nulls, rows = pinned.actions, f"null_count.{column}", "num_records"
    if column in pinned.partitions:
        return pc.is_null(pinned.partitions[column])
    if nulls not in actions.column_names or rows not in actions.column_names:
        return pa.array([False] * actions.num_rows, pa.bool_())
    return pc.fill_null(pc.equal(actions[nulls], actions[rows]), False)


def scalar_of(value: AskValue, given: Mapping[str, pa.Scalar], kind: pa.DataType) -> pa.Scalar | None:
    """Return one side of a condition as a value of `kind`, None if it is none."""
    try:
        return _scalar(value, given, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError, OverflowError):
        return None


def _scalar(value: AskValue, given: Mapping[str, pa.Scalar], kind: pa.DataType) -> pa.Scalar:
    if value.parameter is not None:
        return given[value.parameter].cast(kind)
    literal: Any = value.literal
    if pa.types.is_date(kind):
        literal = date.fromisoformat(literal)
    elif pa.types.is_decimal(kind):
        literal = Decimal(str(literal))
    elif pa.types.is_timestamp(kind):
        return pa.scalar(literal, pa.timestamp("us", kind.tz)).cast(kind)
    return pa.scalar(literal, kind)


def condition_of(ask: Ask, values: Sequence[pa.Scalar | None]) -> Expr | None:
    """Return a condition as the engine takes it, or a weaker one; None if one of its values is none."""
    sides = [literal(value) for value in values if value is not None]
    if len(sides) != len(values):
        return None
    left = column(ask.column)
    if ask.op in ("=", "in"):
        return functions.in_list(left, sides)  # one after another with OR, many would overflow the planner's stack
    if ask.op == "like":
        prefix = prefix_of(values[0].as_py() or "") if values[0] is not None else ""
        return functions.starts_with(left, literal(prefix)) if prefix else None
    compared: Expr = _COMPARED[ask.op](left, sides[0])
    return compared


def prefix_of(pattern: str) -> str:
    """Return the text that everything which is LIKE the pattern begins with."""
    return next((pattern[:i] for i, letter in enumerate(pattern) if letter in "%_\\"), pattern)
