"""The three daily edits on a project of 1,000 relations: what a person writes, and what changes because of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from decreta.diagnostics import Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from wide_project import write_project

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Files]:
    folder = tmp_path_factory.mktemp("wide")
    write_project(folder, 1000)
    return folder, generated(folder)


def generated(folder: Path) -> Files:
    """Compile; the evidence of decisions, which tells why and decides nothing, is left out of the policy."""
    report = Report()
    found = compile_pack(Project(folder), "wide", report)
    assert found is not None, report.diagnostics()
    policy = json.loads(found.files["policy/local.json"])
    for section in policy.values():
        for decision in section.values() if isinstance(section, dict) else ():
            if isinstance(decision, dict):
                decision.pop("evidence_sources", None)
    return {**found.files, "policy/local.json": json.dumps(policy, indent=2).encode()}


def changed(before: Files, after: Files) -> dict[str, int]:
    """Return for each file that changed how many lines were taken away or put in."""
    found = {}
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path):
            old, new = (Counter(side.get(path, b"").splitlines()) for side in (before, after))
            found[path] = (old - new).total() + (new - old).total()
    return found


def test_add_a_column(wide: tuple[Path, Files]) -> None:
    folder, before = wide
    path = folder / "specs/wide/relations/r5_2.yaml"
    text = path.read_text()
    path.write_text(text.replace("MAX(q.v5) AS v5", "MAX(q.v5) AS v5, MIN(q.v5) AS v6"))
    found = changed(before, generated(folder))
    path.write_text(text)
    assert set(found) == {"manifest.json", "manifest.sha256", "relations/r5_2.py"}
    assert found["relations/r5_2.py"] <= 6
    assert found["manifest.json"] <= 20


def test_add_a_relation(wide: tuple[Path, Files]) -> None:
    folder, before = wide
    path = folder / "specs/wide/relations/mine.yaml"
    spec = "relation: mine\nstore: true\nsummary: Mine.\nbody: |\n  SELECT r.id, r.v0\n  FROM r5_2 AS r\n  WHERE r.v0 > 7\nkey: [id]\n"
    path.write_text(spec)
    after = generated(folder)
    path.unlink()
    found = changed(before, after)
    assert set(found) == {
        "manifest.json",
        "manifest.sha256",
        "policy/local.json",
        "relations/mine.py",
        "tests/test_mine.py",
    }
    assert found["policy/local.json"] <= 120
    assert found["relations/mine.py"] + found["tests/test_mine.py"] <= 60


def test_change_a_threshold(wide: tuple[Path, Files]) -> None:
    folder, before = wide
    path = folder / "specs/wide/env/local.toml"
    text = path.read_text()
    path.write_text(text + '\n[thresholds]\n"write.target_file_bytes" = 134217728\n')
    found = changed(before, generated(folder))
    path.write_text(text)
    assert set(found) == {"manifest.json", "manifest.sha256", "policy/local.json"}
    assert found["manifest.json"] == 2, "the policy's digest"
    # The threshold itself, and in each of the 1,000 decisions that take their value from it: value, baseline and otherwise
    # say it, and the choice is another one.
    assert 2 < found["policy/local.json"] <= 2 + 1000 * 8
