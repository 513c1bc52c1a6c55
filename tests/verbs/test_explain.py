"""`decreta explain`: a decision with its facts, the rules tried, and what would have to change; and that this is true."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from decreta.decide.environment import read_environment
from decreta.decide.explain import Explanation, Outcome, explain
from decreta.decide.rules import decide_domain
from decreta.diagnostics import Report
from decreta.engine import Engine
from decreta.facts import gather
from decreta.model.facts import Fact, Rows
from decreta.model.program import Decided
from decreta.pipeline import compile_pack
from decreta.project import Project
from decreta_runtime.contract.policy import DOMAINS, Decision
from tests.conftest import ROOT, compiled, run_command

POLICIES = [
    (pack, environment.stem, domain)
    for pack in ("code_graph", "retail")
    for environment in sorted((ROOT / "specs" / pack / "env").glob("*.toml"))
    for domain in DOMAINS
]


@cache
def program(pack: str) -> Decided:
    found = compile_pack(Project(ROOT), pack, Report())
    assert found is not None
    return found.program


def decisions(pack: str, environment: str, domain: str) -> dict[str, Decision]:
    found: dict[str, Decision] = getattr(program(pack).policies[environment], DOMAINS[domain][0])
    return found


def rows_of(pack: str, environment: str, domain: str) -> Rows:
    checked = program(pack).checked
    return gather(checked, checked.resolved.evidence.get(environment), checked.resolved.rules.worth).rows[domain]


def redecided(pack: str, environment: str, domain: str, rows: Rows) -> dict[str, Decision]:
    """Decide a domain anew over other facts, as the compiler does."""
    resolved, report = program(pack).checked.resolved, Report()
    read = read_environment(environment, resolved.environments[environment], resolved, report)
    assert read is not None
    found = decide_domain(domain, rows, resolved.rules, read, Engine(), report)
    assert [d for d in report.diagnostics() if d.severity == "error"] == []
    return found


def ways(found: Explanation) -> list[Outcome]:
    return [rule.otherwise for rule in found.tried if rule.otherwise is not None] + list(found.lost)


@pytest.mark.parametrize(("pack", "environment", "domain"), POLICIES)
def test_what_is_said_to_change_a_decision_does(pack: str, environment: str, domain: str) -> None:
    """For every decision of every committed policy, each suggestion is carried out and comes to the rule it names."""
    before, rows = decisions(pack, environment, domain), rows_of(pack, environment, domain)
    explained = explain(program(pack).checked, environment, domain, list(before))
    changed: Rows = {}
    promised: dict[str, str] = {}
    for subject, found in explained.items():
        for i, outcome in enumerate(ways(found)):
            facts = {
                c.fact: Fact(c.wanted, rows[subject].get(c.fact, Fact(None, "capability", "")).source, c.confidence)
                for c in outcome.changes
            }
            changed[f"{subject}#{i}"] = {**rows[subject], **facts}
            promised[f"{subject}#{i}"] = outcome.rule
    after = redecided(pack, environment, domain, changed)
    assert {name: decision.rule for name, decision in after.items()} == promised
    for name, decision in after.items():
        assert decision.rule != before[name.partition("#")[0]].rule
    if domain != "session":
        assert len(promised) >= len(before), "there is something to say of each"


@pytest.mark.parametrize(("pack", "environment", "domain"), POLICIES)
def test_rules_are_told_as_they_decided(pack: str, environment: str, domain: str) -> None:
    before = decisions(pack, environment, domain)
    for subject, found in explain(program(pack).checked, environment, domain, list(before)).items():
        decision = before[subject]
        verdicts = {rule.rule: rule.verdict for rule in found.tried}
        assert [name for name, verdict in verdicts.items() if verdict == "decides"] == [decision.rule]
        assert [name for name, verdict in verdicts.items() if verdict != "decides"] == list(decision.passed_over)
        for rule in found.tried:
            held = all(asked.truth is True for asked in rule.predicates)
            assert held == (rule.verdict != "passed over")
            missing = rule.verdict == "passed over" and rule.otherwise is None
            assert not missing, f"nothing said of {rule.rule} for {subject}"


def test_no_single_fact_fewer_would_do() -> None:
    """Where two facts are said to have to change, neither alone does."""
    domain, rows = "cache", rows_of("code_graph", "local", "cache")
    before = decisions("code_graph", "local", domain)
    tried: Rows = {}
    for subject, found in explain(program("code_graph").checked, "local", domain, list(before)).items():
        for outcome in ways(found):
            for c in outcome.changes if len(outcome.changes) > 1 else ():
                fact = Fact(c.wanted, rows[subject][c.fact].source, c.confidence)
                tried[f"{subject}#{outcome.rule}#{c.fact}"] = {**rows[subject], c.fact: fact}
    after = redecided("code_graph", "local", domain, tried)
    assert all(decision.rule != name.split("#")[1] for name, decision in after.items())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    shutil.copytree(ROOT / "tests/corpus/base", folder, dirs_exist_ok=True)
    compiled(folder, "demo")
    return folder


def told(folder: Path, *args: str) -> str:
    done = run_command("explain", *args, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_decision_is_told_to_people(folder: Path) -> None:
    lines = told(folder, "demo/scan/visit").splitlines()
    assert lines[0] == "/scan_policy_by_dataset/visit  (demo, local)"
    assert "confidence   1.00 ██████████  the baseline stands below 0.60" in lines
    assert any(line.split() == ["readers", "4", "readers", "lineage", "1.00"] for line in lines)
    assert any("scan.min_selective_readers is 1" in line and line.split()[0] == "false" for line in lines)
    assert "  `scan.selective` would decide if selective_readers were at least 1 (is 0)" in lines
    assert "  `scan.baseline` would take over if readers were less than 1 (is 4)" in lines
    assert "  not tried: scan.baseline@3" in lines
    assert not any("committed policy" in line for line in lines)


def test_a_pointer_and_a_name_ask_for_the_same(folder: Path) -> None:
    by_name = told(folder, "demo/cache/paired")
    assert by_name == told(folder, "/cache_policy_by_view/paired") == told(folder, "demo/cache_policy_by_view/paired")
    assert by_name == told(folder, "/cache_policy_by_view/paired/value/placement", "--pack", "demo")


def test_the_json_form_says_the_same(folder: Path) -> None:
    found = json.loads(told(folder, "demo/scan/visit", "--format", "json"))
    assert found["pointer"] == "/scan_policy_by_dataset/visit"
    policy = json.loads((folder / "generated/demo/policy/local.json").read_bytes())
    assert found["decision"]["value"] == policy["scan_policy_by_dataset"]["visit"]["value"]
    assert [rule["verdict"] for rule in found["tried"]] == ["passed over", "passed over", "passed over", "decides"]
    asked = {predicate["text"]: predicate["truth"] for predicate in found["tried"][2]["predicates"]}
    assert [text for text, truth in asked.items() if not truth] == ["selective_readers >= $scan.min_selective_readers"]
    assert found["tried"][2]["otherwise"]["changes"][0]["wanted"] == 1
    assert [change["fact"] for way in found["lost"] for change in way["changes"]][-1] == "readers"
    assert found["differs"] is None


def test_an_unknown_fact_says_how_to_know_it(project: Path) -> None:
    shutil.rmtree(project / "specs/code_graph/locks", ignore_errors=True)
    words = told(project, "code_graph/cache/module_definition")
    advice = (
        "`cache.small` would decide if consumers were less than 2 (is 3) and estimated_bytes were known and at most"
    )
    assert advice in words
    assert "(is unknown): run `decreta observe`" in words
    assert "unknown  estimated_bytes <= $cache.small_bytes  (estimated_bytes is unknown" in words
    assert "fallback     unknown_fact" in words


def seen(project: Path, facts: dict[str, dict[str, int]]) -> None:
    """Have something seen of a view of the code graph."""
    lock = {"format": 1, "datasets": {}, "views": {"module_file": facts}}
    path = project / "specs/code_graph/locks/local.evidence.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(lock))


def test_what_was_seen_is_told_with_its_age(project: Path) -> None:
    seen(project, {"bytes": {"value": 4096, "version": 7, "runs": 4}})
    words = told(project, "code_graph/cache/module_file")
    assert "estimated_bytes  4,096 bytes  outcome   0.80  run 7, of 4 runs" in words
    assert "confidence   0.80 ████████░░" in words
    assert "`cache.baseline` would take over if estimated_bytes were more than 16,777,216 (is 4,096)" in words


def test_an_estimate_from_few_runs_is_too_weak(project: Path) -> None:
    seen(project, {"rows": {"value": 100, "version": 2, "runs": 2}})
    words = told(project, "code_graph/cache/module_file")
    assert " ~ cache.small@1: " in words
    assert "0.24  100 rows of about" in words
    advice = "estimated_bytes were known with a confidence of at least 0.60 (is 0.24): run the pack again, then"
    assert f"`cache.small` would decide if {advice} `decreta observe`" in words
    assert "fallback     low_confidence" in words


def test_a_stale_policy_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "generated/demo/policy/local.json"
    policy = json.loads(path.read_bytes())
    policy["scan_policy_by_dataset"]["visit"]["value"]["path"] = "delta"
    path.write_text(json.dumps(policy))
    words = told(tmp_path, "demo/scan/visit")
    assert "the committed policy differs from what the specs say now, in value: run `decreta generate demo`" in words
    path.unlink()
    assert "there is no committed policy" in told(tmp_path, "demo/scan/visit")


def test_a_fallback_for_weak_facts_and_a_declaration_are_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "specs/demo/rules"
    (rules / "worth.toml").write_text('[confidence]\nlineage = "0.50"\n')
    weak = told(tmp_path, "demo/scan/visit")
    assert "confidence   0.50 █████░░░░░" in weak
    assert "holds, but its facts are not sure enough" in weak
    assert "fallback     low_confidence" in weak
    (rules / "worth.toml").unlink()
    (rules / "mine.toml").write_text(
        '[[decision]]\ndomain = "cache"\nsubject = "paired"\n'
        'then = { placement = "spill", pushdown = false }\nbecause = "It is looked at."\n'
    )
    declared = told(tmp_path, "demo/cache/paired")
    assert "origin       declared: It is looked at." in declared
    assert "rules, in order, without the declaration" in declared


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("demo/cache/pared", "did you mean `paired`?"),
        ("demo/cahce/paired", "did you mean `cache`?"),
        ("demo/cache", "names no decision"),
    ],
)
def test_what_is_no_decision_is_said(folder: Path, what: str, words: str) -> None:
    done = run_command("explain", what, cwd=folder)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert run_command("explain", "demo/cache/paired", "--env", "prod", cwd=folder).returncode == 2


def test_a_pack_that_does_not_compile_says_why(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "specs/demo/env/local.toml").write_text("lake = \n")
    done = run_command("explain", "demo/cache/paired", cwd=tmp_path)
    assert done.returncode == 1
    assert "D103" in done.stderr


def page(command: str) -> str:
    """Return what docs/explain.md shows of a command."""
    _, _, rest = (ROOT / "docs/explain.md").read_text().partition(f"```text\n$ {command}\n")
    assert rest, command
    return rest.partition("```")[0]


def test_the_guide_shows_what_is_told() -> None:
    asked = "code_graph/cache/module_file --env prod"
    assert page(f"decreta explain {asked}") == told(ROOT, *asked.split())


def test_the_guide_shows_what_differs(project: Path) -> None:
    pack = compiled(project, "code_graph")
    old = project / "HEAD:code_graph"
    shutil.copytree(pack, old)
    environment = project / "specs/code_graph/env/local.toml"
    environment.write_text(environment.read_text() + '\n[thresholds]\n"scan.min_selective_readers" = 2\n')
    compiled(project, "code_graph")
    done = run_command("policy", "diff", old.name, "generated/code_graph", cwd=project)
    shown = page("decreta policy diff HEAD generated/code_graph")
    assert shown.splitlines()[1:] == done.stdout.splitlines()[1:]


def test_the_guide_counts_the_committed_decisions() -> None:
    policy = json.loads((ROOT / "generated/code_graph/policy/local.json").read_bytes())
    every = [decision for section, _ in DOMAINS.values() for decision in policy[section].values()]
    shown = page("decreta kpi code_graph --lake .decreta/lake")
    for name in ("origin", "mode"):
        counts = sorted(Counter(decision[name] for decision in every).items())
        words = ", ".join(f"{word}: {count}" for word, count in counts)
        assert f"  by {name:<19} {words}\n" in shown
    assert f"{len(every)} of {len(every)}, 0 of them declared" in shown


def test_every_pointer_of_a_run_can_be_asked_for(folder: Path) -> None:
    """The ledger names entries that no rule decides, too: they are told with what they follow from."""
    policy = json.loads((folder / "generated/demo/policy/local.json").read_bytes())
    checks = policy["validation"]["visit"]
    for check, value in checks.items():
        found = json.loads(told(folder, f"/validation/visit/{check}", "--format", "json"))
        assert found["pointer"] == f"/validation/visit/{check}" and found["value"] == value
    words = told(folder, "demo/validation/visit")
    assert words.splitlines()[0] == "/validation/visit  (demo, local)"
    assert f"value  {json.dumps(checks, sort_keys=True)}\n" in words and "validation_mode" in words
    for section in ("inputs", "udf_requirements_by_view", "schema_change_by_dataset", "bindings", "capabilities"):
        name = next(iter(policy[section]))
        assert json.dumps(policy[section][name], sort_keys=True) in told(folder, f"/{section}/{name}")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("/validation/visit/nothing", "no entry `/validation/visit/nothing`"),
        ("/validation/nothing", "no entry `/validation/nothing`"),
        ("/validation", "names no decision"),
        ("/nothing/visit", "no section `nothing`"),
    ],
)
def test_a_pointer_to_nothing_is_said(folder: Path, asked: str, words: str) -> None:
    done = run_command("explain", asked, cwd=folder)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
