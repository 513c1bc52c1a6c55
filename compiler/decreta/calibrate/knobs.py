"""What may be turned in an environment: thresholds that declare how, and that the environment does not set itself.

A rung that changes no decision beside its neighbour is no rung: trying it would cost epochs and show nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from decreta.calibrate import Knob
from decreta.calibrate.judge import Bounds
from decreta.decide import decide
from decreta.diagnostics import Report
from decreta.model.program import Checked, RuleBook
from decreta.model.spec import ThresholdSpec
from decreta_runtime.contract.calibration import CalibrationLock, Rung
from decreta_runtime.contract.policy import DOMAINS, PolicyFile


def bounds_of(book: RuleBook) -> Bounds:
    """Return the numbers that every knob is held by."""
    return Bounds(*(book.number(f"calibration.{name}") for name in Bounds._fields))


def knobs_of(checked: Checked, environment: str, policy: PolicyFile) -> dict[str, Knob]:
    """Return the knobs that decisions of a policy read, each with the rungs that change one."""
    resolved = checked.resolved
    pinned, lock = resolved.environments[environment].spec.thresholds, resolved.calibration.get(environment)
    found = {}
    for name, how in resolved.rules.knobs.items():
        if name in policy.inputs and name not in pinned:
            spec = resolved.rules.thresholds[name].spec
            found[name] = Knob(
                name,
                spec.unit,
                tuple(_felt(checked, environment, spec, _held(lock, spec))),
                spec.value,
                how.objective,
                how.guards,
                how.samples,
                how.dead_band,
                how.cool_down,
                how.lasts,
                _features(policy, name),
            )
    return found


def _held(lock: CalibrationLock | None, spec: ThresholdSpec) -> set[Rung | None]:
    """Return the rungs that a knob stands on."""
    state = lock.knobs.get(spec.id) if lock is not None else None
    return {spec.value} if state is None else {spec.value, state.value, state.trial}


def _felt(checked: Checked, environment: str, spec: ThresholdSpec, held: set[Rung | None]) -> Iterator[Rung]:
    """Yield one of neighbouring rungs that decide alike, and all that the knob stands on."""
    effects = ((rung, _decided(checked, environment, spec.id, rung)) for rung in spec.ladder)
    for effect, group in itertools.groupby(effects, key=lambda found: found[1]):
        rungs = [rung for rung, _ in group]
        if effect is not None:
            yield from [rung for rung in rungs if rung in held] or rungs[:1]


def _decided(checked: Checked, environment: str, knob: str, rung: Rung) -> dict[str, Any] | None:
    """Return what decisions would do with a knob at a rung; None where the compiler would refuse it."""
    written = checked.resolved.environments[environment]
    spec = written.spec.model_copy(update={"thresholds": {**written.spec.thresholds, knob: rung}})
    alone = replace(checked.resolved, environments={environment: replace(written, spec=spec)})
    decided = decide(replace(checked, resolved=alone), Report())
    if decided is None:
        return None
    policy = decided.policies[environment]
    decisions = {(d, n): c for d, (section, _) in DOMAINS.items() for n, c in getattr(policy, section).items()}
    return {
        f"{domain}/{name}": [_felt_of(v) for v in ((c.value, c.otherwise) if c.mode == "enforce" else (c.baseline,))]
        for (domain, name), c in decisions.items()
    }


def _felt_of(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what of a decision's value anything can come of: an index that is not built has no form."""
    return {"build": False} if value is not None and value.get("build") is False else value


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
