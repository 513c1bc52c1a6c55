"""How a statement may be wrong: one small change to its syntax tree a mutant, of the kinds that people make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial

from sqlglot import exp

_Change = Callable[[exp.Expr], None]

_SWAPPED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.LT: exp.LTE,
    exp.LTE: exp.LT,
    exp.GT: exp.GTE,
    exp.GTE: exp.GT,
    exp.Min: exp.Max,
    exp.Max: exp.Min,
    exp.Add: exp.Sub,
    exp.Sub: exp.Add,
    exp.Or: exp.And,
    exp.NEQ: exp.EQ,
}
_CLAUSES = ("where", "having", "qualify")


def mutants(tree: exp.Expr) -> Iterator[tuple[exp.Expr, str, exp.Expr]]:
    """Yield each mutant of `tree` with the node that differs and words for it; `tree` itself is left as it is.

    A tree whose root may change must stand in parentheses.
    """
    for i, node in enumerate(tree.walk()):
        for words, change in _changes(node):
            copy = tree.copy()
            change(next(n for k, n in enumerate(copy.walk()) if k == i))
            yield node, words, copy


def _changes(node: exp.Expr) -> Iterator[tuple[str, _Change]]:
    yield from _join(node)
    yield from _predicate(node)
    yield from _literal(node)
    yield from _order(node)
    if other := _SWAPPED.get(type(node)):
        yield f"{_name(type(node))} becomes {_name(other)}", _become(other)
    if isinstance(node, exp.Union):
        word = "UNION ALL" if node.args.get("distinct") else "UNION"
        yield f"the union becomes {word}", lambda n: n.set("distinct", not n.args.get("distinct"))
    if isinstance(node, exp.Select) and node.args.get("distinct"):
        yield "DISTINCT is dropped", lambda n: n.set("distinct", None)
    if isinstance(node, exp.Coalesce):
        yield "COALESCE is dropped", lambda n: _put(n, n.this)
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Distinct):
        yield "COUNT counts repeated values", lambda n: n.set("this", n.this.expressions[0])


def _join(node: exp.Expr) -> Iterator[tuple[str, _Change]]:
    if not isinstance(node, exp.Join) or node.args.get("on") is None:
        return
    if node.kind.upper() == "ANTI":
        yield "the anti join becomes a semi join", lambda n: n.set("kind", "SEMI")
    elif node.kind.upper() == "SEMI":
        yield "the semi join becomes an anti join", lambda n: n.set("kind", "ANTI")
    elif node.side.upper() == "LEFT":
        yield "the left join becomes an inner join", lambda n: n.set("side", None)
    elif not node.side:
        yield "the inner join becomes a left join", lambda n: n.set("side", "LEFT")


def _predicate(node: exp.Expr) -> Iterator[tuple[str, _Change]]:
    if isinstance(node, exp.And):
        yield "the condition before AND is dropped", lambda n: _put(n, n.args["expression"])
        yield "the condition after AND is dropped", lambda n: _put(n, n.this)
    if isinstance(node, exp.Not):
        yield "NOT is dropped", lambda n: _put(n, n.this)
    if isinstance(node, exp.EQ) and (node.args["expression"].is_string or node.args["expression"].is_int):
        yield "= becomes <>", _become(exp.NEQ)
    if isinstance(node, exp.Is):
        yield "IS and IS NOT are exchanged", lambda n: n.set("negate", not n.args.get("negate"))
    if isinstance(node, exp.NullSafeEQ):
        yield "the null-safe comparison becomes =", _become(exp.EQ)
    if isinstance(node, exp.Select):
        for clause in _CLAUSES:
            if node.args.get(clause) is not None:
                yield f"{clause.upper()} is dropped", partial(_drop, clause)


def _literal(node: exp.Expr) -> Iterator[tuple[str, _Change]]:
    if not isinstance(node, exp.Literal) or node.find_ancestor(exp.DataType):
        return
    if node.is_string and isinstance(node.parent, exp.EQ | exp.NEQ | exp.In | exp.Like | exp.ILike):
        yield f"'{node.name}' becomes another text", lambda n: n.set("this", n.name + "?")
    elif (other := _next(node)) is not None:
        yield f"{node.name} becomes {other}", lambda n: n.set("this", other)


def _next(node: exp.Literal) -> str | None:
    """Return what a number, day or length of time is one step further, as it is written; None if it is none."""
    parent = node.parent
    try:
        if node.is_string and isinstance(parent, exp.Cast) and parent.to.this in exp.DataType.TEMPORAL_TYPES:
            moment = datetime.fromisoformat(node.name)
            return (moment + timedelta(days=1)).isoformat(sep=" ")[: len(node.name)]
        if node.is_int or isinstance(parent, exp.Interval):
            return str(int(node.name) + 1)
        if node.is_number:
            number = Decimal(node.name)
            return str(number + Decimal(1).scaleb(int(number.as_tuple().exponent)))
    except (ValueError, OverflowError, InvalidOperation):
        pass
    return None


def _order(node: exp.Expr) -> Iterator[tuple[str, _Change]]:
    if isinstance(node, exp.Ordered) and node.find_ancestor(exp.Window, exp.Select).__class__ is exp.Window:
        yield "the order of a window is reversed", lambda n: n.set("desc", not n.args.get("desc"))
    if isinstance(node, exp.Window) and isinstance(node.this, exp.RowNumber):
        yield "ROW_NUMBER becomes RANK", lambda n: n.set("this", exp.Anonymous(this="RANK"))
    if isinstance(node, exp.Window) and node.this.sql().upper() == "RANK()":
        yield "RANK becomes ROW_NUMBER", lambda n: n.set("this", exp.RowNumber())


def _drop(clause: str, node: exp.Expr) -> None:
    node.set(clause, None)


def _put(node: exp.Expr, other: exp.Expr) -> None:
    node.replace(other.copy())


def _become(kind: type[exp.Expr]) -> _Change:
    return lambda node: _put(node, kind(**node.args))


def _name(kind: type[exp.Expr]) -> str:
    return {"LT": "<", "LTE": "<=", "GT": ">", "GTE": ">=", "Add": "+", "Sub": "-", "EQ": "=", "NEQ": "<>"}.get(
        kind.__name__, kind.__name__.upper()
    )
