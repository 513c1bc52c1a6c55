"""Fifth stage: rules over facts become decisions, a policy for each environment."""

from __future__ import annotations

from collections.abc import Mapping

from decreta.decide.environment import Environment, read_environment
from decreta.decide.functions import requirements
from decreta.decide.rules import check_domains, check_thresholds, decide_domain, rule_texts
from decreta.decide.validation import validation
from decreta.diagnostics import Report
from decreta.engine import Engine
from decreta.facts import gather
from decreta.model.program import Checked, Decided, Written
from decreta.model.spec import DecisionSpec
from decreta_runtime.contract.manifest import FORMAT
from decreta_runtime.contract.policy import (
    DOMAINS,
    Capabilities,
    Decision,
    FunctionRequirement,
    PolicyFile,
    SchemaChangeValue,
)


def decide(checked: Checked, report: Report) -> Decided | None:
    """Return the pack with its policies, or None after reporting rules and environments that do not fit."""
    engine, resolved = Engine(), checked.resolved
    policies: dict[str, PolicyFile] = {}
    declared: list[Written[DecisionSpec]] = []
    for name, written in sorted(checked.resolved.environments.items()):
        environment = read_environment(name, written, checked.resolved, report)
        if environment is None:
            continue
        declared += environment.declared()
        check_domains(checked.resolved.rules, environment, report)
        base = gather(checked, resolved.evidence.get(name), resolved.rules.worth)
        functions = requirements(checked, environment, report)
        sections: dict[str, dict[str, Decision]] = {}
        for domain, (section, _) in DOMAINS.items():
            sections[section] = decide_domain(
                domain, base.rows[domain], checked.resolved.rules, environment, engine, report
            )
        if not report.failed:
            policies[name] = _policy(name, checked, environment, sections, functions)
    if report.failed:
        return None
    check_thresholds(resolved.rules, declared, resolved.header.spec.name, report)
    return Decided(checked, policies)


def _policy(
    name: str,
    checked: Checked,
    environment: Environment,
    sections: Mapping[str, dict[str, Decision]],
    functions: dict[str, dict[str, FunctionRequirement]],
) -> PolicyFile:
    decisions = [decision for section in sections.values() for decision in section.values()]
    features = {
        e.fact.partition(".")[2]: bool(e.value)
        for decision in decisions
        for e in decision.evidence_sources
        if e.source == "capability"
    }
    return PolicyFile(
        format=FORMAT,
        pack=checked.resolved.header.spec.name,
        environment=name,
        inputs=environment.read_inputs(),
        bindings=environment.bindings,
        capabilities=Capabilities(engine=environment.engine, features=dict(sorted(features.items()))),
        rules=rule_texts(checked.resolved.rules, environment, decisions),
        udf_requirements_by_view=functions,
        validation=validation(checked, environment.validation_mode),
        schema_change_by_dataset=_schema_changes(checked),
        **sections,
    )


def _schema_changes(checked: Checked) -> dict[str, SchemaChangeValue]:
    found = {name: SchemaChangeValue(mode=obj.object.on_change) for name, obj in checked.objects.items()}
    stored = {name: r.bound.relation.written.spec for name, r in checked.relations.items() if r.bound.relation.stored}
    return found | {name: SchemaChangeValue(mode=spec.on_schema_change) for name, spec in stored.items()}
