"""Measure what a write has made of a table: from its Delta log, and from the names and ages of files in its folder.

Nothing here judges; whether a figure is too large is for the policy's triggers.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from decreta_runtime.access import said_by
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.policy import MaintenanceValue
from decreta_runtime.contract.records import TableOutcomes
from decreta_runtime.history import actions_of
from decreta_runtime.locations import Location, read
from decreta_runtime.observe import clustering_depth, hidden_rows
from decreta_runtime.scan import Pinned

WRITTEN, REWRITTEN, COUNTED_AT = (f"decreta/maintenance/{name}" for name in ("written", "rewritten", "at"))
"""Application transactions of maintenance: bytes written and rewritten up to a version of the table, and that version.

They are a part of the table, in one commit with what they count, and outlast checkpoints and the cleaning of the log.
"""
_PLACES = Decimal("0.01")
_INTERVAL = re.compile(r"\s*(?:interval\s+)?(?P<count>\d+)\s+(?P<unit>\w+?)s?\s*", re.IGNORECASE)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_LOG_RETENTION = ("delta.logRetentionDuration", "interval 30 days")
"""A table's own property, and what Delta's protocol says where it has none."""


class Written(NamedTuple):
    """Bytes over a table's life."""

    written: int
    rewritten: int


def measure(pinned: Pinned, value: MaintenanceValue) -> TableOutcomes:
    """Return what the table is like. Raises LakeUnusable if its log cannot be read."""
    try:
        return _measured(pinned, value)
    except (OSError, DeltaError) as error:  # the engine reads more of the log whenever it is asked something
        words = f"the table `{pinned.name}` at {pinned.path} cannot be read: {said_by(error)}"
        raise LakeUnusable(words, help="check its place and its permissions; then run again") from None


def _measured(pinned: Pinned, value: MaintenanceValue) -> TableOutcomes:
    sizes = pinned.actions["size_bytes"].to_pylist()
    small = sum(size < value.small_file_bytes for size in sizes)
    last = actions_of(pinned.path, pinned.version)
    added = None if last is None else [line.add for line in last if line.add is not None]
    total = lifetime(pinned)
    log_length, expired_log = _log(pinned)
    unreferenced, expired = _unreferenced(pinned, value.retention_hours)
    return TableOutcomes(
        version=pinned.version,
        files=len(sizes),
        bytes=sum(sizes),
        rows=pinned.rows,
        small_files=small,
        small_file_share=_share(small, len(sizes)),
        deleted_rows=hidden_rows(pinned.table),
        clustering_depth=clustering_depth(pinned, value.sort[0]) if value.sort else None,
        log_length=log_length,
        expired_log_files=expired_log,
        unreferenced_bytes=unreferenced,
        expired_bytes=expired,
        files_added=None if added is None else len(added),
        files_removed=None if last is None else sum(line.remove is not None for line in last),
        bytes_added=None if added is None else sum(add.size for add in added),
        written_bytes=total.written,
        rewritten_bytes=total.rewritten,
    )


def lifetime(pinned: Pinned) -> Written:
    """Return the bytes written and rewritten over a table's life; where the log has gone, at least so many written.

    Counted on from where maintenance has counted last. In an object store, where each commit is a request and nothing
    is maintained, at least so many.
    """
    counted_at = _mark(pinned.table, COUNTED_AT)
    start = 0 if counted_at is None else counted_at + 1
    written, complete = _mark(pinned.table, WRITTEN) or 0, isinstance(pinned.path, Path)
    for version in range(start, pinned.version + 1) if complete else ():
        lines = actions_of(pinned.path, version)
        complete = complete and lines is not None
        written += sum(line.add.size for line in lines or () if line.add is not None and line.add.data_change)
    # What is there has been written once at least.
    least = 0 if complete else pinned.bytes
    return Written(max(written, least), _mark(pinned.table, REWRITTEN) or 0)


def _mark(table: DeltaTable, name: str) -> int | None:
    found: int | None = table.transaction_version(name)
    return found


