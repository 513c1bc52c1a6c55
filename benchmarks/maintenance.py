"""`python benchmarks/maintenance.py [--appends N] [--write]`: a table of many small appends, maintained and not.

The same appends five times: left alone, maintained by the shipped rules, by these but taking small files whatever their
sizes ("of any size"), compacted after every write, and compacted once at the end ("fresh"). Three shapes look up: by a number that grows (the log's statistics leave one file), by a
scattered key that an external index knows, and by a scattered key that nothing knows, so that every file is opened: the
worst case for many files. Counters are exact; times are medians of interleaved look-ups.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from report import machine
from tables import decreta, lay_out

import decreta_runtime
from decreta_runtime import maintain
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import MaintenanceDetail
from decreta_runtime.lake import Lake
from decreta_runtime.load import load
from decreta_runtime.maintain import Maintainer
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned
from decreta_runtime.tally import Tally

ROOT = Path(__file__).resolve().parents[1]
ROWS, KEYS, LOOK_UPS = 200, 10_000, 41
DECISION = """
[[decision]]
domain = "index"
subject = "event.by_customer"
then = { build = true, shapes = ["events_of"], memory_bytes = "$index.memory_bytes", row_group_rows = "$index.row_group_rows", compression = "zstd" }
because = "It is what is measured."
"""
OBJECT = """\
object: event
version: 1.0.0
summary: Something that happened.
columns:
  event_id: {type: int64, role: identity, domain: event}
  customer: {type: int64}
  amount: {type: int64}
  product: {type: int64}
  words: {type: string}
key: [event_id]
source: {table: true}
indexes: {by_customer: {kind: term, column: customer}}
"""
QUERY = """\
query: {name}
summary: What happened, by {column}.
class: interactive_query
parameters: {{given: int64}}
example: {{given: 1}}
body: SELECT e.event_id, e.amount, e.words FROM event AS e WHERE e.{column} = $given
"""
SHAPES = {"event_at": "event_id", "events_of": "customer", "events_with": "product"}
"""Shape -> the column that it looks up: narrowed by the log, by an index, by nothing."""


def project(folder: Path) -> Path:
    """Write and compile the pack."""
    specs = {f"queries/{name}.yaml": QUERY.format(name=name, column=column) for name, column in SHAPES.items()}
    specs["objects/event.yaml"] = OBJECT
    compiled = lay_out(
        folder,
        "stream",
        {"event": "event"},
        specs,
        cache_bytes=1_048_576,
        session_memory="512M",
        decisions=DECISION,
    )
    decreta("generate", cwd=folder)
    return compiled


def batches(count: int) -> Iterator[pa.Table]:
    draw = random.Random(1)
    for k in range(count):
        ids = range(k * ROWS, (k + 1) * ROWS)
        customers = [draw.randrange(KEYS) for _ in ids]
        words = [f"{draw.getrandbits(64):x}" for _ in ids]
        products = [draw.randrange(KEYS) for _ in ids]
        amounts = [i % 97 for i in ids]
        columns = {"event_id": ids, "customer": customers, "amount": amounts, "product": products, "words": words}
        yield pa.table(columns)


@contextlib.contextmanager
def in_process() -> Iterator[None]:
    """Call the engine without a process of its own, where only counters matter."""
    kept = maintain.within
    maintain.within = lambda seconds, function, *args: function(*args)  # type: ignore[assignment]
    try:
        yield
    finally:
        maintain.within = kept


def keeper(pack: Path, lake: Path, change: Callable[[dict[str, Any]], None] | None) -> Maintainer:
    loaded, at = load(pack, Tally()), Lake(str(lake))
    at.prepare()
    policy = json.loads((pack / "policy/local.json").read_bytes())
    if change is not None:
        change(policy["maintenance_policy_by_dataset"]["event"]["value"])
    obeyed = Policy(json.dumps(policy).encode())
    told = lambda stage, words: None  # noqa: E731
    ledger = Ledger("stream", obeyed.digest)
    return Maintainer(loaded.manifest, obeyed, at, ledger, "batch_ingest", obeyed.session("batch_ingest"), told)


def after_every_write(value: dict[str, Any]) -> None:
    trigger = {"action": "compact", "metric": "files", "comparison": "at_least", "threshold": 2, "unknown": "pass"}
    value |= {"triggers": {"always": trigger}, "amplification": "1000000"}


def of_any_size(value: dict[str, Any]) -> None:
    value["at_most_times"] = "1000000"


def stream(table: Path, count: int, maintainer: Maintainer | None) -> dict[str, Any]:
    """Append; return the counters of the table's life."""
    wrote = kept = 0.0
    details: list[MaintenanceDetail] = []
    idle = [0.0]
    for rows in batches(count):
        start = time.perf_counter()
        write_deltalake(str(table), rows, mode="append")
        wrote += time.perf_counter() - start
        if maintainer is not None:
            pinned = DeltaTable(str(table))
            start = time.perf_counter()
            details.append(maintainer.after_write("event", Pinned("event", table, pinned.version(), pinned)).detail)
            took = time.perf_counter() - start
            kept += took
            idle += [] if details[-1].done else [1_000 * took]
            maintainer.ledger.rows.clear()
    last = details[-1].after or details[-1].before if details else None
    return {
        "files": len(DeltaTable(str(table)).file_uris()),
        "decisions": len(details),
        "acted": sum(bool(detail.done) for detail in details),
        "written": last.written_bytes if last else sum(_sizes(table)),
        "rewritten": last.rewritten_bytes if last else 0,
        "write seconds": wrote,
        "maintenance seconds": kept,
        "idle": statistics.median(idle),
    }


