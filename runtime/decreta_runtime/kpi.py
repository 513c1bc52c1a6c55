"""Count the key figures of a policy from itself, the records of its runs, and the ledger."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from itertools import groupby
from typing import Any, get_args

from decreta_runtime.confidence import Judged, Verdict, judged
from decreta_runtime.contract.kpi import (
    KPI_FORMAT,
    Confidence,
    DecisionCounts,
    DerivationPoint,
    Fallbacks,
    GuardCounts,
    Kpi,
    Outcomes,
    Overrides,
    Part,
    Pruning,
    PruningPoint,
    PruningTrend,
    Replays,
    Share,
)
from decreta_runtime.contract.policy import Decision, Policy
from decreta_runtime.contract.records import DECIDED, REPLAYED_EQUAL
from decreta_runtime.guards import OUTCOMES
from decreta_runtime.ladder import Effectiveness, effectiveness
from decreta_runtime.lake import Lake
from decreta_runtime.record import (
    Action,
    Lookup,
    actions_under,
    lookups_under,
    noted_under,
    runs_of,
    runs_under,
    writes_under,
)

_EPOCH = datetime.fromtimestamp(0, UTC)
_PART, _FINE = Decimal("0.01"), Decimal("0.0001")
"""The places that shares and scores have."""


def key_figures(
    pack: str, policy: Policy, lake: Lake, overrides: Overrides | None = None, told: Sequence[Judged] | None = None
) -> Kpi:
    """Return the figures of a policy over a lake. Raises LakeUnusable if there is none.

    `overrides` are counted by whoever sees the specs; `told` is what `judged` has found, if somebody has asked already.
    """
    lake.check_readable()
    runs = runs_under(lake, pack, policy.digest)
    actions = actions_under(lake, pack, policy.digest)
    points = _derived(policy, actions)
    told = judged(pack, policy, lake) if told is None else told
    decisions = [(each.domain, each.choice.value) for each in told]
    return Kpi(
        format=KPI_FORMAT,
        pack=pack,
        environment=policy.environment,
        policy_digest=policy.digest,
        runs=len(runs),
        actions=actions.total(),
        compile_context_fallback_callsites=_beyond_one([run.pack_loads for run in runs]),
        dataset_bindings_fallback_callsites=_beyond_one([run.bindings for run in runs]),
        runtime_policy_derivation_points=sum(point.count for point in points) if actions else None,
        inference_decisions_with_confidence=_with_confidence([d for _, d in decisions]),
        writes_using_outcome_based_maintenance=_maintained(writes_under(lake, pack, policy.digest)),
        pruning_effectiveness_score=_pruning(lookups_under(lake, pack, policy.digest)),
        pruning_effectiveness_trend=_trend(pack, policy, lake),
        artifact_replay_success_rate=_replayed(noted_under(lake, pack, policy.digest, "replay")),
        fallbacks=_fallbacks([decision for _, decision in decisions], actions),
        confidence=_confidence(told),
        overrides=overrides,
        derivation_points=tuple(points),
        decisions=_counted(decisions),
    )


def _beyond_one(counts: Sequence[int]) -> int | None:
    """Return how many of what each run needs once were made beside; None without a run."""
    return sum(count - 1 for count in counts if count) if counts else None


def _derived(policy: Policy, actions: Counter[Action]) -> list[DerivationPoint]:
    """Return the actions that no entry of the policy caused, by what they were."""
    unresolved = policy.unresolved({action.pointer for action in actions if action.pointer is not None})
    found = []
    for action, count in actions.items():
        if action.kind in DECIDED if action.pointer is None else action.pointer in unresolved:
            found.append(DerivationPoint(**action._asdict(), count=count))
    return sorted(found, key=lambda p: (p.kind, p.subject, p.action, p.pointer or ""))


def _pruning(lookups: Sequence[Lookup]) -> dict[str, Pruning] | None:
    """Return by workload class what look-ups avoided of what they could; None without a look-up."""
    found = {}
    for workload in sorted({each.detail.workload for each in lookups}):
        asked = [each.detail.ladder.values() for each in lookups if each.detail.workload == workload]
        whole = effectiveness(ladder for ladders in asked for ladder in ladders)
        score = whole.score if whole else None
        found[workload] = Pruning(
            queries=len(asked),
            known=sum(effectiveness(ladders) is not None for ladders in asked),
            bytes_avoided=whole.avoided if whole else 0,
            bytes_avoidable=whole.avoidable if whole else 0,
            score=None if score is None else str(score),
        )
    return found or None


def _trend(pack: str, policy: Policy, lake: Lake) -> dict[str, PruningTrend] | None:
    """Return by workload class what the look-ups over each complete run of the environment avoided, run by run."""
    runs = runs_of(lake, pack, policy.environment)[::-1]
    digests = sorted({policy.digest, *(run["policy_digest"] for run in runs)})
    lookups = lookups_under(lake, pack, *digests)
    finished = [run["finished_us"] for run in runs]
    found: dict[str, list[PruningPoint]] = {}
    for at, group in groupby(lookups, lambda each: bisect.bisect_right(finished, _us(each.at))):
        over = list(group)
        for workload in sorted({each.detail.workload for each in over} if at else ()):
            mine = [each for each in over if each.detail.workload == workload]
            found.setdefault(workload, []).append(_point(runs[at - 1], mine))
    return {name: PruningTrend(points=tuple(points), change=_change(points)) for name, points in found.items()} or None


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _point(run: Mapping[str, Any], lookups: Sequence[Lookup]) -> PruningPoint:
    asked = [each.detail.ladder.values() for each in lookups]
    whole = effectiveness(ladder for ladders in asked for ladder in ladders) or Effectiveness(0, 0)
    return PruningPoint(
        run_seq=run["run_seq"],
        policy_digest=run["policy_digest"],
        queries=len(asked),
        known=sum(effectiveness(ladders) is not None for ladders in asked),
        bytes_avoided=whole.avoided,
        bytes_avoidable=whole.avoidable,
        score=None if whole.score is None else str(whole.score),
    )


def _change(points: Sequence[PruningPoint]) -> str | None:
    known = [Decimal(point.score) for point in points if point.score is not None]
    return str(known[-1] - known[-2]) if known[1:] else None


def _replayed(rows: Sequence[Mapping[str, Any]]) -> Replays | None:
    counts = Counter(row["action"] for row in rows)
    equal, of = counts[REPLAYED_EQUAL], len(rows)
    by_outcome = dict(sorted((name, count) for name, count in counts.items() if count))
    return Replays(count=equal, of=of, share=_share(equal, of, _FINE), by_outcome=by_outcome) if rows else None


def _fallbacks(decisions: Sequence[Decision], actions: Counter[Action]) -> Fallbacks:
    guards: dict[str, GuardCounts] = {}
    for action, count in actions.items():
        if action.action in OUTCOMES:
            guard, holds = OUTCOMES[action.action]
            was = guards.get(guard, GuardCounts(asked=0, failed=0))
            guards[guard] = GuardCounts(asked=was.asked + count, failed=was.failed + (0 if holds else count))
    reasons = _tally(d.fallback_reason for d in decisions if d.fallback_reason is not None)
    return Fallbacks(by_reason=reasons, by_guard=dict(sorted(guards.items())))


def _confidence(told: Sequence[Judged]) -> Confidence:
    """Return what came of decisions by what they were worth, and the mean squares of how far off that was."""
    right = [(Decimal(each.choice.value.confidence_score), int(each.verdict == "right")) for each in _settled(told)]
    rate = Decimal(sum(outcome for _, outcome in right)) / len(right) if right else Decimal(0)
    squares = [(sure - outcome) * (sure - outcome) for sure, outcome in right]
    return Confidence(
        by_band=_outcomes_by(told, lambda each: each.choice.value.confidence_score[:-1]),
        by_domain=_outcomes_by(told, lambda each: each.domain),
        whole=_outcomes(told),
        by_evidence=_tally(observation.told for each in told for observation in each.observed),
        brier_score=str((sum(squares, Decimal(0)) / len(squares)).quantize(_FINE)) if squares else None,
        brier_score_constant=str((rate * (1 - rate)).quantize(_FINE)) if squares else None,
    )


def _settled(told: Sequence[Judged]) -> list[Judged]:
    return [each for each in told if each.verdict in ("right", "wrong")]


def _outcomes_by(told: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, Outcomes]:
    return {name: _outcomes([each for each in told if key(each) == name]) for name in sorted({key(e) for e in told})}


def _outcomes(told: Sequence[Judged]) -> Outcomes:
    counts = Counter(each.verdict for each in told)
    unlike, settled = len(told) - counts["as_baseline"], len(_settled(told))
    return Outcomes(
        decisions=len(told),
        **{name: counts[name] for name in get_args(Verdict)},
        coverage=_share(unlike - counts["unknown"], unlike),
        right_share=_share(counts["right"], settled),
    )


def _with_confidence(decisions: Sequence[Decision]) -> Share:
    bare = Counter(d.origin for d in decisions if not (d.confidence_score and d.evidence_sources))
    declared, of = Counter(d.origin for d in decisions)["declared"], len(decisions)
    count = of - bare.total() + bare["declared"]
    return Share(count=count, of=of, declared=declared, share=_share(count, of))


def _maintained(writes: Sequence[bool]) -> Part:
    return Part(count=sum(writes), of=len(writes), share=_share(sum(writes), len(writes)))


def _share(count: int, of: int, places: Decimal = _PART) -> str | None:
    return str((Decimal(count) / of).quantize(places, ROUND_DOWN)) if of else None


def _counted(decisions: Sequence[tuple[str, Decision]]) -> DecisionCounts:
    every = [decision for _, decision in decisions]
    return DecisionCounts(
        by_domain=_tally(domain for domain, _ in decisions),
        by_origin=_tally(d.origin for d in every),
        by_mode=_tally(d.mode for d in every),
        by_confidence=_tally(d.confidence_score[:-1] for d in every),
        by_fallback_reason=_tally(d.fallback_reason or "none" for d in every),
    )


def _tally(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))
