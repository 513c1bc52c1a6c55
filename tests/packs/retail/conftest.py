"""The retail pack over generated TPC-H data, run once a scale."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import ROOT, compiled
from tests.packs.retail.batches import write_batches

import decreta_runtime
from decreta_runtime.pack import Pack

TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


def generate(folder: Path, scale: str) -> Path:
    """Generate TPC-H's tables as Parquet."""
    command = Path(sys.executable).with_name("tpchgen-cli")
    subprocess.run([command, "parquet", "-s", scale, f"--output-dir={folder}"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def retail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled pack."""
    folder = tmp_path_factory.mktemp("retail")
    shutil.copytree(ROOT / "specs", folder / "specs")
    (folder / "decreta.toml").touch()
    return compiled(folder, "retail")


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("tpch") / "load", "0.1")


@pytest.fixture(scope="session")
def shop(retail: Path, load: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """The pack after a run over the load alone."""
    with decreta_runtime.open(retail, lake=str(tmp_path_factory.mktemp("lake"))) as pack:
        pack.run({"tpch": str(load)})
        yield pack


@pytest.fixture(scope="session")
def days(load: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller load with five daily batches."""
    folder = generate(tmp_path_factory.mktemp("days") / "load", "0.01")
    write_batches(folder, 5)
    return folder
