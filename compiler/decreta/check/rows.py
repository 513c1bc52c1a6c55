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


Local = Mapping[str, Mapping[str, str]]
"""Output column → for each table read, the column whose groups the rows fall apart into along with it, or `WHOLE`."""
NOT_LOCAL: Local = {}
WHOLE = ""
"""In the place of a column: each group may read all of the table."""


@dataclass(frozen=True)
class Rows:
    """What is known of a table or query: its columns, sets of columns that are unique together, and its locality."""

    columns: Mapping[str, Flow]
    keys: frozenset[frozenset[str]] = frozenset()
    local: Local = field(default_factory=dict)
    tables: frozenset[str] = frozenset()
    """The objects and relations that it reads."""


@dataclass(frozen=True)
class JoinFound:
    """One join of a SELECT: what the rows so far and the joined table are to each other."""

    node: exp.Join
    alias: str
    table: str | None
    """The object or relation joined; None for a query in parentheses or a WITH clause."""
    on: tuple[tuple[Qualified, str], ...]
    """Pairs of a column of the rows so far and the column of the joined table that equals it."""
    left_table: str | None
    """The one object or relation that the left columns of `on` belong to, if it is one."""
    one_right: bool
    """Whether each row so far is proven to meet at most one joined row."""
    one_left: bool
    """Whether each joined row is proven to meet at most one of the rows so far."""
    partial_key: tuple[str, ...]
    """A key of the joined table of which the join equates only a part, if it equates no whole one."""

    @property
    def cardinality(self) -> str:
        """Return what is proven, as `left:right`."""
        return f"{'1' if self.one_left else 'n'}:{'1' if self.one_right else 'm' if not self.one_left else 'n'}"


@dataclass
class SelectScope:
    """The tables in sight of one SELECT, by alias, its own before those around it."""

    node: exp.Select
    sources: dict[str, Rows] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    merged: set[str] = field(default_factory=set)
    """Columns of USING, which are one column of both sides."""
    outer: SelectScope | None = None
    joins: list[JoinFound] = field(default_factory=list)
    keys: frozenset[frozenset[Qualified]] = frozenset()
    """Sets of columns, constants left out, that are unique together in the joined rows, before any grouping."""
    outputs: tuple[tuple[str, exp.Expr], ...] = ()
    """What it selects, stars written out: names, and what they are made of."""
