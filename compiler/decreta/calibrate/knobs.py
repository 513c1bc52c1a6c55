"""What may be turned in an environment: thresholds that declare how, and that the environment does not set itself."""

from __future__ import annotations

from decreta.calibrate import Knob
from decreta.calibrate.judge import Bounds
from decreta.decide import at_each_rung
from decreta.model.program import Checked, RuleBook
from decreta_runtime.contract.policy import DOMAINS, PolicyFile


def bounds_of(book: RuleBook) -> Bounds:
    """Return the numbers that every knob is held by."""
    return Bounds(*(book.number(f"calibration.{name}") for name in Bounds._fields))


def knobs_of(checked: Checked, environment: str, policy: PolicyFile) -> dict[str, Knob]:
    """Return the knobs that decisions of a policy read, each with what its rungs would come to."""
    resolved = checked.resolved
    pinned = resolved.environments[environment].spec.thresholds
    found = {}
    for name, how in resolved.rules.knobs.items():
        if name in policy.inputs and name not in pinned:
            spec = resolved.rules.thresholds[name].spec
            found[name] = Knob(
                name,
                spec.unit,
                tuple(spec.ladder),
                spec.value,
                how.objective,
                how.guards,
                how.samples,
                how.dead_band,
                how.cool_down,
                how.lasts,
                _features(policy, name),
            )
    obeyed = at_each_rung(checked, environment, {name: knob.ladder for name, knob in found.items()})
    return {name: knob._replace(obeyed=obeyed[name]) for name, knob in found.items()}


def _features(policy: PolicyFile, knob: str) -> frozenset[str]:
    """Return what decisions that read a knob rely on of the engine."""
    decisions = (d for section, _ in DOMAINS.values() for d in getattr(policy, section).values())
    reading = (
        d
        for d in decisions
        if any(knob in policy.rules[r].inputs for r in (d.rule, *d.passed_over) if r in policy.rules)
    )
    facts = (e for d in reading for e in d.evidence_sources if e.source == "capability")
    return frozenset(e.fact.partition(".")[2] for e in facts)
