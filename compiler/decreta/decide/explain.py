"""Explain a decision: the rules tried in order, why each did not hold, and what would have to change.

What would have to change is found by trying: facts are given values that the predicates can tell apart, few at a time,
and the domain's own `choose` says what would come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, islice, product
from typing import Any, Literal, NamedTuple

from sqlglot import exp

from decreta.decide.environment import Environment, read_environment
from decreta.decide.predicates import Predicate, fact_name, input_name
from decreta.decide.reach import values_of
from decreta.decide.rules import trace_domain
from decreta.decide.trace import Row, Rule, Trace, Truth, confidence_of
from decreta.diagnostics import Report
from decreta.engine import Engine
from decreta.facts import gather
from decreta.model.facts import Fact, FactValue
from decreta.model.program import Checked
from decreta.sql import print_inline

MAX_CHANGES = 4
"""Facts that are changed together: what takes more is no advice."""
MAX_TRIES = 4096

Verdict = Literal["decides", "passed over", "too weak"]
Changed = Mapping[str, Fact]


@dataclass(frozen=True)
class Asked:
    """One predicate over one subject: as it is written, what it read, and whether it holds; None if that is unknown."""

    text: str
    truth: bool | None
    facts: Mapping[str, FactValue]
    inputs: Mapping[str, int | str]


@dataclass(frozen=True)
class Change:
    """One fact that would have to be another, in words, with a value that suffices."""

    fact: str
    now: FactValue
    wanted: FactValue
    confidence: str
    """What the fact would be worth then."""
    words: str
    how: str
    """What a person can do about it; empty where the specs or the engine would have to be others."""


@dataclass(frozen=True)
class Outcome:
    """The rule that would decide after the smallest set of changes."""

    rule: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Tried:
    """A rule that was tried; `otherwise` is what would make it decide, None if it does or if nothing small would."""

    rule: str
    when: str | None
    because: str
    verdict: Verdict
    predicates: tuple[Asked, ...]
    otherwise: Outcome | None


@dataclass(frozen=True)
class Explanation:
    """How the rules come to a decision, and what would bring them to another."""

    min_confidence: str
    tried: tuple[Tried, ...]
    not_tried: tuple[str, ...]
    lost: tuple[Outcome, ...]
    """Changes of one fact each by which the deciding rule would lose the decision."""


def explain(checked: Checked, environment: str, domain: str, subjects: Sequence[str]) -> dict[str, Explanation]:
    """Return the explanations of some decisions of a pack that compiles."""
    engine, report, resolved = Engine(), Report(), checked.resolved
    read = read_environment(environment, resolved.environments[environment], resolved, report)
    assert read is not None
    facts = gather(checked, resolved.evidence.get(environment), resolved.rules.worth)
    trace = trace_domain(domain, facts.rows[domain], resolved.rules, read, engine, report)
    assert trace is not None
    explainer = _Explainer(trace, read, engine)
    return {subject: explainer.explain(subject) for subject in subjects}


class _Tries(NamedTuple):
    """Facts changed together, the truth of all predicates then, and the rule that would decide."""

    changed: Changed
    truth: Truth
    rule: Rule


class _Explainer:
    def __init__(self, trace: Trace, environment: Environment, engine: Engine) -> None:
        self.trace, self.environment, self.engine = trace, environment, engine
        self.predicates = list(dict.fromkeys(p for rule in trace.rules for p in rule.predicates))
        read = {fact for p in self.predicates for fact in p.facts}
        self.kinds = {fact: trace.facts[fact].type for fact in sorted(read)}

    def explain(self, subject: str) -> Explanation:
        row, truth = self.trace.rows[subject], self.trace.truths[subject]
        chosen = self.trace.choose(row, truth)
        read = list(dict.fromkeys(f for rule in chosen.tried for p in rule.predicates for f in p.facts))
        wanted = [rule for rule in chosen.tried if rule is not chosen.rule]
        found = self._ways_to(wanted, read, row)
        tried = []
        for rule in dict.fromkeys((*chosen.tried, chosen.rule)):
            weak: Verdict = "too weak" if rule is chosen.held else "passed over"
            verdict: Verdict = "decides" if rule is chosen.rule else weak
            tried.append(self._tried(rule, verdict, row, truth, found.get(rule.name)))
        names = {rule.rule for rule in tried}
        rest = tuple(rule.name for rule in self.trace.rules if rule.name not in names)
        return Explanation(self.trace.min_confidence, tuple(tried), rest, tuple(self._losses(chosen.rule, row, truth)))

    def _tried(self, rule: Rule, verdict: Verdict, row: Row, truth: Truth, way: _Tries | None) -> Tried:
        spec, inputs = rule.written.spec, self.environment.inputs
        asked = tuple(
            Asked(
                print_inline(p.tree),
                truth[p],
                {fact: row[fact].value for fact in p.facts},
                {name: inputs[name] for name in p.inputs},
            )
            for p in rule.predicates
        )
        outcome = None if way is None else Outcome(rule.name, tuple(self._changes(rule, way, row, truth)))
        return Tried(rule.name, spec.when, spec.because, verdict, asked, outcome)

    def _ways_to(self, wanted: Sequence[Rule], facts: Sequence[str], row: Row) -> dict[str, _Tries]:
        """Return for each rule the fewest changes after which it decides, of its own facts where that suffices."""
        found: dict[str, _Tries] = {}
        for size in range(1, min(MAX_CHANGES, len(facts)) + 1):
            missing = {rule.name: rule for rule in wanted if rule.name not in found}
            ways: dict[str, list[_Tries]] = {}
            for tried in self._try(facts, size, row) if missing else ():
                if tried.rule.name in missing:
                    ways.setdefault(tried.rule.name, []).append(tried)
            for name, several in ways.items():
                own = {fact for p in missing[name].predicates for fact in p.facts}
                found[name] = min(several, key=lambda way: len(way.changed.keys() - own))
        return found

    def _losses(self, rule: Rule, row: Row, before: Truth) -> Iterator[Outcome]:
        """Yield for each fact of the deciding rule the nearest value with which another rule decides."""
        lost: set[str] = set()
        facts = list(dict.fromkeys(fact for p in rule.predicates for fact in p.facts))
        for tried in self._try(facts, 1, row):
            (fact,) = tried.changed
            if tried.rule is not rule and fact not in lost:
                lost.add(fact)
                yield Outcome(tried.rule.name, tuple(self._changes(rule, tried, row, before)))

    def _try(self, facts: Sequence[str], size: int, row: Row) -> Iterator[_Tries]:
        """Yield what comes out when so many of some facts are others, the nearest values first."""
        values = {fact: self._values(fact, row[fact]) for fact in facts}
        picks = (
            dict(zip(some, pick, strict=True))
            for some in combinations(facts, size)
            for pick in product(*(values[fact] for fact in some))
        )
        changes = list(islice(picks, MAX_TRIES))
        rows = [{fact: (change.get(fact) or row[fact]).value for fact in self.kinds} for change in changes]
        truths = self.engine.evaluate(rows, self.kinds, [p.sql for p in self.predicates])
        for change, told in zip(changes, truths, strict=True):
            truth = dict(zip(self.predicates, told, strict=True))
            yield _Tries(change, truth, self.trace.choose({**row, **change}, truth).rule)

    def _values(self, fact: str, now: Fact) -> list[Fact]:
        """Return other values of a fact, each fully known, the nearest first; the same one too if it is worth less."""
        source = self.trace.facts[fact].source
        best = max(self.environment.worth.of(source), confidence_of(now))
        values = values_of(fact, self.trace.facts[fact], self.predicates, self.environment.inputs)
        others = [v for v in values if v is not None and v != now.value]
        same = [now.value] if now.value is not None and now.confidence < best else []
        return [Fact(value, source, best) for value in (*same, *sorted(others, key=lambda v: _far(v, now.value)))]

    def _changes(self, rule: Rule, way: _Tries, row: Row, before: Truth) -> Iterator[Change]:
        """Yield the changes of a way in words, by the predicates of `rule` or, of facts it does not read, of others."""
        for fact, new in way.changed.items():
            now = row[fact]
            mine = [p for p in self.predicates if p.facts == (fact,) and way.truth[p] is not None]
            own = [p for p in mine if p in rule.predicates and (way.rule is rule or way.truth[p] is False)]
            asked = own or [p for p in mine if way.truth[p] != before[p]]
            words = " and ".join(dict.fromkeys(_condition(p, bool(way.truth[p]), self.environment) for p in asked))
            if new.value == now.value:
                least = self.trace.min_confidence
                words, known = f"known with a confidence of at least {least}", f"is {confidence_of(now)}"
            else:
                words = words or shown(new.value)
                words = words if now.value is not None else f"known and {words}"
                known = f"is {shown(now.value)}"
            yield Change(fact, now.value, new.value, new.confidence, f"{fact} were {words} ({known})", _how(now, new))


def shown(value: FactValue) -> str:
    """Return a fact's value as people read it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