def _sizes(table: Path) -> list[int]:
    found: list[int] = pa.table(DeltaTable(str(table)).get_add_actions(flatten=True))["size_bytes"].to_pylist()
    return found


def look_ups(pack: Path, folder: Path, tables: dict[str, Path]) -> dict[tuple[str, str], dict[str, float]]:
    """Ask each table the same, in turns; return the medians and means of what a look-up of a shape lists and takes."""
    opened = {name: decreta_runtime.open(str(pack), lake=str(folder / f"lake of {name}")) for name in tables}
    taken: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for name, table in tables.items():
        opened[name].run({"event": str(table)})
    draw = random.Random(2)
    for i in range(LOOK_UPS + 1):
        given = draw.randrange(KEYS)
        for shape in SHAPES:
            answers = set()
            for name in draw.sample(sorted(opened), len(opened)):  # closing many files bears on whoever is next
                reader = opened[name]
                start = time.perf_counter()
                answer = reader.answer(shape, {"given": given})
                seconds = time.perf_counter() - start
                answers.add(tuple(sorted(answer.rows["event_id"].to_pylist())))
                listed = reader._readings["interactive_query"].scans["event"].listed
                size = sum(Path(path).stat().st_size for path in listed)
                if i:  # the first is cold
                    taken.setdefault((name, shape), []).append((seconds, len(listed), size))
            assert len(answers) == 1, "every table answers alike"
    for reader in opened.values():
        reader.close()
    return {key: _summary(found) for key, found in taken.items()}


def _summary(found: list[tuple[float, int, int]]) -> dict[str, float]:
    seconds, listed, size = zip(*found, strict=True)
    return {"ms": 1_000 * statistics.median(seconds), "listed": statistics.mean(listed), "bytes": statistics.mean(size)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--appends", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/maintenance.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pack = project(folder / "project")
        tables = {
            name: folder / name for name in ("left alone", "maintained", "of any size", "after every write", "fresh")
        }
        lives = {"left alone": stream(tables["left alone"], args.appends, None)}
        lives["maintained"] = stream(tables["maintained"], args.appends, keeper(pack, folder / "l1", None))
        with in_process():
            lives["of any size"] = stream(tables["of any size"], args.appends, keeper(pack, folder / "l4", of_any_size))
            every = keeper(pack, folder / "l2", after_every_write)
            lives["after every write"] = stream(tables["after every write"], args.appends, every)
            lives["fresh"] = stream(tables["fresh"], args.appends, None)
            table = DeltaTable(str(tables["fresh"]))
            keeper(pack, folder / "l3", after_every_write).after_write(
                "event", Pinned("event", tables["fresh"], table.version(), table)
            )
            lives["fresh"]["files"] = len(DeltaTable(str(tables["fresh"])).file_uris())
        text = report(args.appends, lives, look_ups(pack, folder, tables))
    print(text)
    if args.write:
        (ROOT / "benchmarks/results/maintenance.md").write_text(text + "\n")


def report(appends: int, lives: dict[str, dict[str, Any]], found: dict[tuple[str, str], dict[str, float]]) -> str:
    lines = [
        "# Maintenance by outcome\n",
        f"By `python benchmarks/maintenance.py --appends {appends}` on {machine()}: {appends} appends of {ROWS} rows,"
        f" then {LOOK_UPS} look-ups of each shape in turns. *fresh* was compacted once, at the end.\n",
        "| | files | bytes rewritten ÷ written | writes acted on |",
        "|---|---|---|---|",
    ]
    for name, life in lives.items():
        ratio = "" if name == "fresh" else f"{life['rewritten'] / life['written']:.2f}"
        lines.append(f"| {name} | {life['files']} | {ratio} | {life['acted']} of {life['decisions']} |")
    lines += [
        "",
        "| shape | | files listed | bytes listed ÷ fresh | look-up | ÷ fresh |",
        "|---|---|---|---|---|---|",
    ]
    for shape, column in SHAPES.items():
        fresh = found["fresh", shape]
        for name in lives:
            look = found[name, shape]
            lines.append(
                f"| by `{column}` | {name} | {look['listed']:.1f} | {look['bytes'] / max(1, fresh['bytes']):.2f} |"
                f" {look['ms']:.2f} ms | {look['ms'] / fresh['ms']:.2f} |"
            )
    kept = lives["maintained"]
    lines.append(
        f"\nWriting took {kept['write seconds']:.1f} s, measuring and maintaining {kept['maintenance seconds']:.1f} s, each"
        f" action in a process of its own; a decision that does nothing {kept['idle']:.1f} ms at the median."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
