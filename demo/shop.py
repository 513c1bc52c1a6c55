"""The shop whose tables decreta did not write: `python demo/shop.py FOLDER FIRST COUNT` delivers some orders to them.

A delivery is a function of its number alone, so whoever knows the numbers has the book: what the tables must hold.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

CUSTOMERS, PRODUCTS = 2_000, 20_000
BULK, SMALL = 150, 5
"""Orders of one of the first deliveries, and of each later one: so few that times tell of files, not of rows."""
ORDERS = pa.schema(
    [("order_id", pa.int64()), ("customer_id", pa.int64()), ("placed_on", pa.date32()), ("address", pa.string())]
)
LINES = pa.schema(
    [
        ("order_id", pa.int64()),
        ("line", pa.int32()),
        ("product_id", pa.int64()),
        ("quantity", pa.int32()),
        ("price", pa.decimal128(12, 2)),
    ]
)


def customers() -> pa.Table:
    """Return the customers."""
    draw = random.Random("customers")
    ids = list(range(CUSTOMERS))
    countries = [draw.choice(("DE", "ES", "FR", "IT", "PT")) for _ in ids]
    return pa.table({"customer_id": ids, "name": [f"customer {i}" for i in ids], "country": countries})


def bulk(count: int) -> list[tuple[pa.Table, pa.Table]]:
    """Return the first `count` deliveries: several tills number the orders, so each file has some of all numbers."""
    numbers = list(range(count * BULK))
    random.Random("tills").shuffle(numbers)
    return [delivery(f"bulk {i}", numbers[i * BULK : (i + 1) * BULK]) for i in range(count)]


def small(n: int, start: int) -> tuple[pa.Table, pa.Table]:
    """Return the n-th of the later deliveries, whose orders are numbered from `start` on."""
    return delivery(f"small {n}", range(start + n * SMALL, start + (n + 1) * SMALL))


def delivery(name: str, numbers: Iterable[int]) -> tuple[pa.Table, pa.Table]:
    """Return orders of these numbers, and their lines."""
    draw = random.Random(name)
    orders, lines = [], []
    for number in numbers:
        placed = date(2026, 1, 1) + timedelta(days=draw.randrange(300))
        orders.append((number, draw.randrange(CUSTOMERS), placed, f"{draw.getrandbits(96):x}"))
        for line in range(draw.randint(1, 4)):
            price = Decimal(draw.randrange(100, 10_000)) / 100
            lines.append((number, line, draw.randrange(PRODUCTS), draw.randint(1, 9), price))
    return _table(orders, ORDERS), _table(lines, LINES)


def _table(rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    return pa.table(list(map(list, zip(*rows, strict=True))), schema=schema)


def deliver(folder: Path, rows: tuple[pa.Table, pa.Table]) -> None:
    """Append a delivery to both tables, as any writer of Delta does."""
    for name, table in zip(("orders", "lines"), rows, strict=True):
        write_deltalake(str(folder / name), table, mode="append")


def main() -> None:
    """Append deliveries from FIRST on, and note each in the book when both tables have it."""
    folder, start, first, count = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    for n in range(first, first + count):
        deliver(folder, small(n, start))
        with (folder / "book").open("a") as book:
            book.write(f"{n}\n")


if __name__ == "__main__":
    main()
