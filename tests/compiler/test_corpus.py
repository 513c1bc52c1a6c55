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
from sarif_pydantic import Sarif

from decreta.cli.formats import print_diagnostics
from decreta.codes import CODES
from decreta.diagnostics import Diagnostic, Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from tests.conftest import ROOT, run_command

CORPUS = ROOT / "tests" / "corpus"
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


def test_formats_are_views_of_the_same_mistakes(tmp_path: Path) -> None:
    laid(tmp_path, "D303-in-an-argument", "input")
    as_json = json.loads(run_command("check", "--format", "json", cwd=tmp_path).stdout)
    as_sarif = json.loads(run_command("check", "--format", "sarif", cwd=tmp_path).stdout)
    as_github = run_command("check", "--format", "github", cwd=tmp_path).stdout.splitlines()
    assert [d["code"] for d in as_json] == ["D303"]
    # The official schema is in no package registry; these models are made from it.
    jsonschema.validate(as_sarif, Sarif.model_json_schema())
    (result,) = Sarif.model_validate(as_sarif).runs[0].results
    region = result.locations[0].physical_location.region
    assert (region.start_line, region.start_column) == (as_json[0]["line"], as_json[0]["column"])
    assert result.rule_id == "D303"
    (line,) = as_github
    assert line.startswith(f"::error file={as_json[0]['file']},line={as_json[0]['line']},col={as_json[0]['column']},")
    assert as_json[0]["message"] in line


FIXED = ["D201-unknown-key", "D302-unknown-table", "D303-unknown-column", "D106-ambiguous-scalar", "D205-unknown-reference",
         "D403-unknown-threshold", "D108-missing-sql-file"]  # fmt: skip


@pytest.mark.parametrize("case", FIXED)
def test_safe_fixes_mend_and_keep_comments(case: str, tmp_path: Path) -> None:
    project = laid(tmp_path, case, "input")
    (broken,) = found(project)
    path = project.file(broken.span.file)
    comment = "-- kept\n" if path.suffix == ".sql" else "# kept\n"
    path.write_text(path.read_text() + comment)
    done = run_command("check", "--fix", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mended" in done.stderr
    assert path.read_text().endswith(comment)
    assert len(path.read_text().splitlines()) >= len(
        (CORPUS / case / "input" / broken.span.file).read_text().splitlines()
    )


@pytest.mark.parametrize("case", ["D309-unlike-domains", "D208-cycle", "D412-literal-outside-values"])
def test_what_is_not_surely_a_slip_is_left_alone(case: str, tmp_path: Path) -> None:
    project = laid(tmp_path, case, "input")
    before = {p: p.read_bytes() for p in project.specs.rglob("*") if p.is_file()}
    done = run_command("check", "--fix", cwd=tmp_path)
    assert done.returncode == 1
    assert {p: p.read_bytes() for p in project.specs.rglob("*") if p.is_file()} == before
