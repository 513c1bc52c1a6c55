"""A check that can never fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp
from sqlglot.optimizer.simplify import simplify

from decreta.diagnostics import Report
from decreta.model.program import Bound, Checked, Written
from decreta.model.spec import CheckSpec, WhereCheck
from decreta.sql import parse_expression
from decreta_runtime.contract.manifest import Column

_OPPOSITES = ({exp.LT, exp.GTE}, {exp.GT, exp.LTE}, {exp.EQ, exp.NEQ})


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Warn of checks that hold whatever the rows are."""
    for subject, written, checks, columns in _checked(program):
        never_null = {c.name: c.values for c in columns if not c.nullable}
        for name, found in checks.items():
            if reason := _reason(found, written, subject, name, never_null):
                report.warning(
                    "D605", f"`{name}` can never fail: {reason}", written.key("checks", name), help="remove it"
                )


def _checked(program: Checked) -> Iterator[tuple[str, Written[object], Mapping[str, CheckSpec], tuple[Column, ...]]]:
    for obj in program.resolved.objects.values():
        yield obj.name, Written(None, obj.doc), obj.checks, obj.columns
    for relation in program.relations.values():
        if relation.bound.relation.round is None:
            written = relation.bound.relation.written
            yield relation.bound.relation.name, written, written.spec.checks, relation.columns


def _not_null(tree: exp.Expr) -> exp.Expr | None:
    """Return what `… IS NOT NULL` or `NOT … IS NULL` is asked of."""
    inner = tree.this.unnest() if isinstance(tree, exp.Not) else tree
    asked = isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null)
    return inner.this if asked and isinstance(tree, exp.Not) != bool(inner.args.get("negate")) else None


def _is_whole(tree: exp.Expr, never_null: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a predicate and its opposite stand side by side, as in `a < b OR a >= b`."""
    if not isinstance(tree, exp.Or):
        return False
    left, right = tree.left.unnest(), tree.right.unnest()
    opposite = any({type(left), type(right)} == pair for pair in _OPPOSITES)
    same = isinstance(left, exp.Binary) and isinstance(right, exp.Binary) and left.args == right.args
    return opposite and same and {c.name for c in tree.find_all(exp.Column)} <= never_null.keys()


def _names_all(tree: exp.Expr, never_null: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a list names every value that its column may have."""
    if not isinstance(tree, exp.In) or not isinstance(tree.this, exp.Column):
        return False
    values = never_null.get(tree.this.name, ())
    return bool(values) and {*values} <= {e.name for e in tree.expressions if e.is_string}


def _reason(
    found: CheckSpec, written: Written[object], subject: str, name: str, never_null: Mapping[str, tuple[str, ...]]
) -> str:
    """Return why a check holds whatever the rows are, or nothing."""
    if not isinstance(found, WhereCheck):
        if found.coverage.of == f"{subject}.{found.coverage.by}":
            return "a column always reaches its own values"
        return "a share of 0 is always reached" if found.coverage.at_least == 0 else ""
    tree = parse_expression(written.text("checks", name, "where"), Report())
    if tree is None:
        return ""
    column = _not_null(tree)
    if isinstance(column, exp.Column) and column.name in never_null:
        return f"`{column.name}` is never null by its contract"
    reads = list(tree.find_all(exp.Column))
    same = isinstance(tree, exp.EQ | exp.LTE | exp.GTE) and tree.left == tree.right
    if same and {c.name for c in reads} <= never_null.keys():
        return "both sides are the same"
    if _is_whole(tree, never_null):
        return "one of the two always holds"
    if _names_all(tree, never_null):
        return "the list names every value that the column may have"
    simple = simplify(tree.copy())
    return "it is always true" if isinstance(simple, exp.Boolean) and simple.this else ""
