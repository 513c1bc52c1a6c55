"""Where users work: schemas for editors, hooks for commits, verbs that answer questions of a pack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import jsonschema
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pydantic import TypeAdapter

import decreta_runtime
from decreta.diagnostics import Report
from decreta.facts import TABLES
from decreta.read import read_file
from decreta.reference import reference
from decreta.schemas import FOLDERS, SPECS, schemas
from decreta.validate import validate
from tests.conftest import ROOT, code_graph_compiled, run_command  # noqa: F401

CORPUS = ROOT / "tests" / "corpus"


@pytest.mark.parametrize("words", [["--help"], ["template", "list"]])
def test_a_reader_that_has_gone_is_no_fault(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run_command(*words, cwd=ROOT, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("words", [["lineage", "code_graph"], ["suggest", "layout", "code_graph"]])
def test_a_manifest_of_another_form_is_refused_in_words(project: Path, words: list[str]) -> None:
    folder = project / "generated/code_graph"
    folder.mkdir(parents=True)
    missing = run_command(*words, cwd=project)
    assert missing.returncode == 2 and "run `decreta generate code_graph` first" in missing.stderr
    (folder / "manifest.json").write_text('{"format": 1}')
    other = run_command(*words, cwd=project)
    assert other.returncode != 3 and "manifest.json has another form" in other.stderr, other.stderr


def kind_of(path: Path) -> str | None:
    return "pack" if path.name == "pack.toml" else FOLDERS.get(path.parent.name)


def documents() -> list[Path]:
    found = [p for p in [*(ROOT / "specs").rglob("*"), *CORPUS.rglob("*")] if p.suffix in (".yaml", ".toml")]
    return sorted(p for p in found if kind_of(p) and "D1" not in p.parts[-6:][0])


def test_schemas_are_the_committed_ones() -> None:
    assert {p.name: p.read_bytes() for p in (ROOT / "generated/schemas").iterdir()} == schemas()


def test_schemas_accept_and_reject_what_the_models_do() -> None:
    refused = 0
    for path in documents():
        report = Report()
        document = read_file(path, "x", report)
        if document is None or report.failed:
            continue
        kind = kind_of(path)
        assert kind is not None
        accepted = validate(document, SPECS[kind], report) is not None
        schema = json.loads(schemas()[f"{kind}.schema.json"])
        valid = jsonschema.Draft202012Validator(schema).is_valid(document.data)
        assert valid == accepted, (path, report.diagnostics())
        refused += not accepted
    assert refused >= 5


def test_every_kind_of_spec_has_examples_and_every_key_a_description() -> None:
    for kind, model in SPECS.items():
        schema = json.loads(schemas()[f"{kind}.schema.json"])
        assert schema["examples"], kind
        for example in schema["examples"]:
            jsonschema.validate(example, schema)
            TypeAdapter(model).validate_python(example)
        for part in (schema, *schema.get("$defs", {}).values()):
            silent = [key for key, form in part.get("properties", {}).items() if not form.get("description")]
            assert silent == [], (kind, part.get("title"))


def test_artefacts_are_as_their_schemas_say() -> None:
    found = {name: json.loads(data) for name, data in schemas().items()}
    for pack in ("code_graph", "retail"):
        manifest = json.loads((ROOT / "generated" / pack / "manifest.json").read_bytes())
        jsonschema.validate(manifest, found["manifest.schema.json"])
        broken = {**manifest, "order": 3}
        assert not jsonschema.Draft202012Validator(found["manifest.schema.json"]).is_valid(broken)
        for policy in (ROOT / "generated" / pack / "policy").glob("*.json"):
            jsonschema.validate(json.loads(policy.read_bytes()), found["policy.schema.json"])
        lock = json.loads((ROOT / "specs" / pack / "locks/local.evidence.json").read_bytes())
        jsonschema.validate(lock, found["evidence.schema.json"])
        assert not jsonschema.Draft202012Validator(found["evidence.schema.json"]).is_valid({**lock, "clock": 3})


def test_records_of_a_run_are_as_their_schemas_say(shop_pack: Path, tmp_path: Path) -> None:
    lake = tmp_path / "shop/lake"  # its tables lie beside it
    with decreta_runtime.open(shop_pack, lake=str(lake)) as pack:
        pack.run()
        pack.query("revenue_of", customer=1)
    (run,) = DeltaTable(str(lake / "_decreta/runs")).to_pyarrow_table().to_pylist()
    run |= {
        name: json.loads(run[name]) for name in ("versions", "sources", "quarantine", "stale")
    }  # as text in the table
    ledger = DeltaTable(str(lake / "_decreta/ledger")).to_pyarrow_table()
    times = ledger.column("at").cast(pa.int64()).to_pylist()  # a timestamp in the table
    actions = [{**row, "at_us": at} for row, at in zip(ledger.drop_columns("at").to_pylist(), times, strict=True)]
    assert {row["kind"] for row in actions} >= {"step", "scan", "write", "check"}
    for kind, rows in (("run", [run]), ("ledger", actions)):
        validator = jsonschema.Draft202012Validator(json.loads(schemas()[f"{kind}.schema.json"]))
        for row in rows:
            validator.validate(row)
        assert not validator.is_valid({**rows[0], "run_seq": "1"})


def test_the_schema_hook_loads_no_engine(project: Path) -> None:
    files = [str(p) for p in sorted((project / "specs/code_graph").rglob("*.yaml"))[:10]]
    done = run_command("schema", *files, cwd=project, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"datafusion", "pyarrow", "deltalake", "sqlglot", "jinja2"}
    path = project / "specs/code_graph/objects/scope.yaml"
    path.write_text(path.read_text().replace("summary:", "sumary:"))
    done = run_command("schema", str(path), cwd=project)
    assert done.returncode == 1
    assert "objects/scope.yaml:4:1: error[D201]" in done.stderr


@pytest.mark.slow
def test_hooks_under_pre_commit(tmp_path: Path) -> None:
    """pre-commit itself, on a scratch repository, with the hooks as this repository offers them."""
    hooks = tmp_path / "hooks"
    ignored = shutil.ignore_patterns(".git", ".venv", ".decreta", "tests", "__pycache__", ".mypy_cache", ".ruff_cache")
    shutil.copytree(ROOT, hooks, ignore=ignored)
    work = tmp_path / "work"
    shutil.copytree(CORPUS / "base", work)
    git(hooks, "init", "-q")
    git(hooks, "add", "-A")
    git(hooks, "commit", "-qm", "hooks")
    git(work, "init", "-q")
    revision = git(hooks, "rev-parse", "HEAD").strip()
    listed = "\n".join(f"      - id: {name}" for name in ("decreta-schema", "decreta-check", "decreta-generate-check"))
    (work / ".pre-commit-config.yaml").write_text(
        f"repos:\n  - repo: {hooks}\n    rev: {revision}\n    hooks:\n{listed}\n"
    )
    assert run_command("generate", cwd=work).returncode == 0
    git(work, "add", "-A")
    assert pre_commit(work, tmp_path).returncode == 0
    spec = work / "specs/demo/objects/visit.yaml"
    spec.write_text(spec.read_text().replace("summary:", "sumary:"))
    done = pre_commit(work, tmp_path)
    assert done.returncode == 1
    assert "D201" in done.stdout
    spec.write_text(spec.read_text().replace("sumary: A", "summary: The"))
    done = pre_commit(work, tmp_path)
    assert "decreta generate --check" in done.stdout
    assert "D501" in done.stdout


def git(folder: Path, *args: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True, text=True).stdout


def pre_commit(work: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    import os

    # The committed versions, as a user pins them: newer ones would be another toolchain, and said to be (D505).
    pinned = {"PRE_COMMIT_HOME": str(tmp_path / "home"), "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    environment = {**os.environ, **pinned}
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    return subprocess.run(command, cwd=work, env=environment, check=False, capture_output=True, text=True, timeout=500)


def test_lineage_of_a_column_and_of_a_relation(project: Path) -> None:
    run_command("generate", cwd=project)
    column = run_command("lineage", "code_graph", "imports.target", cwd=project).stdout
    assert "import.module" in column
    assert "imports.target  <-" in column
    drawn = run_command("lineage", "code_graph", "imports", "--format", "mermaid", cwd=project).stdout
    assert drawn.startswith("flowchart LR")
    assert "import_reach[import_reach] --> imports[imports]" in drawn
    edges = json.loads(run_command("lineage", "code_graph", "--format", "json", cwd=project).stdout)
    assert {"from": "scope", "to": "defines"} in edges
    wrong = run_command("lineage", "code_graph", "importss", cwd=project)
    assert wrong.returncode == 2
    assert "did you mean `imports`?" in wrong.stderr


def test_print_for_other_engines(project: Path) -> None:
    run_command("generate", cwd=project)
    ours = run_command("print", "module_name_count", cwd=project).stdout
    assert "SMALLINT" in ours
    sql = run_command("print", "code_graph/module_definition", "--dialect", "duckdb", cwd=project).stdout
    duckdb.sql("CREATE TABLE definition (definition_id BIGINT, file_id BIGINT, name VARCHAR, scope_id BIGINT)")
    duckdb.sql("CREATE TABLE scope (scope_id BIGINT, file_id BIGINT, kind VARCHAR)")
    assert duckdb.sql(sql).fetchall() == []
    assert run_command("print", "module_file", "--dialect", "spark", cwd=project).returncode == 0
    assert run_command("print", "nothing", cwd=project).returncode == 2


def test_templates_are_listed_and_shown(project: Path) -> None:
    listed = run_command("template", "list", cwd=project).stdout
    assert "std/lookup_first@1" in listed
    shown = run_command("template", "show", "std/closure", cwd=project).stdout
    assert "max_hops: int (may be left out)" in shown
    assert "WITH RECURSIVE" in shown
    assert run_command("template", "show", "closur", cwd=project).returncode == 2


def test_suggested_joins_name_their_evidence(project: Path) -> None:
    run_command("generate", cwd=project)
    found = run_command("suggest", "join", "code_graph", "definition", "scope", cwd=project).stdout
    assert 'cardinality: {right: "n:1"}' in found
    assert "equal: [scope_id]" in found
    twice = run_command("suggest", "join", "code_graph", "reference", "scope", cwd=project).stdout
    blocks = [block.split("\n", 1) for block in twice.strip().split("\n\n")]
    assert len({b for _, b in blocks}) == len(blocks), "each once"
    assert "equal: [scope_id, file_id]" not in twice
    assert blocks[0][0].startswith("# both hold keys of file and scope;")
    spec = found.split("\n\n")[0]
    path = project / "specs/code_graph/relations/suggested.yaml"
    path.write_text(f"relation: suggested\nstore: true\n{spec}\ncarry: {{left: [definition_id], right: [kind]}}\n")
    done = run_command("check", cwd=project)
    assert done.returncode == 0, done.stderr
    assert run_command("suggest", "join", "code_graph", "file", "nothing", cwd=project).returncode == 2
    layouts = run_command("suggest", "layout", "code_graph", cwd=project).stdout
    assert "layout: {sort: [name, definition_id]}" in layouts
    query = project / "specs/code_graph/queries/some_names.yaml"
    query.write_text(
        "query: some_names\nsummary: Some.\nclass: interactive_query\n"
        "body: SELECT r.name FROM reference AS r WHERE r.name IN ('a', 'b')\n"
    )
    run_command("generate", cwd=project)
    assert (
        "# reference: some_names look it up by name"
        in run_command("suggest", "layout", "code_graph", cwd=project).stdout
    )


def test_the_reference_is_up_to_date() -> None:
    pages = {path: (ROOT / "docs" / path).read_text() for path in reference()}
    assert pages == reference()
    assert {p.name for p in (ROOT / "docs/reference").iterdir()} == {p.rpartition("/")[2] for p in pages} - {"facts.md"}


def test_every_fact_is_documented_for_the_domains_that_read_it() -> None:
    page = (ROOT / "docs/facts.md").read_text()
    for domain, table in TABLES.items():
        for name, info in table.items():
            (line,) = [line for line in _of_domain(page, domain) if line.startswith(f"| `{name}` |")]
            assert info.type in line and info.source in line and info.summary in line and (info.unit or "") in line
            assert all(f"`{value}`" in line for value in info.values)


def _of_domain(page: str, domain: str) -> list[str]:
    return next(part for part in page.split("\n## ") if f"`{domain}`" in part.partition("|")[0]).splitlines()


def test_completion_knows_every_verb(project: Path) -> None:
    from decreta.cli.verbs import VERBS

    script = run_command("completion", "bash", cwd=project).stdout
    assert [verb for verb in VERBS if verb not in script] == []
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
