"""One folder a mistake: what is written, what the compiler says of it, and how it is mended.

`tests/corpus/<code>-<slug>/{input,mended}` lie over `tests/corpus/base`. `make bless` writes `expected.txt` anew.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import jsonschema
import pytest

from decreta.cli.formats import print_diagnostics
from decreta.codes import CODES
from decreta.diagnostics import Diagnostic, Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from tests.compiler.pages import pages
from tests.conftest import ROOT, run_command

CORPUS = ROOT / "tests" / "corpus"
SARIF_SCHEMA = json.loads((ROOT / "tests" / "schemas" / "sarif-2.1.0.json").read_bytes())
"""Where it is from stands beside it."""
CASES = sorted(path.name for path in CORPUS.iterdir() if path.name != "base")
OF_GENERATED_FILES = {"D501", "D502", "D503", "D504", "D505"}
"""Codes of files on disk, not of specs: their cases are in test_generate.py."""


def laid(folder: Path, case: str, side: str) -> Project:
    """Lay one side of a case over the base project."""
    shutil.copytree(CORPUS / "base", folder, dirs_exist_ok=True)
    shutil.copytree(CORPUS / case / side, folder, dirs_exist_ok=True)
    return Project(folder)


def found(project: Project) -> list[Diagnostic]:
    report = Report()
    compile_pack(project, "demo", report)
    return report.diagnostics()


@pytest.mark.parametrize("case", CASES)
def test_mistake_is_told_once_and_mended(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = laid(tmp_path / "input", case, "input")
    diagnostics = found(project)
    print_diagnostics(diagnostics, project, "text")
    told = capsys.readouterr().err
    expected = CORPUS / case / "expected.txt"
    if os.environ.get("DECRETA_BLESS"):
        expected.write_text(told)
    assert [d.code for d in diagnostics] == [case.partition("-")[0]], told
    assert told == expected.read_text()
    changed = {
        p.relative_to(CORPUS / case / "input").as_posix() for p in (CORPUS / case / "input").rglob("*") if p.is_file()
    }
    places = {d.span.file for d in diagnostics} | {r.span.file for d in diagnostics for r in d.related}
    assert places & changed, f"nothing points at {changed}"
    mended = found(laid(tmp_path / "mended", case, "mended"))
    assert mended == []


def test_base_has_no_mistakes(tmp_path: Path) -> None:
    shutil.copytree(CORPUS / "base", tmp_path / "base")
    assert found(Project(tmp_path / "base")) == []


def test_every_code_has_a_page_and_a_case() -> None:
    cases = {case.partition("-")[0] for case in CASES}
    assert cases == set(CODES) - OF_GENERATED_FILES
    text = (ROOT / "tests/compiler/test_generate.py").read_text()
    assert [code for code in OF_GENERATED_FILES if code not in text] == []
    for code, page in CODES.items():
        assert (
            page.title[0].islower()
            or not page.title[0].isalpha()
            or page.title.isupper()
            or page.title.split()[0].isupper()
        ), code
        assert page.why.endswith("."), code
        assert page.mend.endswith("."), code


def test_pages_tell_what_the_corpus_shows(tmp_path: Path) -> None:
    written = ROOT / "docs" / "diagnostics.md"
    if os.environ.get("DECRETA_BLESS"):
        written.write_text(pages(CORPUS))
    assert written.read_text() == pages(CORPUS)
    told = run_command("explain", "D303", cwd=tmp_path).stdout
    assert CODES["D303"].mend in told
    assert "-  SELECT v.visit_id, v.person_id, v.minuets" in told
    assert "+  SELECT v.visit_id, v.person_id, v.minutes" in told
    assert "D304" not in told


def test_formats_are_views_of_the_same_mistakes(tmp_path: Path) -> None:
    laid(tmp_path, "D303-in-an-argument", "input")
    as_json = json.loads(run_command("check", "--format", "json", cwd=tmp_path).stdout)
    as_sarif = json.loads(run_command("check", "--format", "sarif", cwd=tmp_path).stdout)
    as_github = run_command("check", "--format", "github", cwd=tmp_path).stdout.splitlines()
    assert [d["code"] for d in as_json] == ["D303"]
    jsonschema.validate(as_sarif, SARIF_SCHEMA)
    (result,) = as_sarif["runs"][0]["results"]
    (region,) = [location["physicalLocation"]["region"] for location in result["locations"]]
    assert (region["startLine"], region["startColumn"]) == (as_json[0]["line"], as_json[0]["column"])
    assert result["ruleId"] == "D303"
    assert [r["message"]["text"] for r in result["relatedLocations"]] == ["the columns of `visit`"]
    (line,) = as_github
    assert line.startswith(f"::error file={as_json[0]['file']},line={as_json[0]['line']},col={as_json[0]['column']},")
    assert as_json[0]["message"] in line


def test_generate_tells_mistakes_in_the_same_formats(tmp_path: Path) -> None:
    laid(tmp_path, "D208-cycle", "input")
    done = run_command("generate", "--format", "sarif", cwd=tmp_path)
    assert done.returncode == 1
    jsonschema.validate(json.loads(done.stdout), SARIF_SCHEMA)
    laid(tmp_path, "D208-cycle", "mended")
    assert run_command("generate", cwd=tmp_path).returncode == 0
    (tmp_path / "generated/demo/relations/long_visit.py").write_text("edited")
    done = run_command("generate", "--check", "--format", "json", cwd=tmp_path)
    assert [(d["code"], d["file"]) for d in json.loads(done.stdout)] == [
        ("D502", "generated/demo/relations/long_visit.py")
    ]
    assert run_command("generate", "--diff", "--format", "json", cwd=tmp_path).returncode == 2
