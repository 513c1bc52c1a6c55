"""Full disks, clocks that go backwards, little memory: a typed error or success, tables and ledger intact."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import decreta_runtime
from tests.conftest import ROOT, rows_of
from tests.faults.extent import ALL
from tests.faults.test_steps import shim

__all__ = ["shim"]
DAY = 86_400


def run(pack: Path, lake: Path, source: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "decreta_runtime",
        "run",
        str(pack),
        "--lake",
        str(lake),
        "--source",
        f"python={source}",
    ]
    whole = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), **env}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=whole)


def limited(
    resource: str, most: int, pack: Path, lake: Path, source: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    """Run under a limit of the system's."""
    code = (
        f"import resource, runpy, sys; resource.setrlimit(resource.{resource}, ({most}, {most})); "
        "sys.argv[0] = 'decreta-run'; runpy.run_module('decreta_runtime', run_name='__main__')"
    )
    asked = ["run", str(pack), "--lake", str(lake), "--source", f"python={source}", *more]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    command = [sys.executable, "-B", "-c", code, *asked]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=env)


def edit(source: Path, i: int) -> None:
    (source / "main.py").write_text(f"from app.core import run_{i}\nrun_{i}({i})\n")


def intact(pack: Path, lake: Path) -> int:
    """See that nothing is wrong with a lake, ledger included; return the newest run."""
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        seen = opened.verify_lake(data=True)
        assert seen.findings == ()
        assert opened.ledger("SELECT count(*) AS n FROM ledger").to_pylist()[0]["n"] > 0
        assert opened.query("symbol_lookup", name="run").num_rows
    return seen.run_seq


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here; the steps that fail from one on show the same")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("left", [8, 24, 48, 96] if ALL else [24])
def test_a_full_disk(code_graph: Path, source: Path, small_disk: Path, left: int) -> None:
    """With so many KiB left, a run ends in the midst of its writes."""
    lake, filler = small_disk / "lake", small_disk / "filler"
    edit(source, 1)
    assert run(code_graph, lake, source).returncode == 0
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(free - (left << 10)))
    edit(source, 2)
    done = run(code_graph, lake, source)
    assert done.returncode == 2, done.stderr
    assert "error[R1" in done.stderr and "help:" in done.stderr and "Traceback" not in done.stderr
    assert intact(code_graph, lake) == 1
    filler.unlink()
    assert run(code_graph, lake, source).returncode == 0
    assert intact(code_graph, lake) == 2


@pytest.mark.skipif(not ALL, reason="by `make faults`")
def test_files_that_may_not_grow(code_graph: Path, source: Path, tmp_path: Path) -> None:
    """A limit on the size of files fails writes in their midst, without any right."""
    lake = tmp_path / "lake"
    edit(source, 1)
    assert run(code_graph, lake, source).returncode == 0
    for i in range(40):
        (source / f"more_{i}.py").write_text("".join(f"def f_{i}_{j}(x):\n    return g_{j}(x)\n" for j in range(60)))
    done = limited("RLIMIT_FSIZE", 20000, code_graph, lake, source)
    assert done.returncode == 2 and "error[R106]" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert intact(code_graph, lake) == 1
    assert run(code_graph, lake, source).returncode == 0
    assert intact(code_graph, lake) == 2


def test_a_clock_that_goes_back_by_a_day(shim: Path, code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake, expected = tmp_path / "lake", tmp_path / "expected"
    for i, shift in enumerate([0, -DAY, 0] if ALL else [0, -DAY]):
        edit(source, i)
        done = run(code_graph, lake, source, LD_PRELOAD=str(shim), FAULTS_CLOCK=str(shift))
        assert done.returncode == 0, done.stderr
        assert intact(code_graph, lake) == i + 1
    runs = decreta_runtime.open(str(code_graph), lake=str(lake)).ledger("SELECT started_us FROM runs ORDER BY run_seq")
    first, second, *_ = runs["started_us"].to_pylist()
    assert second < first - DAY * 500_000, "the second run saw the day before"
    assert run(code_graph, expected, source).returncode == 0
    with decreta_runtime.open(str(code_graph), lake=str(lake)) as opened:
        for name, version in opened.versions().items():
            assert rows_of(lake / "code_graph" / name, version) == rows_of(expected / "code_graph" / name), name


def test_memory_of_512_mib(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    done = limited("RLIMIT_DATA", 512 << 20, code_graph, lake, source, "--json")
    if done.returncode:
        assert "error[R" in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert run(code_graph, lake, source).returncode == 0
    else:
        assert json.loads(done.stdout)["run_seq"] == 1
    assert intact(code_graph, lake) == 1
