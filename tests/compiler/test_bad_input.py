"""Each kind of bad spec is refused at its place, with a code and help, exit 1, no traceback, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decreta.diagnostics import Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from tests.conftest import Command

OBJECT = "specs/code_graph/objects/scope.yaml"
RELATION = "specs/code_graph/relations/module_definition.yaml"
QUERY = "specs/code_graph/queries/symbol_lookup.yaml"
ENV = "specs/code_graph/env/local.toml"
CACHE = "specs/std/rules/cache.toml"

# file, text to find, text to put, code, 1-based line at which the mistake is reported
MISTAKES = [
    (OBJECT, "summary:", "sumary:", "D201", 3),
    (OBJECT, "version: 1.0.0", "version: 1.10", "D203", 2),
    (OBJECT, "version: 1.0.0\n", "", "D202", 1),
    (OBJECT, "kind: {type: string", "kind: {type: strin", "D203", 8),
    (OBJECT, "depth: {type: int16}", "depth: {type: int16}\n  depth: {type: int16}", "D105", 11),
    (OBJECT, "extends: std/spanned@1", "extends: std/spaned@1", "D205", 4),
    (OBJECT, "extends: std/spanned@1", "extends: std/spanned@2", "D207", 4),
    (OBJECT, "key: [scope_id]", "key: [scope_ident]", "D303", 11),
    (OBJECT, "key: [scope_id]", "key: [parent_id]", "D311", 11),
    (OBJECT, "adapter: python_source", "adapter: python_sorce", "D108", 13),
    (OBJECT, "key: [scope_id]", "key: [scope_id]\nowner: me", "D204", 12),
    (OBJECT, "key: [scope_id]", "key: &x [scope_id]", "D104", 11),
    (OBJECT, "nullable: true, role: parent", "nullable: yes, role: parent", "D106", 7),
    (OBJECT, "columns:\n", "columns:\n\t", "D103", None),
    (OBJECT, "where: span_start <= span_stop", "where: span_start <= 'x'", "D308", 16),
    (OBJECT, "where: span_start <= span_stop", "where: span_begin <= span_stop", "D303", 16),
    (OBJECT, "where: span_start <= span_stop", "where: span_start <= <=", "D301", 16),
    (RELATION, "d.definition_id, d.file_id", "d.definition_ident, d.file_id", "D303", 4),
    (RELATION, "FROM definition AS d", "FROM defintion AS d", "D302", 5),
    (RELATION, "d.scope_id = s.scope_id", "d.definition_id = s.scope_id", "D309", 6),
    (RELATION, "s.kind = 'module'", "s.depth = 'module'", "D308", 7),
    (RELATION, "s.kind = 'module'", "kind = 'module'", "D304", 7),
    (RELATION, "d.name", "UPPER(d.name)", "D306", 4),
    (RELATION, "SELECT d.definition_id,", "SELECT d.definition_id", "D301", 4),
    (RELATION, "key: [definition_id]", "key: [definition_key]", "D303", 11),
    (RELATION, "file_id: {role: file}", "file_id: {role: file, type: string}", "D310", 10),
    (RELATION, "file_id: {role: file}", "file_idd: {role: file}", "D303", 10),
    (RELATION, "relation: module_definition", "relation: module-definition", "D210", 1),
    (QUERY, "class: interactive_query", "class: interactive", "D205", 3),
    (QUERY, "d.name = $name", "d.name = $nam", "D205", 11),
    (QUERY, "parameters: {name: string}", "parameters: {name: int64}", "D308", 11),
    ("specs/code_graph/pack.toml", "[workloads.batch_ingest]", "[workloads.batch]", "D202", None),
    ("specs/code_graph/code/python_source.py", "def extract(", "def extrakt(", "D108", None),
    ("specs/code_graph/code/syntax.py", "class Rows:", "class Rows", "D103", None),
    (ENV, "cache_bytes = 536870912", "cache_byte = 536870912", "D403", None),
    (ENV, "deltalake-1.6.6", "deltalake-1.6.5", "D410", 3),
    (ENV, "[bindings.python]", "[bindings.pyton]", "D205", 10),
    (CACHE, "NOT cut_point", "NOT cut_points", "D402", 33),
    (CACHE, "consumers >= $cache.min_consumers", "consumers >= 2", "D404", 40),
    (CACHE, "$cache.min_consumers", "$cache.min_consumer", "D403", 40),
    (CACHE, 'placement = "memory"', 'placement = "ram"', "D405", 41),
    (CACHE, '"within_memory_budget"', '"within_memory"', "D407", 42),
    (CACHE, '"cache.shared_and_small", ', "", "D406", 2),
    (CACHE, "value = 2", "value = 5", "D408", 9),
    ("specs/std/rules/session.toml", "reads = 'selective'", "reads = 'selectiv'", "D412", None),
    (
        "specs/std/rules/session.toml",
        '"datafusion.execution.time_zone"',
        '"datafusion.execution.timezone"',
        "D411",
        None,
    ),
]


@pytest.mark.parametrize(("file", "find", "put", "code", "line"), MISTAKES)
def test_a_mistake_is_reported_where_it_is(
    project: Path, file: str, find: str, put: str, code: str, line: int | None
) -> None:
    path = project / file
    text = path.read_text()
    assert find in text
    path.write_text(text.replace(find, put, 1))
    found = check(project)
    assert code in {d["code"] for d in found}, found
    mine = [d for d in found if d["code"] == code]
    assert any(d["file"] == file for d in mine), found
    if line is not None:
        modeline = text.startswith("# yaml-language-server")  # above the lines that are counted here
        assert line + modeline in {d["line"] for d in mine if d["file"] == file}, found
    assert all(d["message"] and d["end_line"] >= d["line"] for d in found)


def check(project: Path) -> list[dict[str, object]]:
    """Check the project in this process, as `decreta check --format json` does."""
    report = Report()
    assert compile_pack(Project(project), "code_graph", report) is None
    return [d.as_json() for d in report.diagnostics()]


BYTES = [
    (b"", "D102"),
    (b"\x00\x01\x02\xff", "D101"),
    (b"object: caf\xe9\n", "D101"),
    (b"# " + b"x" * (1 << 20), "D101"),
    (b"- just\n- a list\n", "D203"),
    (b"just text\n", "D203"),
    (b"a: [" * 5000, "D103"),
    (b"object: x\n---\nobject: y\n", "D103"),
    (b"\xef\xbb\xbfobject: odd\nversion: 1.0.0\n", "D202"),
]


@pytest.mark.parametrize(("data", "code"), BYTES)
def test_files_that_are_no_spec(project: Path, data: bytes, code: str) -> None:
    (project / "specs/code_graph/objects/odd.yaml").write_bytes(data)
    found = check(project)
    assert code in {d["code"] for d in found if d["file"] == "specs/code_graph/objects/odd.yaml"}, found


def test_a_stage_reports_all_of_its_mistakes(project: Path) -> None:
    for file, find, put in [
        (OBJECT, "extends: std/spanned@1", "extends: std/spaned@1"),
        (QUERY, "class: interactive_query", "class: interactive"),
    ]:
        path = project / file
        path.write_text(path.read_text().replace(find, put))
    assert {d["file"] for d in check(project)} >= {OBJECT, QUERY}


def test_one_cause_makes_one_error(project: Path) -> None:
    path = project / RELATION
    path.write_text(path.read_text().replace("d.file_id, d.name", "d.file_ident, d.name"))
    found = check(project)
    assert [d["code"] for d in found] == ["D303"], "relations built on the broken one stay silent"
    assert found[0]["help"] == "did you mean `file_id`?"


def test_a_letter_of_another_script_is_one_mistake(project: Path) -> None:
    path = project / RELATION
    path.write_text(path.read_text().replace("d.name", "d.n\u0430me", 1))
    assert [d["code"] for d in check(project)] == ["D303"]


def test_a_cycle_names_its_relations(project: Path) -> None:
    folder = project / "specs/code_graph/relations"
    (folder / "a.yaml").write_text("relation: a\nbody: SELECT b.x FROM b\n")
    (folder / "b.yaml").write_text("relation: b\nbody: SELECT a.x FROM a\n")
    (cycle,) = [d for d in check(project) if d["code"] == "D208"]
    assert "`a` ← `b` ← `a`" in str(cycle["message"])


def test_a_query_cannot_read_what_is_not_kept(project: Path) -> None:
    query = (
        "query: all_names\nsummary: All.\nclass: interactive_query\nbody: SELECT m.name FROM module_definition AS m\n"
    )
    (project / "specs/code_graph/queries/all_names.yaml").write_text(query)
    assert [(d["code"], d["file"]) for d in check(project)] == [("D314", "specs/code_graph/queries/all_names.yaml")]


def test_a_mistake_in_a_template_names_both_places(project: Path) -> None:
    path = project / "specs/std/templates/span_contains_innermost.sql"
    path.write_text(path.read_text().replace("m.stop <= c.stop", "m.stop <= c.stopp", 1))
    (found,) = check(project)
    assert (found["code"], found["file"], found["line"]) == (
        "D303",
        "specs/std/templates/span_contains_innermost.sql",
        4,
    )
    assert found["related"][0]["file"] == "specs/code_graph/relations/reference_in_scope.yaml"  # type: ignore[index]


def test_a_mistake_in_a_sql_file_points_there(project: Path) -> None:
    path = project / "specs/code_graph/relations/imports.sql"
    path.write_text(path.read_text().replace("r.base_module\n", "r.base_modul\n", 1))
    found = check(project)
    assert {(d["code"], d["file"]) for d in found} == {("D303", "specs/code_graph/relations/imports.sql")}


def test_the_command_line_says_it_for_people_and_for_programs(project: Path, decreta: Command) -> None:
    path = project / RELATION
    path.write_text(path.read_text().replace("FROM definition AS d", "FROM defintion AS d"))
    text = decreta("check", cwd=project)
    assert text.returncode == 1
    assert f"{RELATION}:6:8: error[D302]: unknown table `defintion`" in text.stderr
    assert "^^^^^^^^^" in text.stderr
    assert "did you mean `definition`?" in text.stderr
    as_json = decreta("check", "code_graph", "--format", "json", cwd=project)
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)[0]["code"] == "D302"
    generated = decreta("generate", cwd=project)
    assert generated.returncode == 1
    assert not (project / "generated").exists(), "nothing is written beside an error"
    assert "Traceback" not in text.stderr + as_json.stderr + generated.stderr


def test_a_pack_that_python_could_not_import(project: Path) -> None:
    (project / "specs/code_graph").rename(project / "specs/class")
    header = project / "specs/class/pack.toml"
    header.write_text(header.read_text().replace('"code_graph"', '"class"'))
    report = Report()
    assert compile_pack(Project(project), "class", report) is None
    assert [(d.code, d.span.line) for d in report.diagnostics()] == [("D210", 1)]


def test_an_unreadable_file_is_reported(project: Path) -> None:
    (project / "specs/code_graph/objects/loop.yaml").symlink_to("loop.yaml")
    (project / "specs/code_graph/objects/gone.yaml").symlink_to("nowhere.yaml")
    assert {d["file"] for d in check(project) if d["code"] == "D101"} == {
        "specs/code_graph/objects/gone.yaml",
        "specs/code_graph/objects/loop.yaml",
    }


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["check", "nothing"], 2, "`nothing` is no pack"),
        (["explain", "D999"], 2, "no code"),
        (["explain", "code_graph/cache/nothing"], 2, "decides nothing for `nothing`"),
        (["frobnicate"], 2, "no verb"),
        (["query", "code_graph", "x"], 2, "no compiled pack"),
        (["--help"], 0, ""),
        (["explain", "D308"], 0, ""),
        (["explain", "R201"], 0, ""),
    ],
)
def test_usage(project: Path, decreta: Command, args: list[str], status: int, words: str) -> None:
    done = decreta(*args, cwd=project)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_project(tmp_path: Path, decreta: Command) -> None:
    done = decreta("check", cwd=tmp_path)
    assert done.returncode == 2
    assert "no decreta project" in done.stderr


def test_every_code_has_words() -> None:
    from decreta.codes import CODES

    assert all(code.title and code.why and code.mend for code in CODES.values())
