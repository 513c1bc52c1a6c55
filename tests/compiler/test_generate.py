"""Generation is a function of specs and toolchain alone, and the disk is held against it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command, compiled, digest


def tree(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in files}


@pytest.mark.parametrize(
    "world",
    [
        {"PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "Pacific/Kiritimati"},
        {"PYTHONHASHSEED": "4711", "LC_ALL": "C.UTF-8", "TZ": "America/St_Johns", "LANG": "tr_TR.UTF-8"},
    ],
)
def test_bytes_do_not_depend_on_the_world(
    world: dict[str, str], tmp_path: Path, decreta: Command, code_graph_compiled: Path
) -> None:
    folder = tmp_path / "a folder with blanks" / "und Umläuten"
    names = [p for p in (ROOT / "specs").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    random.Random(world["PYTHONHASHSEED"]).shuffle(names)  # the order in which a file system may list them
    for path in names:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.utime(target, (1, 1))
    (folder / "decreta.toml").touch()
    done = decreta("generate", "code_graph", cwd=folder, **world)
    assert done.returncode == 0, done.stderr
    assert tree(folder / "generated/code_graph") == tree(code_graph_compiled)


def test_what_is_committed_is_what_the_specs_say(code_graph_compiled: Path) -> None:
    assert tree(ROOT / "generated/code_graph") == tree(code_graph_compiled)


def python(version: str) -> Path | None:
    """Return a working interpreter of a version: one on the path, or one that pyenv keeps."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}*/bin/python{version}"))]
    for path in found:
        if path and subprocess.run([path, "-c", ""], check=False, capture_output=True, timeout=30).returncode == 0:
            return Path(path)
    return None


@pytest.mark.slow
def test_another_python_gives_the_same_bytes(tmp_path: Path, code_graph_compiled: Path, project: Path) -> None:
    other = python("3.13" if sys.version_info < (3, 13) else "3.11")
    if other is None:
        pytest.skip("no second Python on this machine; CI has one")
    subprocess.run([other, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    theirs = tmp_path / "venv/bin/python"
    install = [theirs, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, f"{ROOT}[compiler]"], check=True, timeout=400)
    done = subprocess.run(
        [theirs, "-m", "decreta", "generate"], check=False, cwd=project, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert tree(project / "generated/code_graph") == tree(code_graph_compiled)


def test_check_finds_each_kind_of_difference(project: Path, decreta: Command) -> None:
    pack = compiled(project, "code_graph")
    builder, query = pack / "relations/defines.py", pack / "queries.py"
    assert decreta("generate", "--check", cwd=project).returncode == 0

    def codes() -> set[tuple[str, str]]:
        done = decreta("generate", "--check", cwd=project)
        assert done.returncode == 1
        lines = [line for line in done.stderr.splitlines() if "error[" in line]
        return {(line.split("error[")[1][:4], line.split(":")[0].split("code_graph/")[1]) for line in lines}

    original = builder.read_text()
    builder.write_text(original.replace("JOIN", "LEFT JOIN"))
    assert ("D502", "relations/defines.py") in codes()
    builder.unlink()
    assert ("D503", "relations/defines.py") in codes()
    builder.write_text(original)
    (pack / "relations/mine.py").write_text("")
    assert ("D504", "relations/mine.py") in codes()
    (pack / "relations/mine.py").unlink()
    spec = project / "specs/code_graph/queries/file_outline.yaml"
    spec.write_text(spec.read_text().replace("The classes and functions of a file", "What a file defines"))
    assert ("D501", "queries.py") in codes()
    assert "What a file defines" not in query.read_text(), "--check writes nothing"
    shown = decreta("generate", "--diff", cwd=project)
    assert '+    """What a file defines, in its order.' in shown.stdout
    assert decreta("generate", cwd=project).returncode == 0
    assert decreta("generate", "--check", cwd=project).returncode == 0


def test_another_toolchain_is_named_before_any_difference(project: Path, decreta: Command) -> None:
    pack = compiled(project, "code_graph")
    manifest = json.loads((pack / "manifest.json").read_bytes())
    manifest["toolchain"]["sqlglot"] = "1.0.0"
    (pack / "manifest.json").write_text(json.dumps(manifest))
    (pack / "queries.py").unlink()
    done = decreta("generate", "--check", cwd=project)
    assert done.returncode == 1
    assert "D505" in done.stderr and "sqlglot 1.0.0" in done.stderr
    assert "D503" not in done.stderr


def test_unchanged_specs_load_no_engine(project: Path, decreta: Command) -> None:
    compiled(project, "code_graph")
    done = decreta("generate", cwd=project, PYTHONPROFILEIMPORTTIME="1")
    assert "unchanged" in done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"datafusion", "pyarrow", "pydantic", "sqlglot", "jinja2", "ruamel.yaml", "deltalake"}


def test_a_local_edit_touches_few_files(project: Path, decreta: Command) -> None:
    pack = compiled(project, "code_graph")
    before = tree(pack)
    relation = project / "specs/code_graph/relations/resolves_in_module.yaml"
    relation.write_text(relation.read_text().replace("    n.n_candidates\n", "    n.n_candidates,\n    r.ctx\n"))
    assert decreta("generate", cwd=project).returncode == 0
    after = tree(pack)
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {"manifest.json", "manifest.sha256", "relations/resolves_in_module.py"}
    assert before.keys() == after.keys()


def test_generated_code_is_python_of_the_house() -> None:
    generated = ROOT / "generated"
    check = [sys.executable, "-m", "ruff", "check", "--no-cache", str(generated)]
    assert subprocess.run(check, check=False, cwd=ROOT, timeout=60).returncode == 0


def test_generated_tests_can_fail(project: Path, decreta: Command) -> None:
    """A wrong template body is found by the examples that stand beside it."""
    template = project / "specs/std/templates/span_contains_innermost.sql"
    template.write_text(template.read_text().replace("m.stop <= c.stop", "m.stop < c.stop"))
    compiled(project, "code_graph")
    done = decreta("test", "code_graph", cwd=project)
    assert done.returncode == 1
    assert "test_a_span_that_touches_the_end" in done.stdout


def test_a_key_claimed_falsely_is_not_called_proven(project: Path) -> None:
    relation = project / "specs/code_graph/relations/resolves_in_module.yaml"
    relation.write_text(relation.read_text().replace("key: [reference_id, definition_id]", "key: [reference_id]"))
    pack = compiled(project, "code_graph")
    entry = json.loads((pack / "manifest.json").read_bytes())["relations"]["resolves_in_module"]
    assert entry["key"] == {"columns": ["reference_id"], "known": "checked"}
    assert [check["name"] for check in entry["checks"]] == ["key"]
