"""`python benchmarks/writes.py [--rows N …] [--rounds N] [--write]`: what decreta's write costs beside `write_deltalake`.

One relation passes on the rows of a table that others wrote, and is stored: with an application transaction, checks of
each row, digests, a decision about its maintenance and a row of the ledger for each of them. Beside it the same
statement by hand, over the same files, in the same session settings, into `write_deltalake` with the same compression
and row groups. *write* is from the statement to the version that readers will see, and the commits of ledger and run
record; *run* is `Pack.run` from end to end, which also loads, verifies, locks and asks the checks of the table that it
reads, such as that its key is unique. No index is declared. Sides take turns; the table of before is removed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionConfig, SessionContext
from deltalake import DeltaTable, WriterProperties, write_deltalake
from report import Goal, goals, machine, table
from tables import decreta, lay_out

import decreta_runtime
from decreta_runtime import execute, record, run
from decreta_runtime.contract.policy import Policy

ROOT = Path(__file__).resolve().parents[1]
SIZES, ROUNDS, BOUND = (100_000, 1_000_000, 5_000_000), 7, 1.25
SPECS = {
    "objects/event.yaml": """\
object: event
version: 1.0.0
summary: Something that happened.
columns:
  event_id: {type: int64, role: identity, domain: event}
  customer: {type: int64}
  day: {type: date}
  amount: {type: float64}
  words: {type: string}
key: [event_id]
source: {table: true}
""",
    "relations/kept_event.yaml": """\
relation: kept_event
version: 1.0.0
store: true
summary: What happened, as it is kept.
body: SELECT e.event_id, e.customer, e.day, e.amount, e.words FROM event AS e
key: [event_id]
checks:
  amount_is_positive: {where: amount >= 0}
  customer_is_known: {where: customer >= 0 AND customer < 1000000}
""",
    "queries/spent_by_day.yaml": """query: spent_by_day
summary: What was spent on each day.
class: interactive_query
body: SELECT k.day, SUM(k.amount) AS amount FROM kept_event AS k GROUP BY k.day
""",
}


class Spent(NamedTuple):
    """Seconds on the clock, and of all cores."""

    wall: float
    cpu: float


class Taken(NamedTuple):
    """One pair: by hand, by decreta with its records, and the whole run around that."""

    plain: Spent
    write: Spent
    run: Spent


class Watch:
    """Adds up what the calls of some functions take."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> Watch:
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]

    @property
    def spent(self) -> Spent:
        return Spent(self.wall, self.cpu)

    def over(self, function: Any) -> Any:
        def called(*args: Any, **named: Any) -> Any:
            with self:
                return function(*args, **named)

        return called


def project(folder: Path) -> Path:
    """Write and compile the pack; return its folder."""
    compiled = lay_out(folder, "written", {"event": "event"}, SPECS, cache_bytes=1_073_741_824, session_memory="4G")
    decreta("generate", cwd=folder)
    return compiled


