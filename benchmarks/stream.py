"""`python benchmarks/stream.py [--rounds N] [--pack P] [--quick] [--write]`: latency over a stream of writes and queries.

As LST-Bench has it: rounds, in each of which data change and then every query shape is asked. *retail* gets TPC-H's
refresh streams: new orders with their lines (RF1), orders removed (RF2), and customers as they were seen that day.
*code_graph* gets a file that is added, two whose bodies are edited, and one that is removed again. Three sides take the
same changes and the same asks in turns, in one process: *maintained* by the compiled policy, *left alone* (no trigger
in the policy), and *every write* (whatever has two files is compacted, without a budget). Maintenance runs in this very
process, so that its own starts are measured by nobody. All sides must answer alike.

A round's latency is the geometric mean over shapes of the median of the asks of each, after one of each that warms up.
*first round* is a lake that nothing is written to after the first run. It is asked in turn with the others in each
round: latency ÷ its latency at the same moment is how far a round is from the first, however busy the machine is. Data
grow by what the stream brings, so *every write* says what growth alone comes to.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import SessionContext
from deltalake import DeltaTable
from examples import samples
from policies import Policy, variant
from report import Goal, goals, machine, table
from tables import tpch

import decreta_runtime
from decreta_runtime import maintain
from decreta_runtime.contract.records import MaintenanceDetail
from decreta_runtime.pack import Pack

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, ASKS, SCALE, FILES = 100, 3, 0.01, 300
BOUND, AMPLIFICATION, LAST = 1.10, 3.0, 10
FIRST_DAY = date(1998, 8, 3)
LEFT_OUT = ("test", "tests", "idle_test", "site-packages", "__pycache__", "config-*", "lib-dynload")
MAINTENANCE = "maintenance_policy_by_dataset"


def left_alone(policy: Policy) -> None:
    """Let nothing be a reason to act."""
    for decision in policy[MAINTENANCE].values():
        decision["value"]["triggers"] = {}


def every_write(policy: Policy) -> None:
    """Compact whatever has two files."""
    act = {"action": "compact", "metric": "small_files", "comparison": "at_least", "threshold": 2, "unknown": "pass"}
    for decision in policy[MAINTENANCE].values():
        decision["value"] |= {"triggers": {"always": act}, "amplification": "1000000"}


FIRST = "first round"
SIDES: dict[str, tuple[Callable[[Policy], None], ...]] = {
    "maintained": (),
    "left alone": (left_alone,),
    "every write": (every_write,),
}


class Stream(NamedTuple):
    """A source with its name, and what changes it from round to round."""

    name: str
    folder: Path
    changes: Iterator[str]


def retail(folder: Path, rounds: int, scale: float, files: int) -> Stream:
    """Return TPC-H's load with a batch a round, each a thousandth of the orders in and as many out."""
    load = tpch(folder / "load", scale)
    context = SessionContext()
    for name in ("orders", "lineitem", "customer"):
        context.register_parquet(name, str(load / f"{name}.parquet"))

    def batches() -> Iterator[str]:
        for n in range(rounds):
            day = FIRST_DAY + timedelta(days=n)
            shipped, got = day + timedelta(days=3), day + timedelta(days=9)
            statements = {
                # TPC-H leaves the order keys 8 to 31 of every 32 free for new orders.
                "orders": f"SELECT * REPLACE (o_orderkey + 8 AS o_orderkey, DATE '{day}' AS o_orderdate, "
                f"'O' AS o_orderstatus) FROM orders WHERE (o_orderkey / 32) % 1000 = {n}",
                "lineitem": f"SELECT * REPLACE (l_orderkey + 8 AS l_orderkey, DATE '{shipped}' AS l_shipdate, "
                f"DATE '{got}' AS l_receiptdate, 'O' AS l_linestatus) FROM lineitem WHERE (l_orderkey / 32) % 1000 = {n}",
                "order_removal": f"SELECT o_orderkey, DATE '{day}' AS removed_on FROM orders "
                f"WHERE (o_orderkey / 32) % 1000 = {500 + n}",
                "customer_version": f"SELECT c_custkey, DATE '{day}' AS seen_on, c_address, c_nationkey, c_acctbal, "
                f"c_mktsegment FROM customer WHERE c_custkey % 500 = {n}",
            }
            for name, sql in statements.items():
                place = load / "batches" / day.isoformat() / f"{name}.parquet"
                place.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(_plain(context.sql(f"{sql} ORDER BY 1").to_arrow_table()), place)
            yield day.isoformat()

    return Stream("tpch", load, batches())


def _plain(rows: pa.Table) -> pa.Table:
    """Return rows with texts as Parquet's writers usually have them."""
    fields = [f.with_type(pa.string()) if f.type == pa.string_view() else f for f in rows.schema]
    return rows.cast(pa.schema(fields))


