"""Apply a domain's rules to its subjects: the first that holds decides, and the syntax trees say why.

One query a domain evaluates every predicate of every rule for every subject. Evidence is the facts that the deciding
rule and those passed over before it read; confidence is that of the weakest fact in a minimal explanation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, get_args

import msgspec

from decreta.decide.environment import Environment
from decreta.decide.predicates import CAPABILITY, read_when
from decreta.decide.reach import unreached
from decreta.decide.trace import Row, Rule, Trace, Truth, confidence_of
from decreta.diagnostics import Hint, Related, Report, did_you_mean
from decreta.engine import Engine, PlanRefused
from decreta.facts import TABLES
from decreta.model.facts import Fact, FactInfo, FactValue, Rows
from decreta.model.program import OBEYED, Domain, RuleBook, Written
from decreta.model.spec import DecisionSpec, RuleSpec, ThresholdSpec
from decreta.source import Span
from decreta_runtime.contract.policy import (
    DOMAINS,
    Decision,
    Evidence,
    Exemption,
    Guard,
    Mode,
    Origin,
    RuleText,
)

MEMORY: Guard = "within_memory_budget"
"""The guard that measures against a budget."""


def decide_domain(
    domain: str,
    subjects: Rows,
    book: RuleBook,
    environment: Environment,
    engine: Engine,
    report: Report,
) -> dict[str, Decision]:
    """Return a decision for each subject, reporting rules that cannot be read or obeyed."""
    trace = trace_domain(domain, subjects, book, environment, engine, report)
    if trace is None:
        return {}
    decider, rows = _Decider(trace, environment, book.thresholds, report), trace.rows
    found = {name: decider.decide(name, row, trace.truths[name]) for name, row in rows.items()}
    environment.check_exceptions(domain, found, report)
    for declared in (*book.decisions, *environment.declared()):
        if declared.spec.domain == domain:
            decider.declare(declared, rows, found)
    if rows:
        decider.check_values(next(iter(rows.values())))
    return found


def check_domains(book: RuleBook, environment: Environment, report: Report) -> None:
    """Report orders, rules and decisions of domains that are none: nothing would ever try them."""
    named = [(name, domain.key or domain.place) for name, domain in book.domains.items()]
    named += [(name.partition(".")[0], rule.place("id")) for name, rule in book.rules.items()]
    named += [(d.spec.domain, d.place("domain")) for d in (*book.decisions, *environment.declared())]
    for name, place in named:
        if name not in DOMAINS:
            report.error("D205", f"unknown domain `{name}`", place, help=did_you_mean(name, DOMAINS))


def check_thresholds(book: RuleBook, declared: Iterable[Written[DecisionSpec]], pack: str, report: Report) -> None:
    """Warn of each threshold in the files of `pack` that no rule and no decision, of any environment, asks for."""
    asked = {name for rule in book.rules.values() for name in _asked_for(rule.spec.model_dump())}
    asked |= {name for decision in (*book.decisions, *declared) for name in _asked_for(decision.spec.model_dump())}
    for name, threshold in book.thresholds.items():
        if threshold.doc.name.startswith(f"specs/{pack}/") and name not in asked and name not in OBEYED:
            help = f"write `${name}` in a rule, or remove it"
            report.warning("D607", f"no rule asks for `{name}`", threshold.place("id"), help=help)


def trace_domain(
    domain: str,
    subjects: Rows,
    book: RuleBook,
    environment: Environment,
    engine: Engine,
    report: Report,
) -> Trace | None:
    """Return what a domain's decisions follow from, or None after reporting rules that cannot be read."""
    written = book.domains.get(domain)
    if written is None:
        report.error("D406", f"no rules decide the domain `{domain}`", environment.written.place())
        return None
    facts: dict[str, FactInfo] = dict(TABLES[domain])
    facts |= {f"{CAPABILITY}.{name}": FactInfo("bool", "capability", "") for name in environment.features}
    rules = _rules(written, book, facts, environment, report)
    if report.failed:
        return None
    try:
        _check_reached(rules, facts, environment, engine, report)
    except PlanRefused as refusal:
        report.error("D401", f"the planner says: {refusal}", written.place)
    if report.failed:
        return None
    worth = book.worth.of("capability")
    base = {f"{CAPABILITY}.{n}": Fact(value, "capability", worth) for n, value in environment.features.items()}
    rows = {name: {**base, **row} for name, row in subjects.items()}
    predicates = [p for rule in rules for p in rule.predicates]
    try:
        values = [{fact: known.value for fact, known in row.items()} for row in rows.values()]
        truths = engine.evaluate(values, {n: f.type for n, f in facts.items()}, [p.sql for p in predicates])
    except PlanRefused as refusal:
        report.error("D401", f"the planner says: {refusal}", written.place)
        return None
    told = (dict(zip(predicates, truth, strict=True)) for truth in truths)
    return Trace(domain, tuple(rules), facts, rows, dict(zip(rows, told, strict=True)), written.min_confidence)


