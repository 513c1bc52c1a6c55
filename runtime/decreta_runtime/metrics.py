"""What an executed plan says it read. Unknown is null: reads through delta-rs leave no counters."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple, get_args

from datafusion import DataFrame, ExecutionPlan
from msgspec import Struct

from decreta_runtime.contract.records import Ladder, Switch
from decreta_runtime.ladder import Narrowed
from decreta_runtime.scan import Scanned

# The binding gives pruning metrics as text alone: "10 total → 1 matched", humanised above 9,999.
_PRUNING = re.compile(r"([\d.]+)\s*([KMBT]?) total → ([\d.]+)\s*([KMBT]?) matched")
_PREDICATE = re.compile(r"\bpredicate=")
"""How the engine writes that a scan filters: what the statement says, or what a join learns while it runs."""
_FULLY_MATCHED = "page_index_pages_skipped_by_fully_matched"
_ROWS_PRUNED, _ROWS_MATCHED = "pushdown_rows_pruned", "pushdown_rows_matched"
_FOOTERS = "metadata_load_time"
_COUNTS = ("bytes_scanned", "files_opened", "output_rows", _ROWS_PRUNED, _ROWS_MATCHED, _FULLY_MATCHED, _FOOTERS)
_ROW_GROUPS = "row_groups_pruned_statistics"
_BLOOMS = "row_groups_pruned_bloom_filter"
_PAGES = "page_index_pages_pruned"
_PAGE_ROWS = "page_index_rows_pruned"
_PRUNED = (_ROW_GROUPS, _BLOOMS, _PAGES, _PAGE_ROWS)
_SWITCHES: tuple[Switch, ...] = get_args(Switch)
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
    footer_seconds: float | None
    """Time that scans waited for footers, all files together; next to none where the session still had them."""
    seconds: float
    scans: dict[str, str]
    ladder: dict[str, Ladder] = {}
    """Dataset → how the statement came down to the rows that it took."""

    @property
    def index_bytes(self) -> int | None:
        """Bytes of external indexes read to find the files, beside `bytes_scanned`; None where none was asked."""
        rungs = [rung for each in self.ladder.values() for rung in (*each.indexes, *each.step_indexes)]
        found = [rung.bytes_read for rung in rungs if rung.bytes_read is not None]
        return sum(found) if found else None

    @property
    def step_bytes(self) -> int | None:
        """Those of `bytes_scanned` that look-ups of other tables took; None where none was asked, or is unknown."""
        found = [step.bytes_read for each in self.ladder.values() for step in each.steps]
        return sum(bytes_ or 0 for bytes_ in found) if found and None not in found else None


def scan_stats(
    plan: ExecutionPlan, scans: Mapping[str, Scanned], seconds: float, narrowed: Mapping[str, Narrowed] | None = None
) -> ScanStats:
    """Return the counters of an executed plan; `scans` are the tables it may have read.

    `narrowed` says of the tables of a query shape why they list the files that they do. A table that a statement reads
    twice counts twice, in what was read as in what could have been.
    """
    leaves = _scans(plan)
    native = all(scanned.of_files for scanned in scans.values())
    read = {name: _of(scanned, leaves) for name, scanned in scans.items()}
    times = {name: max(1, len(found)) for name, found in read.items()}
    known = _summed(part for leaf in leaves for part in leaf.counters.values()) if native else {}
    files = sum(scanned.files * times[name] for name, scanned in scans.items())
    return ScanStats(
        bytes_scanned=_with_steps(known.get("bytes_scanned", 0), narrowed, scans) if native else None,
        bytes_eligible=sum(scanned.bytes * times[name] for name, scanned in scans.items()),
        # A file that two partitions share is opened twice.
        files_read=min(files, known.get("files_opened", 0)) if native else None,
        files_total=files,
        row_groups_read=known.get(f"{_ROW_GROUPS}.kept"),
        row_groups_total=known.get(f"{_ROW_GROUPS}.total"),
        pages_read=known.get(f"{_PAGES}.kept"),
        pages_total=known.get(f"{_PAGES}.total"),
        rows_scanned=known.get("output_rows"),
        footer_seconds=known.get(_FOOTERS, 0) / 1e9 if native else None,
        seconds=round(seconds, 6),
        scans={name: scanned.path for name, scanned in scans.items()},
        ladder={name: _ladder(scanned, read[name], (narrowed or {}).get(name)) for name, scanned in scans.items()},
    )


def _with_steps(read: int, narrowed: Mapping[str, Narrowed] | None, scans: Container[str]) -> int | None:
    """Add to the bytes of a statement those of the look-ups that came before it; None if these are unknown."""
    steps = [step.bytes_read for name, each in (narrowed or {}).items() if name in scans for step in each.steps]
    return None if None in steps else read + sum(step or 0 for step in steps)


class _Leaf(NamedTuple):
    """One scan of an executed plan: how the engine writes it, and its counters by file's path; None of the whole."""

    shown: str
    counters: dict[str | None, dict[str, int]]

    @property
    def filtered(self) -> bool:
        return _PREDICATE.search(self.shown) is not None


