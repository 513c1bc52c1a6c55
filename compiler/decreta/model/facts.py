"""Facts as rules read them: typed, with a unit, a source and a confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from decreta_runtime.contract.policy import FactSource

FactValue = bool | int | str | Decimal | tuple[str, ...] | None
MOST = 2**53
"""Facts count less than that: JSON holds it exactly."""
FactType = Literal["bool", "int64", "decimal", "string", "list<string>"]


class FactInfo(NamedTuple):
    """What a fact says, its type, where it comes from, its unit and, if it is enumerated, its values."""

    type: FactType
    source: FactSource
    summary: str
    unit: str | None = None
    values: tuple[str, ...] = ()
    bound: bool = False
    """Whether it is the most that the value can be, and not the value."""


class Fact(NamedTuple):
    """One fact of one subject; without a value it is unknown, and its confidence is nothing."""

    value: FactValue
    source: FactSource
    confidence: str
    version: int | None = None
    """Table version, or `run_seq` of an outcome, at which the value was seen."""
    runs: int | None = None
    derivation: str | None = None
    """How an estimate was made."""


Rows = dict[str, dict[str, Fact]]
"""Subject → fact → what is known of it."""


@dataclass(frozen=True)
class FactBase:
    """The rows of each domain."""

    rows: Mapping[str, Rows]