def _log(pinned: Pinned) -> tuple[int, int | None]:
    """Return the commits since the last checkpoint, and how many before it the table's retention no longer keeps."""
    log = pinned.path / "_delta_log"
    checkpoint = last_checkpoint(pinned.path)
    if not isinstance(log, Path):
        return pinned.version + 1 if checkpoint is None else pinned.version - checkpoint, None
    if checkpoint is None:
        return pinned.version + 1, 0
    kept = _seconds(pinned.table.metadata().configuration.get(*_LOG_RETENTION))
    if kept is None:
        return pinned.version - checkpoint, None
    oldest, old = time.time() - kept, 0
    try:
        for entry in os.scandir(log):
            number = entry.name.removesuffix(".json")
            old += number.isdigit() and int(number) < checkpoint and entry.stat().st_mtime < oldest
    except OSError:  # another cleans it just now
        return pinned.version - checkpoint, None
    return pinned.version - checkpoint, old


def last_checkpoint(table: Location) -> int | None:
    """Return the version of the newest checkpoint, None if there is none that the log names."""
    try:
        return int(json.loads(read(table / "_delta_log/_last_checkpoint") or b"null")["version"])
    except (LakeUnusable, ValueError, KeyError, TypeError):
        return None


def _seconds(interval: str) -> int | None:
    found = _INTERVAL.fullmatch(interval)
    unit = _SECONDS.get(found["unit"].lower()) if found else None
    return None if found is None or unit is None else int(found["count"]) * unit


def _unreferenced(pinned: Pinned, hours: int) -> tuple[int | None, int | None]:
    """Return the bytes of files that the version does not have, and of those that nothing within `hours` has.

    Unknown if it is no folder or cannot be listed, or another deletes from it just now.
    """
    referenced, folder = set(pinned.files), pinned.path
    if not isinstance(folder, Path):
        return None, None
    try:
        found = [(path, entry.stat()) for path, entry in _walk(folder) if path not in referenced]
    except OSError:
        return None, None
    oldest = time.time() - hours * _SECONDS["hour"]
    old = [(path, stat.st_size) for path, stat in found if stat.st_mtime < oldest]
    young = _removed_since(folder, pinned.version, oldest) if old else set()
    return sum(stat.st_size for _, stat in found), sum(size for path, size in old if path not in young)


def _walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files of a table's folder that may be data: hidden ones and folders are not."""
    for entry in os.scandir(folder):
        if entry.name.startswith(("_", ".")):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield entry.path, entry


def _removed_since(table: Path, last: int, oldest: float) -> set[str]:
    """Return the files that commits removed after a moment: versions within the retention still have them."""
    found: set[str] = set()
    for version in reversed(range(last + 1)):
        lines = actions_of(table, version)
        if lines is None or _written_at(table, version) < oldest:
            break
        found |= {str(table / unquote(line.remove.path)) for line in lines if line.remove is not None}
    return found


def _written_at(table: Path, version: int) -> float:
    return (table / "_delta_log" / f"{version:020}.json").stat().st_mtime


def _share(part: int, whole: int) -> str | None:
    return str((Decimal(part) / whole).quantize(_PLACES, ROUND_DOWN)) if whole else None


def sizes_of(pinned: Pinned, files: Iterable[str]) -> int:
    """Return the bytes of some files, as the log names them."""
    known = dict(zip(pinned.actions["path"].to_pylist(), pinned.actions["size_bytes"].to_pylist(), strict=True))
    return sum(known[file] for file in files)


def ranges(pinned: Pinned, column: str) -> dict[str, tuple[object, object] | None]:
    """Return for each file, as the log names it, the least and greatest value of a column; None where unknown."""
    names, actions = pinned.actions["path"].to_pylist(), pinned.actions
    unknown = [None] * len(names)
    low = actions[f"min.{column}"].to_pylist() if f"min.{column}" in actions.column_names else unknown
    high = actions[f"max.{column}"].to_pylist() if f"max.{column}" in actions.column_names else unknown
    return {
        name: None if least is None or most is None else (least, most)
        for name, least, most in zip(names, low, high, strict=True)
    }


def middle(values: pa.ChunkedArray) -> pa.Scalar:
    """Return a value from the middle of some, null if there is none."""
    ordered = values.drop_null().sort()
    return ordered[len(ordered) >> 1] if len(ordered) else pa.scalar(None, values.type)
