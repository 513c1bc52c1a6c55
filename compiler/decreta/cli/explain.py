"""`decreta explain`: what a diagnostic code means, or why a decision is what it is."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

import decreta
from decreta.codes import CODES
from decreta.diagnostics import Report, did_you_mean
from decreta.project import Project, find_project
from decreta_runtime.contract import errors
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid
from decreta_runtime.contract.policy import DOMAINS, Decision, Evidence, pointer_to

if TYPE_CHECKING:
    from decreta.decide.explain import Explanation, Outcome, Tried

HELP = "explain a diagnostic code (D308), or a decision (PACK/cache/VIEW, or its pointer)"
_BAR = 10
_ENTRIES = {
    "validation": "the contract's `checks` (keys, `not null` and `values:` always refuse), and `validation_mode` of "
    "the environment or the pack; when a check is asked follows from what it is",
    "udf_requirements_by_view": "what the statement calls; signatures and volatility are those of the pack's "
    "functions and of the environment's capability file",
    "schema_change_by_dataset": "`on_schema_change` of the contract, or `on_upstream_change` of a table of others",
    "inputs": "thresholds and budgets of the rule files and, over them, of the environment",
    "bindings": "the environment's file",
    "capabilities": "the environment's `engine`, and the capability file of those versions",
}
"""Section that no rule decides -> what its entries are compiled from."""


class _Asked(NamedTuple):
    """Which decision, or entry of another section, was asked for."""

    pack: str
    environment: str
    domain: str
    subject: str
    more: tuple[str, ...] = ()
    """The way on from the subject, in a section that no rule decides."""

    @property
    def pointer(self) -> str:
        section, _ = DOMAINS.get(self.domain, (self.domain, None))
        return pointer_to(section, self.subject, *self.more)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("what", metavar="CODE|DECISION", help="D308, PACK/cache/VIEW, /cache_policy_by_view/VIEW")
    parser.add_argument("--pack", help="the pack that a pointer points into (default: the only one)")
    parser.add_argument("--env", default="local", help="the environment (default: local)")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Print the explanation."""
    if "/" not in args.what:
        print(_code(args.what.upper()))
        return EXIT_DONE
    project = find_project(Path.cwd())
    asked = _asked(project, args.what, args.pack, args.env)
    return _explain(project, asked, args.format)


def _code(code: str) -> str:
    if found := CODES.get(code):
        return f"{code}: {found.title}\n\n{found.why}\n\nWhat to do: {found.mend}{_examples(code)}"
    kinds = {e.code: e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.DecretaError)}
    if kind := kinds.get(code):
        return f"{code}: {kind.__name__} (exit status {kind.exit_status})\n\n{kind.__doc__}"
    raise InputInvalid(f"there is no code `{code}`", help=did_you_mean(code, [*CODES, *kinds]))


def _examples(code: str) -> str:
    """Return what the code's page shows beside its words: mistakes, what is said of them, and how they are mended."""
    package = Path(decreta.__file__).resolve().parent
    shipped = package / "diagnostics.md"
    pages = shipped if shipped.is_file() else package.parents[1] / "docs" / "diagnostics.md"
    page = pages.read_text(encoding="utf-8").partition(f"\n## {code}: ")[2].partition("\n## ")[0]
    _, mark, examples = page.partition("\n### ")
    return f"\n{mark}{examples}".rstrip() if mark else ""


