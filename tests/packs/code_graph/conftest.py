"""The adapter as a package of its own, and the standard library read once."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from tests.conftest import ROOT

from decreta_runtime.arrow import schema_of
from decreta_runtime.load import load
from decreta_runtime.tally import Tally

EXCLUDE = ["test", "tests", "idle_test", "site-packages", "__pycache__", "config-*"]
CODE = ROOT / "specs/code_graph/code"


def _load() -> ModuleType:
    for name in ("", ".text", ".syntax", ".python_source"):
        path = CODE / (name.removeprefix(".") + ".py") if name else None
        full = f"code_graph_code{name}"
        if path is None:
            sys.modules[full] = package = ModuleType(full)
            package.__path__ = [str(CODE)]
            continue
        spec = importlib.util.spec_from_file_location(full, path)
        assert spec is not None and spec.loader is not None
        sys.modules[full] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["code_graph_code.python_source"]


ADAPTER = _load()


def schemas() -> dict[str, pa.Schema]:
    manifest = load(ROOT / "generated/code_graph", Tally()).manifest
    return {name: schema_of(entry.columns) for name, entry in manifest.objects.items()}


Rows = dict[str, list[dict[str, Any]]]


def read(path: Path | str, root: str = "main", options: dict[str, Any] | None = None) -> Rows:
    """Extract all of a source; return its rows by stream."""
    units = list(ADAPTER.units(root, str(path), options or {}))
    return rows(ADAPTER.extract(units, schemas()))


def rows(batches: dict[str, pa.RecordBatch]) -> Rows:
    return {name: batch.to_pylist() for name, batch in batches.items()}


@pytest.fixture(scope="session")
def stdlib() -> tuple[Path, Rows]:
    """The interpreter's own standard library without its tests."""
    folder = Path(sysconfig.get_path("stdlib"))
    return folder, read(folder, options={"exclude": EXCLUDE})
