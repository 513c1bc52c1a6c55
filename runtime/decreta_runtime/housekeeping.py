"""Keep a table's log short and its folder free of dead files; no version that is pinned loses anything by it.

Called in a process of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.lake import open_table, writing
from decreta_runtime.outcomes import last_checkpoint
from decreta_runtime.rewrite import free_disk


@dataclass(frozen=True)
class Chores:
    """What to do to a table, and the versions of it that must stay readable."""

    name: str
    path: Path
    actions: tuple[str, ...]
    pinned: frozenset[int]
    logs: Mapping[int, Path]
    """Versions whose part of the log is kept elsewhere, and where."""
    retention_hours: int


class Kept(NamedTuple):
    """What was done, what it deleted, and why something was not."""

    done: tuple[str, ...]
    files: int
    bytes: int
    why: str | None


def keep_house(chores: Chores) -> Kept:
    """Do the chores that are due, the checkpoint first. Raises LakeUnusable."""
    table = open_table(chores.path)
    if table is None:
        raise LakeUnusable(f"the table `{chores.name}` at {chores.path} is gone", help="restore it")
    done, why, files, freed = list[str](), None, 0, 0
    with writing(f"`{chores.name}` at {chores.path}"):
        if "checkpoint" in chores.actions:
            table.create_checkpoint()
            done.append("checkpoint")
        if "clean_log" in chores.actions:
            why = _clean_log(table, chores)
            done += [] if why else ["clean_log"]
        if "vacuum" in chores.actions:
            files, freed = _vacuum(table, chores)
            done.append("vacuum")
    return Kept(tuple(done), files, freed, why)


def _clean_log(table: DeltaTable, chores: Chores) -> str | None:
    """Drop commits before the checkpoint that the table's log retention no longer keeps, unless a pin needs them."""
    checkpoint = last_checkpoint(chores.path)
    if checkpoint is None or any(version < checkpoint for version in chores.pinned):
        return "a run or a reader has a version older than the last checkpoint, which needs the log before it"
    table.cleanup_metadata()
    return None


def _vacuum(table: DeltaTable, chores: Chores) -> tuple[int, int]:
    """Delete the files that the engine lists as dead, those of pinned versions apart; return how many and their bytes.

    The engine's own guard stays on: it refuses a retention below the table's. It is asked only for its list, because a
    vacuum of its own commits twice and knows no pins.
    """
    listed = table.vacuum(
        retention_hours=chores.retention_hours, dry_run=True, enforce_retention_duration=True, full=True
    )
    kept = _files(chores, chores.pinned | {table.version()})
    dead = [path for path in _places(chores.path, listed) if str(path) not in kept]
    return len(dead), free_disk(dead)


def _places(folder: Path, listed: Iterable[str]) -> Iterator[Path]:
    """Yield the files of a list that are there: the engine names some as the log does, and others as folders do."""
    for name in listed:
        yield from (path for path in dict.fromkeys((folder / name, folder / unquote(name))) if path.exists())


def _files(chores: Chores, versions: Collection[int]) -> set[str]:
    """Return the files of some versions. Raises LakeUnusable if one cannot be read: then nothing may be deleted."""
    found: set[str] = set()
    for version in sorted(versions):
        logs = (chores.path, *([chores.logs[version]] if version in chores.logs else ()))
        tables = [table for log in logs if (table := open_table(log, version)) is not None]
        if not tables:
            words = f"version {version} of `{chores.name}`, held by a run, a package or a reader, is in its log no more"
            help = "run again; let go of the package that names it (`packages list`, `packages drop`)"
            raise LakeUnusable(f"{words}: nobody knows which files that needs", help=help)
        found |= {str(chores.path / name) for table in tables for name in _names(table)}
    return found


def _names(table: DeltaTable) -> list[str]:
    return [unquote(name) for name in pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()]
