"""Calls whose value depends on the order in which the engine meets its rows, held against what that order is."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from decreta.check.sensitivity import FORGETS, SENSITIVITY, Sensitivity, adds_floats, arguments, called
from decreta.check.totality import Stream
from decreta.engine import Engine

_WRAPPERS = (exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup)
_DECIMALS = "sum decimals: CAST the column, or declare it decimal(p,s)"


@dataclass(frozen=True, eq=False)
class Unsettled:
    """What stands at a node of a statement and leaves its result open."""

    node: exp.Expr
    words: str
    help: str
    by_order: bool = True
    """Whether it is the order of rows that leaves it open, rather than the clock or chance."""
    rounds: bool = False
    """Whether it leaves open only the last digits of a float."""


def of_aggregate(call: exp.Expr, stream: Stream, groups: list[exp.Expr], engine: Engine) -> Unsettled | None:
    """Return what an aggregate leaves open over the rows of `stream`, grouped by `groups`."""
    kind, order = SENSITIVITY[called(call)], _order(call)
    if kind == "none" or stream.is_total(stream.pins(groups)):
        return None
    if kind != "takes":
        return _rounded(call, kind, engine)
    pins = stream.pins([*groups, *order])
    if stream.is_total(pins) or _is_forgotten(call) or all(stream.gives(pins, value) for value in arguments(call)):
        return None
    if order:
        return Unsettled(call, "it takes rows that tie in any order", key_help(stream))
    return Unsettled(call, "it takes its rows in any order", "add ORDER BY inside the call")


def of_window(window: exp.Window, select: exp.Select, stream: Stream, engine: Engine) -> Unsettled | None:
    """Return what a window function leaves open over the rows of `stream`."""
    call = _inner(window)
    kind = SENSITIVITY.get(called(call), "places")
    parts, order, counts_rows = over(window, select)
    pins = stream.pins([*parts, *order])
    if stream.is_total(pins) or _is_forgotten(window):
        return None
    if kind == "takes" and not counts_rows and all(stream.gives(pins, value) for value in arguments(call)):
        return None
    if called(call) in ("row_number", "ntile"):
        return Unsettled(window, "rows that tie are numbered in any order", key_help(stream))
    if kind in ("takes", "places") or (counts_rows and called(call) not in _RANKS):
        return Unsettled(window, "it takes rows that tie in any order", key_help(stream))
    return _rounded(call, kind, engine)


_RANKS = ("cume_dist", "dense_rank", "percent_rank", "rank")
"""Windows that no frame bounds."""


def over(window: exp.Window, select: exp.Select) -> tuple[list[exp.Expr], list[exp.Expr], bool]:
    """Return what a window is parted by, its order, and whether its frame counts rows, those that tie one by one."""
    named = next((w for w in select.args.get("windows") or [] if window.alias and w.name == window.alias), None)
    clauses = [w for w in (window, named) if w is not None]
    parts: list[exp.Expr] = next((p for w in clauses if (p := w.args.get("partition_by"))), [])
    order: list[exp.Expr] = next((o.expressions for w in clauses if (o := w.args.get("order")) is not None), [])
    frame = next((f for w in clauses if (f := w.args.get("spec")) is not None), None)
    counts_rows = frame is not None and str(frame.args.get("kind")).upper() == "ROWS"
    whole = frame is not None and [frame.args.get(side) for side in ("start", "end")] == ["UNBOUNDED"] * 2
    return list(parts), [o.this for o in order], counts_rows and not whole


def is_window(call: exp.Expr) -> bool:
    """Whether a call is the function of a window."""
    while isinstance(call.parent, _WRAPPERS) and call.arg_key == "this":
        call = call.parent
    return isinstance(call.parent, exp.Window) and call.arg_key == "this"


def aggregates(node: exp.Expr) -> bool:
    """Whether an expression aggregates the rows of its own SELECT, by any aggregate of the engine."""
    if isinstance(node, exp.Query):
        return False
    if called(node) in SENSITIVITY and not is_window(node):
        return True
    return any(aggregates(child) for child in node.iter_expressions())


def key_help(stream: Stream) -> str:
    """Return how an order over the rows of `stream` is made total."""
    keys = sorted(f"({', '.join(sorted(pin[1] if isinstance(pin, tuple) else pin.sql() for pin in key))})"
                  for key in stream.keys)  # fmt: skip
    if not keys:
        return "no key of these rows is known: give one to what they are made from"
    return f"end its order with a key: {' or '.join(dict.fromkeys(keys))}"


def _rounded(call: exp.Expr, kind: Sensitivity, engine: Engine) -> Unsettled | None:
    if kind == "rounds":
        words = f"`{called(call)}` adds floats, which differs with the order of its rows"
        return Unsettled(call, words, "compute it from sums of decimals", rounds=True)
    if kind not in ("sum", "mean") or not adds_floats(call, kind, engine):
        return None
    if kind == "sum":
        return Unsettled(call, "a sum of floats differs with the order of its rows", _DECIMALS, rounds=True)
    words = "a mean of floats or of int64 differs with the order of its rows"
    return Unsettled(call, words, "CAST to decimal inside", rounds=True)


def _inner(window: exp.Window) -> exp.Expr:
    call = window.this
    while isinstance(call, _WRAPPERS):
        call = call.this
    assert isinstance(call, exp.Expr)
    return call


def _order(call: exp.Expr) -> list[exp.Expr]:
    """Return what an aggregate orders its rows by."""
    order = next((node for node in call.iter_expressions() if isinstance(node, exp.Order)), None)
    if order is None and isinstance(call.parent, exp.WithinGroup):
        order = call.parent.expression
    return [o.this for o in order.expressions] if isinstance(order, exp.Order) else []


def _is_forgotten(node: exp.Expr) -> bool:
    """Whether a list is given to a function that does not care for its order."""
    while isinstance(node.parent, (*_WRAPPERS, exp.Paren)) and node.arg_key == "this":
        node = node.parent
    return node.parent is not None and called(node.parent) in FORGETS
