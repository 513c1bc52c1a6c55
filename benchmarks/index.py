"""Measure looking an unclustered key up in 120 files: by peers, natively with bloom filters, by an index.

`python benchmarks/index.py` writes benchmarks/results/index.md. Cold is a new session each time, with opening the table and
the index; the system's own cache of files stays warm. Times are medians of RUNS; files and bytes are exact.
"""

from __future__ import annotations

import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
from datafusion import DataFrame, SessionConfig, SessionContext
from deltalake import (
    BloomFilterProperties,
    ColumnProperties,
    DeltaTable,
    QueryBuilder,
    WriterProperties,
    write_deltalake,
)

from decreta_runtime.contract.manifest import Ask, AskValue, Column
from decreta_runtime.contract.policy import IndexValue, ScanValue
from decreta_runtime.index import TermIndex, narrowed_by, open_index, update_index
from decreta_runtime.metrics import scan_stats
from decreta_runtime.scan import Pinned, register_scan

ROOT = Path(__file__).resolve().parents[1]
FILES, ROWS, SYMBOLS, RUNS, MEMORY, GROUP = 120, 10_000, 60_000, 9, 1 << 26, 1 << 14
NAME, COLUMNS = (
    Column(name="sym", type="string"),
    (Column(name="sym", type="string"), Column(name="value", type="int64")),
)
SCAN = ScanValue(
    path="native",
    log_pruning=True,
    pushdown=True,
    page_index=True,
    bloom_filters=True,
    columns="all",
    step_files=0,
    step_values=0,
)
FEW = 10
VALUE = IndexValue(build=True, shapes=(), memory_bytes=0, row_group_rows=GROUP, compression="zstd")


class Cost(NamedTuple):
    """Of one way of asking."""

    cold: float
    warm: float
    files: int | None
    bytes: int | None
    own_cold: int
    """Read of the index itself by the first look-up."""
    own_warm: int
    """Read of the index itself by a later one."""


def make(path: Path, blooms: bool) -> None:
    """Write files whose symbols are anybody's, a few of them in one file alone."""
    draw = random.Random(7)
    filters = BloomFilterProperties(True, fpp=0.01, ndv=ROWS)
    columns = {"sym": ColumnProperties(bloom_filter_properties=filters)} if blooms else None
    for file in range(FILES):
        symbols = [f"symbol_{draw.randrange(SYMBOLS):06d}" for _ in range(ROWS - 1)] + [f"symbol_0{file:03d}00_alone"]
        rows = pa.table({"sym": symbols, "value": [draw.randrange(1 << 40) for _ in range(ROWS)]})
        write_deltalake(str(path), rows, mode="append", writer_properties=WriterProperties(column_properties=columns))


def pinned(path: Path) -> Pinned:
    table = DeltaTable(str(path))
    return Pinned("t", path, table.version(), table)


def session() -> SessionContext:
    config = SessionConfig().with_target_partitions(2)
    return SessionContext(config.set("datafusion.execution.parquet.pushdown_filters", "true"))


def statement(symbols: Sequence[str]) -> str:
    return f"SELECT sym, value FROM t WHERE sym IN ({', '.join(repr(s) for s in symbols)})"


def asked(symbols: Sequence[str]) -> list[list[Ask]]:
    return [[Ask(column="sym", op="in", values=tuple(AskValue(literal=s) for s in symbols))]]


class Peer:
    """One peer's way of asking: `open` once, `ask` again and again. It tells no counters."""

    def __init__(self, title: str, path: Path) -> None:
        self.title, self.path = title, path

    def open(self) -> None:
        self.table: Any = None
        if self.title == "DuckDB over the files":
            files = [uri.removeprefix("file://") for uri in DeltaTable(str(self.path)).file_uris()]
            self.table = duckdb.connect()
            self.table.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet({files!r})")
        elif self.title == "deltalake QueryBuilder":
            self.table = QueryBuilder().register("t", DeltaTable(str(self.path)))
        else:
            self.table = session()
            self.table.register_parquet("t", str(self.path))

    def ask(self, symbols: Sequence[str]) -> pa.Table:
        if self.title == "DuckDB over the files":
            return self.table.execute(statement(symbols)).to_arrow_table()
        if self.title == "deltalake QueryBuilder":
            return pa.table(self.table.execute(statement(symbols)).read_all())
        return self.table.sql(statement(symbols)).to_arrow_table()


PEERS = ("DataFusion over the folder", "deltalake QueryBuilder", "DuckDB over the files")


class Way:
    """One way of asking: `open` once, `ask` again and again."""

    def __init__(self, path: Path, index: Path | None = None, memory: int = 0, *, plain: bool = False) -> None:
        self.path, self.index, self.memory, self.plain = path, index, memory, plain

    def open(self) -> None:
        self.context, self.pinned = session(), pinned(self.path)
        self.term: TermIndex | None = None
        self.listed: tuple[str, ...] | None = None
        if self.plain:
            self.context.register_table("t", self.pinned.table)
        elif self.index is None:
            self.scanned = register_scan(self.context, self.pinned, COLUMNS, SCAN)
        else:
            self.term = open_index(self.index, (NAME,), self.pinned, self.memory)

    def ask(self, symbols: Sequence[str]) -> tuple[DataFrame, pa.Table]:
        if self.term is not None:
            files = narrowed_by(self.term, self.pinned, asked(symbols), {})
            if files != self.listed:
                if self.listed is not None:
                    self.context.deregister_table("t")
                self.scanned, self.listed = register_scan(self.context, self.pinned, COLUMNS, SCAN, files), files
        frame = self.context.sql(statement(symbols))
        return frame, pa.Table.from_batches(frame.collect(), frame.schema())