def rule_texts(book: RuleBook, environment: Environment, decided: Iterable[Decision]) -> dict[str, RuleText]:
    """Return the rules that decisions name and the baselines beside them, each as it was written."""
    named = {name for decision in decided for name in (decision.rule, *decision.passed_over)}
    baselines = {domain.order[-1] for name, domain in book.domains.items() if name in DOMAINS}
    found, read = {}, set(environment.read_inputs())
    for written in book.rules.values():
        rule = written.spec
        if (name := f"{rule.id}@{rule.version}") in named or rule.id in baselines:
            asked = {*_asked_for((rule.when, rule.then, rule.otherwise))}
            asked |= {"budget.cache_bytes"} if MEMORY in rule.requires else set()
            found[name] = RuleText(when=rule.when, inputs=tuple(sorted(asked & read)), because=rule.because)
    return dict(sorted(found.items()))


def _asked_for(part: Any) -> Iterator[str]:
    """Yield the names that a rule writes with `$`, wherever they stand in it."""
    if isinstance(part, str):
        yield from re.findall(r"\$([a-z]\w*\.[a-z]\w*)", part)
    elif isinstance(part, Mapping | tuple | list):
        for inner in part.values() if isinstance(part, Mapping) else part:
            yield from _asked_for(inner)


def _rules(
    domain: Domain, book: RuleBook, facts: Mapping[str, FactInfo], environment: Environment, report: Report
) -> list[Rule]:
    mine = {name for name in book.rules if name.partition(".")[0] == domain.name}
    _check_order(domain, book, mine, report)
    rules = []
    for i, name in enumerate(domain.order):
        if name not in mine:
            continue
        written, last = book.rules[name], i == len(domain.order) - 1
        if written.spec.when is None and not last:
            help = "the baseline always holds and comes last"
            report.error("D406", "only the last rule has no `when`", written.place("id"), help=help)
        if last and written.spec.requires:
            help = "it is what stands where nothing is known: write a value that is right for every subject"
            report.error("D406", "the baseline stands under a guard", written.key("requires"), help=help)
        predicates = (
            ()
            if written.spec.when is None
            else read_when(written, facts, environment.inputs, environment.units, report)
        )
        _check_guards(written, report)
        rules.append(Rule(written, predicates, _taken((written.spec.then, written.spec.otherwise), facts)))
    return rules


def _taken(part: Any, facts: Container[str]) -> tuple[str, ...]:
    """Return the facts that a value takes over, written with `$` anywhere in it."""
    return tuple(name for name in dict.fromkeys(re.findall(r"\$([a-z_.]+)", repr(part))) if name in facts)


def _check_order(domain: Domain, book: RuleBook, mine: set[str], report: Report) -> None:
    """Report an order that names what is no rule, names a rule twice, leaves one out, or ends without a baseline."""
    first: dict[str, Span] = {}
    for name, place in zip(domain.order, domain.places, strict=True):
        if name not in mine:
            report.error("D406", f"there is no rule `{name}`", place, help=did_you_mean(name, mine))
        elif name in first:
            related = [Related(first[name], "first named here")]
            report.error("D406", f"the order names `{name}` twice", place, help="keep one of the two", related=related)
        first.setdefault(name, place)
    missing = mine - set(domain.order)
    last = book.rules.get(domain.order[-1]) if domain.order else None
    if last is not None and last.spec.when is not None:
        always = {name for name in missing if book.rules[name].spec.when is None}
        help = f"list `{min(always)}` last" if always else "add a rule without `when`, and list it last"
        words = f"the domain `{domain.name}` has no baseline: its last rule holds only sometimes"
        related = [Related(last.place("when"), "only when this holds")]
        report.error("D406", words, domain.places[-1], help=help, related=related)
        missing -= always
    for name in sorted(missing):
        report.error("D406", f"the order leaves out `{name}`", domain.place, help="list it, or delete the rule")


