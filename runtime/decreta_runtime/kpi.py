"""Count the key figures of a policy from itself, the records of its runs, and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, Decimal

from decreta_runtime.contract.kpi import KPI_FORMAT, DecisionCounts, DerivationPoint, Kpi, Part, Pruning, Share
from decreta_runtime.contract.policy import DOMAINS, Decision, Policy
from decreta_runtime.contract.records import DECIDED
from decreta_runtime.ladder import effectiveness
from decreta_runtime.lake import Lake
from decreta_runtime.record import (
    Action,
    Lookup,
    actions_under,
    lookups_under,
    runs_under,
    writes_under,
)


def key_figures(pack: str, policy: Policy, lake: Lake) -> Kpi:
    """Return the figures of a policy over a lake. Raises LakeUnusable if there is none."""
    lake.check_readable()
    runs = runs_under(lake, pack, policy.digest)
    actions = actions_under(lake, pack, policy.digest)
    points = _derived(policy, actions)
    decisions = [(d, choice.value) for d in DOMAINS for choice in policy.decisions(d).values()]
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


def _with_confidence(decisions: Sequence[Decision]) -> Share:
    bare = Counter(d.origin for d in decisions if not (d.confidence_score and d.evidence_sources))
    declared, of = Counter(d.origin for d in decisions)["declared"], len(decisions)
    count = of - bare.total() + bare["declared"]
    return Share(count=count, of=of, declared=declared, share=_share(count, of))


def _maintained(writes: Sequence[bool]) -> Part:
    return Part(count=sum(writes), of=len(writes), share=_share(sum(writes), len(writes)))


def _share(count: int, of: int) -> str | None:
    return str((Decimal(count) / of).quantize(Decimal("0.01"), ROUND_DOWN)) if of else None


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
