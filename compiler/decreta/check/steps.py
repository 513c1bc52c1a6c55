"""Which datasets of a query shape are wanted only where they meet a look-up of another: what to ask for first.

A look-up is a scan that names terms. Each scan of a dataset must meet one, because a session lists its files once.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from decreta.check.asks import conditions
from decreta.engine import Engine, PlanRefused
from decreta.model.program import CheckedQuery, CheckedRelation
from decreta.plans import Meeting
from decreta_runtime.contract.manifest import Ask, Step

_LOOK_UPS = ("=", "in", "like")
"""Conditions that leave few rows, the best first; ranges leave any number."""


def steps(query: CheckedQuery, relations: Mapping[str, CheckedRelation], engine: Engine) -> dict[str, tuple[Step, ...]]:
    """Return for each dataset the look-up before each of its scans; nothing of one that a look-up is made of.

    So no step waits for another.
    """
    if any("\n" in literal.this for literal in query.bound.statement.tree.find_all(exp.Literal)):
        return {}  # the planner's words are read line by line
    views = {name: relations[name].sql or "" for name in query.views}
    try:
        scans, meetings = engine.meetings(query.sql, views)
    except PlanRefused:
        return {}
    found: dict[str, dict[int, list[Step]]] = {}
    for meeting in meetings:
        if (step := _step(meeting)) is not None and {meeting.table, step.dataset} <= query.datasets.keys():
            found.setdefault(meeting.table, {}).setdefault(meeting.scan, []).append(step)
    whole = {table: each for table, each in sorted(found.items()) if len(each) == scans.count(table)}
    chosen: dict[str, tuple[Step, ...]] = {}
    for table, each in whole.items():
        best = tuple(dict.fromkeys(min(known, key=_rank) for _, known in sorted(each.items())))
        giving = {step.dataset for known in chosen.values() for step in known}
        if table not in giving and not any(step.dataset in chosen for step in best):
            chosen[table] = best
    return chosen


def _step(meeting: Meeting) -> Step | None:
    where = conditions(meeting.condition) if meeting.condition else ()
    if meeting.table == meeting.giver or not any(ask.op in _LOOK_UPS for ask in where):
        return None
    return Step(column=meeting.column, dataset=meeting.giver, gives=meeting.gives, where=where)


def _rank(step: Step) -> tuple[int, str, str, str]:
    def of(ask: Ask) -> int:
        return _LOOK_UPS.index(ask.op) if ask.op in _LOOK_UPS else len(_LOOK_UPS)

    return min(map(of, step.where)), step.dataset, step.gives, step.column