_TRUE: dict[Any, str] = {
    exp.GT: "more than", exp.GTE: "at least", exp.LT: "less than", exp.LTE: "at most", exp.NEQ: "other than",
}  # fmt: skip
_NEGATED: dict[Any, Any] = {
    exp.EQ: exp.NEQ, exp.NEQ: exp.EQ, exp.LT: exp.GTE, exp.GTE: exp.LT, exp.GT: exp.LTE, exp.LTE: exp.GT,
}  # fmt: skip
_TURNED: dict[Any, Any] = {exp.LT: exp.GT, exp.GT: exp.LT, exp.LTE: exp.GTE, exp.GTE: exp.LTE}


def _condition(predicate: Predicate, truth: bool, environment: Environment) -> str:
    """Say what a fact is when a predicate over it alone is true, or false: `at least 2`."""
    node = predicate.tree
    while isinstance(node, exp.Not | exp.Paren):
        truth ^= isinstance(node, exp.Not)
        node = node.this
    if isinstance(node, exp.Column):
        return str(truth).lower()
    kind: Any = type(node)
    left, right = node.this.unnest(), node.expression.unnest()
    if isinstance(right, exp.Column) and fact_name(right) in predicate.facts:
        kind, right = _TURNED.get(kind, kind), left
    kind = kind if truth else _NEGATED[kind]
    name = input_name(right)
    value = shown(environment.inputs[name]) if name is not None else print_inline(right)
    return f"{_TRUE.get(kind, '')} {value}".strip()


def _far(value: FactValue, now: FactValue) -> Decimal:
    """Return how far two numbers are apart; other values are all the same way off."""
    numbers = [Decimal(v) for v in (value, now) if isinstance(v, int | Decimal) and not isinstance(v, bool)]
    return abs(numbers[0] - numbers[1]) if len(numbers) > 1 else Decimal(0)


def _how(now: Fact, new: Fact) -> str:
    """Return what a person can do so that a fact is known, or known better."""
    if new.source not in ("statistics", "outcome"):
        return ""
    if now.value is None:
        return "run `decreta observe`"
    return "run the pack again, then `decreta observe`" if new.value == now.value else ""
