"""What the commits of a Delta log say of a table's files, newest commit first. Nothing but the log is read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.locations import Location, read

L = TypeVar("L")


class _Add(Struct, rename="camel"):
    path: str
    size: int = 0
    data_change: bool = True
    stats: str | None = None


class _Remove(Struct, rename="camel"):
    path: str
    data_change: bool = True
    deletion_timestamp: int | None = None


class Line(Struct):
    """One action of a commit, as far as it is of data files."""

    add: _Add | None = None
    remove: _Remove | None = None


class _Statistics(Struct, rename="camel"):
    null_count: dict[str, Any] = {}


class History(NamedTuple):
    """What the log still tells; a log that was cleaned up begins late, and what lies before is unknown."""

    ages: dict[str, int]
    """Column, as files call it → versions since the newest of the snapshot's files with its statistics was added."""
    writes: int | None
    """Data-changing commits since the last that only rewrote files, or since the oldest file that is left."""


class _Said(Struct, rename="camel"):
    commit_info: dict[str, Any] = {}


_LINES = msgspec.json.Decoder(Line)
_SAID = msgspec.json.Decoder(_Said)
_STATISTICS = msgspec.json.Decoder(_Statistics)


def history(table: Location, version: int, files: Collection[str], columns: Collection[str]) -> History:
    """Walk the log of a table back from `version` until all is known of `files` and `columns`.

    `files` are the paths of the snapshot as the log writes them, `columns` those that some of them have statistics of.
    Commits before the oldest of the files have left nothing, so nothing older is read. Raises LakeUnusable.
    """
    left, ages, writes, compacted = set(files), dict[str, int](), 0, False
    for at in reversed(range(version + 1)):
        if not left or (compacted and ages.keys() >= set(columns)):
            break
        lines = actions_of(table, at)
        if lines is None:
            return History(ages, writes if compacted else None)
        for line in lines:
            if line.add is not None and line.add.path in left:
                left.discard(line.add.path)
                for column in _columns(line.add):
                    ages.setdefault(column, version - at)
        compacted = compacted or only_rewrites(lines)
        writes += not compacted and _changes_data(lines)
    return History(ages, writes)


def removed_twice(table: Location, version: int, files: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return the files that two commits have taken away, with the two, where the second has left some of `files`.

    It took them away once more because it had read a snapshot of before the first, and what it put in their place holds
    rows that the first had put elsewhere. `files` are the paths of the snapshot as the log writes them. Raises
    LakeUnusable.
    """
    gone, found, left = dict[str, int](), dict[str, tuple[int, int]](), set(files)
    for at in range(version + 1):
        lines = actions_of(table, at) or []
        added = {line.add.path for line in lines if line.add is not None}
        for path in [line.remove.path for line in lines if line.remove is not None]:
            if path in gone and added & left:
                found[path] = (gone[path], at)
            gone[path] = at
        for path in added:
            gone.pop(path, None)
    return found


def actions_of(table: Location, version: int) -> list[Line] | None:
    """Return the actions of a commit, None if the log no longer has it. Raises LakeUnusable."""
    return _lines_of(table, version, _LINES)


def said_by(table: Location, version: int) -> dict[str, str]:
    """Return what a commit says under names of ours, nothing if the log no longer has it. Raises LakeUnusable.

    The engine's history of a handle begins with the newest commit, whatever the handle's version.
    """
    lines = _lines_of(table, version, _SAID) or []
    return {name: value for line in lines for name, value in line.commit_info.items() if name.startswith("decreta.")}


def _lines_of(table: Location, version: int, decoder: msgspec.json.Decoder[L]) -> list[L] | None:
    path = table / "_delta_log" / f"{version:020}.json"
    data = read(path)
    try:
        return None if data is None else decoder.decode_lines(data)
    except msgspec.DecodeError as error:
        words = f"the commit {path} cannot be read: {error}"
        raise LakeUnusable(words, help="restore the log from a backup") from None


def _columns(add: _Add) -> Collection[str]:
    """Return the columns that an entry has null counts of."""
    try:
        return _STATISTICS.decode(add.stats).null_count if add.stats else ()
    except msgspec.DecodeError:
        return ()  # the engine passes such statistics over too


def only_rewrites(lines: list[Line]) -> bool:
    """Whether a commit replaces files by others with the same rows: a compaction, by whatever name its writer uses."""
    return not _changes_data(lines) and any(line.add for line in lines) and any(line.remove for line in lines)


def _changes_data(lines: list[Line]) -> bool:
    return any(action is not None and action.data_change for line in lines for action in (line.add, line.remove))
