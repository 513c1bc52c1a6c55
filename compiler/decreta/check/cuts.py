"""Decide where a run must cut its stack of views, and what a query shape reads through them.

Cut points are necessity, not policy: the engine computes a view as often as it is used, and plans deep stacks of
filters in exponential time (DataFusion 55, seen). Policy chooses only where a cut's rows are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from decreta.diagnostics import Report
from decreta.model.program import CheckedQuery, CheckedRelation, Object


def cut_points(
    relations: Mapping[str, CheckedRelation], filters: Mapping[str, bool], order: tuple[str, ...], max_levels: int
) -> dict[str, str]:
    """Return the relations that are computed once a run, each with the reason; a stored one is a cut by itself."""
    uses = Counter(table for relation in relations.values() for table in _mentions(relation))
    cut: dict[str, str] = {}
    levels: dict[str, int] = {}
    for name in order:
        relation = relations[name]
        below = max((levels.get(i, 0) for i in relation.bound.inputs), default=0)
        levels[name] = below + int(filters[name])
        if relation.bound.relation.written.spec.store:
            levels[name] = 0
        elif uses[name] > 1:
            cut[name] = "used_twice"
            levels[name] = 0
        elif levels[name] >= max_levels:
            cut[name] = "deep_filters"
            levels[name] = 0
    return cut


def _mentions(relation: CheckedRelation) -> list[str]:
    names = set(relation.bound.inputs)
    return [t.name for t in relation.bound.statement.tree.find_all(exp.Table) if t.name in names]


def placed(relation: CheckedRelation, cut: str | None) -> CheckedRelation:
    """Return `relation` with its cut point noted."""
    return replace(relation, cut_point=cut)


def reads(
    query: CheckedQuery, relations: Mapping[str, CheckedRelation], objects: Mapping[str, Object], report: Report
) -> CheckedQuery:
    """Return `query` with the datasets it reads through views, and those views in order."""
    datasets: dict[str, set[str]] = {}
    views: list[str] = []

    def visit(name: str, columns: tuple[str, ...]) -> None:
        relation = relations.get(name)
        if relation is None or relation.bound.relation.written.spec.store:
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
