"""The pruning ladder of look-ups: what the runtime knows of it before a scan, and how well it did in the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from decreta_runtime.contract.records import IndexRung, Ladder, StepRung


@dataclass(frozen=True)
class Narrowed:
    """The files of a dataset that a binding of a query shape lists, and what left the others out."""

    files: tuple[str, ...]
    columns: tuple[str, ...]
    """Columns that the shape reads."""
    asked: tuple[str, ...] = ()
    unbounded: dict[str, int] = field(default_factory=dict)
    by_log: int | None = None
    """How many files the log's statistics leave; None where they were not asked."""
    indexes: tuple[IndexRung, ...] = ()
    steps: tuple[StepRung, ...] = ()
    by_steps: int | None = None
    """How many files the log's statistics leave of them for the values that look-ups gave; None where none did."""
    step_indexes: tuple[IndexRung, ...] = ()


class Effectiveness(NamedTuple):
    """Bytes avoided of bytes avoidable."""

    avoided: int
    avoidable: int

    @property
    def score(self) -> Decimal | None:
        """Their ratio, from 0 to 1, rounded down to four places; None where nothing could be avoided."""
        if not self.avoidable:
            return None
        return (Decimal(self.avoided) / self.avoidable).quantize(Decimal("0.0001"), ROUND_DOWN)


def effectiveness(ladders: Iterable[Ladder]) -> Effectiveness | None:
    """Return the `pruning_effectiveness_score` of some scans together; None if nothing is known of any of them.

    Avoidable are the bytes of the columns read in all files of the snapshot, less what a perfect index would read
    (`Ladder.bytes_perfect`); avoided are the bytes of those columns less the bytes read, and never more than were
    avoidable. A scan that no condition reaches has nothing to avoid and is left out, as one without counters is.
    """
    known = [(a, b) for ladder in ladders if (a := ladder.avoided()) is not None and (b := ladder.avoidable())]
    return Effectiveness(sum(a for a, _ in known), sum(b for _, b in known)) if known else None
