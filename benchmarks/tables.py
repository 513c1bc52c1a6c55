"""Delta tables of exactly so many files, and packs over them that are compiled, run and observed as a person would."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction
from shapes import EVENTS, GROWTH, SHAPES, Shape

ROOT = Path(__file__).resolve().parents[1]
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "compiler"), str(ROOT / "runtime")])}
LINE_FILES, ORDER_FILES, EVENT_FILES = 100, 50, 10
EVENTS_A_FILE = 2000

_PACK = """name = "{pack}"
version = "0.1.0"
summary = "Made to be measured."
imports = ["std@1"]

[workloads.batch_ingest]
reads = "whole"

[workloads.interactive_query]
reads = "selective"

[workloads.compile_replay]
reads = "whole"
repeatable = true
"""
_ENVIRONMENT = """lake = "lake"
engine = "datafusion-55.0.0+deltalake-1.6.6"

[budgets]
cores = 2
cache_bytes = {cache_bytes}
session_memory = "{session_memory}"

[bindings]
"""


class Made(NamedTuple):
    """A compiled pack, its lake, the folder of the tables that it binds, and what its shapes are asked."""

    pack: Path
    lake: Path
    tables: Path
    asks: dict[str, list[dict[str, int]]]


def decreta(*arguments: str, cwd: Path) -> str:
    """Run a verb in a process of its own and return what it says."""
    command = [sys.executable, "-m", "decreta", *arguments]
    done = subprocess.run(command, cwd=cwd, env=ENV, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"decreta {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def lay_out(
    folder: Path, pack: str, tables: dict[str, str], specs: dict[str, str], *,
    cache_bytes: int = 536_870_912, session_memory: str = "2G", decisions: str = "",
) -> Path:  # fmt: skip
    """Write a project of one pack over bound tables, name → place; return where it will be compiled to."""
    bound = "".join(f'{name} = {{ table = "{place}" }}\n' for name, place in tables.items())
    environment = _ENVIRONMENT.format(cache_bytes=cache_bytes, session_memory=session_memory) + bound + decisions
    for name, text in {"pack.toml": _PACK.format(pack=pack), "env/local.toml": environment, **specs}.items():
        path = folder / "specs" / pack / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "specs" / pack / "locks").mkdir()
    (folder / "decreta.toml").touch()
    return folder / "generated" / pack


def tpch(folder: Path, scale: float) -> Path:
    """Generate TPC-H's tables as Parquet."""
    command = [
        str(Path(sys.executable).with_name("tpchgen-cli")),
        "parquet",
        "-s",
        str(scale),
        f"--output-dir={folder}",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def write_table(path: Path, rows: pa.Table, files: int) -> None:
    """Write rows as they come into a Delta table of that many files in one commit, with statistics in the log."""
    path.mkdir(parents=True)
    step, actions = -(-rows.num_rows // files), []
    for i in range(files):
        part, name = rows.slice(i * step, step), f"part-{i:05}.parquet"
        pq.write_table(part, path / name, compression="snappy", write_page_index=True, row_group_size=8192)
        stats = {"numRecords": part.num_rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
        for column in part.schema.names:
            found = pc.min_max(part[column])
            stats["minValues"][column], stats["maxValues"][column] = (_plain(found[k]) for k in ("min", "max"))
            stats["nullCount"][column] = part[column].null_count
        size = (path / name).stat().st_size
        actions.append(AddAction(name, size, {}, int(time.time() * 1000), True, json.dumps(stats)))
    table = DeltaTable.create(str(path), rows.schema)
    table.create_write_transaction(actions, "append", rows.schema)


def _plain(value: pa.Scalar) -> Any:
    found = value.as_py()
    return float(found) if isinstance(found, Decimal) else found.isoformat() if isinstance(found, date) else found


def orders_pack(folder: Path, scale: float) -> Made:
    """Make the pack of TPC-H's orders and lines, sorted by order, with an index of orders by customer."""
    load = tpch(folder / "load", scale)
    lines, orders = (pq.read_table(load / f"{name}.parquet") for name in ("lineitem", "orders"))
    lines, orders = (_strict(table) for table in (lines, orders))
    tables = folder / "tables"
    write_table(tables / "lineitem", lines.sort_by([("l_orderkey", "ascending")]), LINE_FILES)
    write_table(tables / "orders", orders.sort_by([("o_orderkey", "ascending")]), ORDER_FILES)
    objects = {
        "lineitem": _object("lineitem", lines.schema, ["l_orderkey", "l_linenumber"], ""),
        "orders": _object(
            "orders", orders.schema, ["o_orderkey"], "indexes:\n  by_customer: {kind: term, column: o_custkey}\n"
        ),
    }
    keys = random.Random(7)
    known, customers = orders["o_orderkey"].to_pylist(), orders["o_custkey"].to_pylist()
    drawn = [keys.choice(known) for _ in range(40)]
    asks = {
        "point": [{"key": key} for key in drawn],
        "key_range": [{"first": key, "last": key + 400} for key in drawn],
        "join": [{"key": key} for key in drawn],
        "unsorted_join": [{"customer": keys.choice(customers)} for _ in range(40)],
    }
    return _made(folder, "scans", tables, objects, SHAPES, asks)


def growth_pack(folder: Path) -> Made:
    """Make a pack of one table at 1, 10 and 100 times the rows and files, and one look-up of each."""
    tables, objects, asks = folder / "tables", {}, {}
    for times in GROWTH:
        rows = EVENT_FILES * EVENTS_A_FILE * times
        data = pa.table(
            {
                "event_id": pa.array(range(0, rows * 3, 3), pa.int64()),
                "account": _random(rows, 10_000, seed=7),
                "amount": _random(rows, 10**9, seed=8),
            }
        )
        write_table(tables / f"events_{times}", _strict(data), EVENT_FILES * times)
        objects[f"events_{times}"] = _object(f"events_{times}", data.schema, ["event_id"], "")
        asks[f"event_in_{times}"] = [{"event": k * 3} for k in _random(40, rows, seed=9).to_pylist()]
    return _made(folder, "growth", tables, objects, EVENTS, asks)


def _random(count: int, below: int, seed: int) -> pa.Array:
    return pc.floor(pc.multiply(pc.random(count, initializer=seed), float(below))).cast(pa.int64())


def _strict(table: pa.Table) -> pa.Table:
    """Return a table whose columns are not null and whose texts are plain strings."""
    kinds = [pa.string() if pa.types.is_string_view(f.type) else f.type for f in table.schema]
    fields = [pa.field(f.name, kind, nullable=False) for f, kind in zip(table.schema, kinds, strict=True)]
    return table.cast(pa.schema(fields))


def _object(name: str, schema: pa.Schema, key: list[str], more: str) -> str:
    columns = "".join(f'  {field.name}: {{type: "{_type(field.type)}"}}\n' for field in schema)
    return (
        f"object: {name}\nversion: 1.0.0\nsummary: Rows to look up.\ncolumns:\n{columns}"
        f"key: [{', '.join(key)}]\nsource: {{table: true}}\n{more}"
    )


def _type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return "date" if pa.types.is_date(kind) else str(kind)


def _query(name: str, shape: Shape, example: dict[str, int]) -> str:
    given = ", ".join(f"{p}: {kind}" for p, kind in shape.parameters.items())
    shown = ", ".join(f"{p}: {value}" for p, value in example.items())
    return (
        f"query: {name}\nsummary: A look-up.\nclass: interactive_query\nparameters: {{{given}}}\nexample: {{{shown}}}\n"
        f"body: |\n  {shape.sql}\n"
    )


def _made(
    folder: Path,
    pack: str,
    tables: Path,
    objects: dict[str, str],
    shapes: dict[str, Shape],
    asks: dict[str, list[dict[str, int]]],
) -> Made:
    """Write the specs, then generate, run, observe, generate again and run: what indexes rest on was seen by then."""
    specs = {f"objects/{name}.yaml": text for name, text in objects.items()}
    specs |= {f"queries/{name}.yaml": _query(name, shape, asks[name][0]) for name, shape in shapes.items()}
    compiled = lay_out(folder, pack, {name: f"../tables/{name}" for name in objects}, specs)
    run_and_observe(folder, pack)
    return Made(compiled, folder / "lake", tables, asks)


def run_and_observe(folder: Path, pack: str, *sources: str) -> None:
    """Compile and run a project's pack twice, the second time knowing what its lake is like."""
    lake = ("--lake", "lake")
    decreta("generate", pack, cwd=folder)
    decreta("run", pack, *lake, *sources, cwd=folder)
    decreta("observe", pack, *lake, cwd=folder)
    decreta("generate", pack, cwd=folder)
    decreta("run", pack, *lake, *sources, cwd=folder)
