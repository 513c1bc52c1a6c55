"""Compare two policies: which decisions changed, and all that moved and may have changed them.

A policy says what decided, not why an older one decided otherwise: a cause here is whatever moved among what the
deciding rules read. All such causes are named, and where there is none that is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from decreta_runtime.contract.policy import DOMAINS, Decision, Evidence, PolicyFile, RuleText, pointer_to

What = Literal["added", "removed", "value", "mode", "rule", "confidence", "evidence"]
"""What changed of an entry, the weightiest alone: its value, how far it is obeyed, who decided, how sure that is."""

APART: tuple[What, ...] = ("rule", "confidence", "evidence")
"""Changes after which the same is done as before."""
CauseKind = Literal["input", "calibration", "fact", "rule", "declaration", "rollout", "specs"]

_VALUE = ("value", "baseline", "requires", "otherwise")
_MODE = ("mode", "exemption")
_RULE = ("rule", "origin", "passed_over")
_CONFIDENCE = ("confidence_score", "fallback_reason")


@dataclass(frozen=True, order=True)
class Cause:
    """Something that moved between the two policies, in words: `cache.min_consumers 2 → 3`."""

    kind: CauseKind
    words: str


NOTHING = Cause("specs", "no cause found in the policies")
GAINED = Cause("specs", "subjects that the pack gained or lost")
UNDECIDED = Cause("specs", "entries that no rule decides")


@dataclass(frozen=True)
class Difference:
    """One entry of the policies that differs; `before` and `after` are the fields of it that do."""

    pointer: str
    what: What
    before: Any
    after: Any
    causes: tuple[Cause, ...]


@dataclass(frozen=True)
class Comparison:
    """All that differs between two policies."""

    differences: tuple[Difference, ...]
    idle: tuple[Cause, ...]
    """Inputs and rules that moved without any decision following."""
    decisions: int
    """How many the newer policy has."""

    def by_cause(self, apart: bool) -> dict[tuple[Cause, ...], list[Difference]]:
        """Return differences by their causes, each under all of them, the cause of most first; those without come last.

        Causes of the very same differences stand together: nobody can tell which of them it was.

        `apart` asks for those after which the same is done as before.
        """
        found: dict[Cause, list[Difference]] = {}
        for difference in self.differences:
            if (difference.what in APART) == apart:
                for cause in difference.causes or (NOTHING,):
                    found.setdefault(cause, []).append(difference)
        groups: dict[tuple[str, ...], list[Cause]] = {}
        for cause, differences in found.items():
            groups.setdefault(tuple(d.pointer for d in differences), []).append(cause)
        alike = {tuple(sorted(causes)): found[causes[0]] for causes in groups.values()}
        return dict(sorted(alike.items(), key=lambda item: (NOTHING in item[0], -len(item[1]), item[0])))


def compare(old: PolicyFile, new: PolicyFile) -> Comparison:
    """Return what differs between two policies, with its causes."""
    found = [*_decisions(old, new), *_entries(old, new)]
    named = {cause for difference in found for cause in difference.causes}
    moved = {*_moved_inputs(old, new), *_moved_rules(old.rules, new.rules)}
    count = sum(len(getattr(new, section)) for section, _ in DOMAINS.values())
    return Comparison(tuple(found), tuple(sorted(moved - named)), count)


def _decisions(old: PolicyFile, new: PolicyFile) -> Iterator[Difference]:
    for domain, (section, _) in DOMAINS.items():
        before, after = getattr(old, section), getattr(new, section)
        for subject in sorted(before.keys() | after.keys()):
            pointer, a, b = pointer_to(section, subject), before.get(subject), after.get(subject)
            if a is None or b is None:
                shown = [None if d is None else _part(d, "value") for d in (a, b)]
                yield Difference(pointer, "added" if a is None else "removed", shown[0], shown[1], (GAINED,))
            elif (parts := _differ(a, b)) is not None:
                what, fields = parts
                shown = [{name: _part(d, name) for name in fields} for d in (a, b)]
                yield Difference(pointer, what, shown[0], shown[1], tuple(sorted(set(_causes(domain, a, b, old, new)))))


def _part(decision: Decision, name: str) -> Any:
    """Return a field of a decision as plain data, its evidence by fact."""
    part = msgspec.to_builtins(getattr(decision, name))
    return {e["fact"]: e for e in part} if name == "evidence_sources" else part


def _differ(a: Decision, b: Decision) -> tuple[What, tuple[str, ...]] | None:
    """Return what changed, the weightiest alone, with all fields that did; None if nothing did."""
    kinds: tuple[tuple[What, tuple[str, ...]], ...] = (
        ("value", _VALUE),
        ("mode", _MODE),
        ("rule", _RULE),
        ("confidence", _CONFIDENCE),
        ("evidence", ("evidence_sources",)),
    )
    found = [(what, name) for what, fields in kinds for name in fields if getattr(a, name) != getattr(b, name)]
    return (found[0][0], tuple(name for _, name in found)) if found else None


def _causes(domain: str, a: Decision, b: Decision, old: PolicyFile, new: PolicyFile) -> Iterator[Cause]:
    """Yield all that moved among what the rules of both decisions read."""
    deciding = {d.rule for d in (a, b)}
    if a.baseline != b.baseline:
        rules = old.rules | new.rules
        deciding |= {name for name, rule in rules.items() if rule.when is None and name.partition(".")[0] == domain}
    names = deciding.union(a.passed_over, b.passed_over)
    read = {name for rules in (old.rules, new.rules) for name in _read(rules, deciding, names)}
    yield from (cause for cause in _moved_inputs(old, new) if cause.words.partition(" ")[0] in read)
    yield from _moved_rules(_named(old.rules, names), _named(new.rules, names))
    yield from _moved_facts(a.evidence_sources, b.evidence_sources)
    if "declared" in (a.origin, b.origin) and (a.origin, a.rule, a.value) != (b.origin, b.rule, b.value):
        yield Cause("declaration", _declared(a, b))
    if (a.mode, a.exemption) != (b.mode, b.exemption):
        yield Cause("rollout", f"rollout of {domain} {_mode(a)} → {_mode(b)}")


def _read(rules: Mapping[str, RuleText], deciding: set[str], names: set[str]) -> Iterator[str]:
    """Yield the inputs that bore on a decision: all of a rule that decides, the condition's of one passed over."""
    for name in names & rules.keys():
        asked = re.findall(r"\$([\w.]+)", rules[name].when or "")
        yield from rules[name].inputs if name in deciding else asked


