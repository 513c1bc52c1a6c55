"""Measure the compiler on 1,000 relations beside dbt and SQLMesh on the same project, each in processes of their own.

`python benchmarks/compile.py [PEERS]` writes benchmarks/results/compile.md. PEERS is the `bin` folder of an environment with
`dbt-core<1.12 dbt-duckdb sqlmesh`; without it peers are left out. Runs are interleaved and medians told, because machines
are noisy; compare ratios, not seconds.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wide_project import LAYERS, OBJECTS, write_project

ROOT = Path(__file__).resolve().parents[1]
RUNS = 3
RELATIONS = 1000


def timed(command: list[str], cwd: Path, **env: str) -> float:
    """Run a command and return its seconds; a command that fails is no measurement."""
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, env={**os.environ, **env})
    return time.perf_counter() - start


def decreta(folder: Path) -> dict[str, Callable[[], float]]:
    command = [sys.executable, "-m", "decreta", "generate"]
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT / "compiler"), str(ROOT / "runtime")])}

    def cold() -> float:
        for name in ("generated", ".decreta"):
            shutil.rmtree(folder / name, ignore_errors=True)
        return timed(command, folder, **env)

    def unchanged() -> float:
        timed(command, folder, **env)
        time.sleep(0.05)
        timed(command, folder, **env)
        return timed(command, folder, **env)

    def one_file() -> float:
        path = folder / "specs/wide/relations/r5_2.yaml"
        text = path.read_text()
        path.write_text(text.replace("MAX(q.v5) AS v5", f"MAX(q.v5) + {time.time_ns() % 1000} AS v5"))
        try:
            return timed(command, folder, **env)
        finally:
            path.write_text(text)

    def schema() -> float:
        files = [str(p) for p in sorted((folder / "specs/wide/relations").glob("*.yaml"))[:10]]
        return timed([sys.executable, "-m", "decreta", "schema", *files], folder, **env)

    return {
        "decreta generate, cold": cold,
        "decreta generate, nothing changed": unchanged,
        "decreta generate, one file changed": one_file,
        "decreta schema, ten files": schema,
    }


def dbt(folder: Path, peers: Path) -> dict[str, Callable[[], float]]:
    """The same relations as dbt models."""
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("name: wide\nversion: '1.0'\nprofile: wide\nmodel-paths: [models]\n")
    (folder / "profiles.yml").write_text("wide:\n  target: dev\n  outputs: {dev: {type: duckdb, path: ':memory:'}}\n")
    for name, sql in statements(lambda parent: f"{{{{ ref('{parent}') }}}}").items():
        (folder / "models" / f"{name}.sql").write_text(sql)
    command = [
        str(peers / "dbt"),
        "--no-send-anonymous-usage-stats",
        "parse",
        "--no-partial-parse",
        "--profiles-dir",
        ".",
    ]
    compile_ = [*command[:2], "compile", "-q", "--no-partial-parse", "--no-introspect", "--profiles-dir", "."]
    return {"dbt parse, cold": lambda: timed(command, folder), "dbt compile, cold": lambda: timed(compile_, folder)}


def sqlmesh(folder: Path, peers: Path) -> dict[str, Callable[[], float]]:
    """The same relations as SQLMesh models."""
    (folder / "models").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "gateways: {local: {connection: {type: duckdb}}}\ndefault_gateway: local\nmodel_defaults: {dialect: duckdb}\n"
    )
    for name, sql in statements(lambda parent: f"wide.{parent}").items():
        (folder / "models" / f"{name}.sql").write_text(f"MODEL (name wide.{name}, kind FULL);\n{sql}\n")
    load = f"from sqlmesh import Context; Context(paths={str(folder)!r})"

    def cold() -> float:
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        return timed([str(peers / "python"), "-c", load], folder, SQLMESH__DISABLE_ANONYMIZED_ANALYTICS="1")

    return {"SQLMesh load, cold": cold}


def statements(reference: Callable[[str], str]) -> dict[str, str]:
    """Return the project's relations as plain SQL; `reference` says how a parent is named."""
    found = {f"o{i}": "SELECT 1 AS id, 1 AS v0, 1 AS v1, 1 AS v2, 1 AS v3, 1 AS v4, 1 AS v5" for i in range(OBJECTS)}
    width = RELATIONS // LAYERS
    for layer in range(LAYERS):
        for i in range(width):
            parents = [f"o{(i + k) % OBJECTS}" if layer == 0 else f"r{layer - 1}_{(i + k) % width}" for k in (0, 1)]
            left, right = (reference(parent) for parent in parents)
            if i % 2:
                columns = "l.id, l.v0, l.v1, l.v2, r.v3, r.v4, r.v5"
                sql = f"SELECT {columns} FROM {left} AS l JOIN {right} AS r ON l.id = r.id"
            else:
                sql = (
                    "SELECT p.id, SUM(p.v0) AS v0, MAX(p.v1) AS v1, MIN(p.v2) AS v2, SUM(p.v3) AS v3, COUNT(*) AS v4, "
                    f"MAX(q.v5) AS v5 FROM {left} AS p JOIN {right} AS q ON p.id = q.id WHERE p.v1 >= {i} GROUP BY p.id"
                )
            found[f"r{layer}_{i}"] = sql
    return found


def main() -> None:
    peers = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_project(work / "decreta", RELATIONS)
        cases = decreta(work / "decreta")
        if peers:
            cases |= dbt(work / "dbt", peers) | sqlmesh(work / "sqlmesh", peers)
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(RUNS):
            for name, case in cases.items():
                seconds[name].append(case())
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    ours = medians["decreta generate, cold"]
    rows = [
        f"| {name} | {median:.2f} | {min(seconds[name]):.2f} to {max(seconds[name]):.2f} | {median / ours:.1f} |"
        for name, median in medians.items()
    ]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    text = (
        f"# Compiling {RELATIONS} relations\n\nBy `python benchmarks/compile.py`, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; medians of {RUNS} interleaved runs. The largest process took {peak} MiB.\n\n"
        "| what | seconds | from, to | of decreta cold |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    (ROOT / "benchmarks/results/compile.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
