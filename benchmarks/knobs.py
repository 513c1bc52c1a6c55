"""What a sweep of policies may turn: the rules' ladders, and the fields of the contract that enumerate their values.

Nothing is listed by hand but what no query shape can feel.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from policies import INDEX, SCAN, SESSION, WRITE, Edit, Policy, set_setting, set_values

from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.contract.policy import DOMAINS, CacheValue, IndexValue, ScanValue, SessionValue, WriteValue

RULES = Path(__file__).resolve().parents[1] / "specs/std/rules"
NOT_FELT = frozenset(
    {"path", "mode", "staging", "source_workers", "source_chunks_per_worker", "source_chunks_ahead", "spill_buffer_bytes", "ledger_buffer_rows"}
)  # fmt: skip
"""Fields that bear on runs alone, as all of the cache domain does; and the path, which a table's protocol settles: what
delta-rs reads lies in memory from then on, so that it is no scan whose time could be compared."""
KINDS = {SCAN: ScanValue, WRITE: WriteValue}
CORES = os.cpu_count() or 1


class Candidate(NamedTuple):
    """One knob turned to one value, and the edit of a policy that does it."""

    knob: str
    name: str
    edit: Edit


def candidates(policy: Policy) -> list[Candidate]:
    """Return each value of each knob that is not the policy's already, those that need a lake of their own last."""
    found = {c.name: c for c in (*_enumerated(), *_rungs(), *_indexes(policy))}
    before, lake = json.dumps(policy, sort_keys=True), written(policy)
    read, wrote = [], []
    for candidate in found.values():
        after = json.loads(before)
        candidate.edit(after)
        if json.dumps(after, sort_keys=True) != before:
            (read if written(after) == lake else wrote).append(candidate)
    return read + wrote


def _enumerated() -> Iterator[Candidate]:
    """Yield each field of a scan or a write whose type says what it may be."""
    for section, kind in KINDS.items():
        for name, hint in get_type_hints(kind).items():
            if name in NOT_FELT:
                continue
            choices = (True, False) if hint is bool else get_args(hint) if get_origin(hint) is Literal else ()
            for value in choices:
                yield _turned(section, name, value)
    for name in ("sort", "bloom_columns"):
        yield _turned(WRITE, name, [])


def _turned(section: str, name: str, value: Any) -> Candidate:
    knob = f"{section.partition('_')[0]}.{name}"
    return Candidate(knob, f"{knob}={value}", set_values(section, **{name: value}))


def _rungs() -> Iterator[Candidate]:
    """Yield each rung of each threshold, and each number of cores, that a rule gives to a field or a setting."""
    for file in sorted(RULES.glob("*.toml")):
        rules = tomllib.loads(file.read_text())
        ladders = {f"${t['id']}": t["ladder"] for t in rules.get("threshold", ())} | {"$budget.cores": [1, CORES]}
        for domain in rules.get("domain", {}):
            section = DOMAINS[domain][0]
            for rule in rules.get("rule", ()):
                yield from _of_rule(section, rule["then"], ladders)


def _of_rule(section: str, then: dict[str, Any], ladders: dict[str, list[Any]]) -> Iterator[Candidate]:
    for name, text in then.items():
        if section != SESSION and isinstance(text, str) and text in ladders and name not in NOT_FELT:
            yield from (_turned(section, name, rung) for rung in ladders[text])
    for name, setting in then.get("settings", {}).items():
        for rung in ladders.get(str(setting["value"]), ()):
            yield Candidate(name, f"{name.rpartition('.')[2]}={rung}", set_setting(name, str(rung)))


def _indexes(policy: Policy) -> Iterator[Candidate]:
    for subject, decision in policy[INDEX].items():
        serves = decision["value"]["shapes"] or (decision["otherwise"] or {}).get("shapes") or None
        for build in (True, False):
            yield Candidate(f"index.{subject}", f"index.{subject}={build}", _index(subject, build, serves))


def _index(subject: str, build: bool, serves: list[str] | None) -> Edit:
    def edit(policy: Policy) -> None:
        value = policy[INDEX][subject]["value"]
        value["build"] = build
        value["shapes"] = [] if not build else serves or sorted(policy["udf_requirements_by_view"])

    return edit


def effective(policy: Policy, manifest: Manifest, shape: str) -> str:
    """Return what a shape's cost depends on in a policy: two policies with the same are one for it."""
    entry = manifest.queries[shape]
    parts: list[Any] = [policy[SESSION][entry.workload]["value"]["settings"]]
    for dataset in entry.datasets:
        parts += [policy[section].get(dataset, {}).get("value") for section in (SCAN, WRITE)]
        indexes = {f"{dataset}.{name}" for name in manifest.indexes_of(dataset)}
        parts += [policy[INDEX][name]["value"] for name in sorted(indexes)]
    return json.dumps(parts, sort_keys=True)


def written(policy: Policy) -> str:
    """Return what a policy says of how a lake is written."""
    values = {section: {n: d["value"] for n, d in policy[section].items()} for section in (WRITE, INDEX)}
    for value in values[INDEX].values():
        value.pop("shapes", None)
    return json.dumps(values, sort_keys=True)


assert {CacheValue, IndexValue, SessionValue} <= {kind for _, kind in DOMAINS.values()}
