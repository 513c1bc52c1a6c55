"""What is known of the rows of a table, a query, or the tables in sight of one SELECT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

Qualified = tuple[str, str]
"""An alias in a FROM clause and a column behind it."""


@dataclass(frozen=True)
class Flow:
    """What is known of one output column: the columns its values come from, and their domain."""

    lineage: frozenset[str] = frozenset()
    domain: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rows:
    """What is known of a table or query: its columns, and sets of columns that are unique together."""

    columns: Mapping[str, Flow]
    keys: frozenset[frozenset[str]] = frozenset()


@dataclass
class SelectScope:
    """The tables in sight of one SELECT, by alias, its own before those around it."""

    node: exp.Select
    sources: dict[str, Rows] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    merged: set[str] = field(default_factory=set)
    """Columns of USING, which are one column of both sides."""
    outer: SelectScope | None = None
