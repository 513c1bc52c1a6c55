"""Measure looking an unclustered key up in 120 files: by the plain provider, natively with bloom filters, by an index.

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

import pyarrow as pa
from datafusion import DataFrame, SessionConfig, SessionContext
from deltalake import BloomFilterProperties, ColumnProperties, DeltaTable, WriterProperties, write_deltalake

from decreta_runtime.contract.manifest import Ask, AskValue, Column
from decreta_runtime.contract.policy import ScanValue
from decreta_runtime.index import TermIndex, narrowed_by, open_index, update_index
from decreta_runtime.metrics import scan_stats
from decreta_runtime.scan import Pinned, register_scan

ROOT = Path(__file__).resolve().parents[1]
FILES, ROWS, SYMBOLS, RUNS, MEMORY = 120, 10_000, 60_000, 9, 1 << 26
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


class Cost(NamedTuple):
    """Of one way of asking."""

    cold: float
    warm: float
    files: int | None
    bytes: int | None
    own_bytes: int
    """Read of the index itself when it is cold."""


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


def measured(way: Way, keys: Sequence[Sequence[str]]) -> tuple[Cost, list[list[Any]]]:
    cold = [timed(lambda s=symbols: (way.open(), way.ask(s))) for symbols in keys]
    for symbols in keys:
        way.ask(symbols)
    warm = [timed(lambda s=symbols: way.ask(s)) for symbols in keys]
    frame, _ = way.ask(keys[0])
    stats = None if way.plain else scan_stats(frame.execution_plan(), {"t": way.scanned}, 0.0)
    own = way.term.bytes if way.term is not None else 0
    files, read = (None, plain_bytes(frame)) if stats is None else (stats.files_read, stats.bytes_scanned)
    answers = [sorted(map(repr, way.ask(symbols)[1].to_pylist())) for symbols in keys]
    return Cost(statistics.median(cold), statistics.median(warm), files, read, own), answers


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
        done = update_index(session(), pinned(bare), (NAME,), index)
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
                "| way | cold | warm | files opened | bytes of data | bytes of the index, at most |",
            ]
            lines += ["|---|---|---|---|---|---|"]
            answers = []
            for name, way in ways.items():
                cost, answer = measured(way, keys)
                answers.append(answer)
                files = "all" if cost.files is None else f"{cost.files:,}"
                lines.append(
                    f"| {name} | {cost.cold:.1f} ms | {cost.warm:.1f} ms | {files} | {cost.bytes or 0:,} | {cost.own_bytes:,} |"
                )
            assert all(answer == answers[0] for answer in answers)
            lines.append("")
    head = [
        "# Looking an unclustered key up: bloom filters and the external index",
        "",
        f"By `python benchmarks/index.py`, {platform.machine()}, Python {platform.python_version()}; {FILES} files of "
        f"{ROWS:,} rows, {SYMBOLS:,} symbols anywhere; medians of {RUNS}, other processes on the machine.",
        f"The data take {sizes[0]:,} bytes, with bloom filters {sizes[1]:,}; the index {done.bytes:,}, built in {built:.1f} s "
        f"({done.rows:,} rows). Cold opens table and index and asks once. An index read whole stays in memory; asked anew, each look-up reads what its own statistics leave.",
        "",
    ]
    out = ROOT / "benchmarks/results/index.md"
    out.write_text("\n".join([*head, *lines]).rstrip() + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main()
