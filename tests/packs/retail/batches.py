"""Daily batches over a generated TPC-H load, after its refresh streams: new orders (RF1), removed orders (RF2), changed customers.

TPC-H leaves the order keys 8 to 31 of every 32 free for RF1; a new order is a copy of one of the load under such a key.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import duckdb

FIRST_DAY = date(1998, 8, 3)
_SEGMENTS = "['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'HOUSEHOLD', 'MACHINERY']"


def write_batches(load: Path, days: int) -> None:
    """Write `days` daily batches into `load/batches`, each about a thousandth of the orders."""
    for n in range(days):
        day = FIRST_DAY + timedelta(days=n)
        folder = load / "batches" / day.isoformat()
        folder.mkdir(parents=True)
        of_day = f"(o_orderkey // 32) % 1000 = {n}"
        statements = {
            "orders": f"SELECT * REPLACE (o_orderkey + 8 AS o_orderkey, DATE '{day}' AS o_orderdate, 'O' AS o_orderstatus) "
            f"FROM '{load}/orders.parquet' WHERE {of_day}",
            "lineitem": f"SELECT * REPLACE (l_orderkey + 8 AS l_orderkey, DATE '{day}' + 3 AS l_shipdate, "
            f"DATE '{day}' + 9 AS l_receiptdate, 'O' AS l_linestatus) "
            f"FROM '{load}/lineitem.parquet' WHERE {of_day.replace('o_', 'l_')}",
            "order_removal": f"SELECT o_orderkey, DATE '{day}' AS removed_on FROM '{load}/orders.parquet' "
            f"WHERE (o_orderkey // 32) % 1000 = {500 + n}",
            # Some change their segment, some their balance alone, which begins no period.
            "customer_version": f"SELECT c_custkey, DATE '{day}' AS seen_on, c_address, c_nationkey, c_acctbal + {n} AS "
            f"c_acctbal, CASE WHEN c_custkey % 3 = 0 THEN {_SEGMENTS}[1 + ({n} + c_custkey) % 5] ELSE c_mktsegment END "
            f"AS c_mktsegment FROM '{load}/customer.parquet' WHERE c_custkey % 100 IN (0, {n})",
        }
        for table, sql in statements.items():
            duckdb.sql(f"COPY ({sql} ORDER BY 1) TO '{folder / table}.parquet' (FORMAT parquet)")
