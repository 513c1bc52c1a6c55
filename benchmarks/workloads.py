"""The three workload classes, each under the session that its policy names and under the engine's own defaults.

The other policy is the compiled one with its settings taken out and sealed again; both are opened and obeyed alike.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from engines import bytes_read
from examples import example
from policies import engine_session, variant
from report import Goal, kb, p50, table
from tables import tpch

import decreta_runtime

ROOT = Path(__file__).resolve().parents[1]
PACK = ROOT / "generated/retail"
WAYS = ("policy", "engine")
Row = tuple[str, str, str, str, str]


def workload_classes(folder: Path, scale: float, rounds: int) -> tuple[list[Goal], str]:
    """Measure each class over the retail pack at a scale."""
    source = tpch(folder / "load", scale)
    packs = {"policy": PACK, "engine": variant(PACK, folder / "engine", engine_session)}
    rows, seen = [], {}
    for workload in ("batch_ingest", "compile_replay"):
        row, seen[workload] = whole_runs(folder, packs, workload, source, rounds)
        rows.append(row)
    rows.insert(1, interactive(packs, folder / "lake", rounds))
    same = len(seen["compile_replay"]) == 1
    head = ("class", "what", "as compiled", "with the engine's settings", "ratio of medians")
    text = f"## Workload classes, retail at scale {scale}\n\n{table(head, rows)}"
    return [
        Goal("compile_replay: rows and their order", "the same each time", "the same" if same else "they differ", same)
    ], text


def whole_runs(folder: Path, packs: dict[str, Path], workload: str, source: Path, rounds: int) -> tuple[Row, set[str]]:
    """Run the pack into an empty lake, in turn under both policies; return the row and the digests of what it wrote."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    read: dict[str, list[float]] = {way: [] for way in WAYS}
    digests = set()
    for i in range(rounds):
        for way in WAYS if i % 2 else WAYS[::-1]:
            lake = folder / "lake"
            shutil.rmtree(lake, ignore_errors=True)
            with decreta_runtime.open(packs[way], lake=str(lake)) as pack:
                before, start = bytes_read(), time.perf_counter()
                pack.run({"tpch": str(source)}, workload=workload)
                taken[way].append(time.perf_counter() - start)
                read[way].append(bytes_read() - before)
            if way == "policy" and workload == "compile_replay":
                digests.add(in_order(lake))
    shown = {way: f"{p50(taken[way]):.2f} s, {kb(p50(read[way]))}" for way in WAYS}
    ratio = f"{p50(taken['policy']) / p50(taken['engine']):.2f}, bytes {p50(read['policy']) / p50(read['engine']):.2f}"
    return (workload, "a run into an empty lake", *shown.values(), ratio), digests


def in_order(lake: Path) -> str:
    """Return a digest of all rows of a lake's datasets in the order they lie in."""
    digest = hashlib.sha256()
    for path in sorted((lake / "retail").iterdir()):
        files = sorted(DeltaTable(str(path)).file_uris(), key=lambda uri: Path(uri).name.split("-")[1])
        for row_group in rows_of(files):
            digest.update(repr(row_group).encode())
    return digest.hexdigest()


def rows_of(files: list[str]) -> Iterator[list[dict[str, Any]]]:
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches():
                yield pa.RecordBatch.to_pylist(batch)


def interactive(packs: dict[str, Path], lake: Path, rounds: int) -> Row:
    """Ask all shapes of the class, each with its example: once cold, then warm; what a second read costs is the cache."""
    cold: dict[str, list[float]] = {way: [] for way in WAYS}
    warm: dict[str, list[float]] = {way: [] for way in WAYS}
    read: dict[str, tuple[int, int]] = {}
    for i in range(rounds):
        for way in WAYS if i % 2 else WAYS[::-1]:
            with decreta_runtime.open(packs[way], lake=str(lake)) as pack:
                entries = {n: q for n, q in pack.manifest.queries.items() if q.workload == "interactive_query"}

                def once(pack: Any = pack, entries: Any = entries) -> tuple[float, int]:
                    before, start = bytes_read(), time.perf_counter()
                    for name, entry in entries.items():
                        pack.query(name, **example(entry))
                    return 1000 * (time.perf_counter() - start), bytes_read() - before

                first, then = once(), [once() for _ in range(5)]
            cold[way].append(first[0])
            warm[way].append(p50([ms for ms, _ in then]))
            read[way] = first[1], then[-1][1]
    shown = [
        f"cold {p50(cold[way]):.1f} ms, {kb(read[way][0])}; warm {p50(warm[way]):.1f} ms, {kb(read[way][1])}"
        for way in WAYS
    ]
    ratio = (
        f"cold {p50(cold['policy']) / p50(cold['engine']):.2f}, warm {p50(warm['policy']) / p50(warm['engine']):.2f}"
    )
    return ("interactive_query", f"its {len(entries)} shapes, one after the other", *shown, ratio)
