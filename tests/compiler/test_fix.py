"""Safe fixes: what is surely a slip is mended and proven, comments stay, and all else is left to a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decreta.diagnostics import Hint, did_you_mean
from decreta.project import Project
from tests.compiler.test_corpus import found, laid
from tests.conftest import run_command

SLIPS = [
    "D105-key-twice-alike",
    "D106-ambiguous-scalar",
    "D108-missing-sql-file",
    "D201-unknown-key",
    "D205-unknown-reference",
    "D302-unknown-table",
    "D303-in-an-argument",
    "D303-unknown-column",
    "D305-one-owner",
    "D103-tab-between-words",
    "D403-unknown-threshold",
    "D312-unknown-macro",
    "D403-budget-misspelt",
    "D403-guard-budget-misspelt",
]


@pytest.mark.parametrize("case", SLIPS)
def test_a_slip_is_mended_and_comments_stay(case: str, tmp_path: Path) -> None:
    project = laid(tmp_path, case, "input")
    (broken,) = found(project)
    path = project.file(broken.span.file)
    comment = "-- kept\n" if path.suffix == ".sql" else "# kept\n"
    lines = (path.read_text() + comment).splitlines(keepends=True)
    path.write_text("".join(lines))
    done = run_command("check", "--fix", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"mended {broken.span.file}:" in done.stderr
    now = path.read_text().splitlines(keepends=True)
    assert now[-1] == comment
    assert len([line for line in lines if line not in now]) <= 1, "one line changes, or goes"


@pytest.mark.parametrize("case", ["D309-unlike-domains", "D208-cycle", "D412-literal-outside-values", "D105-key-twice"])
def test_what_is_no_slip_is_left_alone(case: str, tmp_path: Path) -> None:
    before = files(laid(tmp_path, case, "input"))
    done = run_command("check", "--fix", cwd=tmp_path)
    assert done.returncode == 1
    assert files(Project(tmp_path)) == before


def files(project: Project) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in project.specs.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("word", "names", "near", "sure"),
    [
        ("visit_di", ["visit_id", "minutes"], "visit_id", True),
        ("minute", ["visit_id", "minutes"], "minutes", True),
        ("span_stat", ["span_start", "span_stop"], "span_start", False),
        ("visit1", ["visit2", "visit3"], "visit3", False),
        ("n", ["m"], None, False),
        ("customer", ["consumer", "order"], "consumer", False),
    ],
)
def test_a_fix_is_safe_when_no_other_name_is_near(word: str, names: list[str], near: str | None, sure: bool) -> None:
    hint = did_you_mean(word, names)
    assert (hint.near if isinstance(hint, Hint) else None) == near
    assert (isinstance(hint, Hint) and hint.sure) == sure


def test_what_may_mean_two_things_is_shown_and_not_written(tmp_path: Path) -> None:
    project = laid(tmp_path, "D304-ambiguous-column", "input")
    before = files(project)
    done = run_command("check", "--fix", cwd=tmp_path)
    assert done.returncode == 1
    assert "not mended, for it may mean something else: specs/demo/relations/long_visit.yaml:7:22" in done.stderr
    assert "`person_id` becomes `v.person_id`" in done.stderr
    assert files(project) == before


def test_a_fix_that_uncovers_later_mistakes_is_kept(tmp_path: Path) -> None:
    project = laid(tmp_path, "D106-ambiguous-scalar", "input")
    relation = project.file("specs/demo/relations/long_visit.yaml")
    relation.write_text(relation.read_text().replace("v.minutes >= 60", "v.minuets >= 60 AND v.nothing = 1"))
    done = run_command("check", "--fix", cwd=tmp_path)
    assert done.returncode == 1
    assert "`12:30:45` becomes" in done.stderr
    assert "`minuets` becomes `minutes`" in done.stderr
    assert [d.message for d in found(project)] == ["`v` has no column `nothing`"]


def test_a_fix_that_does_not_help_is_never_written(tmp_path: Path) -> None:
    """`kind` is near, but it is text: the comparison would only fail in another way."""
    project = laid(tmp_path, "D303-unknown-column", "mended")
    relation = project.file("specs/demo/relations/long_visit.yaml")
    relation.write_text(relation.read_text().replace("p.kind = 'adult'", "p.knid > 3"))
    before = files(project)
    done = run_command("check", "--fix", cwd=tmp_path)
    assert done.returncode == 1
    assert "not mended" in done.stderr
    assert files(project) == before


def test_line_ends_and_marks_stay(tmp_path: Path) -> None:
    project = laid(tmp_path, "D303-unknown-column", "input")
    (broken,) = found(project)
    path = project.file(broken.span.file)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    before = path.read_bytes().split(b"\r\n")
    assert run_command("check", "--fix", cwd=tmp_path).returncode == 0
    after = path.read_bytes().split(b"\r\n")
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_fixes_stand_in_the_formats_for_programs(tmp_path: Path) -> None:
    project = laid(tmp_path, "D303-unknown-column", "input")
    (told,) = json.loads(run_command("check", "--format", "json", cwd=tmp_path).stdout)
    line = project.file(told["file"]).read_text().splitlines()[told["fix"]["line"] - 1]
    mended = line[: told["fix"]["column"] - 1] + told["fix"]["text"] + line[told["fix"]["end_column"] - 1 :]
    assert told["fix"]["safe"]
    assert mended in laid(tmp_path / "mended", "D303-unknown-column", "mended").file(told["file"]).read_text()
    sarif = json.loads(run_command("check", "--format", "sarif", cwd=tmp_path).stdout)
    (change,) = sarif["runs"][0]["results"][0]["fixes"][0]["artifactChanges"]
    (replaced,) = change["replacements"]
    assert replaced["deletedRegion"]["startColumn"] == told["fix"]["column"]
    assert replaced["insertedContent"]["text"] == told["fix"]["text"]
