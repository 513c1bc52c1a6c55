"""The rule book: the library's rules, thresholds and confidences with the pack's laid over them by id."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from decreta.diagnostics import Related, Report, did_you_mean
from decreta.model import spec
from decreta.model.files import PackFiles
from decreta.model.program import OBEYED, Domain, RuleBook, Turning, Worth, Written
from decreta.validate import validate

M = TypeVar("M", bound=BaseModel)

SIZES = "facts.small_file_bytes"
"""What parts bands of sizes, which are powers of two, into small ones and others."""


def rule_book(sources: tuple[PackFiles, ...], report: Report) -> RuleBook:
    """Return the rules of `sources`, later ones over earlier ones."""
    domains: dict[str, Domain] = {}
    rules: dict[str, Written[spec.RuleSpec]] = {}
    thresholds: dict[str, Written[spec.ThresholdSpec]] = {}
    budgets: dict[str, Written[spec.BudgetSpec]] = {}
    decisions: list[Written[spec.DecisionSpec]] = []
    confidence: dict[str, Any] = {}
    for files in sources:
        own_rules: dict[str, Written[spec.RuleSpec]] = {}
        own_thresholds: dict[str, Written[spec.ThresholdSpec]] = {}
        for doc in files.documents.get("rules", {}).values():
            if (book := validate(doc, spec.RulesSpec, report)) is None:
                continue
            confidence |= book.confidence.model_dump(exclude_unset=True)
            decisions += [Written(d, doc, ("decision", i)) for i, d in enumerate(book.decision)]
            for i, budget in enumerate(book.budget):
                _once(report, budgets, budget.id, Written(budget, doc, ("budget", i)))
            for name, domain in book.domain.items():
                place = doc.place("domain", name, "order")
                places = tuple(doc.place("domain", name, "order", i) for i in range(len(domain.order)))
                key = doc.key("domain", name)
                domains[name] = Domain(name, tuple(domain.order), domain.min_confidence, place, places, key)
            for i, rule in enumerate(book.rule):
                _once(report, own_rules, rule.id, Written(rule, doc, ("rule", i)))
            for i, threshold in enumerate(book.threshold):
                _once(report, own_thresholds, threshold.id, Written(threshold, doc, ("threshold", i)))
        rules |= own_rules
        thresholds |= own_thresholds
    for name in OBEYED:
        _whole_number(name, thresholds, sources[0], report)
    worth = Worth(spec.ConfidenceSpec(**confidence))
    knobs = {name: turning for name, written in thresholds.items() if (turning := _turning(written, report))}
    return RuleBook(domains, rules, thresholds, budgets, tuple(decisions), worth, knobs)


def _turning(threshold: Written[spec.ThresholdSpec], report: Report) -> Turning | None:
    """Return how a threshold is turned, None if people alone turn it; report one that nothing can turn."""
    how = threshold.spec.calibration
    if how is None:
        return None
    if threshold.spec.id in OBEYED:
        help = "it holds for all environments alike: leave `calibration` out"
        report.error("D203", f"`{threshold.spec.id}` is no knob", threshold.key("calibration"), help=help)
    return Turning(how.objective, tuple(how.guards), how.samples, float(how.dead_band), how.cool_down, how.lasts)


def _whole_number(
    name: str, thresholds: dict[str, Written[spec.ThresholdSpec]], library: PackFiles, report: Report
) -> None:
    """Report a threshold that the compiler needs and that is not there, at the one that is nearest to its name."""
    found = thresholds.get(name)
    value = found.spec.value if found is not None else None
    if found is not None and not isinstance(value, int):
        report.error("D203", f"`{name}` needs a whole number", found.place("value"))
    elif found is not None and name == SIZES and isinstance(value, int) and value.bit_count() != 1:
        help = "observations count files by power of two"
        report.error("D203", f"`{name}` needs a power of two", found.place("value"), help=help)
    elif found is None and not report.failed:
        hint = did_you_mean(name, thresholds)
        near = min(thresholds, key=lambda other: (f"`{other}`" not in hint, other), default=None)
        place = thresholds[near].place("id") if near else library.place("rules").span(0, 0)
        report.error("D403", f"there is no threshold `{name}`", place, help="the compiler obeys it: write its id so")


def _once(report: Report, found: dict[str, Written[M]], name: str, written: Written[M]) -> None:
    if name in found:
        related = [Related(found[name].place("id"), "first written here")]
        report.error("D409", f"`{name}` is written twice", written.place("id"), related=related)
    found[name] = written
