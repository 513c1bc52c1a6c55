"""Fixtures: projects in temporary folders, the command line as a user runs it, packs compiled once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]


def run_command(
    *args: str, cwd: Path, module: str = "decreta", stdout: int = subprocess.PIPE, timeout: int = 120, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a verb as a user does, in a process of its own."""
    paths = os.pathsep.join([str(ROOT / "compiler"), str(ROOT / "runtime")])
    environment = {**os.environ, "PYTHONPATH": paths, "NO_COLOR": "1", **env}
    command = [sys.executable, "-m", module, *args]
    return subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def decreta() -> Command:
    return run_command


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of this repository's own specs: std and code_graph."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "specs", folder / "specs", ignore=shutil.ignore_patterns("retail"))
    (folder / "decreta.toml").touch()
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The shop's project, with the tables it binds."""
    folder = tmp_path / "shop"
    shutil.copytree(ROOT / "tests/packs/shop", folder, ignore=shutil.ignore_patterns("generated", ".decreta"))
    shop_tables(folder / "tables")
    return folder


def shop_tables(folder: Path) -> None:
    """Write the tables that the shop's environment binds."""
    write_deltalake(
        str(folder / "customer"),
        pa.table(
            {
                "customer_id": pa.array([1, 2, 3]),
                "name": ["Ada", "Bo", "Cy"],
                "since": pa.array([date(2020, 1, i) for i in (1, 2, 3)]),
            }
        ),
    )
    prices = pa.array([Decimal("2.50"), Decimal("10.00")], pa.decimal128(10, 2))
    write_deltalake(
        str(folder / "product"), pa.table({"product_id": pa.array([7, 8]), "title": ["tea", "pot"], "price": prices})
    )
    write_deltalake(str(folder / "sale"), sales([(1, 1, 7, 4), (2, 1, 8, 1), (3, 2, 8, 3)]))


def sales(rows: list[tuple[int, int, int, int]]) -> pa.Table:
    ids, customers, products, pieces = zip(*rows, strict=True)
    at = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * len(rows), pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "sale_id": pa.array(ids),
            "customer_id": pa.array(customers),
            "product_id": pa.array(products),
            "pieces": pa.array(pieces, pa.int32()),
            "sold_at": at,
        }
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small Python source."""
    folder = tmp_path / "source"
    (folder / "app").mkdir(parents=True)
    (folder / "app/__init__.py").write_text("from .core import run\n__all__ = ['run']\n")
    (folder / "app/core.py").write_text("import os\n\ndef run(x, *, y=1):\n    z = x + y\n    return os.path.join(z)\n")
    (folder / "main.py").write_text("from app import run\n\nif __name__ == '__main__':\n    run(1)\n")
    (folder / "broken.py").write_text("def f(:\n")
    return folder


def undecided(lake: Path) -> list[tuple[int, str]]:
    """Return the writes, as run and table, beside which the ledger has not one decision about maintenance."""
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    of = Counter((r["attempt"], r["subject"], r["table_version"]) for r in rows if r["kind"] == "maintenance")
    writes = [row for row in rows if row["kind"] == "write"]
    assert writes, "something was written"
    return [(r["run_seq"], r["subject"]) for r in writes if of[r["attempt"], r["subject"], r["table_version"]] != 1]


def reseal(pack: Path) -> None:
    """Make a compiled pack's digests agree with its files again, as its compiler would have."""
    manifest = json.loads((pack / "manifest.json").read_bytes())
    for path in manifest["files"]:
        manifest["files"][path] = digest((pack / path).read_bytes())
    data = json.dumps(manifest, indent=2, sort_keys=True).encode()
    (pack / "manifest.json").write_bytes(data)
    (pack / "manifest.sha256").write_text(digest(data) + "\n")


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def edit_policy(pack: Path, change: Callable[[dict[str, Any]], None], env: str = "local") -> None:
    """Change a compiled policy and seal the pack again."""
    path = pack / "policy" / f"{env}.json"
    policy = json.loads(path.read_bytes())
    change(policy)
    path.write_text(json.dumps(policy, indent=2, sort_keys=True))
    reseal(pack)


def compiled(project: Path, pack: str) -> Path:
    """Compile a pack of a project; return its folder."""
    done = run_command("generate", pack, cwd=project)
    assert done.returncode == 0, done.stderr
    return project / "generated" / pack


@pytest.fixture(scope="session")
def code_graph_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code_graph")
    shutil.copytree(ROOT / "specs", folder / "specs")
    (folder / "decreta.toml").touch()
    return compiled(folder, "code_graph")


@pytest.fixture
def code_graph(code_graph_compiled: Path, tmp_path: Path) -> Path:
    """The compiled code graph pack, a copy to change at will."""
    folder = tmp_path / "generated" / "code_graph"
    shutil.copytree(code_graph_compiled, folder)
    return folder


@pytest.fixture
def shop_pack(shop: Path) -> Path:
    """The compiled shop pack."""
    return compiled(shop, "shop")


def rows_of(path: Path, version: int | None = None) -> list[tuple[Any, ...]]:
    """Return the rows of a Delta table, sorted: what equality of tables means."""
    from deltalake import DeltaTable

    table = pa.table(DeltaTable(str(path), version=version).scan().read_all())
    return sorted((tuple(map(repr, row.values())) for row in table.to_pylist()), key=repr)
