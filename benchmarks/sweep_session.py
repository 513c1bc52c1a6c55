"""Vary one session setting at a time, beside the engine's default in the same process, over both packs.

`python benchmarks/sweep_session.py [ROUNDS]` prints a table and writes it to benchmarks/results/session_sweep.md. What it
shows to matter stands in specs/std/rules/session.toml; what it does not is left to the engine.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from datafusion import SessionContext

import decreta_runtime
from decreta_runtime.arrow import arrow_type
from decreta_runtime.contract.policy import Choice, ScanValue, SessionValue, Setting
from decreta_runtime.functions import scalar_functions
from decreta_runtime.lake import Lake
from decreta_runtime.load import LoadedPack, load
from decreta_runtime.pin import tables_of
from decreta_runtime.record import last_run
from decreta_runtime.scan import Pinned, register_scan
from decreta_runtime.session import build_session
from decreta_runtime.tally import Tally

ROOT = Path(__file__).resolve().parents[1]
STDLIB = Path(sysconfig.get_path("stdlib"))
PARTS = ("asyncio", "email", "http", "json", "logging", "xml")
SCALE = "0.02"
ROUNDS = 5
PLAIN = 6
"""Runs with the engine's defaults a round; all but one of them are the measure, each in turn is the noise."""
LOOK_UPS = 3
LEAST = 0.05
"""A change of less is not worth a line in a rule, whatever the noise."""

READ = """\
## What was taken from it

Wall times of a shared machine stray by up to their double, so bytes and CPU time decide, and of those what both packs show.
A value that changes nothing strays beyond the six runs that make the noise once in seven, so one bold figure shows nothing.

- `metadata_size_hint` 65536 is in every class: opening reads 0.22 of the bytes on both packs. 16384 reads less
  still, but the footers of larger files do not fit.
- `metadata_cache_limit`: without a cache look-ups read 3 to 13 times the bytes. 256M is no better than the engine's 50M on lakes
  of this size, so 50M is the value and larger lakes set a higher rung.
- `target_partitions`: all cores of the budget. One takes less CPU time and more of the clock.
- `memory_limit` is the budget, and costs nothing.
- Left to the engine, because its default is as good as any value or better: `batch_size` (larger ones cost up to 1.8 of the CPU
  time), `collect_statistics` (without it opening is cheap and asking reads 1.5 to 3.3 times the bytes), `prefer_hash_join`,
  `enable_dynamic_filter_pushdown`, `reorder_filters`, `coalesce_batches`, `schema_force_view_types`, all of `repartition_*`.
- The scan domain decides as it should: without `pushdown` retail's look-ups take 1.3 of the CPU time, flipped, reports take 1.1;
  without bloom filters look-ups read 1.22 of the bytes where a column is looked up that the order does not serve.
"""

EXECUTION, PARQUET, OPTIMIZER, RUNTIME = (
    "datafusion.execution", "datafusion.execution.parquet", "datafusion.optimizer", "datafusion.runtime"
)  # fmt: skip
LADDER: tuple[tuple[str, tuple[str, ...]], ...] = (
    (f"{EXECUTION}.batch_size", ("4096", "16384", "32768")),
    (f"{EXECUTION}.coalesce_batches", ("false",)),
    (f"{EXECUTION}.collect_statistics", ("false",)),
    (f"{EXECUTION}.planning_concurrency", ("1",)),
    (f"{EXECUTION}.sort_in_place_threshold_bytes", ("8388608",)),
    (f"{EXECUTION}.target_partitions", ("1", "4")),
    (f"{PARQUET}.metadata_size_hint", ("16384", "65536")),
    (f"{PARQUET}.max_predicate_cache_size", ("0",)),
    (f"{PARQUET}.reorder_filters", ("true",)),
    (f"{PARQUET}.schema_force_view_types", ("false",)),
    (f"{OPTIMIZER}.enable_dynamic_filter_pushdown", ("false",)),
    (f"{OPTIMIZER}.enable_round_robin_repartition", ("false",)),
    (f"{OPTIMIZER}.max_passes", ("1",)),
    (f"{OPTIMIZER}.prefer_existing_sort", ("true",)),
    (f"{OPTIMIZER}.prefer_hash_join", ("false",)),
    (f"{OPTIMIZER}.repartition_aggregations", ("false",)),
    (f"{OPTIMIZER}.repartition_file_scans", ("false",)),
    (f"{OPTIMIZER}.repartition_joins", ("false",)),
    (f"{OPTIMIZER}.repartition_sorts", ("false",)),
    (f"{OPTIMIZER}.repartition_windows", ("false",)),
    (f"{RUNTIME}.memory_limit", ("256M", "1G")),
    (f"{RUNTIME}.metadata_cache_limit", ("0K", "256M")),
    ("scan.pushdown", ("flipped",)),
    ("scan.page_index", ("flipped",)),
    ("scan.bloom_filters", ("flipped",)),
)
"""`scan.*` are no settings: they are options of each table, decided by the scan domain, and here for comparison."""


