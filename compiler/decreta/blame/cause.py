"""Find the cause of a difference in counters between two sides: the search, put to mixes that are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from decreta.blame.mixes import Mixer
from decreta.blame.search import Finding, Mix, Values, find_cause
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.measure import Measured

Kind = Literal["latency", "bytes", "rows", "digest"]
SLACK = 0.005
"""The share by which bytes of the same rows may differ from run to run: they are compressed in the order they come in."""
_FIGURES: dict[str, tuple[str, ...]] = {
    "bytes": ("bytes", "bytes_scanned", "bytes_eligible", "index_bytes"),
    "rows": ("rows", "rows_read", "rows_scanned"),
}


@dataclass(frozen=True)
class Answer:
    """What was found, by which measurements."""

    finding: Finding | None
    """None where nothing differs."""
    before: Mapping[str, int | str | None]
    """Symptom → what it is in A, of those that differ."""
    after: Mapping[str, int | str | None]
    runs: int
    unsteady: tuple[str, ...]
    """Counters that differ between runs of one side too, and are not asked."""


def cause_of(mixer: Mixer, kind: Kind) -> Answer:
    """Return the cause of a difference in bytes, rows or digests. Raises InputInvalid where a side cannot be run.

    Each side is measured twice: what differs between two runs of the same is no symptom.
    """
    count = len(mixer.edits) + len(mixer.inputs)
    ends: tuple[Mix, Mix] = (frozenset(), frozenset(range(count)))
    first: list[Values] = []
    for name, mix in zip("AB", ends, strict=True):
        measured = mixer.measured(mix)
        if measured is None:
            raise InputInvalid(f"{name} does not compile or run", help="see what was said above, and mend it")
        first.append(symptoms(measured, kind))
    again = mixer.measured(ends[1], again=True) if first[0] != first[1] else None
    unsteady = _unsteady(first[1], symptoms(again, kind)) if again is not None else frozenset[str]()

    def measure(mix: Mix) -> Values | None:
        measured = mixer.measured(mix)
        return None if measured is None else symptoms(measured, kind)

    def same(symptom: str, one: object, other: object) -> bool:
        return symptom in unsteady or alike(symptom, one, other)

    finding = find_cause(count, measure, same)
    differing = sorted(finding.symptoms) if finding is not None else []
    before, after = ({s: values.get(s) for s in differing} for values in first)
    return Answer(finding, _told(before), _told(after), mixer.runs, tuple(sorted(unsteady)))


def symptoms(measured: Measured, kind: Kind) -> Values:
    """Return what is measured of a kind; all counters stand for latency, which follows from them."""
    if kind == "digest":
        return dict(measured.digests)
    figures = _FIGURES.get(kind)
    counters = measured.counters
    return {n: v for n, v in counters.items() if figures is None or n.rpartition("/")[2] in figures}


def alike(symptom: str, one: object, other: object) -> bool:
    """Whether two counts are the same but for what compression makes of the order of rows."""
    if one == other:
        return True
    if "bytes" in symptom.rpartition("/")[2] and isinstance(one, int) and isinstance(other, int):
        return abs(one - other) <= SLACK * max(one, other)
    return False


def _unsteady(one: Values, other: Values) -> frozenset[str]:
    return frozenset(n for n in one.keys() | other.keys() if not alike(n, one.get(n), other.get(n)))


def _told(values: Mapping[str, object]) -> dict[str, int | str | None]:
    return {name: value if isinstance(value, int | str) else None for name, value in values.items()}
