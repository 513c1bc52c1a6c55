"""What changed is recomputed, and nothing else; the tables are those of a run that computes everything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.conftest import ROOT, compiled, rows_of
from tests.packs.retail.batches import write_batches
from tests.packs.retail.conftest import generate

import decreta_runtime

QUICK = settings(
    max_examples=4, stateful_step_count=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
STATEMENTS = (
    "import os\n",
    "import app.core\n",
    "from app import core\n",
    "from .core import run\n",
    "from lib.x import run as other\n",
    "def run(x):\n    y = x\n    return y\n",
    "def run(x):\n    return run(x)\n",
    "class Box:\n    def run(self):\n        return core\n",
    "core = 1\n",
    "print(run, core, os)\n",
    "# nothing\n",
    "def broken(:\n",
)
"""What files are put together from: imports that meet, names bound once, twice or not at all."""
FILES = ("app/__init__.py", "app/core.py", "app/core/__init__.py", "lib/x.py", "main.py", "x.pyi", "x.py")


def tables(pack: Path, lake: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table as a reader sees them."""
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        versions = opened.versions()
    return {name: rows_of(lake / pack.name / name, version) for name, version in versions.items()}


def run(pack: Path, lake: Path, source: dict[str, str], **how: Any) -> dict[str, str]:
    """Run a pack; return what was done to each table."""
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        result = opened.run(source, **how)
    return {name: table.action for name, table in result.tables.items()}


def noted(lake: Path, kind: str) -> list[dict[str, Any]]:
    """Return the newest run's rows of a kind in the ledger."""
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    last = max(row["run_seq"] for row in rows if row["run_seq"] is not None)
    return [row for row in rows if row["kind"] == kind and row["run_seq"] == last]


class Source(RuleBasedStateMachine):
    """A Python source under random edits: after each the lake is that of a first run over the same files."""

    pack: Path
    folder: Path

    @initialize()
    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.source = self.folder / "source"
        self._write("app/core.py", [4, 1])
        self._write("main.py", [2, 9])
        self._same()

    def _write(self, name: str, parts: list[int]) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(STATEMENTS[i] for i in parts))

    def _files(self) -> list[Path]:
        return sorted(self.source.rglob("*.py*"))

    @rule(name=st.sampled_from(FILES), parts=st.lists(st.integers(0, len(STATEMENTS) - 1), max_size=4))
    def write(self, name: str, parts: list[int]) -> None:
        self._write(name, parts)
        self._same()

    @precondition(lambda self: len(self._files()) > 1)
    @rule(draw=st.data())
    def delete(self, draw: st.DataObject) -> None:
        draw.draw(st.sampled_from(self._files())).unlink()
        self._same()

    @rule(draw=st.data(), name=st.sampled_from(FILES))
    def rename(self, draw: st.DataObject, name: str) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw.draw(st.sampled_from(self._files())).replace(path)
        self._same()

    def _same(self) -> None:
        given = {"python": str(self.source)}
        run(self.pack, self.folder / "lake", given)
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        run(self.pack, self.folder / "fresh", given)
        assert tables(self.pack, self.folder / "lake") == tables(self.pack, self.folder / "fresh")


def test_a_lake_of_edits_is_that_of_one_run(code_graph_compiled: Path, tmp_path: Path) -> None:
    machine = type("Case", (Source,), {"pack": code_graph_compiled, "folder": tmp_path / "case"})
    machine.TestCase.settings = QUICK
    machine.TestCase("runTest").runTest()
