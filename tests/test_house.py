"""The distribution: the runtime installs and runs without the toolchain; the compiler says what it misses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from decreta.toolchain import toolchain
from tests.conftest import ROOT

TOOLCHAIN = ("pydantic", "ruamel", "jinja2", "sqlglot", "tree_sitter", "tree_sitter_toml", "pytest", "hypothesis")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, timeout=300)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def runtime_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment of its own with nothing but the base distribution."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    install = [folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", ROOT / "constraints.txt", wheel], check=True, timeout=400)
    return folder / "bin"


def test_the_wheel_holds_the_library_and_the_templates(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "decreta/diagnostics.md",
        "decreta/std/pack.toml",
        "decreta/std/templates/equi_join.yaml",
        "decreta/std/rules/cache.toml",
    } <= names
    assert {"decreta/emit/templates/relation.py.j2", "decreta_runtime/run.py", "decreta/py.typed"} <= names
    assert {
        "decreta_runtime/ledger/ready/cost_by_relation.sql",
        "decreta_runtime/ledger/views/ledger_scan.sql",
    } <= names
    assert not any(name.startswith(("tests/", "specs/", "generated/")) for name in names)


@pytest.mark.slow
def test_the_runtime_alone_runs_a_compiled_pack(
    runtime_only: Path, code_graph: Path, source: Path, tmp_path: Path
) -> None:
    script = f"import importlib.util as u; print([n for n in {TOOLCHAIN} if u.find_spec(n)])"
    found = subprocess.run(
        [runtime_only / "python", "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.strip() == "[]", "no toolchain library arrives with the runtime"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def tool(*args: str) -> subprocess.CompletedProcess[str]:
        command = [str(runtime_only / args[0]), *args[1:]]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment
        )

    lake = str(tmp_path / "lake")
    ran = tool("decreta-run", "run", str(code_graph), "--lake", lake, "--source", f"python={source}", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["tables"]["file"]["rows"] == 4
    asked = tool("decreta-run", "query", str(code_graph), "symbol_lookup", "--param", "name=run", "--lake", lake,
                 "--format", "json")  # fmt: skip
    assert {row["path"] for row in json.loads(asked.stdout)} == {"app/__init__.py", "app/core.py", "main.py"}
    assert tool("decreta-run", "verify", str(code_graph), "--lake", lake).returncode == 0
    file = str(tmp_path / "run.package")
    given = ("--lake", lake, "--source", f"python={source}", "--with-data")
    packed = tool("decreta-run", "package", str(code_graph), *given, "-o", file)
    assert packed.returncode == 0, packed.stderr
    replayed = tool("decreta-run", "replay", file, "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["equal"] is True
    compiler = tool("decreta", "check")
    assert compiler.returncode == 2
    assert "pip install 'decreta[compiler]'" in compiler.stderr


def test_what_generated_files_depend_on_is_installed_exactly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["compiler"]]
    exact = dict(need.replace("[c]", "").split("==") for need in wanted if "==" in need)
    assert {name: exact.get(name) for name in toolchain() if name != "decreta"} == {
        name: version for name, version in toolchain().items() if name != "decreta"
    }


def test_help_loads_no_engine() -> None:
    code = "import sys; sys.argv = ['decreta-run', 'run', '--help']\nfrom decreta_runtime.__main__ import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    print(sorted({'datafusion', 'deltalake', 'pyarrow'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60, env=env)
    assert done.stdout.splitlines()[-1] == "[]"


def test_nothing_in_compiler_or_runtime_names_the_pack() -> None:
    names = {
        p.stem
        for kind in ("objects", "relations", "queries")
        for p in (ROOT / "specs/code_graph" / kind).glob("*.yaml")
    }
    names = {name for name in names if "_" in name} | {"code_graph", "python_source"}
    for path in [*(ROOT / "compiler").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")]:
        code = "\n".join(line.partition("#")[0] for line in path.read_text().splitlines())
        for name in names:
            quoted = [f'"{name}"', f"'{name}'", f".{name}("]
            assert not any(q in code for q in quoted), (path, name)


def test_no_place_of_one_machine_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=False, capture_output=True, text=True, timeout=30)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".toml", ".yaml", ".md", ".json", ".txt", ""):
            text = path.read_text(errors="replace")
            assert "/root" + "/" not in text and "/work" + "/" not in text, name
