"""Measure `decreta-run observe` on a lake of 100 tables of 1,000 files each; goal: 10 s.

`python benchmarks/observe.py` writes benchmarks/results/observe.md. The tables are logs written by hand, in ten commits of
a hundred files, with statistics of ten columns: observing reads nothing else. Beside it stands opening the same tables and
listing their files by delta-rs alone.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

import decreta_runtime
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.lake import Lake
from decreta_runtime.record import commit_run

ROOT = Path(__file__).resolve().parents[1]
TABLES, COMMITS, FILES = 100, 10, 100
COLUMNS = [f"c{i}" for i in range(10)]
ROUNDS = 3
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "compiler"), str(ROOT / "runtime")])}


def main() -> None:
    """Write the lake, measure, and write the result."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_project(folder)
        command = [sys.executable, "-m", "decreta_runtime", "observe", "many", "-o", "seen.json"]
        seconds = [timed(lambda: subprocess.run(command, cwd=folder, check=True, env=ENV)) for _ in range(ROUNDS)]
        seen = json.loads((folder / "seen.json").read_bytes())
        assert {table["files"] for table in seen["datasets"].values()} == {COMMITS * FILES}
        assert all(len(table["columns"]) == len(COLUMNS) for table in seen["datasets"].values())
        floor = [timed(lambda: listed(folder)) for _ in range(ROUNDS)]
        merge = [sys.executable, "-m", "decreta", "observe", "many", "seen.json"]
        merged = [timed(lambda: subprocess.run(merge, cwd=folder, check=True, env=ENV, stdout=subprocess.DEVNULL))]
    write_result(statistics.median(seconds), statistics.median(floor), merged[0])


def write_result(seconds: float, floor: float, merged: float) -> None:
    rows = [
        f"| `decreta-run observe`: {TABLES} tables of {COMMITS * FILES:,} files, {len(COLUMNS)} columns, {COMMITS} commits "
        f"each | {seconds:.1f} s | 10 s | opening the tables and listing their files by delta-rs alone {floor:.1f} s |",
        f"| `decreta observe FILE`: the first merge into an empty lock | {merged:.1f} s | | |",
    ]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {platform.system()}"
    made = f"Made by `python benchmarks/observe.py` on {machine}; the median of {ROUNDS} processes."
    head = "| what | measured | to reach | beside it |\n|---|---|---|---|\n"
    text = f"# Observing a lake\n\n{made}\n\n{head}" + "\n".join(rows) + "\n"
    print(text)
    (ROOT / "benchmarks/results/observe.md").write_text(text)


def timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def listed(folder: Path) -> None:
    for i in range(TABLES):
        DeltaTable(str(folder / f"tables/t{i}")).get_add_actions(flatten=True)


def write_project(folder: Path) -> None:
    """Write and compile a pack that binds all tables, and a lake whose one run names them."""
    specs = folder / "specs/many"
    (specs / "objects").mkdir(parents=True)
    (specs / "env").mkdir()
    (folder / "decreta.toml").touch()
    workloads = '\n[workloads.batch_ingest]\nreads = "whole"\n[workloads.interactive_query]\nreads = "selective"\n'
    (specs / "pack.toml").write_text(f'name = "many"\nversion = "0.1.0"\nsummary = "Many."\nimports = []\n{workloads}')
    columns = "".join(f"  {name}: {{type: int64}}\n" for name in COLUMNS)
    bindings = []
    for i in range(TABLES):
        write_table(folder / f"tables/t{i}", seed=i)
        bindings.append(f't{i} = {{ table = "../tables/t{i}" }}')
        (specs / f"objects/t{i}.yaml").write_text(
            f"object: t{i}\nversion: 1.0.0\nsummary: One of many.\ncolumns:\n{columns}key: [c0]\nsource: {{table: true}}\n"
        )
    budgets = '[budgets]\ncores = 2\ncache_bytes = 1048576\nsession_memory = "1G"\n\n[bindings]\n'
    engine = 'lake = "lake"\nengine = "datafusion-55.0.0+deltalake-1.6.6"\n\n'
    (specs / "env/local.toml").write_text(engine + budgets + "\n".join(bindings) + "\n")
    subprocess.run([sys.executable, "-m", "decreta", "generate"], cwd=folder, check=True, env=ENV, capture_output=True)
    record_run(folder)


def record_run(folder: Path) -> None:
    lake = Lake(str(folder / "lake"))
    lake.prepare()
    pack = decreta_runtime.open(str(folder / "generated/many"))
    names = [f"t{i}" for i in range(TABLES)]
    record = RunRecord(
        pack="many",
        run_seq=1,
        run_key="none",
        attempt="none",
        environment="local",
        manifest_digest="none",
        policy_digest=pack.policy.digest,
        started_us=0,
        finished_us=0,
        versions=dict.fromkeys(names, COMMITS - 1),
        sources={name: f"{name}@../tables/{name}" for name in names},
        pack_loads=1,
        bindings=1,
        sessions=1,
    )
    commit_run(lake, record)


def write_table(folder: Path, seed: int) -> None:
    """Write the log of a table whose data files do not exist."""
    log = folder / "_delta_log"
    log.mkdir(parents=True)
    fields = [{"name": name, "type": "long", "nullable": False, "metadata": {}} for name in COLUMNS]
    schema = json.dumps({"type": "struct", "fields": fields})
    begin = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {
            "metaData": {
                "id": folder.name,
                "format": {"provider": "parquet", "options": {}},
                "schemaString": schema,
                "partitionColumns": [],
                "configuration": {},
                "createdTime": 0,
            }
        },
    ]
    for version in range(COMMITS):
        adds = [entry(version * FILES + n, seed) for n in range(FILES)]
        actions = [{"commitInfo": {"operation": "WRITE"}}, *(begin if version == 0 else []), *adds]
        (log / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)) + "\n")


def entry(n: int, seed: int) -> dict[str, Any]:
    low = {name: n * 1000 * (i + 1) % 99_991 + seed for i, name in enumerate(COLUMNS)}
    statistics = {
        "numRecords": 1000,
        "minValues": low,
        "maxValues": {name: value + 5000 for name, value in low.items()},
        "nullCount": dict.fromkeys(COLUMNS, 0),
    }
    add = {
        "path": f"part-{n:05}.parquet",
        "partitionValues": {},
        "size": 100_000 + n * 37,
        "modificationTime": 0,
        "dataChange": True,
        "stats": json.dumps(statistics),
    }
    return {"add": add}


if __name__ == "__main__":
    main()
