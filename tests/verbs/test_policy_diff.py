"""`decreta policy diff`: what changed between two policies, by all that may have caused it; nothing is hidden."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decreta.compare import NOTHING, compare
from decreta_runtime.contract.policy import DOMAINS, PolicyFile
from tests.conftest import ROOT, compiled, run_command

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    shutil.copytree(ROOT / "tests/corpus/base", folder, dirs_exist_ok=True)
    compiled(folder, "demo")
    return folder


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "demo")
    shutil.copytree(base / "generated/demo", tmp_path / "old")
    return tmp_path / "demo"


def diff(folder: Path, *args: str) -> tuple[int, str]:
    done = run_command("policy", "diff", *args, cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout


def edited(folder: Path, change: Change) -> str:
    path = folder / "generated/demo/policy/local.json"
    policy = json.loads(path.read_bytes())
    change(policy)
    path.write_text(json.dumps(policy))
    return diff(folder, "../old", "generated/demo")[1]


def write(folder: Path, text: str) -> None:
    """Add to the environment, and compile."""
    path = folder / "specs/demo/env/local.toml"
    path.write_text(path.read_text() + text)
    compiled(folder, "demo")


def test_equal_policies_have_no_differences(folder: Path) -> None:
    assert diff(folder, "../old", "generated/demo/policy/local.json") == (
        0,
        "../old/policy/local.json → generated/demo/policy/local.json\nno differences\n",
    )


def test_a_threshold_is_named_with_what_it_changed(folder: Path) -> None:
    write(folder, '\n[thresholds]\n"scan.min_selective_readers" = 2\n')
    status, told = diff(folder, "../old", "generated/demo")
    assert status == 1
    assert "\nscan.min_selective_readers 1 → 2: 1 decision changes\n" in told
    (line,) = (line for line in told.splitlines() if line.startswith("  /scan"))
    assert line.startswith("  /scan_policy_by_dataset/visit_of_person  value: ")
    assert "pushdown true → false" in line
    _, markdown = diff(folder, "../old", "generated/demo", "--format", "markdown")
    assert "\n**scan.min_selective_readers 1 → 2: 1 decision changes**\n\n- `/scan_policy_by_dataset/visit" in markdown
    _, text = diff(folder, "../old", "generated/demo", "--format", "json")
    found = json.loads(text)
    assert [c["pointers"] for c in found["causes"]] == [["/scan_policy_by_dataset/visit_of_person"]]
    assert found["differences"][0]["before"]["value"]["pushdown"] is True


def test_an_input_that_changes_nothing_is_named_too(folder: Path) -> None:
    def change(policy: dict[str, Any]) -> None:
        policy["inputs"]["scan.min_readers"] = 2

    assert "scan.min_readers 1 → 2: no decision changes" in edited(folder, change)
    assert diff(folder, "../old", "generated/demo")[0] == 1


def test_several_possible_causes_are_all_named(folder: Path) -> None:
    def change(policy: dict[str, Any]) -> None:
        policy["inputs"]["scan.min_readers"] = 2
        policy["inputs"]["write.bloom_fpp"] = "0.05"
        decision = policy["scan_policy_by_dataset"]["visit"]
        decision["value"]["path"] = "delta"
        (fact,) = (e for e in decision["evidence_sources"] if e["fact"] == "readers")
        fact["value"] += 1

    told = edited(folder, change)
    assert "readers 4 → 5 readers, scan.min_readers 1 → 2: 1 decision changes" in told
    assert told.count("/scan_policy_by_dataset/visit ") == 1
    assert "write.bloom_fpp 0.01 → 0.05: no decision changes" in told


def test_a_change_without_a_cause_is_said_to_have_none(folder: Path) -> None:
    def change(policy: dict[str, Any]) -> None:
        policy["scan_policy_by_dataset"]["visit"]["value"]["path"] = "delta"

    assert "no cause found in the policies: 1 decision changes\n  /scan_policy_by_dataset/visit" in edited(
        folder, change
    )


def test_confidence_alone_stands_apart(folder: Path) -> None:
    def change(policy: dict[str, Any]) -> None:
        decision = policy["scan_policy_by_dataset"]["visit"]
        decision["confidence_score"] = "0.80"
        decision["evidence_sources"][0]["confidence"] = "0.80"

    told = edited(folder, change)
    assert "1 decision stays the same on other grounds" in told
    assert "confidence: confidence_score 1.00 → 0.80" in told
    assert "change\n" not in told


def test_rollout_declarations_rules_and_subjects_are_causes(folder: Path) -> None:
    (folder / "specs/demo/rules/mine.toml").write_text(
        '[[rule]]\nid = "scan.whole"\nversion = 9\nwhen = "readers >= $scan.min_readers"\n'
        'then = { path = "delta", log_pruning = false, pushdown = false, page_index = false, bloom_filters = false, '
        'columns = "all", step_files = 0, step_values = 0 }\n'
        'because = "Others read it so."\n'
    )
    path = folder / "specs/demo/relations/paired.yaml"
    path.write_text(path.read_text().replace("store: true", "store: false").replace("export: true\n", ""))
    declared = '{ placement = "spill", pushdown = false }'
    decision = f'[[decision]]\ndomain = "cache"\nsubject = "minutes_of"\nthen = {declared}\nbecause = "Looked at."\n'
    write(folder, f'\n[rollout.domains]\nwrite = "warn"\n\n{decision}')
    told = diff(folder, "../old", "generated/demo")[1]
    assert "rule scan.whole@4 → 9: " in told
    assert "rollout of write enforce → warn: " in told
    assert "mode enforce → warn" in told
    assert "declared: derived → Looked at.: 1 decision changes\n  /cache_policy_by_view/minutes_of  value: " in told
    assert "subjects that the pack gained or lost: " in told
    assert "  /scan_policy_by_dataset/paired  removed: " in told
    assert "entries that no rule decides: " in told
    assert "no cause found" not in told


def test_revisions_are_read_from_git(folder: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True, cwd=folder)
    write(folder, '\n[thresholds]\n"scan.min_selective_readers" = 2\n')
    (folder / "below").mkdir()
    by_revision = diff(folder, "HEAD", "generated/demo")[1]
    assert by_revision.startswith("HEAD:demo/local → generated/demo/policy/local.json\n")
    assert "scan.min_selective_readers 1 → 2: 1 decision changes" in by_revision
    assert diff(folder / "below", "HEAD:demo/local", "../generated/demo")[0] == 1
    assert diff(folder, "HEAD", "HEAD:demo/local")[0] == 0


def test_a_revision_beside_a_policy_on_disk_means_the_same_pack_and_environment(folder: Path) -> None:
    """A project of two packs and two environments: what stands in docs/explain.md works as it stands."""
    shutil.copytree(folder / "specs/demo", folder / "specs/other")
    header = folder / "specs/other/pack.toml"
    header.write_text(header.read_text().replace('name = "demo"', 'name = "other"'))
    shutil.copy(folder / "specs/demo/env/local.toml", folder / "specs/demo/env/prod.toml")
    compiled(folder, "demo")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True, cwd=folder)
    write(folder, '\n[thresholds]\n"scan.min_selective_readers" = 2\n')
    status, told = diff(folder, "HEAD", "generated/demo")
    assert status == 1 and told.startswith("HEAD:demo/local → generated/demo/policy/local.json\n")
    assert diff(folder, "generated/demo", "HEAD")[1].startswith("generated/demo/policy/local.json → HEAD:demo/local\n")
    by_file = diff(folder, "HEAD", "generated/demo/policy/prod.json")
    assert by_file == (0, "HEAD:demo/prod → generated/demo/policy/prod.json\nno differences\n")
    across = diff(folder, "HEAD:demo/local", "generated/demo/policy/prod.json")[1]
    assert across.startswith("HEAD:demo/local → generated/demo/policy/prod.json\n")
    done = run_command("policy", "diff", "HEAD", "HEAD", cwd=folder)
    assert done.returncode == 2 and "may mean 2 policies" in done.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nothing", "`nothing` is no file"),
        ("--output=x:demo/local", ""),
        ("specs", "specs/policy/local.json cannot be read"),
        ("decreta.toml", "decreta.toml is no policy of format"),
        ("HEAD:other/local", "`other` is no pack"),
    ],
)
def test_what_is_no_policy_is_said(folder: Path, given: str, words: str) -> None:
    done = run_command("policy", "diff", given, "../old", cwd=folder)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def committed(name: str) -> PolicyFile:
    return msgspec.json.decode((ROOT / "generated" / f"{name}.json").read_bytes(), type=PolicyFile)


def test_nothing_that_differs_is_left_out() -> None:
    """Of two environments of the code graph, each entry that differs stands in the comparison, both ways around."""
    old, new = committed("code_graph/policy/local"), committed("code_graph/policy/prod")
    found = {d.pointer for d in compare(old, new).differences}
    expected = {
        f"/{section}/{subject}"
        for section, _ in DOMAINS.values()
        for subject in getattr(old, section)
        if getattr(old, section)[subject] != getattr(new, section)[subject]
    }
    assert expected
    assert expected <= found
    assert found == {d.pointer for d in compare(new, old).differences}
    assert not compare(new, copy.deepcopy(new)).differences
    told = [d for apart in (False, True) for group in compare(old, new).by_cause(apart).values() for d in group]
    assert {d.pointer for d in told} == found
    assert all(NOTHING not in d.causes for d in told)
