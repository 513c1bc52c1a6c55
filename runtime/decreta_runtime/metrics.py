"""What an executed plan says it read. Unknown is null: reads through delta-rs leave no counters."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from datafusion import DataFrame, ExecutionPlan
from msgspec import Struct

from decreta_runtime.scan import Scanned

# The binding gives pruning metrics as text alone: "10 total → 1 matched", humanised above 9,999.
_PRUNING = re.compile(r"([\d.]+)\s*([KMBT]?) total → ([\d.]+)\s*([KMBT]?) matched")
_COUNTS = ("bytes_scanned", "files_opened", "output_rows")
_ROW_GROUPS = "row_groups_pruned_statistics"
_PAGES = "page_index_pages_pruned"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class ScanStats(Struct, frozen=True, kw_only=True):
    """The cost of a statement: bytes, files, row groups and pages read of those there are, rows out of the scans."""

    bytes_scanned: int | None
    bytes_eligible: int
    files_read: int | None
    files_total: int
    row_groups_read: int | None
    row_groups_total: int | None
    pages_read: int | None
    """Pages that the page index leaves of the row groups read; of the columns that a filter names alone."""
    pages_total: int | None
    rows_scanned: int | None
    index_bytes: int | None
    """Bytes of external indexes read to find the files, beside `bytes_scanned`; None where none was asked."""
    step_bytes: int | None
    """Bytes read by look-ups of other tables to find the files; None where none was asked, or left no counters."""
    seconds: float
    scans: dict[str, str]


class Before(NamedTuple):
    """What was read to find the files of a statement, before it."""

    index_bytes: int | None = None
    step_bytes: int | None = None


_NOTHING = Before()


def scan_stats(
    plan: ExecutionPlan, scans: Mapping[str, Scanned], seconds: float, before: Before = _NOTHING
) -> ScanStats:
    """Return the counters of an executed plan; `scans` are the tables it may have read.

    A table that a statement reads twice counts twice, in what was read as in what could have been.
    """
    leaves = _leaves(plan)
    native = all(scanned.of_files for scanned in scans.values())
    shown = [leaf.display() for leaf in leaves]
    times = {name: max(1, sum(scanned.folder in text for text in shown)) for name, scanned in scans.items()}
    known = _counters(leaves) if native else {}
    files = sum(scanned.files * times[name] for name, scanned in scans.items())
    return ScanStats(
        bytes_scanned=known.get("bytes_scanned", 0 if native else None),
        bytes_eligible=sum(scanned.bytes * times[name] for name, scanned in scans.items()),
        # A file that two partitions share is opened twice.
        files_read=min(files, known.get("files_opened", 0)) if native else None,
        files_total=files,
        row_groups_read=known.get(f"{_ROW_GROUPS}.kept"),
        row_groups_total=known.get(f"{_ROW_GROUPS}.total"),
        pages_read=known.get(f"{_PAGES}.kept"),
        pages_total=known.get(f"{_PAGES}.total"),
        rows_scanned=known.get("output_rows"),
        index_bytes=before.index_bytes,
        step_bytes=before.step_bytes,
        seconds=round(seconds, 6),
        scans={name: scanned.path for name, scanned in scans.items()},
    )


class Reading(NamedTuple):
    """What the statement of a relation read of its inputs; unknown is None."""

    rows: int | None
    bytes: int | None


def reading(frame: DataFrame, in_memory: Mapping[str, int], counted: Container[str]) -> Reading:
    """Return what an executed statement read: what its scans gave, and all rows of tables in memory.

    `in_memory` has the rows of tables that leave no counters because they lie there, `counted` the tables that leave
    some. What delta-rs has read leaves none, and then nothing is known of the whole.
    """
    tables = _tables(frame)
    if not all(name in in_memory or name in counted for name in tables):
        return Reading(None, None)
    known = _counters(_leaves(frame.execution_plan()))
    rows = known.get("output_rows", 0) + sum(in_memory.get(name, 0) for name in tables)
    return Reading(rows, known.get("bytes_scanned", 0))


def read_by(frame: DataFrame, names: Iterable[str]) -> set[str]:
    """Return those of the tables `names` that a statement reads, wherever in it they stand."""
    found = _tables(frame)
    return {name for name in names if name in found}


def _tables(frame: DataFrame) -> list[str]:
    """Return the tables that a statement reads, each as often as it does."""
    return re.findall(r"TableScan: (.+?)(?: projection=|$)", frame.logical_plan().display_indent(), re.MULTILINE)


def _leaves(plan: ExecutionPlan) -> list[Any]:
    found, stack = [], [plan]
    while stack:
        node = stack.pop()
        if children := node.children():
            stack += children
        else:
            found.append(node)
    return found


def _counters(leaves: list[Any]) -> dict[str, int]:
    """Sum the metrics of scans."""
    found: dict[str, int] = {}
    for leaf in leaves:
        metrics = leaf.metrics()
        for metric in metrics.metrics() if metrics is not None else ():
            if metric.name in _COUNTS:
                found[metric.name] = found.get(metric.name, 0) + (0 if metric.value is None else int(metric.value))
            elif metric.name in (_ROW_GROUPS, _PAGES) and (hit := _PRUNING.search(repr(metric))):
                total, unit, kept, kept_unit = hit.groups()
                for key, number, scale in (("total", total, unit), ("kept", kept, kept_unit)):
                    name = f"{metric.name}.{key}"
                    found[name] = found.get(name, 0) + round(float(number) * _UNITS[scale])
    return found
