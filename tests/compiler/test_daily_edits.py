"""The three daily edits on a project of 1,000 relations: what a person writes, and what changes because of it."""

from __future__ import annotations

import json
import re
import shutil
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


def generated(folder: Path, pack: str = "wide") -> Files:
    """Compile; the evidence of decisions, which tells why and decides nothing, is left out of the policy."""
    report = Report()
    found = compile_pack(Project(folder), pack, report)
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
    assert found["policy/local.json"] <= 240
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
    # say it, and the choice is another one; what is rewritten has the size of what is written.
    assert 2 < found["policy/local.json"] <= 2 + 1000 * 8 * 2


@pytest.mark.parametrize(
    ("page", "pack", "policies"),
    [("add-a-column", "retail", True), ("add-a-relation", "retail", False), ("change-a-threshold", "code_graph", True)],
)
def test_pages_show_the_diff_that_is_made(tmp_path: Path, page: str, pack: str, policies: bool) -> None:
    """A page's edit of the specs, made again, changes the lines that the page shows, digests apart."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    before = generated(tmp_path, pack)
    text = (ROOT / f"docs/daily/{page}.md").read_text().split("```diff\n")[1].split("```")[0]
    shown = diff_of(text)
    (spec,) = (path for path in shown if path.startswith("specs/"))
    at = re.search(r"@@ -\S+ \+(\d+)", text.partition(f"+++ b/{spec}")[2])
    assert at is not None
    edit(tmp_path / spec, int(at[1]), *shown.pop(spec))
    after = generated(tmp_path, pack)
    made = {
        f"generated/{pack}/{path}": (digestless(before, path), digestless(after, path))
        for path in {*before, *after}
        if before.get(path) != after.get(path) and (policies or not path.startswith(("manifest", "policy")))
    }
    assert made.keys() == shown.keys()
    for path, (old, new) in made.items():
        removed, added = (Counter(plain(line) for line in lines) for lines in shown[path])
        assert (new - old, old - new) == (added - removed, removed - added), path


def diff_of(text: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return for each file of a diff the lines taken away and put in."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    path = ""
    for line in text.splitlines():
        if line.startswith("+++ b/"):
            path = line.removeprefix("+++ b/")
            found[path] = ([], [])
        elif line.startswith(("+", "-")):
            found[path]["-+".index(line[0])].append(line[1:])
    return found


def edit(path: Path, line: int, removed: list[str], added: list[str]) -> None:
    """Put lines in the place of those removed, from a line on."""
    lines = path.read_text().splitlines() if path.exists() else []
    assert lines[line - 1 : line - 1 + len(removed)] == removed
    lines[line - 1 : line - 1 + len(removed)] = added
    path.write_text("\n".join(lines) + "\n")


def digestless(files: Files, path: str) -> Counter[str]:
    return Counter(plain(line) for line in files.get(path, b"").decode().splitlines())


def plain(line: str) -> str:
    return re.sub(r"sha256:[0-9a-f]{64}", "sha256:", line)