def _of(scanned: Scanned, leaves: Iterable[_Leaf]) -> list[_Leaf]:
    """Return the scans of a table, with their counters by the data file."""
    return [
        leaf._replace(counters={file and scanned.file_of(file): part for file, part in leaf.counters.items()})
        for leaf in leaves
        if scanned.is_in(leaf.shown)
    ]


def _ladder(scanned: Scanned, leaves: list[_Leaf], narrowed: Narrowed | None) -> Ladder:
    """Return the rungs of one dataset from its scans in the plan; one that is not there read nothing."""
    pinned, scans = scanned.pinned, max(1, len(leaves))
    found: dict[str, Any] = dict.fromkeys(_MEASURED)
    if scanned.of_files:
        found |= _rungs(leaves) | _perfect(scanned, leaves, narrowed)
    if not scanned.value.bloom_filters:
        found["row_groups_bloom"] = None  # the engine counts what it lets pass
    return Ladder(
        path=scanned.value.path,
        switched_off=tuple(name for name in _SWITCHES if not getattr(scanned.value, name)),
        scans=scans,
        asked=narrowed.asked if narrowed else (),
        unbounded=narrowed.unbounded if narrowed else {},
        fresh=pinned.tight,
        files=scanned.files,
        files_log=narrowed.by_log if narrowed else None,
        indexes=narrowed.indexes if narrowed else (),
        steps=narrowed.steps if narrowed else (),
        files_steps=narrowed.by_steps if narrowed else None,
        step_indexes=narrowed.step_indexes if narrowed else (),
        files_listed=len(scanned.listed),
        rows=pinned.rows,
        bytes_eligible=scanned.bytes * scans,
        **found,
    )


_MEASURED = (
    *("filtered", "files_opened", "files_matched", "row_groups", "row_groups_statistics", "row_groups_bloom"),
    *("pages", "pages_kept", "rows_read", "rows_out", "bytes_read"),
    *("bytes_columns", "bytes_perfect", "bytes_clustered"),
)
"""Rungs that the engine's counters tell, or that follow from them."""


def _rungs(leaves: list[_Leaf]) -> dict[str, Any]:
    whole = _summed(part for leaf in leaves for part in leaf.counters.values())
    groups, blooms, pages = (whole.get(f"{name}.total") or None for name in (_ROW_GROUPS, _BLOOMS, _PAGES))
    passed = whole.get(_FULLY_MATCHED, 0)  # pages that need no look, since all rows of their row group satisfy
    hits = [_hits(leaf) for leaf in leaves]
    known = None not in hits
    return {
        # A listing that came down to no file is no scan at all.
        "filtered": all(leaf.filtered for leaf in leaves) if leaves else None,
        "files_opened": len({file for leaf in leaves for file in _opened(leaf)}),
        "files_matched": len({file for found in hits for file in found or ()}) if known else None,
        "row_groups": groups,
        "row_groups_statistics": whole[f"{_ROW_GROUPS}.kept"] if groups else None,
        "row_groups_bloom": whole[f"{_BLOOMS}.kept"] if blooms else None,
        "pages": pages + passed if pages else None,
        "pages_kept": whole[f"{_PAGES}.kept"] + passed if pages else None,
        "rows_read": whole.get("output_rows", 0) + whole.get(_ROWS_PRUNED, 0),
        "rows_out": whole.get("output_rows", 0),
        "bytes_read": whole.get("bytes_scanned", 0),
    }


def _opened(leaf: _Leaf) -> list[str]:
    """Return the files of a scan whose row groups were looked at; what its statistics rule out whole is passed over."""
    return [file for file, c in leaf.counters.items() if file is not None and c.get(f"{_ROW_GROUPS}.total")]


def _hits(leaf: _Leaf) -> dict[str, int] | None:
    """Return the files that rows were taken from, with their number; None where that leaves no counter."""
    if not any(part.get("output_rows") for part in leaf.counters.values()):
        return {}
    found = {file: c[_ROWS_MATCHED] for file, c in leaf.counters.items() if file is not None and c.get(_ROWS_MATCHED)}
    return found or None