def _check_reached(
    rules: list[Rule], facts: Mapping[str, FactInfo], environment: Environment, engine: Engine, report: Report
) -> None:
    """Report each rule that never decides, with those that decide in its place.

    Where that may be so by the numbers of one environment alone, it may be meant: a warning.
    """
    for lost in unreached([rule.predicates for rule in rules], facts, environment.inputs, engine):
        rule, before = rules[lost.rule], [rules[i] for i in lost.before]
        names = " or ".join(f"`{other.name}`" for other in before)
        why = f"{names} holds whenever it would" if before else "its predicates never hold together"
        related = [Related(other.written.place("when"), "decides before") for other in before]
        help = "move it up, or remove it" if before else "correct it, or remove it"
        words, place = f"`{rule.name}` is never reached: {why}", rule.written.place("when")
        if lost.certain:
            report.error("D413", words, place, help=help, related=related)
        else:
            words += f", by the thresholds of `{environment.name}`"
            report.warning("D413", words, place, help=help, related=related)


def _check_guards(written: Written[RuleSpec] | Written[DecisionSpec], report: Report) -> None:
    for i, guard in enumerate(written.spec.requires):
        if guard not in get_args(Guard):
            hint = did_you_mean(guard, get_args(Guard))
            report.error("D407", f"unknown guard `{guard}`", written.place("requires", i), help=hint)
    if bool(written.spec.requires) != (written.spec.otherwise is not None):
        alone = "requires" if written.spec.requires else "otherwise"
        help = "write what holds when a guard fails, or remove the guards"
        report.error("D405", "`requires` and `otherwise` go together", written.key(alone), help=help)