@dataclass(frozen=True)
class Work:
    """What a workload class does in one pack: open a session over the tables, then ask."""

    pack: LoadedPack
    tables: tuple[Pinned, ...]
    workload: str
    base: dict[str, str]

    @property
    def title(self) -> str:
        return f"{self.pack.manifest.pack} {self.workload}"

    def open(self, setting: str | None, value: str) -> SessionContext:
        """Return a session with the engine's defaults but for one setting, the pack's tables registered."""
        chosen = dict(self.base)
        if setting is not None and not setting.startswith("scan."):
            chosen[setting] = value
        settings = {name: Setting(value=text, because="swept") for name, text in chosen.items()}
        profile = SessionValue(settings=settings, source_workers=1, spill_buffer_bytes=1 << 26, ledger_buffer_rows=1)
        context = build_session(self.workload, Choice(profile, ""), Tally(), scalar_functions(self.pack))
        policy = self.pack.policy("local")
        for pinned in self.tables:
            scan = msgspec.structs.replace(policy.scan(pinned.name).value, path="native")
            if setting is not None and setting.startswith("scan."):
                scan = flipped(scan, setting.removeprefix("scan."))
            register_scan(context, pinned, self.pack.manifest.columns_of(pinned.name), scan)
        return context

    def ask(self, context: SessionContext) -> None:
        """Compute the relations of the pack, or the shapes of the class if it has some."""
        shapes = {n: q for n, q in self.pack.manifest.queries.items() if q.workload == self.workload}
        times = LOOK_UPS if self.workload == "interactive_query" else 1
        for view in {v: None for q in shapes.values() for v in q.views}:
            if not context.table_exist(view):
                context.register_table(view, self.pack.builder(view)(context).into_view())
        for _ in range(times):
            for name, query in shapes.items():
                given = {p: typed(query.parameters[p], v) for p, v in query.example.items()}
                context.sql(self.pack.module("queries").SQL[name], param_values=given).collect()
        if not shapes:
            self._relations(context)

    def _relations(self, context: SessionContext) -> None:
        for name in self.pack.manifest.order:
            entry = self.pack.manifest.relations[name]
            frame = self.pack.builder(name)(context)
            if entry.stored:
                drained = sum(batch.to_pyarrow().num_rows for batch in frame.execute_stream())
                assert drained >= 0
            elif entry.cut_point:
                context.register_record_batches(name, [frame.collect()])
            else:
                context.register_table(name, frame.into_view())


def flipped(scan: ScanValue, field: str) -> ScanValue:
    return msgspec.structs.replace(scan, **{field: not getattr(scan, field)})


def typed(kind: str, value: Any) -> pa.Scalar:
    plain = date.fromisoformat(value) if kind == "date" else Decimal(value) if kind.startswith("decimal") else value
    return pa.scalar(plain, arrow_type(kind))


