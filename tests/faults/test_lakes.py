"""Lakes that are missing, read-only, half written, newer or foreign; sources with nothing in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import decreta_runtime
from decreta_runtime.contract.errors import DecretaError, LakeUnusable, SourceUnreadable
from tests.conftest import ROOT, Command


def run(pack: Path, lake: Path, source: Path) -> None:
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run({"python": str(source)})


@pytest.fixture
def written(code_graph: Path, source: Path, tmp_path: Path) -> Path:
    run(code_graph, tmp_path / "lake", source)
    return tmp_path / "lake"


def refused(pack: Path, lake: Path, source: Path, words: str) -> None:
    """Both a run and a query are refused with words, and nothing is lost by it."""
    for act in (
        lambda: run(pack, lake, source),
        lambda: decreta_runtime.open(str(pack), lake=str(lake)).query("symbol_lookup", name="run"),
    ):
        with pytest.raises(LakeUnusable) as error:
            act()
        assert words in error.value.message
        assert error.value.help and error.value.exit_status == 2


def test_a_newer_format(code_graph: Path, written: Path, source: Path) -> None:
    (written / "_decreta/format.json").write_text('{"format": 2}')
    refused(code_graph, written, source, "has format 2, this runtime reads 1")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}'])
def test_a_broken_marker(code_graph: Path, written: Path, source: Path, text: str) -> None:
    (written / "_decreta/format.json").write_text(text)
    refused(code_graph, written, source, "format.json cannot be read")


def test_a_lost_marker(code_graph: Path, written: Path, source: Path) -> None:
    (written / "_decreta/format.json").unlink()
    with pytest.raises(LakeUnusable, match="has runs but no"):
        run(code_graph, written, source)


def test_a_broken_log(code_graph: Path, written: Path, source: Path) -> None:
    log = written / "_decreta/runs/_delta_log/00000000000000000000.json"
    log.write_text("{ nothing")
    refused(code_graph, written, source, "cannot be read")


def test_a_lost_table(code_graph: Path, written: Path) -> None:
    shutil.rmtree(written / "code_graph/definition")
    with (
        decreta_runtime.open(str(code_graph), lake=str(written)) as pack,
        pytest.raises(LakeUnusable, match=r"`definition` at .* is gone"),
    ):
        pack.query("symbol_lookup", name="run")


def test_a_lost_data_file(code_graph: Path, written: Path, source: Path) -> None:
    next((written / "code_graph/definition").glob("*.parquet")).unlink()
    with (
        decreta_runtime.open(str(code_graph), lake=str(written)) as pack,
        pytest.raises(LakeUnusable, match=r"is gone"),
    ):
        pack.query("symbol_lookup", name="run")
    (source / "new.py").write_text("x = 1\n")
    run(code_graph, written, source)  # a new run writes the table anew
    with decreta_runtime.open(str(code_graph), lake=str(written)) as pack:
        assert pack.query("symbol_lookup", name="run").num_rows


def test_a_file_in_the_lakes_place(code_graph: Path, source: Path, tmp_path: Path, decreta: Command) -> None:
    (tmp_path / "lake").write_text("no folder")
    with pytest.raises(LakeUnusable, match="cannot be written"):
        run(code_graph, tmp_path / "lake", source)
    args = ["run", str(code_graph), "--lake", str(tmp_path / "lake"), "--source", f"python={source}"]
    done = decreta(*args, module="decreta_runtime", cwd=tmp_path)
    assert done.returncode == 2 and "error[R106]" in done.stderr and "Traceback" not in done.stderr


def test_a_foreign_folder_is_no_lake(code_graph: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake/precious.txt").write_text("mine")
    with pytest.raises(LakeUnusable, match="is no lake"):
        decreta_runtime.open(str(code_graph), lake=str(tmp_path / "lake")).query("symbol_lookup", name="run")
    run(code_graph, tmp_path / "lake", source)
    assert (tmp_path / "lake/precious.txt").read_text() == "mine"


@pytest.fixture
def others() -> Iterator[Path]:
    """A folder that a user without rights can read: pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
    shutil.rmtree(folder)


def test_a_read_only_lake_can_be_read_but_not_run(code_graph: Path, source: Path, others: Path) -> None:
    pack, lake, code = others / "pack", others / "lake", others / "source"
    shutil.copytree(code_graph, pack)
    shutil.copytree(source, code)
    run(pack, lake, code)
    (code / "new.py").write_text("x = 1\n")
    subprocess.run(["chmod", "-R", "a+rX,a-w", str(others)], check=True)
    # Permission bits do not bind root: become nobody, after loading what nobody may not be allowed to read.
    become = "import os, sys, pydoc, decreta_runtime.pack, decreta_runtime.cli.run, decreta_runtime.cli.query,"
    become += "decreta_runtime.profile, decreta_runtime.cli.profile, decreta_runtime.cli.picture; import decreta_runtime.cli.output, decreta_runtime.__main__ as program, decreta_runtime.guards as guards;"
    become += "guards.installed_engine(); os.geteuid() or os.setuid(65534); program.main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}

    def as_other(verb: str, *args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-B", "-c", become, verb, str(pack), *args, "--lake", str(lake)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd="/", env=env)

    found = as_other("query", "symbol_lookup", "--param", "name=run", "--format", "json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)
    told = as_other("profile")
    assert (told.returncode, told.stderr) == (0, "")
    assert "nothing to tell" in told.stdout
    ran = as_other("run", "--source", f"python={code}")
    assert ran.returncode == 2, ran.stderr
    assert "error[R106]" in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.mkdir(), "has nothing to read at"),
        (lambda p: (p.mkdir(), (p / "notes.txt").write_text("hello")), "has nothing to read at"),
        (lambda p: None, "is neither a file or folder nor an installed Python package"),
    ],
)
def test_a_source_without_python(code_graph: Path, tmp_path: Path, make: object, words: str) -> None:
    make(tmp_path / "empty")  # type: ignore[operator]
    with pytest.raises(SourceUnreadable, match=words):
        run(code_graph, tmp_path / "lake", tmp_path / "empty")


def test_an_unbound_source(code_graph: Path, tmp_path: Path, decreta: Command) -> None:
    done = decreta("run", str(code_graph), "--lake", str(tmp_path / "lake"), module="decreta_runtime", cwd=tmp_path)
    assert done.returncode == 2
    assert "--source python=PATH" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--source", "pyton=x"], "did you mean `python`"),
        (["--source", "python"], "write --source NAME=PATH"),
        (["--env", "production"], "its environments are `local`, `prod`"),
        (["--expect", "sha256:00"], "was asked for"),
        (["--source", "python=a:.", "--source", "python=a:.."], "two roots called `a`"),
    ],
)
def test_bad_arguments(code_graph: Path, tmp_path: Path, decreta: Command, args: list[str], words: str) -> None:
    whole = ["run", str(code_graph), "--lake", str(tmp_path / "lake"), *args]
    done = decreta(*whole, module="decreta_runtime", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "lake/code_graph").exists()


def test_errors_have_codes_of_their_own() -> None:
    from decreta_runtime.contract import errors

    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, DecretaError)]
    assert len({kind.code for kind in kinds}) == len(kinds)
