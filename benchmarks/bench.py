"""`make bench`: the figures of this version, each beside hand-written code or a floor, in one run, on an empty lake.

Prints a table and writes it to benchmarks/results/first_road.md. Times are of this machine; ratios travel better.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from datafusion import SessionConfig, SessionContext
from deltalake import DeltaTable, WriterProperties, write_deltalake

import decreta_runtime
from decreta_runtime.arrow import schema_of
from decreta_runtime.load import digest_of, load
from decreta_runtime.tally import Tally

ROOT = Path(__file__).resolve().parents[1]
STDLIB = sysconfig.get_path("stdlib")
PACK = ROOT / "generated/code_graph"
LOOK_UPS = 200
ROUNDS = 9


def main() -> None:
    """Measure everything and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        rows = [*extraction(), *whole_run(scratch), *own_cost(scratch), *queries(scratch), *generation(scratch)]
    lines = ["| what | measured | to reach | beside it |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {platform.system()}"
    text = f"# The first road\n\nMade by `make bench` on {machine}.\n\n" + "\n".join(lines) + "\n"
    print(text)
    (ROOT / "benchmarks/results").mkdir(exist_ok=True)
    (ROOT / "benchmarks/results/first_road.md").write_text(text)


def extraction() -> list[tuple[str, str, str, str]]:
    """Lines a second and core of the adapter, beside `ast.parse` alone."""
    pack = load(PACK, Tally())
    adapter = importlib.import_module(f"{pack.package}.code.python_source")
    options = pack.policy("local").source("python").value.options
    units = list(adapter.units("main", STDLIB, options))
    schemas = {name: schema_of(entry.columns) for name, entry in pack.manifest.objects.items()}
    data = [Path(unit.location.partition("\n")[0]).read_bytes() for unit in units]
    lines = sum(text.count(b"\n") for text in data)
    ours = cpu(lambda: adapter.extract(units, schemas))
    floor = cpu(lambda: [ast.parse(text) for text in data])
    return [
        (
            f"extraction of the standard library ({len(units)} files, {lines:,} lines)",
            f"{lines / ours:,.0f} lines a second and core",
            "40,000",
            f"`ast.parse` alone {lines / floor:,.0f}",
        )
    ]


def cpu(act: Callable[[], Any]) -> float:
    """Return the CPU seconds of `act`, the best of three."""
    found = []
    for _ in range(3):
        start = time.process_time()
        act()
        found.append(time.process_time() - start)
    return min(found)


def whole_run(scratch: Path) -> list[tuple[str, str, str, str]]:
    """Wall time and memory of `make run` once installed, on an empty lake."""
    command = ["make", "run", f"LAKE={scratch / 'lake'}"]
    subprocess.run(["make", "install-run"], cwd=ROOT, check=True, capture_output=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    peak = Peak(process.pid)
    process.wait()
    seconds = time.perf_counter() - start
    assert process.returncode == 0
    return [("`make run` once installed", f"{seconds:.1f} s, {peak.stop() / 2**30:.2f} GiB", "20 s, 1 GiB", "all processes together, shared pages counted once")]  # fmt: skip


class Peak:
    """Watches the memory of a session of processes: the sum of their proportional shares."""

    def __init__(self, session: int) -> None:
        self._session, self._peak, self._on = session, 0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Return the highest sum seen, in bytes."""
        self._on = False
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while self._on:
            self._peak = max(self._peak, sum(map(self._share, Path("/proc").glob("[0-9]*"))))
            time.sleep(0.05)

    def _share(self, process: Path) -> int:
        try:
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) != self._session:
                return 0
            text = (process / "smaps_rollup").read_text()
        except (OSError, ValueError):
            return 0
        return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def own_cost(scratch: Path) -> list[tuple[str, str, str, str]]:
    """The runtime beside hand-written code for the same relations over the same tables, checks off, interleaved."""
    pack = relations_only(scratch)
    ratios = []
    for i in range(-1, ROUNDS):
        pair = {}
        order = ("runtime", "by hand") if i % 2 else ("by hand", "runtime")
        for way in order:
            lake = scratch / f"{way.replace(' ', '-')}-{i}"
            start = time.perf_counter()
            if way == "runtime":
                with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
                    opened.run()
            else:
                by_hand(scratch / "lake/code_graph", lake)
            pair[way] = time.perf_counter() - start
            shutil.rmtree(lake)
        if i >= 0:  # the first pair warms the page cache and the engines up
            ratios.append(pair["runtime"] / pair["by hand"])
        last = pair
    over = (statistics.median(ratios) - 1) * 100
    note = f"median of {ROUNDS} pairs, {min(ratios):.2f} to {max(ratios):.2f}; the last pair {last['runtime']:.2f} s and {last['by hand']:.2f} s"
    return [("the runtime's own cost over hand-written code, checks off", f"{over:+.1f} %", "5 %", note)]


def relations_only(scratch: Path) -> Path:
    """Return the pack with its objects bound as tables and its checks taken out, sealed again."""
    pack = scratch / "generated/code_graph"
    shutil.copytree(PACK, pack)
    manifest = json.loads((pack / "manifest.json").read_bytes())
    policy = json.loads((pack / "policy/local.json").read_bytes())
    for name, entry in manifest["objects"].items():
        entry.update(source=None, table=name, checks=[])
        policy["bindings"]["tables"][name] = {"uri": str(scratch / "lake/code_graph" / name)}
    for entry in manifest["relations"].values():
        entry["checks"] = []
    (pack / "policy/local.json").write_text(json.dumps(policy))
    manifest["files"]["policy/local.json"] = digest_of((pack / "policy/local.json").read_bytes())
    data = json.dumps(manifest).encode()
    (pack / "manifest.json").write_bytes(data)
    (pack / "manifest.sha256").write_text(digest_of(data) + "\n")
    return pack


def by_hand(tables: Path, lake: Path) -> None:
    """What a careful person would write: pinned scans, one pass in order, shared views kept, sorted writes."""
    config = SessionConfig().with_target_partitions(2).set("datafusion.execution.time_zone", "UTC")
    context = SessionContext(config)
    pack = load(PACK, Tally())
    for name in pack.manifest.objects:
        files = ", ".join(f"'{path}'" for path in DeltaTable(str(tables / name)).file_uris())
        context.sql(f'CREATE EXTERNAL TABLE "{name}" STORED AS PARQUET LOCATION ({files})')
    for name in pack.manifest.order:
        entry = pack.manifest.relations[name]
        frame = pack.builder(name)(context)
        if entry.cut_point:
            context.register_record_batches(name, [frame.to_arrow_table().to_batches()])
        elif not entry.stored:
            context.register_table(name, frame.into_view())
        else:
            layout = pack.policy("local").write(name).value
            ordered = frame.sort(*layout.sort) if layout.sort else frame
            schema = schema_of(entry.columns)
            batches = (b.to_pyarrow().cast(schema) for b in ordered.execute_stream())
            write_deltalake(
                str(lake / name),
                pa.RecordBatchReader.from_batches(schema, batches),
                writer_properties=WriterProperties(
                    compression=layout.compression.upper(), max_row_group_size=layout.row_group_rows
                ),
            )
            files = ", ".join(f"'{path}'" for path in DeltaTable(str(lake / name)).file_uris())
            context.sql(f'CREATE EXTERNAL TABLE "{name}" STORED AS PARQUET LOCATION ({files})')


def queries(scratch: Path) -> list[tuple[str, str, str, str]]:
    """Warm look-ups in process, beside the same SQL put to a plain session over the folder."""
    found = []
    with decreta_runtime.open(str(PACK), lake=str(scratch / "lake")) as pack:
        plain = SessionContext(SessionConfig().with_target_partitions(1))
        for name in pack.manifest.datasets():
            plain.register_parquet(name, str(scratch / "lake/code_graph" / name))
        sql = load(PACK, Tally()).module("queries").SQL
        for shape in ("symbol_lookup", "span_at"):
            given = dict(pack.manifest.queries[shape].example)
            ours = timed(lambda shape=shape, given=given: pack.query(shape, **given))  # type: ignore[misc]
            theirs = timed(lambda shape=shape, given=given: plain.sql(sql[shape], param_values=given).to_arrow_table())  # type: ignore[misc]
            stats = pack.answer(shape, given).stats
            found.append(
                (
                    f"{shape}, warm, in process",
                    f"p50 {ours[0]:.1f} ms, p95 {ours[1]:.1f} ms, {stats.bytes_scanned:,} of {stats.bytes_eligible:,} bytes",
                    "p95 below 20 ms",
                    f"DataFusion over the folder p50 {theirs[0]:.1f} ms, p95 {theirs[1]:.1f} ms",
                )
            )
    return found


def timed(act: Callable[[], Any]) -> tuple[float, float]:
    """Return p50 and p95 of `act` in milliseconds, its first calls left out."""
    times = []
    for _ in range(LOOK_UPS + 5):
        start = time.perf_counter()
        act()
        times.append((time.perf_counter() - start) * 1000)
    times = sorted(times[5:])
    return times[LOOK_UPS // 2], times[LOOK_UPS * 95 // 100]


def generation(scratch: Path) -> list[tuple[str, str, str, str]]:
    """`decreta generate`, cold and unchanged, process start included."""
    project = scratch / "project"
    shutil.copytree(ROOT / "specs", project / "specs")
    (project / "decreta.toml").touch()
    cold, warm = [], []
    for _ in range(5):
        shutil.rmtree(project / "generated", ignore_errors=True)
        shutil.rmtree(project / ".decreta", ignore_errors=True)
        for times in (cold, warm):
            start = time.perf_counter()
            command = [sys.executable, "-m", "decreta", "generate"]
            subprocess.run(command, cwd=project, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import datafusion, sqlglot, pydantic"], check=True)
    floor = time.perf_counter() - start
    measured = f"{statistics.median(cold):.2f} s / {statistics.median(warm):.2f} s"
    return [("`generate`, cold / unchanged", measured, "1.5 s / 0.2 s", f"importing datafusion, sqlglot and pydantic {floor:.2f} s")]  # fmt: skip


if __name__ == "__main__":
    main()
