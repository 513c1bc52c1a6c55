"""Say what a run would read, build, place and write, with the decision behind each step; touch nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from decreta_runtime.contract.manifest import QUARANTINE, RUN_WORKLOAD
from decreta_runtime.contract.policy import Choice
from decreta_runtime.evolve import evolution
from decreta_runtime.lake import open_table
from decreta_runtime.locations import exists
from decreta_runtime.pack import Pack
from decreta_runtime.record import last_run


def plan(pack: Pack, workload: str = RUN_WORKLOAD) -> list[dict[str, Any]]:
    """Return the steps of a run in order: action, subject, value, pointer, guards and what is taken otherwise."""
    pack.check_workload(workload)
    pack.verify()
    manifest, policy = pack.manifest, pack.policy
    steps = [_step("session", workload, policy.session(workload))]
    sources = {entry.source.name for entry in manifest.objects.values() if entry.source is not None}
    steps += [_step("extract", name, policy.source(name)) for name in sorted(sources)]
    for name, entry in manifest.objects.items():
        steps.append(_refreshed(pack, name))
        if entry.source is not None:
            steps.append(_step("write", name, policy.write(name)))
        steps.append(_step("scan", name, policy.scan(name)))
    for name in manifest.order:
        steps.append(_refreshed(pack, name))
        if manifest.relations[name].stored:
            steps.append(_step("write", name, policy.write(name)))
            steps.append(_step("scan", name, policy.scan(name)))
        else:
            steps.append(_step("place", name, policy.cache(name)))
    for name in manifest.datasets():
        values = [policy.validation(name, check.name).value for check in manifest.checks_of(name)]
        if any(value.on_violation == "quarantine" for value in values):
            steps.append(_step("write", name + QUARANTINE, policy.write(name)))
    for name in manifest.datasets():
        steps += [_step("index", f"{name}.{index}", policy.index(name, index)) for index in manifest.indexes_of(name)]
    steps += _schemas(pack)
    for name, checks in manifest.checks().items():
        steps += [_step("check", f"{name}.{check.name}", policy.validation(name, check.name)) for check in checks]
    return steps


def _refreshed(pack: Pack, name: str) -> dict[str, Any]:
    """Return how an object or relation will be brought up to date, with what a refresh by groups reads whole."""
    step, relation = _step("refresh", name, pack.policy.refresh(name)), pack.manifest.relations.get(name)
    groups = None if relation is None else relation.groups
    if groups is not None:
        step["value"] |= {"inputs": groups.inputs, "whole": list(groups.whole)}
    return step


def _schemas(pack: Pack) -> list[dict[str, Any]]:
    """Return a step for each dataset whose table differs from its contract, refused ones too."""
    steps = []
    last = last_run(pack.lake, pack.manifest.pack) if exists(pack.lake.root) else None
    for name in pack.manifest.datasets() if last is not None else ():
        entry = pack.manifest.objects.get(name)
        if last is None or name not in last.versions or (entry is not None and entry.table is not None):
            continue
        path = pack.lake.dataset(pack.manifest.pack, name)
        table, choice = open_table(path, last.versions[name]), pack.policy.schema_change(name)
        found = evolution(path, table, pack.manifest.columns_of(name), pack.manifest.key_of(name), choice)
        if found.changes:
            step = _step("schema", name, choice)
            changes = [{"kind": change.kind, "words": change.words} for change in found.changes]
            step["value"] = {"mode": choice.value.mode, "action": found.action, "changes": changes}
            steps.append(step)
    return steps


def _step(action: str, subject: str, choice: Choice[Any]) -> dict[str, Any]:
    return {
        "action": action,
        "subject": subject,
        "value": msgspec.to_builtins(choice.value),
        "pointer": choice.pointer,
        "requires": list(choice.requires),
        "shadow": None if choice.shadow is None else msgspec.to_builtins(choice.shadow.value),
        "otherwise": None if choice.otherwise is None else msgspec.to_builtins(choice.otherwise),
    }
