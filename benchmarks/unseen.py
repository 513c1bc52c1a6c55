"""The retail pack with query shapes that no rule was made on, over data in which few customers and parts have most rows."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tables import ROOT, run_and_observe

LINE = "l.l_orderkey, l.l_linenumber, l.l_quantity, l.l_extendedprice"
SHAPES = {
    "lines_of_part": (
        "interactive_query",
        "part: int64",
        "part: 1",
        f"SELECT {LINE} FROM lineitem AS l WHERE l.l_partkey = $part",
    ),
    "lines_of_order": (
        "interactive_query",
        "order: int64",
        "order: 1",
        f"SELECT {LINE} FROM lineitem AS l WHERE l.l_orderkey = $order",
    ),
    "late_lines": (
        "interactive_query",
        "first: date, last: date, mode: string",
        'first: "1995-03-01", last: "1995-03-07", mode: RAIL',
        f"SELECT {LINE} FROM lineitem AS l WHERE l.l_receiptdate >= $first AND l.l_receiptdate <= $last AND l.l_shipmode = $mode",
    ),
    "orders_of_clerk": (
        "interactive_query",
        "clerk: string",
        'clerk: "Clerk#000000001"',
        "SELECT o.o_orderkey, o.o_orderdate, o.o_totalprice FROM orders AS o WHERE o.o_clerk = $clerk",
    ),
    "largest_orders": (
        "interactive_query",
        'price: "decimal(15,2)"',
        'price: "300000.00"',
        "SELECT o.o_orderkey, o.o_totalprice FROM orders AS o WHERE o.o_totalprice > $price "
        "ORDER BY o.o_totalprice DESC, o.o_orderkey LIMIT 10",
    ),
    "customers_named": (
        "interactive_query",
        "begins: string",
        'begins: "Customer#00000001%"',
        "SELECT c.c_custkey, c.c_name, c.c_acctbal FROM customer AS c WHERE c.c_name LIKE $begins",
    ),
    "lines_of_customer": (
        "interactive_query",
        "customer: int64",
        "customer: 1",
        f"SELECT {LINE} FROM orders AS o JOIN lineitem AS l ON o.o_orderkey = l.l_orderkey WHERE o.o_custkey = $customer",
    ),
    "segment_by_month": (
        "report",
        "first_day: date",
        'first_day: "1996-01-01"',
        "SELECT c.c_mktsegment, EXTRACT(MONTH FROM o.o_orderdate) AS month, SUM(o.o_totalprice) AS total FROM orders AS o "
        "JOIN customer AS c ON o.o_custkey = c.c_custkey WHERE o.o_orderdate >= $first_day "
        "GROUP BY c.c_mktsegment, EXTRACT(MONTH FROM o.o_orderdate)",
    ),
    "busiest_parts": (
        "report",
        "least: int64",
        "least: 100",
        "SELECT l.l_partkey, COUNT(*) AS times FROM lineitem AS l GROUP BY l.l_partkey HAVING COUNT(*) > $least",
    ),
}


def unseen_pack(folder: Path, load: Path) -> tuple[Path, dict[str, str]]:
    """Write, compile, run and observe the pack; return its folder and its sources."""
    shutil.copytree(ROOT / "specs", folder / "specs", ignore=shutil.ignore_patterns("code_graph", "locks"))
    (folder / "decreta.toml").touch()
    queries = folder / "specs/retail/queries"
    for name, (workload, parameters, values, sql) in SHAPES.items():
        text = f"query: {name}\nsummary: A shape that no rule was made on.\nclass: {workload}\nparameters: {{{parameters}}}\n"
        (queries / f"{name}.yaml").write_text(f"{text}example: {{{values}}}\nbody: |\n  {sql}\n")
    run_and_observe(folder, "retail", "--source", f"tpch={skewed(load, folder / 'load')}")
    return folder / "generated/retail", {"tpch": str(folder / "load")}


def skewed(load: Path, out: Path) -> Path:
    """Copy a load so that the k-th customer, and the k-th offer of a part, has a share of the rows like 1/k."""
    shutil.copytree(load, out)
    customers = pq.read_table(load / "customer.parquet")["c_custkey"].combine_chunks()
    offers = pq.read_table(load / "partsupp.parquet")
    orders, lines = (pq.read_table(load / f"{name}.parquet") for name in ("orders", "lineitem"))
    at = _ranks(lines.num_rows, offers.num_rows, seed=3)
    given = {"l_partkey": offers["ps_partkey"].take(at), "l_suppkey": offers["ps_suppkey"].take(at)}
    _write(
        orders, {"o_custkey": customers.take(_ranks(orders.num_rows, len(customers), seed=4))}, out / "orders.parquet"
    )
    _write(lines, given, out / "lineitem.parquet")
    return out


def _ranks(rows: int, below: int, seed: int) -> pa.Array:
    drawn = pc.exp(pc.multiply(pc.random(rows, initializer=seed), math.log(below)))
    return pc.min_element_wise(pc.subtract(pc.floor(drawn), 1.0), float(below - 1)).cast(pa.int64())


def _write(table: pa.Table, columns: dict[str, pa.Array], path: Path) -> None:
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
    pq.write_table(table, path)
