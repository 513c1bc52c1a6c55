"""`make probe` against the committed file: what rules, guards and scan paths rely on was seen, and is asked for."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from tests.conftest import ROOT, Command

from decreta_runtime.contract.capabilities import FEATURES, CapabilityFile
from decreta_runtime.contract.policy import Guard
from decreta_runtime.probe import probe, render

RULES = ROOT / "specs/std/rules"


@pytest.fixture(scope="module")
def seen() -> CapabilityFile:
    return probe()


def committed(found: CapabilityFile) -> Path:
    name = "+".join(f"{engine}-{version}" for engine, version in sorted(found.engine.items()))
    return ROOT / "specs/std/capabilities" / f"{name}.json"


def test_the_probe_sees_what_is_committed(seen: CapabilityFile) -> None:
    known = msgspec.json.decode(committed(seen).read_bytes(), type=CapabilityFile)
    assert seen.features == known.features
    assert seen.functions == known.functions
    assert seen.settings == known.settings
    assert committed(seen).read_text() == render(seen)


def test_each_feature_function_and_setting_has_a_line_of_its_own(seen: CapabilityFile) -> None:
    lines = render(seen).splitlines()
    assert set(seen.features) == set(FEATURES)
    for name in (*seen.features, *seen.functions, *seen.settings):
        assert sum(f'"{name}"' in line.split(":")[0] for line in lines) == 1, name


def test_what_every_decision_rests_on_and_what_guards_are_for_was_seen(seen: CapabilityFile) -> None:
    for name, feature in FEATURES.items():
        if feature.relied_on_by != "rule":
            assert seen.features[name], feature.summary
    named = {
        g for f in FEATURES.values() if f.relied_on_by == "guard" for g in get_args(Guard) if f"`{g}`" in f.summary
    }
    assert named == {"no_deletion_vectors", "no_column_mapping", "unpartitioned"}, "each guard on tables is needed"


def test_a_feature_for_rules_is_read_by_a_rule() -> None:
    conditions: list[dict[str, Any]] = [
        rule for path in RULES.glob("*.toml") for rule in tomllib.loads(path.read_text()).get("rule", [])
    ]
    asked = set(re.findall(r"capability\.(\w+)", " ".join(rule.get("when", "") for rule in conditions)))
    assert asked == {name for name, feature in FEATURES.items() if feature.relied_on_by == "rule"}


def test_functions_are_as_volatile_as_they_were_seen_to_be(seen: CapabilityFile) -> None:
    volatility = {name: f.volatility for name, f in seen.functions.items()}
    assert {volatility[n] for n in ("now", "current_date", "today", "current_timestamp")} == {"stable"}
    assert {volatility[n] for n in ("random", "rand", "uuid", "input_file_name")} == {"volatile"}
    assert {volatility[n] for n in ("lower", "sum", "row_number", "range")} == {"immutable"}
    assert seen.functions["first_value"].kinds == ("aggregate", "window")


def test_a_feature_that_was_not_seen_turns_its_decisions(project: Path, decreta: Command) -> None:
    """The rules read the file: without bloom filters look-ups are read as whole tables are."""
    assert decreta("generate", "code_graph", cwd=project).returncode == 0
    policy = project / "generated/code_graph/policy/local.json"
    before = json.loads(policy.read_bytes())["scan_policy_by_dataset"]["definition"]
    (file,) = (project / "specs/std/capabilities").glob("*.json")
    file.write_text(file.read_text().replace('"bloom_filters": true', '"bloom_filters": false'))
    assert decreta("generate", "code_graph", cwd=project).returncode == 0
    after = json.loads(policy.read_bytes())["scan_policy_by_dataset"]["definition"]
    assert (before["rule"].partition("@")[0], after["rule"].partition("@")[0]) == ("scan.selective", "scan.whole")
    assert (before["value"]["bloom_filters"], after["value"]["bloom_filters"]) == (True, False)


def test_a_capability_file_of_another_form_is_a_mistake_with_a_place(project: Path, decreta: Command) -> None:
    (file,) = (project / "specs/std/capabilities").glob("*.json")
    file.write_text(file.read_text().replace('"features"', '"feature"'))
    done = decreta("check", "code_graph", cwd=project)
    assert done.returncode == 1
    assert "D203" in done.stderr and file.name in done.stderr and "make probe" in done.stderr