class Cost(NamedTuple):
    """Seconds of the wall clock and of all cores, and bytes, of opening and of asking."""

    open_seconds: float
    open_cpu: float
    open_bytes: float
    seconds: float
    cpu: float
    bytes: float


def cost(work: Work, setting: str | None, value: str) -> Cost:
    """Open and ask once. Look-ups are asked once before they count, as a session that stays open does."""
    start = clocks()
    context = work.open(setting, value)
    opened = clocks()
    if work.workload == "interactive_query":
        work.ask(context)
    asked = clocks()
    work.ask(context)
    times = [b - a for a, b in (*zip(start, opened, strict=True), *zip(asked, clocks(), strict=True))]
    return Cost(*times)


def clocks() -> tuple[float, float, float]:
    return time.perf_counter(), time.process_time(), bytes_read()


def bytes_read() -> int:
    """Return the bytes that this interpreter has read from files so far, whether from disk or cache."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


@dataclass
class Found:
    """What one work showed: for each candidate its ratios, and how far the same thing differs from itself."""

    work: Work
    ratios: dict[tuple[str, str], Cost]
    noise: Cost
    plain: Cost


def sweep(work: Work, candidates: list[tuple[str, str]], rounds: int) -> Found:
    """Measure each candidate once a round among runs with the defaults; ratios are medians over rounds."""
    cost(work, None, "")  # warms up
    ratios: dict[tuple[str, str], list[Cost]] = {c: [] for c in candidates}
    same: list[list[Cost]] = [[] for _ in range(PLAIN)]
    plains: list[Cost] = []
    for i in range(rounds):
        shift = i * len(candidates) // rounds
        order = candidates[shift:] + candidates[:shift]
        step = -(-len(order) // PLAIN)
        costs, plain = dict[tuple[str, str], Cost](), list[Cost]()
        for at in range(0, step * PLAIN, step):
            plain.append(cost(work, None, ""))
            costs |= {c: cost(work, *c) for c in order[at : at + step]}
        for candidate, found in costs.items():
            ratios[candidate].append(over(found, plain))
        for slot, found in enumerate(plain):
            same[slot].append(over(found, plain[:slot] + plain[slot + 1 :]))
        plains += plain
    medians = {c: middle(found) for c, found in ratios.items()}
    null = [middle(found) for found in same]
    noise = Cost(*(max(abs(ratio - 1) for ratio in column) for column in zip(*null, strict=True)))
    return Found(work, medians, noise, middle(plains))


def over(found: Cost, plain: list[Cost]) -> Cost:
    """Return the ratios of a cost to the median of others."""
    return Cost(*(a / max(b, 1e-9) for a, b in zip(found, middle(plain), strict=True)))


def middle(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


# -- the two packs


def works(scratch: Path) -> Iterator[Work]:
    """Run both packs into lakes of their own; yield the work of each class."""
    load_at = scratch / "tpch"
    command = [str(Path(sys.executable).with_name("tpchgen-cli")), "parquet", "-s", SCALE, f"--output-dir={load_at}"]
    subprocess.run(command, check=True, capture_output=True)
    given = {"code_graph": {"python": [f"{p}:{STDLIB / p}" for p in PARTS]}, "retail": {"tpch": [str(load_at)]}}
    for name, sources in given.items():
        folder, lake = ROOT / "generated" / name, scratch / name
        with decreta_runtime.open(str(folder), lake=str(lake)) as opened:
            opened.run(sources)
        pack = load(folder, Tally())
        run = last_run(Lake(str(lake)), name)
        assert run is not None
        tables = tuple(tables_of(pack.manifest, Lake(str(lake)), run))
        plain = Work(pack, tables, "", {f"{EXECUTION}.time_zone": "UTC", f"{EXECUTION}.target_partitions": "2"})
        for workload in pack.manifest.workloads:
            repeats = {**plain.base, f"{EXECUTION}.target_partitions": "1"}
            yield replace(plain, workload=workload, base=repeats if workload == "compile_replay" else plain.base)


# -- the table


def table(found: list[Found], seconds: float, rounds: int) -> str:
    """Return the committed page."""
    columns: list[tuple[str, Callable[[tuple[str, str]], str]]] = []
    for f in found:
        if f.work.workload == "interactive_query":
            columns.append((f"{f.work.title}: open", cell(f, 0)))
        columns.append((f.work.title, cell(f, 3)))
    lines = [f"| setting | value | {' | '.join(title for title, _ in columns)} |", "|---|---|" + "---|" * len(columns)]
    lines += [
        f"| `{setting.removeprefix('datafusion.')}` | {value} | {' | '.join(show((setting, value)) for _, show in columns)} |"
        for setting, values in LADDER
        for value in values
    ]
    plain = [
        f"| {f.work.title} | {1000 * f.plain.open_seconds:.0f} ms, {f.plain.open_bytes:,.0f} bytes | "
        f"{1000 * f.plain.seconds:.0f} ms, {f.plain.bytes:,.0f} bytes | "
        f"{f.noise.open_seconds:.2f} {f.noise.open_cpu:.2f} | {f.noise.seconds:.2f} {f.noise.cpu:.2f} |"
        for f in found
    ]
    head = ["| work | open | ask | noise of open: wall, CPU | noise of ask: wall, CPU |", "|---|---|---|---|---|"]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {platform.system()}"
    return (
        f"# Session settings, one at a time\n\nMade by `python benchmarks/sweep_session.py {rounds}` in {seconds:.0f} s on "
        f"{machine}, which others used too. code_graph: {len(PARTS)} packages of the standard library; retail: TPC-H at "
        f"scale {SCALE}.\n\nEach pair is the median of {rounds} rounds of the wall time, then of the CPU time of all "
        f"cores, with that value over the same with the "
        f"engine's default (`target_partitions` 2, in `compile_replay` 1; `time_zone` UTC everywhere), measured {PLAIN} "
        f"times within the same round. `open` builds the session and registers the tables; elsewhere opening is not counted. "
        f"A figure is **bold** when it differs by more than the noise and {LEAST:.0%}; bytes read are given when they differ "
        f"by more than {LEAST:.0%}, and have no noise to speak of.\n\n"
        + "\n".join(lines)
        + "\n\n## With the engine's defaults\n\nNoise is how far one of those runs, taken as if it were a candidate, "
        "strays from the others: everything within it is noise.\n\n" + "\n".join([*head, *plain]) + "\n\n" + READ
    )  # fmt: skip


def cell(found: Found, at: int) -> Callable[[tuple[str, str]], str]:
    """Return what shows one candidate's wall time, CPU time and bytes: of opening at 0, of asking at 3."""

    def marked(ratio: float, noise: float) -> str:
        return f"**{ratio:.2f}**" if abs(ratio - 1) > max(noise, LEAST) else f"{ratio:.2f}"

    def show(candidate: tuple[str, str]) -> str:
        if candidate not in found.ratios:
            return "–"
        times = [marked(found.ratios[candidate][i], found.noise[i]) for i in (at, at + 1)]
        read = found.ratios[candidate][at + 2]
        return " ".join(times) + (f", bytes **{read:.2f}**" if abs(read - 1) > LEAST else "")

    return show


def main() -> None:
    """Sweep every class of both packs and write the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    start, found = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for work in works(Path(folder)):
            mine = [(s, v) for s, values in LADDER for v in values if (work.base.get(s) != v)]
            if work.workload == "compile_replay":
                mine = [c for c in mine if not c[0].endswith("target_partitions")]
            found.append(sweep(work, mine, rounds))
            print(f"{work.title}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    text = table(found, time.perf_counter() - start, rounds)
    print(text)
    (ROOT / "benchmarks/results/session_sweep.md").write_text(text)


if __name__ == "__main__":
    main()
