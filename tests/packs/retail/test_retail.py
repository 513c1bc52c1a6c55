"""The retail pack beside DuckDB: TPC-H's 22 queries, and the shop's own relations over daily batches."""

from __future__ import annotations

import decimal
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import ROOT, run_command, undecided
from tests.packs.retail.conftest import TABLES, generate

import decreta_runtime
from decreta_runtime.arrow import arrow_type
from decreta_runtime.pack import Pack

_SHOP_QUERIES = {"open_orders", "history_of", "orders_of", "revenue_between", "who_offers"}
TPCH = sorted(path.stem for path in (ROOT / "specs/retail/queries").glob("*.yaml") if path.stem not in _SHOP_QUERIES)


def beside(load: Path) -> duckdb.DuckDBPyConnection:
    """Return DuckDB over the same files."""
    connection = duckdb.connect()
    for table in TABLES:
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM '{load}/{table}.parquet'")
    return connection


def arguments(pack: Pack, name: str) -> dict[str, Any]:
    entry = pack.manifest.queries[name]
    return {p: typed(entry.parameters[p], value) for p, value in entry.example.items()}


def typed(kind: str, value: Any) -> Any:
    if kind == "date":
        return date.fromisoformat(value)
    return Decimal(value) if kind.startswith("decimal") else value


def close(value: Any) -> Any:
    """Round what a division gave: DuckDB divides decimals as doubles, DataFusion to a fixed number of places."""
    if isinstance(value, float | Decimal):
        with decimal.localcontext(prec=50):
            return Decimal(str(value)).quantize(Decimal("0.01"), rounding=decimal.ROUND_HALF_UP)
    return value