def code_graph(folder: Path, rounds: int, scale: float, files: int) -> Stream:
    """Return a part of the standard library, of which a few files change in each round."""
    source, whole = folder / "source", folder / "whole"
    shutil.copytree(sysconfig.get_path("stdlib"), whole, ignore=shutil.ignore_patterns(*LEFT_OUT))
    paths = sorted(path.relative_to(whole) for path in whole.rglob("*.py"))[:files]
    for path in paths:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(whole / path, source / path)

    def edits() -> Iterator[str]:
        draw = random.Random(3)
        bodies = [path for path in paths if "\n        return " in (source / path).read_text(errors="replace")]
        for n in range(rounds):
            (source / f"added_{n}.py").write_text(f"import os\n\n\ndef added_{n}(x):\n    y = x + {n}\n    return y\n")
            for path in draw.sample(bodies, 2):
                text = (source / path).read_text()
                at = text.rindex("\n        return ")
                (source / path).write_text(f"{text[:at]}\n        edited = {n}{text[at:]}")
            if n >= LAST:
                (source / f"added_{n - LAST}.py").unlink()
            yield f"round {n}"

    return Stream("python", source, edits())


STREAMS = {"retail": retail, "code_graph": code_graph}


class Life(NamedTuple):
    """What a lake's tables have come to: data files, bytes written and rewritten, writes, decisions, actions."""

    files: int
    written: int
    rewritten: int
    writes: int
    decided: int
    acted: int


def life(lake: Path, pack: Pack) -> Life:
    """Read it from the ledger and from the tables that the last run names."""
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    rows = sorted(rows, key=lambda row: row["at"])
    own = set(pack.manifest.datasets())
    kept = [row for row in rows if row["kind"] == "maintenance" and row["subject"] in own]
    decided = {(row["attempt"], row["subject"], row["table_version"]) for row in kept}
    writes = [row for row in rows if row["kind"] == "write"]
    last = {row["subject"]: maintain.msgspec.json.decode(row["detail"], type=MaintenanceDetail) for row in kept}
    ends = [detail.after or detail.before for detail in last.values()]
    return Life(
        files=sum(end.files for end in ends),
        written=sum(end.written_bytes for end in ends),
        rewritten=sum(end.rewritten_bytes for end in ends),
        writes=len(writes),
        decided=sum((row["attempt"], row["subject"], row["table_version"]) in decided for row in writes),
        acted=sum(row["action"] == "acted" for row in kept),
    )


class Found(NamedTuple):
    """What a stream came to: of each side, what it took, and what its tables have come to."""

    asked: dict[str, list[dict[str, float]]]
    """Side -> of each round, the one before the stream first, the median milliseconds of each shape."""
    runs: dict[str, list[float]]
    """Side -> seconds of each run."""
    lives: dict[str, Life]

    def ratios(self, side: str) -> list[float]:
        """Return for each round of the stream the latency over that of the lake of the first round."""
        both = zip(self.asked[side], self.asked[FIRST], strict=True)
        return [_mean(ours) / _mean(first) for ours, first in both][1:]


def _mean(times: dict[str, float]) -> float:
    return math.exp(statistics.fmean(math.log(ms) for ms in times.values()))


def measure(name: str, folder: Path, rounds: int, asks: int, scale: float, files: int, minutes: float) -> Found:
    """Let the stream pass by all sides, or as much of it as there is time for."""
    until = time.monotonic() + 60 * minutes
    stream, draw = STREAMS[name](folder, rounds, scale, files), random.Random(4)
    edits = {**SIDES, FIRST: ()}
    packs = {side: variant(ROOT / "generated" / name, folder / side / name, *edits[side]) for side in edits}
    lakes = {side: folder / f"lake of {side}" for side in edits}
    opened = {side: decreta_runtime.open(packs[side], lake=str(lakes[side])) for side in edits}
    runs: dict[str, list[float]] = {side: [] for side in edits}
    asked: dict[str, list[dict[str, float]]] = {side: [] for side in edits}
    given: dict[str, list[dict[str, Any]]] = {}
    for i, _ in enumerate(itertools.chain([None], stream.changes)):  # a change comes to be when it is asked for
        for side in draw.sample(sorted(SIDES if i else edits), len(SIDES if i else edits)):
            start = time.perf_counter()
            opened[side].run({stream.name: str(stream.folder)})
            runs[side].append(time.perf_counter() - start)
        shapes = opened[FIRST].manifest.queries
        given = given or {shape: samples(opened[FIRST], shape, asks) for shape in shapes}
        ask(opened, given, draw)
        for side, times in ask(opened, given, draw).items():
            asked[side].append(times)
        print(f"{name}: round {i} of {rounds}", file=sys.stderr)
        if i and time.monotonic() > until:
            break
    for pack in opened.values():
        pack.close()
    return Found(asked, runs, {side: life(lakes[side], opened[side]) for side in SIDES})


def ask(
    opened: dict[str, Pack], given: dict[str, list[dict[str, Any]]], draw: random.Random
) -> dict[str, dict[str, float]]:
    """Ask every side the same, side by side; return the median milliseconds of each shape."""
    taken: dict[str, dict[str, list[float]]] = {side: {} for side in opened}
    for shape, values in given.items():
        for value in values:
            sizes = {}
            for side in draw.sample(sorted(opened), len(opened)):
                start = time.perf_counter()
                sizes[side] = opened[side].query(shape, **value).num_rows
                taken[side].setdefault(shape, []).append(1_000 * (time.perf_counter() - start))
            assert len({sizes[side] for side in SIDES}) == 1, f"{shape} {value}: {sizes}"
    return {side: {shape: statistics.median(ms) for shape, ms in times.items()} for side, times in taken.items()}


