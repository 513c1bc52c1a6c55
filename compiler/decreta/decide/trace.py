"""What the decisions of a domain follow from: its rules in order, facts of each subject, truth of each predicate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from decreta.decide.predicates import Predicate
from decreta.model.facts import Fact, FactInfo
from decreta.model.program import Worth, Written
from decreta.model.spec import RuleSpec
from decreta_runtime.contract.policy import FallbackReason

Row = Mapping[str, Fact]
Truth = Mapping[Predicate, bool | None]
"""Predicate → whether it holds; None where a fact is unknown."""


@dataclass(frozen=True, eq=False)
class Rule:
    """A rule with its predicates; none always holds."""

    written: Written[RuleSpec]
    predicates: tuple[Predicate, ...]
    takes: tuple[str, ...] = ()
    """The facts that its value takes over, such as the columns of a sort."""

    @property
    def name(self) -> str:
        """Its id and version, as decisions name it."""
        return f"{self.written.spec.id}@{self.written.spec.version}"

    def holds(self, truth: Truth) -> bool:
        """Whether all predicates are true; what is unknown does not hold."""
        return all(truth[predicate] is True for predicate in self.predicates)


class Chosen(NamedTuple):
    """The rule that decides a subject, and how it came to."""

    rule: Rule
    held: Rule
    """The first rule that holds; another than `rule` if it is not sure enough, so that the baseline stands."""
    passed: tuple[Rule, ...]
    """The rules before it, which do not hold."""
    confidence: str
    reason: FallbackReason | None
    """Why the baseline stands, if what is not known or not sure made it."""

    @property
    def tried(self) -> tuple[Rule, ...]:
        """The rules whose predicates were looked at."""
        return (*self.passed, self.held)

    @property
    def weak(self) -> bool:
        """Whether the rule that holds was not sure enough to decide."""
        return self.rule is not self.held


@dataclass(frozen=True)
class Trace:
    """One domain as decided: nothing here is derived from anything else here but by `choose`."""

    domain: str
    rules: tuple[Rule, ...]
    facts: Mapping[str, FactInfo]
    rows: Mapping[str, Row]
    truths: Mapping[str, Truth]
    min_confidence: str

    def choose(self, row: Row, truth: Truth) -> Chosen:
        """Return the rule that decides a subject with these facts: the first that holds, if it is sure enough."""
        passed: list[Rule] = []
        for rule in self.rules:
            if rule.holds(truth):
                break
            passed.append(rule)
        explanation = [weakest(p.facts, row) for p in rule.predicates]
        explanation += [_why_not(other, row, truth) for other in passed]
        explanation += [weakest(rule.takes, row)] if rule.takes else []
        confidence = min(explanation, default="1.00")
        baseline = self.rules[-1]
        weak = rule is not baseline and confidence < self.min_confidence
        # A rule with a false predicate does not hold, whatever else is unknown.
        blind = any(all(truth[p] is not False for p in other.predicates) for other in passed)
        blind |= any(row[fact].value is None for fact in rule.takes)
        reason: FallbackReason | None = "low_confidence" if weak else None
        if blind and (weak or rule is baseline):
            reason = "unknown_fact"
        return Chosen(baseline if weak else rule, rule, tuple(passed), confidence, reason)


def confidence_of(fact: Fact) -> str:
    """Return what a fact is worth; one without a value is worth nothing."""
    return Worth.NOTHING if fact.value is None else fact.confidence


def weakest(facts: tuple[str, ...], row: Row) -> str:
    """Return the confidence of the weakest of some facts of a subject."""
    return min(confidence_of(row[fact]) for fact in facts)


def _why_not(rule: Rule, row: Row, truth: Truth) -> str:
    """Return the confidence that a rule does not hold: one false predicate suffices, so the strongest counts."""
    false = [weakest(p.facts, row) for p in rule.predicates if truth[p] is False]
    return max(false, default=Worth.NOTHING)
