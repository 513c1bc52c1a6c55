"""Find the cause of a difference in counters between two sides: the search, put to mixes that are measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from decreta.blame.mixes import Mixer
from decreta.blame.search import Finding, Mix, Values, find_cause
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.measure import Measured

Kind = Literal["latency", "bytes", "rows", "digest"]
SLACK = 0.02
"""The share by which bytes of the same rows may differ from run to run: rows are compressed as they come."""
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

    Each side is measured twice if they differ, and so is what names several changes: what differs between two runs of
    the same is no symptom.
    """
    count = mixer.count
    ends: tuple[Mix, Mix] = (frozenset(), frozenset(range(count)))
    first = [_required(mixer, name, mix, kind) for name, mix in zip("AB", ends, strict=True)]
    unsteady: set[str] = set()
    if _differing(first[0], first[1], unsteady):
        unsteady |= _again(mixer, ends, kind)

    def measure(mix: Mix) -> Values | None:
        measured = mixer.measured(mix)
        return None if measured is None else symptoms(measured, kind)

    def same(symptom: str, one: object, other: object) -> bool:
        return symptom in unsteady or alike(symptom, one, other)

    while True:
        finding = find_cause(count, measure, same)
        if finding is None or (len(finding.changes) == 1 and finding.undone is not False):
            break
        fresh = _again(mixer, _nearly(frozenset(finding.changes)), kind) - unsteady
        if not fresh:
            break
        unsteady |= fresh
    differing = sorted(finding.symptoms) if finding is not None else []
    before, after = ({s: values.get(s) for s in differing} for values in first)
    return Answer(finding, _told(before), _told(after), mixer.runs, tuple(sorted(unsteady)))


def _required(mixer: Mixer, name: str, mix: Mix, kind: Kind) -> Values:
    measured = mixer.measured(mix)
    if measured is None:
        raise InputInvalid(f"{name} does not compile or run", help="see what was said above, and mend it")
    return symptoms(measured, kind)


def _nearly(changes: Mix) -> Iterable[Mix]:
    """Return the mixes that a finding of several changes rests on: each without one of them."""
    return [changes - {change} for change in sorted(changes)]


def _again(mixer: Mixer, mixes: Iterable[Mix], kind: Kind) -> set[str]:
    """Measure mixes anew; return the symptoms that came out otherwise than the first time."""
    found: set[str] = set()
    for mix in mixes:
        once, anew = mixer.measured(mix), mixer.measured(mix, again=True)
        if once is not None and anew is not None:
            found |= _differing(symptoms(once, kind), symptoms(anew, kind), found)
    return found


def _differing(one: Values, other: Values, apart: Collection[str]) -> set[str]:
    return {n for n in one.keys() | other.keys() if n not in apart and not alike(n, one.get(n), other.get(n))}


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


def _told(values: Mapping[str, object]) -> dict[str, int | str | None]:
    return {name: value if isinstance(value, int | str) else None for name, value in values.items()}