def _moved_inputs(old: PolicyFile, new: PolicyFile) -> Iterator[Cause]:
    # One that only one of them has came or went with the rules and decisions that read it: no cause, but what followed.
    turned = _calibrated(old) | _calibrated(new)
    for name in sorted(old.inputs.keys() & new.inputs.keys()):
        if old.inputs[name] != new.inputs[name]:
            words = f"{name} {brief(old.inputs[name])} → {brief(new.inputs[name])}"
            yield Cause("calibration", f"{words} (calibrated)") if name in turned else Cause("input", words)


def _calibrated(policy: PolicyFile) -> set[str]:
    """Return the thresholds that calibration has turned, of those that a decision read."""
    decisions = (d for section, _ in DOMAINS.values() for d in getattr(policy, section).values())
    return {e.fact for decision in decisions for e in decision.evidence_sources if e.source == "calibrated"}


def _named(rules: Mapping[str, RuleText], names: set[str]) -> dict[str, RuleText]:
    """Return the rules of these ids, whatever their versions."""
    ids = {name.partition("@")[0] for name in names}
    return {name: rule for name, rule in rules.items() if name.partition("@")[0] in ids}


def _moved_rules(old: Mapping[str, RuleText], new: Mapping[str, RuleText]) -> Iterator[Cause]:
    """Yield rules with another version, or another condition under the same one."""
    before, after = ({name.partition("@")[0]: name for name in rules} for rules in (old, new))
    for id in sorted(before.keys() & after.keys()):
        a, b = before[id], after[id]
        if a != b:
            yield Cause("rule", f"rule {a} → {b.rpartition('@')[2]}")
        elif old[a].when != new[b].when:
            yield Cause("rule", f"rule {a}: `{old[a].when}` → `{new[b].when}`")


def _moved_facts(old: tuple[Evidence, ...], new: tuple[Evidence, ...]) -> Iterator[Cause]:
    before, after = ({e.fact: e for e in evidence} for evidence in (old, new))
    for fact in sorted(before.keys() & after.keys()):
        a, b = before[fact], after[fact]
        unit = f" {b.unit}" if b.unit else ""
        if a.value != b.value:
            yield Cause("fact", f"{fact} {brief(a.value)} → {brief(b.value)}{unit}")
        if a.confidence != b.confidence:
            yield Cause("fact", f"confidence of {fact} {a.confidence} → {b.confidence}")
        if a != b and (a.value, a.confidence) == (b.value, b.confidence):
            yield Cause("fact", f"{fact} seen anew")


def _declared(a: Decision, b: Decision) -> str:
    words = [d.rule.removeprefix("declared: ") if d.origin == "declared" else d.origin for d in (a, b)]
    return f"declared: {words[0]} → {words[1]}" if words[0] != words[1] else f"declared: {words[1]}"


def _mode(decision: Decision) -> str:
    end = f" until {decision.exemption.until}" if decision.exemption else ""
    return decision.mode + end


_APART = {"pack", "environment", "inputs", "rules", *(section for section, _ in DOMAINS.values())}
"""Of a policy: what names it, what stands as causes, and what is compared as decisions."""


def _entries(old: PolicyFile, new: PolicyFile) -> Iterator[Difference]:
    """Yield what differs in the sections that no rule decides, entry by entry."""
    before, after = ({k: v for k, v in msgspec.to_builtins(p).items() if k not in _APART} for p in (old, new))
    a, b = dict(_leaves(before)), dict(_leaves(after))
    for path in sorted(a.keys() | b.keys()):
        if a.get(path) != b.get(path):
            what: What = "added" if path not in a else "removed" if path not in b else "value"
            yield Difference(pointer_to(*path), what, a.get(path), b.get(path), (UNDECIDED,))


def _leaves(part: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(part, dict) and part:
        for name, inner in part.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path, part


def moved(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Return the single parts in which two values differ: dotted name → (before, after)."""
    a, b = dict(_leaves(before)), dict(_leaves(after))
    names = sorted(a.keys() | b.keys())
    return {".".join(path): (a.get(path), b.get(path)) for path in names if a.get(path) != b.get(path)}


def brief(value: Any) -> str:
    """Return a value of a policy in a few characters."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return f"{value:,}" if type(value) is int else json.dumps(value, ensure_ascii=False)