def same(found: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> bool:
    """Whether rows agree to a cent, allowing a last place that lies on the edge of rounding."""
    if len(found) != len(wanted):
        return False
    for row, other in zip(found, wanted, strict=True):
        for a, b in zip(map(close, row), map(close, other), strict=True):
            if a != b and not (isinstance(a, Decimal) and isinstance(b, Decimal) and abs(a - b) <= Decimal("0.01")):
                return False
    return True


def compare(pack: Pack, load: Path, name: str) -> None:
    given = arguments(pack, name)
    found = [tuple(row.values()) for row in pack.query(name, **given).to_pylist()]
    sql = (ROOT / "specs/retail/queries" / f"{name}.yaml").read_text().partition("body: |\n")[2]
    wanted = beside(load).execute(sql, given).fetchall()
    assert found, f"{name} gives no rows to compare"
    assert same(found, wanted), (found[:3], wanted[:3])


def test_all_of_tpch_is_there() -> None:
    texts = [(ROOT / "specs/retail/queries" / f"{name}.yaml").read_text() for name in TPCH]
    assert sorted(int(re.findall(r'^summary: "TPC-H (\d+):', text, re.M)[0]) for text in texts) == list(range(1, 23))


@pytest.mark.parametrize("name", TPCH)
def test_query_agrees_with_duckdb(shop: Pack, load: Path, name: str) -> None:
    compare(shop, load, name)


@pytest.mark.slow
def test_scale_1_agrees_with_duckdb_and_with_published_answers(retail: Path, tmp_path: Path) -> None:
    load = generate(tmp_path / "load", "1")
    with decreta_runtime.open(retail, lake=str(tmp_path / "lake")) as pack:
        pack.run({"tpch": str(load)})
        for name in TPCH:
            compare(pack, load, name)
        # From the specification's validation output for scale factor 1.
        first = pack.query("pricing_summary", **arguments(pack, "pricing_summary")).to_pylist()[0]
        assert (first["sum_qty"], first["count_order"]) == (Decimal("37734107.00"), 1478493)
        revenue = pack.query("revenue_change", **arguments(pack, "revenue_change")).to_pylist()
        assert revenue == [{"revenue": Decimal("123141078.2283")}]
        urgent = pack.query("order_priority", **arguments(pack, "order_priority")).to_pylist()[0]
        assert urgent == {"o_orderpriority": "1-URGENT", "order_count": 10594}


def test_each_write_has_a_decision_about_its_maintenance(shop: Pack) -> None:
    assert isinstance(shop.lake.root, Path)
    assert not undecided(shop.lake.root)


def test_an_empty_load_gives_empty_tables_and_a_tour(retail: Path, tmp_path: Path) -> None:
    with decreta_runtime.open(retail, lake=str(tmp_path / "lake")) as pack:
        for name, entry in pack.manifest.objects.items():
            schema = pa.schema([(c.name, arrow_type(c.type)) for c in entry.columns])
            (tmp_path / "load").mkdir(exist_ok=True)
            pq.write_table(pa.Table.from_pylist([], schema), tmp_path / "load" / f"{name}.parquet")
        pack.run({"tpch": str(tmp_path / "load")})
        assert pack.sql("SELECT count(*) AS n FROM daily_revenue").rows.to_pylist() == [{"n": 0}]
    done = run_command("tour", str(retail), "--lake", str(tmp_path / "lake"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "TPC-H 22" in done.stdout, "examples are text in a spec, and decimals and days to a query"


def test_relations_follow_daily_batches(retail: Path, days: Path, tmp_path: Path) -> None:
    other = duckdb.connect()
    for table in TABLES:
        batches = (
            ""
            if table not in ("orders", "lineitem")
            else f" UNION ALL SELECT * FROM '{days}/batches/*/{table}.parquet'"
        )
        other.execute(f"CREATE VIEW {table}_all AS SELECT * FROM '{days}/{table}.parquet'{batches}")
    other.execute(f"CREATE VIEW removal AS SELECT * FROM '{days}/batches/*/order_removal.parquet'")
    other.execute(f"CREATE VIEW version AS SELECT * FROM '{days}/batches/*/customer_version.parquet'")
    other.execute(
        "CREATE VIEW line AS SELECT l.*, o_orderdate, o_custkey FROM lineitem_all AS l, orders_all AS o "
        "WHERE l_orderkey = o_orderkey AND o_orderkey NOT IN (SELECT o_orderkey FROM removal)"
    )
    other.execute(
        "CREATE VIEW seen AS SELECT c_custkey, DATE '1992-01-01' AS seen_on, c_mktsegment, c_acctbal, c_nationkey "
        "FROM customer_all UNION ALL SELECT c_custkey, seen_on, c_mktsegment, c_acctbal, c_nationkey FROM version"
    )
    other.execute(
        "CREATE VIEW home AS SELECT c_custkey, ARG_MAX(c_nationkey, seen_on) AS nation FROM seen GROUP BY c_custkey"
    )
    # How far each supplier of a brand is from each nation that ordered it, own nation 0, own region 1.
    other.execute(
        "CREATE VIEW reach AS SELECT DISTINCT w.n_nationkey AS nation, p.p_brand AS brand, s_suppkey, "
        "CAST(s.n_nationkey <> w.n_nationkey AS INT) AS steps FROM line, home, part_all AS p, part_all AS q, "
        "partsupp_all, supplier_all, nation_all AS w, nation_all AS s WHERE o_custkey = c_custkey AND nation = "
        "w.n_nationkey AND l_partkey = p.p_partkey AND q.p_brand = p.p_brand AND ps_partkey = q.p_partkey AND "
        "ps_suppkey = s_suppkey AND s_nationkey = s.n_nationkey AND s.n_regionkey = w.n_regionkey"
    )
    wanted = {
        "SELECT day, order_count, revenue FROM daily_revenue WHERE order_count > 0 ORDER BY day": (
            "SELECT o_orderdate, COUNT(DISTINCT l_orderkey), SUM(l_extendedprice * (1 - l_discount)) FROM line "
            "GROUP BY 1 ORDER BY 1"
        ),
        "SELECT COUNT(*) AS days FROM daily_revenue": "SELECT 1 + MAX(o_orderdate) - MIN(o_orderdate) FROM line",
        "SELECT c_custkey, valid_from, c_mktsegment, valid_to FROM customer_history ORDER BY 1, 2": (
            "SELECT c_custkey, seen_on, c_mktsegment, LEAD(seen_on) OVER (PARTITION BY c_custkey ORDER BY seen_on) FROM ("
            "SELECT *, LAG(c_mktsegment) OVER (PARTITION BY c_custkey ORDER BY seen_on) AS before FROM seen) "
            "WHERE before IS NULL OR before <> c_mktsegment ORDER BY 1, 2"
        ),
        "SELECT c_custkey, c_acctbal FROM customer_now ORDER BY 1": (
            "SELECT c_custkey, ARG_MAX(c_acctbal, seen_on) FROM seen GROUP BY 1 ORDER BY 1"
        ),
        "SELECT o_orderkey, c_mktsegment FROM order_segment ORDER BY 1": (
            "SELECT o_orderkey, c_mktsegment FROM orders_all AS o ASOF JOIN seen AS s ON o_custkey = c_custkey AND "
            "o_orderdate >= seen_on WHERE o_orderkey NOT IN (SELECT o_orderkey FROM removal) ORDER BY 1"
        ),
        "SELECT ps_partkey, ps_suppkey FROM cheapest_offer ORDER BY 1, 2": (
            "SELECT ps_partkey, ps_suppkey FROM partsupp_all AS p WHERE ps_supplycost = (SELECT MIN(ps_supplycost) FROM "
            "partsupp_all AS q WHERE q.ps_partkey = p.ps_partkey) ORDER BY 1, 2"
        ),
        "SELECT o_custkey, o_orderkey, o_orderdate, o_totalprice FROM first_order ORDER BY 1": (
            "SELECT o_custkey, o_orderkey, o_orderdate, o_totalprice FROM orders_all AS o WHERE o_orderkey NOT IN ("
            "SELECT o_orderkey FROM removal) AND NOT EXISTS (FROM orders_all AS p WHERE p.o_custkey = o.o_custkey AND "
            "(p.o_orderdate, p.o_orderkey) < (o.o_orderdate, o.o_orderkey) AND p.o_orderkey NOT IN ("
            "SELECT o_orderkey FROM removal)) ORDER BY 1"
        ),
        "SELECT n_nationkey, n_name, n_regionkey FROM trading_nation ORDER BY 1": (
            "SELECT n_nationkey, n_name, n_regionkey FROM nation_all WHERE n_nationkey IN (SELECT nation FROM home) "
            "OR n_nationkey IN (SELECT s_nationkey FROM supplier_all) ORDER BY 1"
        ),
        "SELECT n_nationkey, p_brand, s_suppkey, steps FROM nearest_supplier ORDER BY 1, 2, 3": (
            "SELECT * FROM reach AS r WHERE steps = (SELECT MIN(steps) FROM reach AS q WHERE q.nation = r.nation AND "
            "q.brand = r.brand) ORDER BY 1, 2, 3"
        ),
        "SELECT DISTINCT steps FROM nearest_supplier ORDER BY 1": "VALUES (0), (1)",
    }
    with decreta_runtime.open(retail, lake=str(tmp_path / "lake")) as pack:
        pack.run({"tpch": str(days)})
        for ours, theirs in wanted.items():
            found = [tuple(row.values()) for row in pack.sql(ours).rows.to_pylist()]
            assert found == other.execute(theirs).fetchall(), ours
        given = {"day": date(1998, 8, 6)}
        orders = [(r["o_orderkey"],) for r in pack.query("open_orders", **given).to_pylist()]
        assert (
            orders
            == other.execute(
                "SELECT l_orderkey FROM line GROUP BY l_orderkey, o_orderdate HAVING o_orderdate <= $day AND "
                "MAX(l_receiptdate) > $day ORDER BY o_orderdate, l_orderkey",
                given,
            ).fetchall()
        )
        given = {"customer": 7, "first": date(1992, 6, 1), "last": date(1997, 6, 1)}
        ordered = [(r["o_orderkey"], r["all_received"]) for r in pack.query("orders_of", **given).to_pylist()]
        assert ordered
        assert (
            ordered
            == other.execute(
                "SELECT l_orderkey, MAX(l_receiptdate) FROM line WHERE o_custkey = $customer AND o_orderdate >= $first "
                "AND o_orderdate <= $last GROUP BY l_orderkey, o_orderdate ORDER BY o_orderdate, l_orderkey",
                given,
            ).fetchall()
        )
        near = {"nation": 20, "brand": "Brand#23"}
        offers = [(r["s_suppkey"], r["s_name"]) for r in pack.query("who_offers", **near).to_pylist()]
        assert offers
        assert (
            offers
            == other.execute(
                "SELECT s_suppkey, s_name FROM supplier_all JOIN reach AS r USING (s_suppkey) WHERE nation = $nation AND "
                "brand = $brand AND steps = (SELECT MIN(q.steps) FROM reach AS q WHERE q.nation = $nation AND q.brand = "
                "$brand) ORDER BY 1",
                near,
            ).fetchall()
        )
