"""Decide where a run must cut its stack of views, and what a query shape reads through them.

Cut points are necessity, not policy: the engine computes a view as often as it is used, and plans deep stacks of
filters in exponential time (DataFusion 55, seen). Policy chooses only where a cut's rows are kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from sqlglot import exp

from decreta.check.functions import worst
from decreta.diagnostics import Report
from decreta.model.program import CheckedQuery, CheckedRelation, Object
from decreta_runtime.contract.capabilities import Volatility
from decreta_runtime.contract.manifest import Check


class Cuts(NamedTuple):
    """The relations that are computed once a run, each with the reason, and the volatility of every relation."""

    reasons: dict[str, str]
    volatility: dict[str, Volatility]


def cut_points(
    relations: Mapping[str, CheckedRelation],
    filters: Mapping[str, bool],
    order: tuple[str, ...],
    max_levels: int,
    own: Mapping[str, Volatility],
    asked: Mapping[str, int],
) -> Cuts:
    """Return what a run must compute once; a stored relation is a cut by itself.

    `own` is the volatility of each statement by itself, to which inputs add theirs unless they are computed once;
    `asked` says how many checks mention each relation.
    """
    uses = Counter(table for relation in relations.values() for table in _mentions(relation))
    called = {name for r in relations.values() if r.bound.relation.call for name in r.bound.inputs}
    cut, volatility = dict[str, str](), dict[str, Volatility]()
    levels: dict[str, int] = {}
    for name in order:
        relation = relations[name]
        inlined = [i for i in relation.bound.inputs if i in relations and i not in cut and not _stored(relations[i])]
        below = max((levels.get(i, 0) for i in relation.bound.inputs), default=0)
        levels[name] = below + int(filters.get(name, False))
        volatility[name] = worst((own[name], *(volatility[i] for i in inlined)))
        differs = volatility[name] != "immutable" and uses[name] + asked.get(name, 0) > 1
        if _stored(relation):
            levels[name] = 0
        elif reason := _reason(relation, uses[name], name in called, differs, levels[name] >= max_levels):
            cut[name] = reason
            levels[name] = 0
    return Cuts(cut, volatility)


def mentions(checks: Iterable[Check]) -> Counter[str]:
    """Return how many of `checks` have each word: at least all that compute a relation of that name."""
    return Counter(word for check in checks for word in set(re.findall(r"\w+", check.sql)))


def _stored(relation: CheckedRelation) -> bool:
    return relation.bound.relation.stored


def _reason(relation: CheckedRelation, uses: int, called: bool, differs: bool, deep: bool) -> str | None:
    if relation.bound.relation.call is not None:
        return "function_result"
    if relation.bound.relation.round is not None:
        return "round"
    if called:
        return "read_by_function"
    # A check must see the rows that readers see, so it counts as one where a second look would see others.
    return "used_twice" if uses > 1 else "volatile" if differs else "deep_filters" if deep else None


def strata(relations: Mapping[str, CheckedRelation], order: tuple[str, ...]) -> dict[str, int]:
    """Return for each relation how many results that are not monotone in their inputs lie at or below it.

    Minima and other aggregates, windows, anti-joins, differences and table functions end a stratum: what reads them may
    have to take rows back when their inputs grow.
    """
    found: dict[str, int] = {}
    for name in order:
        below = max((found.get(i, 0) for i in relations[name].bound.inputs), default=0)
        found[name] = below + int(not _monotone(relations[name]))
    return found


def _monotone(relation: CheckedRelation) -> bool:
    statement = relation.bound.statement
    if statement is None:
        return False
    kinds = (exp.AggFunc, exp.Window, exp.Except, exp.Limit, exp.Not, exp.Join)
    return not any(_takes_back(node) for node in statement.tree.find_all(*kinds))


def _takes_back(node: exp.Expr) -> bool:
    if isinstance(node, exp.Join):
        return bool(node.side) or node.kind.upper() == "ANTI"
    if isinstance(node, exp.Not):
        return node.find(exp.Query) is not None
    return True


def _mentions(relation: CheckedRelation) -> list[str]:
    names = set(relation.bound.inputs)
    if relation.bound.statement is None:
        return list(names)
    return [t.name for t in relation.bound.statement.tree.find_all(exp.Table) if t.name in names]


def reads(
    query: CheckedQuery, relations: Mapping[str, CheckedRelation], objects: Mapping[str, Object], report: Report
) -> CheckedQuery:
    """Return `query` with the datasets it reads through views, and those views in order."""
    datasets: dict[str, set[str]] = {}
    views: list[str] = []

    def visit(name: str, columns: tuple[str, ...]) -> None:
        relation = relations.get(name)
        if relation is None or relation.bound.relation.stored:
            datasets.setdefault(name, set()).update(columns)
            return
        if relation.cut_point:
            place = query.bound.statement.origin
            report.error(
                "D314", f"`{name}` is computed once a run and not kept", place, help=f"add `store: true` to `{name}`"
            )
            return
        for below, used in relation.required.items():
            visit(below, used)
        if name not in views:
            views.append(name)

    for name, columns in query.datasets.items():
        visit(name, columns)
    return replace(
        query, datasets={name: tuple(sorted(used)) for name, used in sorted(datasets.items())}, views=tuple(views)
    )