def report(name: str, found: Found) -> tuple[list[Goal], str]:
    """Return what was to be reached, and the tables of one pack."""
    rounds, ratios = len(found.asked[FIRST]) - 1, {side: found.ratios(side) for side in SIDES}
    last = {side: statistics.median(each[-LAST:]) for side, each in ratios.items()}
    lived = found.lives["maintained"]
    amplified = lived.rewritten / lived.written
    writes, decided = (sum(getattr(one, what) for one in found.lives.values()) for what in ("writes", "decided"))
    what = f"{name}, {rounds} rounds"
    said = f"{last['maintained']:.2f}; left alone {last['left alone']:.2f}, compacted after every write {last['every write']:.2f}"
    aims = [
        Goal(f"{what}: latency at the end ÷ first round", f"{BOUND}", said, last["maintained"] <= BOUND),
        Goal(f"{what}: bytes rewritten ÷ written", f"{AMPLIFICATION:.0f}", f"{amplified:.2f}", amplified <= AMPLIFICATION),
        Goal(f"{what}: writes with a decision about maintenance", "100 %", f"{decided:,} of {writes:,}", decided == writes),
    ]  # fmt: skip
    rows = [_row(side, found, ratios[side]) for side in SIDES]
    head = (
        "side", f"latency, last {LAST} rounds", "÷ first round", f"rounds within {BOUND}", "shapes within, at the end",
        "files", "bytes rewritten ÷ written", "actions", "a run",
    )  # fmt: skip
    ends = sorted({max(1, rounds * k // 10) for k in range(1, 11)})
    course = [
        (f"{start + 1} to {end}", *(f"{statistics.median(each[start:end]):.2f}" for each in ratios.values()))
        for start, end in itertools.pairwise([0, *ends])
    ]
    text = f"## {name}\n\n{table(head, rows)}\n\nThe course, latency ÷ first round:\n\n"
    return aims, text + table(("rounds", *SIDES), course)


def _row(side: str, found: Found, ratios: list[float]) -> tuple[str, ...]:
    lived, ours, first = found.lives[side], found.asked[side][-LAST:], found.asked[FIRST][-LAST:]
    of_shapes = {
        shape: statistics.median(a[shape] / b[shape] for a, b in zip(ours, first, strict=True)) for shape in ours[0]
    }
    worst = max(of_shapes, key=lambda shape: of_shapes[shape])
    return (
        side,
        f"{statistics.median(_mean(times) for times in ours):.2f} ms",
        f"{statistics.median(ratios[-LAST:]):.2f}",
        f"{sum(one <= BOUND for one in ratios)} of {len(ratios)}",
        f"{sum(one <= BOUND for one in of_shapes.values())} of {len(of_shapes)}, worst {worst} {of_shapes[worst]:.2f}",
        f"{lived.files}",
        f"{lived.rewritten / lived.written:.2f}",
        f"{lived.acted}",
        f"{statistics.median(found.runs[side][1:]):.2f} s",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--asks", type=int, default=ASKS, help="of each shape in each round, each of other values")
    parser.add_argument(
        "--scale", type=float, default=SCALE, help="of TPC-H's load, at least 0.01: less breaks its keys"
    )
    parser.add_argument("--files", type=int, default=FILES, help="of the standard library")
    parser.add_argument("--pack", choices=sorted(STREAMS), help="one of the packs alone")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for each pack, after which no round begins")
    parser.add_argument("--quick", action="store_true", help="a dozen rounds over little: a minute's worth")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/stream.md, of one pack its own")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.asks, args.scale, args.files = 12, 1, SCALE, 40
    maintain.within = lambda seconds, function, *given: function(*given)  # type: ignore[assignment]
    aims, texts = [], []
    for name in [args.pack] if args.pack else sorted(STREAMS):
        with tempfile.TemporaryDirectory() as temporary:
            found = measure(name, Path(temporary), args.rounds, args.asks, args.scale, args.files, args.minutes)
        more, text = report(name, found)
        aims += more
        texts.append(text)
    of = f" --pack {args.pack}" if args.pack else ""
    of += f" --minutes {args.minutes:g}" if args.minutes < math.inf else ""
    command = f"python benchmarks/stream.py{of} --rounds {args.rounds} --asks {args.asks} --scale {args.scale} --files {args.files}"
    whole = (
        f"# A stream of writes and queries\n\nMade by `{command}` on {machine()}.\n\n"
        f"{(__doc__ or '').partition(chr(10) * 2)[2].strip()}\n\n{goals(aims)}\n\n" + "\n\n".join(texts)
    )
    print(whole)
    if args.write:
        name = f"stream_{args.pack}.md" if args.pack else "stream.md"
        (ROOT / "benchmarks/results" / name).write_text(whole + "\n")


if __name__ == "__main__":
    main()
