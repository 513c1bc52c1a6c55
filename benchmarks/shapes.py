"""The look-ups that scans are measured by, as every engine is asked them: plain SQL with `$name` for a value.

This module imports nothing, so that peers in environments of their own can read it.
"""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """One query shape: its SQL, its parameters with their types, and the tables that it reads."""

    sql: str
    parameters: dict[str, str]
    tables: tuple[str, ...]

    def filled(self, values: dict[str, int]) -> str:
        """Return the SQL with values in the places of its parameters, for engines that take none."""
        text = self.sql
        for name, value in values.items():
            text = text.replace(f"${name}", str(value))
        return text


_LINE = "l.l_orderkey, l.l_linenumber, l.l_partkey, l.l_quantity, l.l_extendedprice, l.l_shipdate"
_BOTH = "o.o_orderkey, o.o_custkey, o.o_orderdate, l.l_linenumber, l.l_quantity, l.l_extendedprice"
_JOIN = "FROM orders AS o JOIN lineitem AS l ON o.o_orderkey = l.l_orderkey"

SHAPES = {
    "point": Shape(f"SELECT {_LINE} FROM lineitem AS l WHERE l.l_orderkey = $key", {"key": "int64"}, ("lineitem",)),
    "key_range": Shape(
        f"SELECT {_LINE} FROM lineitem AS l WHERE l.l_orderkey >= $first AND l.l_orderkey <= $last",
        {"first": "int64", "last": "int64"},
        ("lineitem",),
    ),
    "join": Shape(f"SELECT {_BOTH} {_JOIN} WHERE o.o_orderkey = $key", {"key": "int64"}, ("orders", "lineitem")),
    "unsorted_join": Shape(
        f"SELECT {_BOTH} {_JOIN} WHERE o.o_custkey = $customer", {"customer": "int64"}, ("orders", "lineitem")
    ),
}
"""Look-ups of lines by the key that files are sorted by, and of a customer's lines by one that they are not."""

GROWTH = (1, 10, 100)
"""The sizes that one look-up is asked at."""

EVENTS = {
    f"event_in_{times}": Shape(
        f"SELECT e.event_id, e.account, e.amount FROM events_{times} AS e WHERE e.event_id = $event",
        {"event": "int64"},
        (f"events_{times}",),
    )
    for times in GROWTH
}
