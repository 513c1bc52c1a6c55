"""Which data files a rewrite takes: small ones and those that overlap, the smallest first and within a budget.

Rows stay in their partition, so files are looked at one partition at a time.
A file that is much larger than all before it waits until more have come: were it taken each time, each byte would be
rewritten as often as the table is written, until the budget is used up and small files pile up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from decreta_runtime.contract.policy import MaintenanceValue
from decreta_runtime.outcomes import ranges
from decreta_runtime.parts import parts_of, together
from decreta_runtime.scan import Pinned


class Picked(NamedTuple):
    """Files as the log names them, their bytes, and why not more of them were taken."""

    files: tuple[str, ...]
    bytes: int
    why: str | None


def pick(pinned: Pinned, value: MaintenanceValue, due: Collection[str], budget: int) -> Picked:
    """Return what to rewrite of a table for the actions that are due, of at most `budget` bytes."""
    sizes = dict(zip(pinned.actions["path"].to_pylist(), pinned.actions["size_bytes"].to_pylist(), strict=True))
    parts = parts_of(pinned)
    if isinstance(parts, str):
        return Picked((), 0, parts)
    wanted = set[str]()
    bounds = ranges(pinned, value.sort[0]) if "sort" in due and value.sort else {}
    for _, files in together(parts, sizes):
        wanted |= set(_small({file: sizes[file] for file in files}, value)) if "compact" in due else set()
        wanted |= set(_overlapping({file: bounds[file] for file in files})) if bounds else set()
    taken, size, why, times = list[str](), 0, None, Decimal(value.at_most_times)
    for name in sorted(wanted, key=lambda name: (sizes[name], name)):
        if len(taken) > 1 and sizes[name] > times * size:
            break
        if size + sizes[name] > budget:
            why = f"the budget of {budget:,} bytes leaves {len(wanted) - len(taken)} of {len(wanted)} files as they are"
            break
        taken.append(name)
        size += sizes[name]
    found = [file for _, files in together(parts, taken) if len(files) > 1 for file in files]
    if not found:
        return Picked((), 0, why or "no two files are to be brought together")
    return Picked(tuple(found), sum(sizes[file] for file in found), why)


def _small(sizes: dict[str, int], value: MaintenanceValue) -> Sequence[str]:
    """Return the small files, if they would become fewer."""
    found = [name for name, size in sizes.items() if size < value.small_file_bytes]
    would = -(-sum(sizes[name] for name in found) // value.target_file_bytes)
    return found if would < len(found) else []


def _overlapping(known: dict[str, tuple[Any, Any] | None]) -> Iterator[str]:
    """Yield the files that share more than a bound with another one; those of unknown range share with any."""
    yield from (name for name, found in known.items() if found is None)
    ordered = sorted((found, name) for name, found in known.items() if found is not None)
    highest, holder = None, None
    for (low, high), name in ordered:
        if highest is not None and low < highest:
            yield from (name, holder) if holder is not None else (name,)
        if highest is None or high > highest:
            highest, holder = high, name


def budget_left(amplification: str, written: int, rewritten: int) -> int:
    """Return the bytes that may still be rewritten over the table's life."""
    return max(0, int(Decimal(amplification) * written) - rewritten)
