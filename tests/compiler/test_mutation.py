"""The generated tests of both packs notice wrong specs; a pack without examples is told so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, compiled, run_command


@pytest.mark.parametrize("pack", ["code_graph", "retail"])
@pytest.mark.slow
def test_mutants_are_noticed(tmp_path: Path, pack: str) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    compiled(tmp_path, pack)
    done = run_command("test", pack, "--mutate", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    last = done.stdout.splitlines()[-1]
    noticed, _, of, *_ = last.removeprefix(f"{pack}: ").split()
    assert int(of) >= 50, last
    assert int(noticed) >= 0.95 * int(of), last


@pytest.mark.slow
def test_a_suggested_example_kills_its_mutant(tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    shutil.copytree(ROOT / "tests/packs/graph", folder)
    compiled(folder, "graph")
    done = run_command("test", "graph", "--mutate", "--suggest", cwd=folder)
    assert done.returncode == 1, "this pack has no examples"
    blocks = done.stdout.split("# for known_edge\n")[1:]
    assert blocks
    spec = folder / "specs/graph/relations/known_edge.yaml"
    examples = [YAML(typ="safe").load(block.split("\n\n")[0])[0] for block in blocks]
    with spec.open("a") as out:
        YAML().dump({"examples": [{**e, "name": f"case {i}"} for i, e in enumerate(examples)]}, out)
    compiled(folder, "graph")
    again = run_command("test", "graph", "--mutate", "--suggest", cwd=folder)
    assert "# for known_edge" not in again.stdout
