"""The rule book: the library's rules, thresholds and confidences with the pack's laid over them by id."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from decreta.diagnostics import Related, Report
from decreta.model import spec
from decreta.model.files import PackFiles
from decreta.model.program import Domain, RuleBook, Written
from decreta.validate import validate

M = TypeVar("M", bound=BaseModel)


def rule_book(sources: tuple[PackFiles, ...], report: Report) -> RuleBook:
    """Return the rules of `sources`, later ones over earlier ones."""
    domains: dict[str, Domain] = {}
    rules: dict[str, Written[spec.RuleSpec]] = {}
    thresholds: dict[str, Written[spec.ThresholdSpec]] = {}
    confidence: dict[str, str] = {}
    for files in sources:
        own_rules: dict[str, Written[spec.RuleSpec]] = {}
        own_thresholds: dict[str, Written[spec.ThresholdSpec]] = {}
        for doc in files.documents.get("rules", {}).values():
            if (book := validate(doc, spec.RulesSpec, report)) is None:
                continue
            confidence |= book.confidence
            for name, domain in book.domain.items():
                place = doc.place("domain", name, "order")
                domains[name] = Domain(name, tuple(domain.order), domain.min_confidence, place)
            for i, rule in enumerate(book.rule):
                _once(report, own_rules, rule.id, Written(rule, doc, ("rule", i)))
            for i, threshold in enumerate(book.threshold):
                _once(report, own_thresholds, threshold.id, Written(threshold, doc, ("threshold", i)))
        rules |= own_rules
        thresholds |= own_thresholds
    return RuleBook(domains, rules, thresholds, confidence)


def _once(report: Report, found: dict[str, Written[M]], name: str, written: Written[M]) -> None:
    if name in found:
        related = [Related(found[name].place("id"), "first written here")]
        report.error("D409", f"`{name}` is written twice", written.place("id"), related=related)
    found[name] = written
