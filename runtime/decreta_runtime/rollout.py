"""Count, domain by domain, what a policy's decisions have shown in a lake: what a person promotes a domain by.

A complete run counts for a domain if it ran under this very policy with the domain not wholly off, or if every decision
that it recorded for the domain is still the same choice. Of readers, which are no runs, what they noted is summed too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any, NamedTuple, get_args

import msgspec

from decreta_runtime.contract.manifest import Gate, Manifest
from decreta_runtime.contract.policy import DOMAINS, Choice, Decision, Guard, Policy
from decreta_runtime.contract.records import ShadowDetail
from decreta_runtime.contract.rollout import Criterion, DomainReport, Effect, Exempt, RolloutReport
from decreta_runtime.guards import words_of
from decreta_runtime.lake import Lake
from decreta_runtime.record import noted, runs_of

_PLACES = Decimal("0.01")
"""A share has the two places that gates are written with, rounded down."""
_FAILS: dict[str, Guard] = {words_of(guard, False): guard for guard in get_args(Guard)}


class _Shadow(NamedTuple):
    attempt: str
    reader: bool
    pointer: str
    detail: ShadowDetail


class _Failure(NamedTuple):
    attempt: str
    pointer: str
    guard: str
    policy_digest: str | None
    """Of readers: guards of theirs are known by no choice, so only those under this very policy are counted."""


def rollout_report(manifest: Manifest, policy: Policy, lake: Lake) -> RolloutReport:
    """Return the report of a policy over a lake's ledger. Raises LakeUnusable."""
    lake.check_readable()
    runs = runs_of(lake, manifest.pack, policy.environment)
    # Policies of other environments may hold the same choices in the same lake.
    digests = {policy.digest, *(run["policy_digest"] for run in runs)}
    shadows = [_shadow(row) for row in noted(lake, manifest.pack, "shadow") if row["policy_digest"] in digests]
    failures = [_failure(row) for row in noted(lake, manifest.pack, "guard") if row["action"] in _FAILS]
    attempts = {run["attempt"]: str(run["policy_digest"]) for run in runs}
    found = [_domain(domain, policy, attempts, shadows, failures, manifest.gates.get(domain)) for domain in DOMAINS]
    return RolloutReport(
        pack=manifest.pack,
        environment=policy.environment,
        policy_digest=policy.digest,
        complete_runs=len(runs),
        domains=tuple(found),
    )


def _domain(
    domain: str,
    policy: Policy,
    attempts: Mapping[str, str],
    shadows: Iterable[_Shadow],
    failures: Iterable[_Failure],
    gate: Gate | None,
) -> DomainReport:
    decisions = policy.decisions(domain)
    known = {choice.pointer: choice.value.choice_id for choice in decisions.values()}
    modes = Counter(str(choice.value.mode) for choice in decisions.values())
    mine = [shadow for shadow in shadows if shadow.detail.domain == domain]
    runs = _counted(mine, known, attempts, policy.digest if set(modes) - {"off"} else None)
    counted = [s for s in mine if s.attempt in runs or (s.reader and known.get(s.pointer) == s.detail.choice_id)]
    failed = Counter(guard for s in counted for guard, holds in s.detail.guards.items() if holds is False)
    failed += Counter(
        f.guard for f in failures if f.pointer in known and (f.attempt in runs or f.policy_digest == policy.digest)
    )
    agreeing = sum(choice.value.value == choice.value.baseline for choice in decisions.values())
    agreement = _share(agreeing, len(decisions))
    criteria = None if gate is None else _criteria(gate, len(runs), agreement, failed.total())
    return DomainReport(
        domain=domain,
        modes=dict(sorted(modes.items())),
        decisions=len(decisions),
        agreeing=agreeing,
        agreement=None if agreement is None else str(agreement),
        runs=len(runs),
        shadows=len(counted),
        changes=dict(sorted(Counter(field for s in counted for field in s.detail.would.changes).items())),
        effects=_effects(counted),
        failures=failed.total(),
        failed=dict(sorted(failed.items())),
        gate=criteria,
        met=None if criteria is None else all(criterion.met for criterion in criteria.values()),
        exceptions=tuple(_exceptions(decisions)),
    )


def _counted(
    shadows: Iterable[_Shadow], known: Mapping[str, str], attempts: Mapping[str, str], digest: str | None
) -> set[str]:
    """Return the attempts whose complete runs show something of the decisions as they are now."""
    same: set[str] = set()
    other: set[str] = set()
    for shadow in shadows:
        (same if known.get(shadow.pointer) == shadow.detail.choice_id else other).add(shadow.attempt)
    return {attempt for attempt, ran_with in attempts.items() if ran_with == digest or attempt in same - other}


def _effects(shadows: Iterable[_Shadow]) -> dict[str, Effect]:
    found: dict[str, Effect] = {}
    for shadow in shadows:
        for name, pair in shadow.detail.would.figures.items():
            before = found.get(name, Effect(baseline=0, decision=0, unknown=0))
            if pair.baseline is None or pair.decision is None:
                found[name] = msgspec.structs.replace(before, unknown=before.unknown + 1)
            else:
                baseline, decision = before.baseline + pair.baseline, before.decision + pair.decision
                found[name] = msgspec.structs.replace(before, baseline=baseline, decision=decision)
    return dict(sorted(found.items()))


def _criteria(gate: Gate, runs: int, agreement: Decimal | None, failures: int) -> dict[str, Criterion]:
    agrees = agreement is not None and agreement >= Decimal(gate.agreement)
    share = None if agreement is None else str(agreement)
    return {
        "runs": Criterion(asked=gate.runs, found=runs, met=runs >= gate.runs),
        "agreement": Criterion(asked=gate.agreement, found=share, met=agrees),
        "failures": Criterion(asked=gate.failures, found=failures, met=failures <= gate.failures),
    }


def _share(part: int, whole: int) -> Decimal | None:
    return (Decimal(part) / whole).quantize(_PLACES, ROUND_DOWN) if whole else None


def _exceptions(decisions: Mapping[str, Choice[Decision]]) -> Iterable[Exempt]:
    for subject, choice in decisions.items():
        if (exemption := choice.value.exemption) is not None:
            yield Exempt(subject=subject, mode=choice.value.mode, because=exemption.reason, until=exemption.until)


def _shadow(row: Mapping[str, Any]) -> _Shadow:
    detail = msgspec.json.decode(row["detail"], type=ShadowDetail)
    return _Shadow(row["attempt"], row["run_seq"] is None, row["pointer"], detail)


def _failure(row: Mapping[str, Any]) -> _Failure:
    read_with = row["policy_digest"] if row["run_seq"] is None else None
    return _Failure(row["attempt"], row["pointer"], _FAILS[row["action"]], read_with)
