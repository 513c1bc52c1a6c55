"""One step of input or output fails, or all from one on: a typed error or success, whole runs, and the next run completes.

A shim before the C library fails the n-th open, write, fsync, rename, link, unlink or mkdir below the lake, for Python and for
both engines alike: a commit of Delta is a link. It does not see reads of files that are open, nor what maps them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import decreta_runtime
from tests.conftest import ROOT, edit_policy
from tests.faults.extent import ALL
from tests.runtime.test_maintenance import small_files

SLICES = 4


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("the shim needs a C compiler and Linux")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(ROOT / "tests/faults/shim.c"), "-ldl"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return library


@pytest.fixture(scope="module")
def scene(code_graph_compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pack that builds an index, and a folder with the lakes `before` and `new` and the new one's source."""
    folder = tmp_path_factory.mktemp("scene")
    pack, source = folder / "code_graph", folder / "source"
    shutil.copytree(code_graph_compiled, pack)

    def build(policy: dict[str, Any]) -> None:
        policy["index_policy_by_dataset"]["definition.by_name"]["value"]["build"] = True

    edit_policy(pack, build)
    source.mkdir()
    for lake, text in (
        ("before", "def f(x):\n    return g(x)\n"),
        ("new", "import os\n\ndef h(x):\n    return os.path(x)\n"),
    ):
        (source / "a.py").write_text(text)
        with decreta_runtime.open(str(pack), lake=str(folder / lake)) as opened:
            opened.run({"python": str(source)})
    return pack, folder


def driven(shim: Path, pack: Path, folder: Path, points: str, extent: str, verb: str = "run") -> list[dict[str, Any]]:
    env = {**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": str(ROOT / "runtime")}
    command = [sys.executable, str(ROOT / "tests/faults/drive.py"), str(pack), str(folder), points, extent, verb]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def judged(points: list[dict[str, Any]]) -> None:
    assert points
    bad = [p for p in points if p["wrong"] or not (p["outcome"] == "done" or p["outcome"].startswith("R"))]
    assert not bad, json.dumps(bad[:3], indent=2)


QUICK = {"once": "5:90", "after": "60:160"}
SETS = [f"{i}:{SLICES}" for i in range(1, SLICES + 1)] if ALL else [""]


@pytest.mark.parametrize("points", SETS)
@pytest.mark.parametrize("extent", ["once", "after"])
def test_a_step_fails(shim: Path, scene: tuple[Path, Path], points: str, extent: str) -> None:
    """`once`: the step alone, as a bad block does; `after`: it and all that follow, as a full disk does."""
    judged(driven(shim, *scene, points or QUICK[extent], extent))


@pytest.mark.skipif(not ALL, reason="by `make faults`")
@pytest.mark.parametrize("points", SETS)
def test_a_step_of_a_first_run_fails(shim: Path, scene: tuple[Path, Path], tmp_path: Path, points: str) -> None:
    pack, folder = scene
    for name in ("new", "source"):
        shutil.copytree(folder / name, tmp_path / name)
    judged(driven(shim, pack, tmp_path, points, "once"))


@pytest.fixture(scope="module")
def fragments(code_graph_compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pack that two tables are to be maintained of, and a folder with a lake whose tables lie in many files."""
    folder = tmp_path_factory.mktemp("fragments")
    pack = folder / "code_graph"
    shutil.copytree(code_graph_compiled, pack)
    edit_policy(pack, small_files)
    kept = json.loads((pack / "policy/local.json").read_bytes())["maintenance_policy_by_dataset"]

    def leave(policy: dict[str, Any], but: tuple[str, ...]) -> None:
        for name, decision in policy["maintenance_policy_by_dataset"].items():
            decision["value"]["triggers"] = kept[name]["value"]["triggers"] if name in but else {}

    edit_policy(pack, lambda policy: leave(policy, ()))
    (folder / "source").mkdir()
    (folder / "source/a.py").write_text("import os\n\ndef f(x):\n    return g(x)\n\ndef g(x):\n    return f(x)\n")
    with decreta_runtime.open(str(pack), lake=str(folder / "before")) as opened:
        opened.run({"python": str(folder / "source")})
    edit_policy(pack, lambda policy: leave(policy, ("definition", "scope")))
    return pack, folder


@pytest.mark.parametrize(
    ("points", "extent"), [*((points, "once") for points in SETS), ("3:11" if ALL else "60:160", "after")]
)
def test_a_step_of_maintenance_fails(shim: Path, fragments: tuple[Path, Path], points: str, extent: str) -> None:
    """Readers see the same rows whatever happens, and the next maintenance leaves nothing undone."""
    judged(driven(shim, *fragments, points or "5:60", extent, "maintain"))


def test_the_shim_sees_both_engines(shim: Path, scene: tuple[Path, Path]) -> None:
    """A run makes hundreds of steps, and the commits of the Delta engine are among them."""
    (counted,) = driven(shim, *scene, "count", "once")
    assert counted["outcome"] == "done" and counted["steps"] > 200
