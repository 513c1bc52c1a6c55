"""What a violated check does and when it is asked: the contract's word, tightened or relaxed by the environment."""

from __future__ import annotations

from collections.abc import Mapping

from decreta.model.program import Checked
from decreta.model.spec import CheckSpec, ValidationMode
from decreta_runtime.contract.manifest import Check
from decreta_runtime.contract.policy import CheckTime, OnViolation, ValidationValue


def validation(checked: Checked, mode: ValidationMode) -> dict[str, dict[str, ValidationValue]]:
    """Return the section of a policy: subject → check → what is done, and when."""
    found: dict[str, dict[str, ValidationValue]] = {}
    for name, obj in checked.objects.items():
        written = obj.object.source is not None
        found[name] = _subject(obj.checks, obj.object.checks, written, mode)
    for name, relation in checked.relations.items():
        stored, declared = relation.bound.relation.stored, relation.bound.relation.written.spec.checks
        found[name] = _subject(relation.checks, declared, stored, mode)
    return {name: checks for name, checks in found.items() if checks}


def _subject(
    checks: tuple[Check, ...], declared: Mapping[str, CheckSpec], written: bool, mode: ValidationMode
) -> dict[str, ValidationValue]:
    return {
        check.name: ValidationValue(
            on_violation=_violation(declared.get(check.name), mode), when=_when(check, written, mode)
        )
        for check in checks
    }


def _violation(spec: CheckSpec | None, mode: ValidationMode) -> OnViolation:
    """Return what a contract promises; what the compiler itself promises (keys, columns) is always refused."""
    if spec is None or mode == "strict":
        return "refuse"
    return spec.relaxed or spec.on_violation if mode == "relaxed" else spec.on_violation


def _when(check: Check, written: bool, mode: ValidationMode) -> CheckTime:
    """A condition on single rows is asked while they are written; what was proven is asked only where all is."""
    if check.proven and mode != "strict":
        return "compile"
    return "write" if written and check.predicate is not None else "run"