class _Decider:
    def __init__(
        self,
        trace: Trace,
        environment: Environment,
        thresholds: Mapping[str, Written[ThresholdSpec]],
        report: Report,
    ) -> None:
        self.trace, self.environment = trace, environment
        self.domain, self.rules, self.facts = trace.domain, trace.rules, trace.facts
        self.thresholds, self.report = thresholds, report
        self.declared = environment.worth.of("declared")
        self._unknown = 0
        self._taken: set[str] = set()
        self._made: dict[tuple[int, str, tuple[FactValue, ...]], dict[str, Any]] = {}
        self._facts_of: dict[tuple[int, str], tuple[str, ...]] = {}

    def decide(self, subject: str, row: Row, truth: Truth) -> Decision:
        """Return the decision for one subject from its facts and the truth of each predicate."""
        chosen = self.trace.choose(row, truth)
        rule, baseline = chosen.rule, self.rules[-1]
        asked = [p for tried in chosen.tried for p in tried.predicates]
        self.environment.note(*(i for p in asked for i in p.inputs))
        read = sorted({*(fact for p in asked for fact in p.facts), *rule.takes, *chosen.held.takes})
        value, otherwise = self._values(rule.written, row)
        self._taken.add(rule.name)
        mode, exemption = self._mode(subject, read)
        turned = self._turned(chosen.tried, rule)
        origin: Origin = "calibrated" if turned else "derived"
        return Decision(
            value=value,
            baseline=self._value(baseline.written, "then", baseline.written.spec.then, row),
            requires=tuple(rule.written.spec.requires),  # type: ignore[arg-type]
            otherwise=otherwise,
            mode=mode,
            exemption=exemption,
            origin="baseline" if rule is baseline else origin,
            rule=rule.name,
            passed_over=tuple(other.name for other in chosen.tried if other is not rule),
            confidence_score=chosen.confidence,
            fallback_reason=chosen.reason,
            evidence_sources=(*(self._evidence(fact, row) for fact in read), *turned),
            choice_id=_choice_id(self.domain, subject, rule.name, value),
        )

    def _mode(self, subject: str, read: Iterable[str]) -> tuple[Mode, Exemption | None]:
        """Return how far a decision is obeyed: in shadow where an engine's upgrade has changed what it rests on."""
        mode, exemption = self.environment.mode(self.domain, subject)
        changed = [f for f in read if f.partition(".")[2] in self.environment.probed_otherwise and "." in f]
        if mode != "enforce" or not changed:
            return mode, exemption
        reason = f"the engine was probed otherwise: {', '.join(changed)}"
        return "warn", Exemption(reason=reason, until=self.environment.version)

    def _turned(self, tried: Iterable[Rule], rule: Rule) -> tuple[Evidence, ...]:
        """Return the thresholds that calibration has turned, of those that a decision read."""
        names = {name for other in tried for p in other.predicates for name in p.inputs}
        names |= {*_asked_for((rule.written.spec.then, rule.written.spec.otherwise))}
        found = []
        for name in sorted(names & self.environment.calibrated.keys()):
            override = self.environment.calibrated[name]
            found.append(
                Evidence(
                    fact=name,
                    value=override.value,
                    source="calibrated",
                    confidence=self.environment.worth.of("calibrated"),
                    unit=self.thresholds[name].spec.unit,
                    version=override.epoch,
                    runs=override.runs,
                    derivation=override.derivation,
                )
            )
        return tuple(found)

    def check_values(self, row: Row) -> None:
        """Report values that do not fit, also of rules that no subject of this pack takes."""
        self.environment = self.environment.unread()  # what no decision read does not stand in the policy
        for rule in self.rules:
            if rule.name not in self._taken:
                known = {name: self._some(name, fact) for name, fact in row.items()}
                self._values(rule.written, known)

    def _some(self, name: str, fact: Fact) -> Fact:
        """Return a fact with a value of its type: one that nobody has looked at still fits or does not."""
        info = self.facts[name]
        some: dict[str, FactValue] = {
            "bool": False,
            "int64": 1,
            "decimal": Decimal("0.00"),
            "string": "",
            "list<string>": (),
        }
        return fact if fact.value is not None else fact._replace(value=some[info.type])

    def declare(self, written: Written[DecisionSpec], rows: Mapping[str, Row], found: dict[str, Decision]) -> None:
        """Put what a person decided for one subject in the place of what rules derive, which stays its evidence."""
        spec, derived = written.spec, found.get(written.spec.subject)
        if derived is None:
            hint = did_you_mean(spec.subject, found)
            words = f"the domain `{self.domain}` decides nothing for `{spec.subject}`"
            self.report.error("D205", words, written.place("subject"), help=hint)
            return
        _check_guards(written, self.report)
        value, otherwise = self._values(written, rows[spec.subject])
        found[spec.subject] = msgspec.structs.replace(
            derived,
            value=value,
            requires=tuple(spec.requires),
            otherwise=otherwise,
            origin="declared",
            rule=f"declared: {spec.because}",
            confidence_score=self.declared,
            fallback_reason=None,
            passed_over=(),
            evidence_sources=(),
            choice_id=_choice_id(self.domain, spec.subject, "declared", value),
        )

    def _values(
        self, written: Written[RuleSpec] | Written[DecisionSpec], row: Row
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the value and what is taken otherwise, noting the budget that a guard measures against."""
        spec = written.spec
        value = self._value(written, "then", spec.then, row)
        otherwise = None if spec.otherwise is None else self._value(written, "otherwise", spec.otherwise, row)
        if MEMORY in spec.requires and self._has_budget("cache_bytes"):
            self.environment.note("budget.cache_bytes")
        return value, otherwise

    def _has_budget(self, name: str) -> bool:
        known = isinstance(self.environment.inputs.get(f"budget.{name}"), int)
        written = self.environment.written
        if name in written.spec.budgets and not known:
            self.report.error("D203", f"`{name}` needs a whole number of bytes", written.place("budgets", name))
        elif not known:
            place = written.key("budgets")
            self.report.error("D403", f"the guard needs the budget `{name}`", place, help=f"write {name} = … (bytes)")
        return known

    def _evidence(self, fact: str, row: Row) -> Evidence:
        info, known = self.facts[fact], row[fact]
        return Evidence(
            fact=fact,
            value=str(known.value) if isinstance(known.value, Decimal) else known.value,
            source=known.source,
            confidence=confidence_of(known),
            unit=info.unit,
            version=known.version,
            runs=known.runs,
            derivation=known.derivation,
        )

    def _value(
        self, written: Written[RuleSpec] | Written[DecisionSpec], key: str, then: Mapping[str, Any], row: Row
    ) -> dict[str, Any]:
        """Return `then` with inputs and facts put in, as the domain's type reads it."""
        facts = tuple(row[name].value for name in self._named(written, key, then))
        if (found := self._made.get((id(written), key, facts))) is None:
            found = self._made[(id(written), key, facts)] = self._typed(written, key, then, row)
        return found

    def _named(self, written: Written[Any], key: str, then: Any) -> tuple[str, ...]:
        """Return the facts that a value takes over, so that it is made once for all subjects alike in them."""
        if (id(written), key) not in self._facts_of:
            self._facts_of[(id(written), key)] = _taken(then, self.facts)
        return self._facts_of[(id(written), key)]

    def _typed(
        self, written: Written[RuleSpec] | Written[DecisionSpec], key: str, then: Mapping[str, Any], row: Row
    ) -> dict[str, Any]:
        unknown = self._unknown
        value = {name: self._filled(written, (key, name), part, row) for name, part in then.items()}
        if self._unknown > unknown:
            return {}
        if "settings" in value:
            self._check_settings(written, key, value["settings"])
            value["settings"] = {name: _setting(setting) for name, setting in value["settings"].items()}
        try:
            typed = msgspec.convert(value, type=DOMAINS[self.domain][1])
        except msgspec.ValidationError as error:
            self.report.error("D405", f"the value does not fit: {error}", written.place(key))
            return {}
        return msgspec.to_builtins(typed)  # type: ignore[no-any-return]

    def _filled(self, written: Written[Any], path: tuple[str, ...], part: Any, row: Row) -> Any:
        if isinstance(part, dict):
            return {name: self._filled(written, (*path, name), inner, row) for name, inner in part.items()}
        if not isinstance(part, str) or not part.startswith("$"):
            return part
        name = part[1:]
        if name in self.facts:
            value = row[name].value
            return str(value) if isinstance(value, Decimal) else value
        if name in self.environment.inputs:
            self.environment.note(name)
            return self.environment.inputs[name]
        self._unknown += 1
        self._no_input(name, written.place(*path))
        return None

    def _no_input(self, name: str, asked: Span) -> None:
        """Report a name that stands for nothing: in the rule, or in the environment whose budgets lack it."""
        hint = did_you_mean(name, [*self.facts, *self.environment.inputs])
        domain, _, budget = name.partition(".")
        environment, related = self.environment.written, [Related(asked, "asked for here")]
        if domain == "budget" and not (isinstance(hint, Hint) and hint.sure):
            words = f"the environment sets no budget `{budget}`"
            cause = f"{self.environment.name} {name}"
            place, help = environment.entry("budgets"), f"write {budget} = …"
            self.report.error("D403", words, place, help=help, related=related, cause=cause)
            return
        near = self.thresholds.get(hint.near) if isinstance(hint, Hint) else None
        related = [Related(near.place("id"), "the nearest name")] if near else []
        self.report.error("D403", f"there is no threshold, budget or fact `{name}`", asked, help=hint, related=related)

    def _check_settings(self, written: Written[Any], key: str, settings: Mapping[str, Any]) -> None:
        for name in settings:
            if name not in self.environment.settings:
                hint = did_you_mean(name, self.environment.settings)
                place = written.key(key, "settings", name)
                self.report.error("D411", f"the engine has no setting `{name}`", place, help=hint)


def _setting(setting: Any) -> Any:
    """Return a setting as the policy carries it: its value as the engine's text."""
    if not isinstance(setting, dict) or "value" not in setting:
        return setting
    value = setting["value"]
    return setting | {"value": str(value).lower() if isinstance(value, bool) else str(value)}


def _choice_id(domain: str, subject: str, rule: str, value: Mapping[str, Any]) -> str:
    """Hash what makes a choice the same choice, so that outcomes join on it for as long as it is."""
    text = json.dumps([domain, subject, rule, value], sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