def _asked(project: Project, what: str, pack: str | None, environment: str) -> _Asked:
    """Return which decision `PACK/DOMAIN/SUBJECT` or a JSON pointer names. Raises InputInvalid."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in what.removeprefix("/").split("/")]
    if what.startswith("/"):
        packs = project.chosen([pack] if pack else [])
        if len(packs) != 1:
            raise InputInvalid(f"`{what}` may be of {len(packs)} packs", help=f"name one: --pack {packs[0]}")
        parts = [*packs, *(parts if parts[0] in _ENTRIES else parts[:2])]
    if len(parts) != 3 and (len(parts) < 3 or parts[1] not in _ENTRIES):
        help = "write PACK/DOMAIN/SUBJECT, such as PACK/cache/VIEW, or a pointer into the policy"
        raise InputInvalid(f"`{what}` names no decision", help=help)
    project.chosen(parts[:1])
    domains = {section: domain for domain, (section, _) in DOMAINS.items()} | {domain: domain for domain in DOMAINS}
    domains |= {section: section for section in _ENTRIES}
    if parts[1] not in domains:
        raise InputInvalid(f"a policy has no section `{parts[1]}`", help=did_you_mean(parts[1], domains))
    return _Asked(parts[0], environment, domains[parts[1]], parts[2], tuple(parts[3:]))


def _explain(project: Project, asked: _Asked, form: str) -> int:
    """Compile the pack in memory, and print what comes out for one subject and why."""
    from decreta.cli.formats import print_diagnostics
    from decreta.decide.explain import explain
    from decreta.pipeline import compile_pack

    report = Report()
    compiled = compile_pack(project, asked.pack, report)
    if compiled is None:
        print_diagnostics(report.diagnostics(), project, "text")
        print(f"`{asked.pack}` does not compile, so that nothing is decided", file=sys.stderr)
        return EXIT_FINDINGS
    policies = compiled.program.policies
    if asked.environment not in policies:
        words = f"`{asked.pack}` has no environment `{asked.environment}`"
        raise InputInvalid(words, help=did_you_mean(asked.environment, policies))
    if asked.domain in _ENTRIES:
        print(_entry(asked, msgspec.to_builtins(policies[asked.environment]), form))
        return EXIT_DONE
    decisions: dict[str, Decision] = getattr(policies[asked.environment], DOMAINS[asked.domain][0])
    if asked.subject not in decisions:
        words = f"the domain `{asked.domain}` decides nothing for `{asked.subject}`"
        raise InputInvalid(words, help=did_you_mean(asked.subject, decisions))
    decision = decisions[asked.subject]
    (found,) = explain(compiled.program.checked, asked.environment, asked.domain, [asked.subject]).values()
    stale = _stale(project, asked, decision)
    print(_json(asked, decision, found, stale) if form == "json" else _text(asked, decision, found, stale))
    return EXIT_DONE


def _entry(asked: _Asked, policy: Any, form: str) -> str:
    """Return an entry that follows from specs without a rule, with what it follows from. Raises InputInvalid."""
    value = policy[asked.domain]
    for name in (asked.subject, *asked.more):
        if not isinstance(value, dict) or name not in value:
            words = f"the policy has no entry `{asked.pointer}`"
            raise InputInvalid(words, help=did_you_mean(name, value if isinstance(value, dict) else ()))
        value = value[name]
    if form == "json":
        whole = {"pack": asked.pack, "environment": asked.environment, "pointer": asked.pointer, "value": value}
        return json.dumps({**whole, "from": _ENTRIES[asked.domain]}, indent=2, ensure_ascii=False)
    title = f"{asked.pointer}  ({asked.pack}, {asked.environment})"
    return f"{title}\n\nvalue  {json.dumps(value, sort_keys=True)}\nfrom   {_ENTRIES[asked.domain]}; no rule decides it"


def _stale(project: Project, asked: _Asked, decision: Decision) -> str:
    """Say how the committed policy differs in this decision; empty if it does not."""
    path = project.generated / asked.pack / "policy" / f"{asked.environment}.json"
    mend = f"run `decreta generate {asked.pack}`"
    try:
        committed = json.loads(path.read_bytes())[DOMAINS[asked.domain][0]].get(asked.subject)
    except FileNotFoundError:
        return f"there is no committed policy {path}: {mend}"
    except (OSError, ValueError, KeyError, AttributeError):
        return f"the committed policy {path} cannot be read: {mend}"
    if committed is None:
        return f"the committed policy has no such decision: {mend}"
    now = json.loads(msgspec.json.encode(decision))
    differ = sorted(key for key in now.keys() | committed.keys() if now.get(key) != committed.get(key))
    if not differ:
        return ""
    words = f"the committed policy differs from what the specs say now, in {', '.join(differ)}: {mend}"
    return words + (f"\ncommitted    {_short(committed['value'])}" if "value" in differ else "")


def _json(asked: _Asked, decision: Decision, found: Explanation, stale: str) -> str:
    head = {"pack": asked.pack, "environment": asked.environment, "pointer": asked.pointer, "differs": stale or None}
    whole = {**head, "decision": msgspec.to_builtins(decision), **msgspec.to_builtins(found)}
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _text(asked: _Asked, decision: Decision, found: Explanation, stale: str) -> str:
    lines = [f"{asked.pointer}  ({asked.pack}, {asked.environment})", *([stale] if stale else []), ""]
    lines.append(f"value        {_short(decision.value)}")
    if decision.requires:
        lines += [f"  as long as {', '.join(decision.requires)}", f"  otherwise  {_short(decision.otherwise)}"]
    lines.append(f"baseline     {_short(decision.baseline)}")
    lines.append(f"mode         {decision.mode}{_MODES[decision.mode]}")
    if decision.exemption:
        lines.append(f"  exception  {decision.exemption.reason} (until {decision.exemption.until})")
    lines.append(f"origin       {decision.origin}: {decision.rule.removeprefix('declared: ')}")
    score = decision.confidence_score
    lines.append(f"confidence   {score} {_bar(score)}  the baseline stands below {found.min_confidence}")
    if decision.fallback_reason:
        lines.append(f"fallback     {decision.fallback_reason}")
    lines += ["", "facts", *_facts(decision.evidence_sources)]
    derived = ", without the declaration" if decision.origin == "declared" else ""
    lines += ["", f"rules, in order{derived}", *(line for rule in found.tried for line in _rule(rule))]
    if found.not_tried:
        lines.append(f"  not tried: {', '.join(found.not_tried)}")
    return "\n".join([*lines, *_ways(found)])


_MODES = {"off": ": the baseline runs", "warn": ": the baseline runs, the value is recorded beside it", "enforce": ""}


def _bar(score: str) -> str:
    full = int(float(score) * _BAR)
    return "█" * full + "░" * (_BAR - full)


def _facts(evidence: Sequence[Evidence]) -> list[str]:
    rows = []
    for fact in evidence:
        unit = (fact.unit.removesuffix("s") if fact.value == 1 else fact.unit) if fact.unit else ""
        unit = f" {unit}" if unit and fact.value is not None else ""
        what = "epoch" if fact.source == "calibrated" else "run" if fact.runs else "table version"
        seen = f"{what} {fact.version}" if fact.version is not None else ""
        runs = f"of {fact.runs} run{'s' if fact.runs != 1 else ''}" if fact.runs else ""
        more = ", ".join(part for part in (seen, runs, fact.derivation or "") if part)
        rows.append((fact.fact, f"{_plain(fact.value)}{unit}", fact.source, fact.confidence, more))
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    padded = (("  ".join(part.ljust(w) for part, w in zip(row, (*widths, 0), strict=True))) for row in rows)
    return [f"  {line}".rstrip() for line in padded] or ["  none"]


def _rule(rule: Tried) -> list[str]:
    lines = [f"  {_SIGNS[rule.verdict]} {rule.rule}: {rule.because}"]
    if rule.verdict == "too weak":
        lines.append("      holds, but its facts are not sure enough")
    if not rule.predicates:
        lines.append("      always holds")
    for asked in rule.predicates:
        held = "unknown" if asked.truth is None else _plain(asked.truth)
        facts = [f"{name} is {_plain(value)}" for name, value in asked.facts.items()]
        inputs = [f"{name} is {_plain(value)}" for name, value in asked.inputs.items()]
        lines.append(f"      {held:<8} {asked.text}  ({', '.join((*facts, *inputs))})")
    return lines


_SIGNS = {"decides": "=>", "passed over": " -", "too weak": " ~"}


def _ways(found: Explanation) -> list[str]:
    lines = [f"  {_way(rule.otherwise, 'would decide')}" for rule in found.tried if rule.otherwise]
    lines += [f"  {_way(outcome, 'would take over')}" for outcome in found.lost]
    return ["", "what would change it", *lines] if lines else []


def _way(outcome: Outcome, what: str) -> str:
    how = dict.fromkeys(change.how for change in outcome.changes if change.how)
    words = " and ".join(change.words for change in outcome.changes)
    return f"`{outcome.rule.partition('@')[0]}` {what} if {words}" + (f": {', '.join(how)}" if how else "")


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "unknown" if value is None else f"{value:,}" if type(value) is int else json.dumps(value)


def _short(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