def events(path: Path, rows: int) -> None:
    """Write the table that both sides read: keys in order, the rest scattered."""
    ids = pa.array(range(rows), pa.int64())
    mixed = pc.bit_wise_and(pc.multiply(ids, 2_654_435_761), 0xFFFFFFFF)
    columns = {
        "event_id": ids,
        "customer": pc.cast(pc.divide(mixed, 4295), pa.int64()),
        "day": pc.cast(pc.cast(pc.add(10_000, pc.divide(ids, max(1, rows // 1000))), pa.int32()), pa.date32()),
        "amount": pc.divide(pc.cast(mixed, pa.float64()), 1e6),
        "words": pc.binary_join_element_wise("what happened", pc.cast(pc.divide(mixed, 97), pa.string()), " "),
    }
    schema = pa.schema([pa.field(name, value.type, nullable=False) for name, value in columns.items()])
    write_deltalake(str(path), pa.table(columns, schema=schema), target_file_size=32 << 20)


def by_hand(source: Path, target: Path, policy: Policy) -> Spent:
    """Write the rows as a careful person would."""
    value, settings = policy.write("kept_event").value, policy.session("batch_ingest").value.settings
    with Watch() as watch:
        config = SessionConfig()
        for name, setting in settings.items():
            if not name.startswith("datafusion.runtime."):
                config = config.set(name, setting.value)
        context, read = SessionContext(config), DeltaTable(str(source))
        schema, files = pa.schema(read.schema().to_arrow()), ", ".join(f"'{path}'" for path in read.file_uris())
        context.sql(f"CREATE EXTERNAL TABLE event STORED AS PARQUET LOCATION ({files})")
        frame = context.sql("SELECT e.event_id, e.customer, e.day, e.amount, e.words FROM event AS e")

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in frame.execute_stream():
                yield batch.to_pyarrow().cast(schema)

        write_deltalake(
            str(target),
            pa.RecordBatchReader.from_batches(schema, batches()),
            target_file_size=value.target_file_bytes,
            writer_properties=WriterProperties(
                compression=value.compression.upper(),  # type: ignore[arg-type]
                max_row_group_size=value.row_group_rows,
            ),
        )
    return watch.spent


WATCHED = (
    (execute.Execution, "store"),
    (record.Ledger, "write"),
    (run, "commit_run"),
    (run, "_take_digests"),
)
"""What a write is: the statement with its checks, the commit, digests, the decision; then what is recorded of it."""


def by_decreta(pack: Path, source: Path, lake: Path) -> tuple[Spent, Spent]:
    """Run the pack; return what the write took with all that is recorded of it, and what the run took."""
    kept, watch = [getattr(owner, name) for owner, name in WATCHED], Watch()
    try:
        with decreta_runtime.open(pack, lake=str(lake)) as opened:
            for (owner, name), function in zip(WATCHED, kept, strict=True):
                setattr(owner, name, watch.over(function))
            with Watch() as whole:
                opened.run({"event": str(source)})
    finally:
        for (owner, name), function in zip(WATCHED, kept, strict=True):
            setattr(owner, name, function)
    return watch.spent, whole.spent


def measure(folder: Path, pack: Path, rows: int, rounds: int) -> list[Taken]:
    """Write the same rows by each side in turns; the first round warms both up and does not count."""
    source, sides = folder / f"event_{rows}", {"plain": folder / "plain", "decreta": folder / "lake"}
    events(source, rows)
    policy = Policy((pack / "policy/local.json").read_bytes())
    found = []
    for i in range(rounds + 1):
        taken: dict[str, Any] = {}
        for side in sorted(sides, reverse=bool(i % 2)):
            shutil.rmtree(sides[side], ignore_errors=True)
            plain = side == "plain"
            taken[side] = by_hand(source, sides[side], policy) if plain else by_decreta(pack, source, sides[side])
        if i:
            found.append(Taken(taken["plain"], *taken["decreta"]))
    same(sides["plain"], sides["decreta"] / "written/kept_event", rows)
    return found


def same(plain: Path, ours: Path, rows: int) -> None:
    """Raise unless both sides have written the same rows."""
    sums = []
    for path in (plain, ours):
        found = pa.table(DeltaTable(str(path)).scan(columns=["event_id", "amount"]).read_all())
        sums.append((found.num_rows, pc.sum(found["event_id"]).as_py(), round(pc.sum(found["amount"]).as_py(), 3)))
    assert sums[0] == sums[1] and sums[0][0] == rows, sums


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="two small sizes, three rounds")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/writes.md")
    args = parser.parse_args()
    sizes, rounds = ([20_000, 100_000], 3) if args.quick else (args.rows, args.rounds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pack = project(folder / "project")
        text = report({rows: measure(folder, pack, rows, rounds) for rows in sizes}, rounds)
    print(text)
    if args.write:
        (ROOT / "benchmarks/results/writes.md").write_text(text + "\n")


def report(found: dict[int, list[Taken]], rounds: int) -> str:
    lines, reached = [], []
    for rows, taken in found.items():
        plain, write, whole = (
            Spent(*(statistics.median(side[i] for side in each) for i in (0, 1))) for each in zip(*taken, strict=True)
        )
        ratio = write.wall / plain.wall
        pairs = sorted(one.write.wall / one.plain.wall for one in taken)
        lines.append(
            (
                f"{rows:,}",
                *(f"{1000 * one.wall:,.0f} ms" for one in (plain, write)),
                f"{ratio:.2f}",
                f"{pairs[0]:.2f} to {pairs[-1]:.2f}",
                f"{write.cpu / plain.cpu:.2f}",
                f"{1000 * whole.wall:,.0f} ms",
                f"{whole.wall / plain.wall:.2f}",
            )
        )
        reached.append(Goal(f"a write of {rows:,} rows, beside by hand", f"{BOUND}", f"{ratio:.2f}", ratio <= BOUND))
    head = ("rows", "by hand", "write", "÷ by hand", "each pair", "time of all cores", "run", "÷ by hand")
    return (
        f"# Writing\n\nMade by `python benchmarks/writes.py` on {machine()}; medians of {rounds} interleaved pairs.\n\n"
        f"{(__doc__ or '').partition(chr(10) * 2)[2].strip()}\n\n{goals(reached)}\n\n{table(head, lines)}"
    )


if __name__ == "__main__":
    main()