def times(way: Way | Peer, keys: Sequence[Sequence[str]]) -> tuple[float, float]:
    cold = [timed(lambda s=symbols: (way.open(), way.ask(s))) for symbols in keys]
    for symbols in keys:
        way.ask(symbols)
    warm = [timed(lambda s=symbols: way.ask(s)) for symbols in keys]
    return statistics.median(cold), statistics.median(warm)


def asked_of_peer(peer: Peer, keys: Sequence[Sequence[str]]) -> tuple[Cost, list[list[Any]]]:
    cost = Cost(*times(peer, keys), None, None, 0, 0)
    return cost, [sorted(map(repr, peer.ask(symbols).to_pylist())) for symbols in keys]


def measured(way: Way, keys: Sequence[Sequence[str]]) -> tuple[Cost, list[list[Any]]]:
    cold, warm = times(way, keys)
    way.open()
    way.ask(keys[0])
    own_cold = way.term.bytes_read if way.term is not None else 0
    frame, _ = way.ask(keys[1])
    own_warm = way.term.bytes_read - own_cold if way.term is not None else 0
    stats = None if way.plain else scan_stats(frame.execution_plan(), {"t": way.scanned}, 0.0)
    files, read = (None, plain_bytes(frame)) if stats is None else (stats.files_read, stats.bytes_scanned)
    answers = [sorted(map(repr, way.ask(symbols)[1].to_pylist())) for symbols in keys]
    return Cost(cold, warm, files, read, own_cold, own_warm), answers


def plain_bytes(frame: DataFrame) -> int:
    total, stack = 0, [frame.execution_plan()]
    while stack:
        node = stack.pop()
        stack += node.children()
        metrics = node.metrics()
        total += sum(int(m.value or 0) for m in (metrics.metrics() if metrics else ()) if m.name == "bytes_scanned")
    return total


def timed(what: Callable[[], Any]) -> float:
    start = time.perf_counter()
    what()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        bare, bloomed, index = (Path(temporary) / name for name in ("bare", "bloomed", "index"))
        make(bare, blooms=False)
        make(bloomed, blooms=True)
        start = time.perf_counter()
        done = update_index(session(), pinned(bare), (NAME,), index, value=VALUE)
        built = time.perf_counter() - start
        sizes = [pinned(path).bytes for path in (bare, bloomed)]
        draw = random.Random(11)
        alone = [[f"symbol_0{draw.randrange(FILES):03d}00_alone"] for _ in range(RUNS)]
        several = [[f"symbol_0{file:03d}00_alone" for file in draw.sample(range(FILES), FEW)] for _ in range(RUNS)]
        ways = {
            "plain provider (FFI)": Way(bare, plain=True),
            "native, no bloom filters": Way(bare),
            "native, bloom filters": Way(bloomed),
            "native, index read whole": Way(bare, index, MEMORY),
            "native, index asked anew": Way(bare, index),
        }
        lines = []
        for title, keys in (("one symbol, in one file", alone), (f"{FEW} symbols, each in one file", several)):
            lines += [
                f"## {title}",
                "",
                "| way | cold | warm | files opened | bytes of data | bytes of the index, first and later look-up |",
            ]
            lines += ["|---|---|---|---|---|---|"]
            answers = []
            for peer in PEERS:
                cost, answer = asked_of_peer(Peer(peer, bloomed), keys)
                answers.append(answer)
                lines.append(f"| {peer} | {cost.cold:.1f} ms | {cost.warm:.1f} ms | not told | not told | |")
            for name, way in ways.items():
                cost, answer = measured(way, keys)
                answers.append(answer)
                files = "all" if cost.files is None else f"{cost.files:,}"
                lines.append(
                    f"| {name} | {cost.cold:.1f} ms | {cost.warm:.1f} ms | {files} | {cost.bytes or 0:,} "
                    f"| {cost.own_cold:,}, {cost.own_warm:,} |"
                )
            assert all(answer == answers[0] for answer in answers)
            lines.append("")
    head = [
        "# Looking an unclustered key up: bloom filters and the external index",
        "",
        f"By `python benchmarks/index.py`, {platform.machine()}, Python {platform.python_version()}; {FILES} files of "
        f"{ROWS:,} rows, {SYMBOLS:,} symbols anywhere; medians of {RUNS}, other processes on the machine.",
        f"The data take {sizes[0]:,} bytes, with bloom filters {sizes[1]:,}; the index {done.bytes:,}, built in {built:.1f} s "
        f"({done.rows:,} rows). Cold opens table and index and asks once. An index read whole stays in memory; asked anew, each look-up reads the row groups that its term may lie in, of {GROUP:,} rows. Peers read the files with bloom filters.",
        "",
    ]
    out = ROOT / "benchmarks/results/index.md"
    out.write_text("\n".join([*head, *lines]).rstrip() + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main()
