"""Say what a run would read, build, place and write, with the decision behind each step; touch nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from decreta_runtime.contract.manifest import RUN_WORKLOAD
from decreta_runtime.contract.policy import Choice
from decreta_runtime.pack import Pack


def plan(pack: Pack) -> list[dict[str, Any]]:
    """Return the steps of a run in order: action, subject, value, pointer, guards and what is taken otherwise."""
    pack.verify()
    manifest, policy = pack.manifest, pack.policy
    steps = [_step("session", RUN_WORKLOAD, policy.session(RUN_WORKLOAD))]
    sources = {entry.source.name for entry in manifest.objects.values() if entry.source is not None}
    steps += [_step("extract", name, policy.source(name)) for name in sorted(sources)]
    for name, entry in manifest.objects.items():
        if entry.source is not None:
            steps.append(_step("write", name, policy.write(name)))
        steps.append(_step("scan", name, policy.scan(name)))
    for name in manifest.order:
        if manifest.relations[name].stored:
            steps.append(_step("write", name, policy.write(name)))
            steps.append(_step("scan", name, policy.scan(name)))
        else:
            steps.append(_step("place", name, policy.cache(name)))
    for name, checks in manifest.checks().items():
        steps += [_step("check", f"{name}.{check.name}", policy.validation(name, check.name)) for check in checks]
    return steps


def _step(action: str, subject: str, choice: Choice[Any]) -> dict[str, Any]:
    return {
        "action": action,
        "subject": subject,
        "value": msgspec.to_builtins(choice.value),
        "pointer": choice.pointer,
        "requires": list(choice.requires),
        "otherwise": None if choice.otherwise is None else msgspec.to_builtins(choice.otherwise),
    }