def _perfect(scanned: Scanned, leaves: list[_Leaf], narrowed: Narrowed | None) -> dict[str, Any]:
    """Return the bytes of the columns that a shape reads, and those that a perfect index or order would leave to read.

    Nothing is known where the log does not say rows, where no condition reached the scan, or where rows were filtered
    outside of it: then they left no counter by file.
    """
    pinned, sample = scanned.pinned, scanned.pinned.sample
    if not pinned.files:
        return dict.fromkeys(("bytes_columns", "bytes_perfect", "bytes_clustered"), 0)
    if narrowed is None or sample is None or not pinned.rows or not sample.rows:
        return {}
    size, rows = pinned.entries[sample.file][0], pinned.rows
    share = sum(sample.sizes[column] for column in narrowed.columns) / size
    eligible = round(share * pinned.bytes)
    found: dict[str, Any] = {"bytes_columns": eligible * max(1, len(leaves))}
    hits = [_hits(leaf) if leaf.filtered else None for leaf in leaves]
    named = all(file in pinned.entries for each in hits for file in each or ())
    if None in hits or not named or not (leaves or narrowed.asked or narrowed.steps):
        return found
    perfect = clustered = 0.0
    for leaf, each in zip(leaves, hits, strict=True):
        unit = _rows_of_a_page(leaf) or sample.rows / sample.row_groups
        for file, taken in (each or {}).items():
            bytes_, of = pinned.entries[file]
            perfect += share * bytes_ * min(1.0, max(unit, taken) / (of or rows))
        if each or _opened(leaf):  # what is not there is looked for in one page
            clustered += eligible * min(1.0, max(unit, sum((each or {}).values())) / rows)
    return found | {"bytes_perfect": round(perfect), "bytes_clustered": round(clustered)}


def _rows_of_a_page(leaf: _Leaf) -> float | None:
    """Return the average rows of the pages that a scan looked at; None if it asked no page index."""
    known = _summed(leaf.counters.values())
    pages = known.get(f"{_PAGES}.total")
    return known.get(f"{_PAGE_ROWS}.total", 0) / pages if pages else None


class Reading(NamedTuple):
    """What the statement of a relation read of its inputs; unknown is None."""

    rows: int | None
    bytes: int | None
    ladder: dict[str, Ladder]
    """Dataset → how the statement came down to the rows that it took; which columns it reads is not told."""


def reading(
    frame: DataFrame, in_memory: Mapping[str, int], spilled: Container[str], scans: Mapping[str, Scanned]
) -> Reading:
    """Return what an executed statement read: what its scans gave, and all rows of tables in memory.

    `in_memory` has the rows of tables that leave no counters because they lie there, `spilled` are tables that leave
    some, `scans` the datasets. What delta-rs has read leaves none, and then nothing is known of the whole.
    """
    tables, leaves = _tables(frame), _scans(frame.execution_plan())
    read = {name: scans[name] for name in dict.fromkeys(tables) if name in scans}
    ladder = {name: _ladder(scanned, _of(scanned, leaves), None) for name, scanned in read.items()}
    if not all(name in in_memory or name in spilled or (name in read and read[name].of_files) for name in tables):
        return Reading(None, None, ladder)
    known = _summed(part for leaf in leaves for part in leaf.counters.values())
    rows = known.get("output_rows", 0) + sum(in_memory.get(name, 0) for name in tables)
    return Reading(rows, known.get("bytes_scanned", 0), ladder)


def read_by(frame: DataFrame, names: Iterable[str]) -> set[str]:
    """Return those of the tables `names` that a statement reads, wherever in it they stand."""
    found = _tables(frame)
    return {name for name in names if name in found}


def _tables(frame: DataFrame) -> list[str]:
    """Return the tables that a statement reads, each as often as it does."""
    return re.findall(r"TableScan: (.+?)(?: projection=|$)", frame.logical_plan().display_indent(), re.MULTILINE)


def _scans(plan: ExecutionPlan) -> list[_Leaf]:
    return [_Leaf(leaf.display(), _by_file(leaf)) for leaf in _leaves(plan)]


def _leaves(plan: ExecutionPlan) -> list[Any]:
    found, stack = [], [plan]
    while stack:
        node = stack.pop()
        if children := node.children():
            stack += children
        else:
            found.append(node)
    return found


def _summed(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            found[name] = found.get(name, 0) + count
    return found


def _by_file(leaf: Any) -> dict[str | None, dict[str, int]]:
    """Return the metrics of a scan by the path of the file that they are of; None of those of the whole."""
    found: dict[str | None, dict[str, int]] = {}
    metrics = leaf.metrics()
    for metric in metrics.metrics() if metrics is not None else ():
        metric_name = metric.name
        if metric_name not in _COUNTS and metric_name not in _PRUNED:
            continue
        part = found.setdefault(metric.labels().get("filename"), {})
        if metric_name in _COUNTS:
            part[metric_name] = part.get(metric_name, 0) + (0 if metric.value is None else int(metric.value))
        elif hit := _PRUNING.search(repr(metric)):
            total, unit, kept, kept_unit = hit.groups()
            for key, number, scale in (("total", total, unit), ("kept", kept, kept_unit)):
                name = f"{metric_name}.{key}"
                part[name] = part.get(name, 0) + round(float(number) * _UNITS[scale])
    return found
