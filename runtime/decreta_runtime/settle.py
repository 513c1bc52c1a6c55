"""Settle what an attempt that died has left of a table of the pack, so that nothing waits for it for ever.

Under the pack's lock nobody is at work on the table, so what no run's record names comes to nothing: unless it is a
rewrite by maintenance that has died before it was recorded. Its rows are compared as it would have, and it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError

from decreta_runtime.contract.errors import LakeUnusable, WriteConflict
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import Choice, SessionValue
from decreta_runtime.history import actions_of, only_rewrites, said_by
from decreta_runtime.lake import open_table, writing
from decreta_runtime.limited import within
from decreta_runtime.rewrite import Compared, same_rows
from decreta_runtime.scan import Pinned


@dataclass(frozen=True)
class Settled:
    """A version with the rows of the one that the last complete run names, and how it came to that."""

    pinned: Pinned
    action: str
    """`taken over` or `taken back`."""
    words: str


def settle(
    base: Pinned,
    newest: DeltaTable,
    columns: tuple[Column, ...] | str,
    workload: str,
    profile: Choice[SessionValue],
    seconds: int,
) -> Settled:
    """Return the newest version of a table with the rows of `base`, after a commit that undoes the rest if need be.

    `columns` are all that the table has, or words why they cannot be compared; what the engine is asked has `seconds`.
    Raises DecretaError; then the table is as it was.
    """
    found = Pinned(base.name, base.path, newest.version(), newest)
    words = f"version {found.version} is of an attempt that did not end"
    if _only_rewritten(base, found) and not isinstance(columns, str):
        was, now = set(base.actions["path"].to_pylist()), set(found.actions["path"].to_pylist())
        asked = Compared(
            base.name,
            _folder(base),
            tuple(sorted(was - now)),
            tuple(sorted(now - was)),
            columns,
            workload,
            profile._replace(shadow=None),
        )
        if within(seconds, same_rows, asked):
            more = f"maintenance had rewritten files of version {base.version}, the rows are the same, and it is kept"
            return Settled(found, "taken over", f"{words}: {more}")
    if _alike(found, base):
        words = f"an attempt that did not end has left versions up to {found.version}, and somebody put its files back"
    back = within(seconds, _take_back, base.name, _folder(base), base.version, found.version)
    table = open_table(base.path, back)
    assert table is not None  # it has just been committed
    more = f"the table is taken back to version {base.version}, which the last complete run names"
    return Settled(Pinned(base.name, base.path, back, table), "taken back", f"{words}: {more}")


def _alike(one: Pinned, other: Pinned) -> bool:
    return set(one.files) == set(other.files) and one.table.schema() == other.table.schema()


def _only_rewritten(base: Pinned, found: Pinned) -> bool:
    """Whether all commits since say that they change no row; whether that is so is for the rows to show."""
    if base.table.schema() != found.table.schema():
        return False
    commits = [actions_of(base.path, version) for version in range(base.version + 1, found.version + 1)]
    return all(lines is not None and only_rewrites(lines) for lines in commits)


def _folder(pinned: Pinned) -> Path:
    if not isinstance(pinned.path, Path):
        words = f"`{pinned.name}` lies in an object store, where tables are not maintained"
        raise LakeUnusable(words, help="a run with other data writes it anew")
    return pinned.path


def _take_back(name: str, path: Path, version: int, undone: int) -> int:
    """Make the table what it was at a version, in one commit after `undone`; return its version."""
    table, meant = open_table(path), open_table(path, version)
    if table is None or meant is None or table.version() != undone:
        raise WriteConflict(f"`{name}` was changed by another writer", help="maintain again")
    base = Pinned(name, path, version, meant)
    try:
        with writing(f"`{name}` at {path}"):
            table.restore(
                version,
                # What the commit said of the run and the key of its rows is still so.
                commit_properties=CommitProperties(custom_metadata=said_by(path, version), max_commit_retries=0),
                post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
            )
    except CommitFailedError as error:
        words = str(error).split("\n")[0]
        raise WriteConflict(f"`{name}` was changed by another writer: {words}", help="maintain again") from None
    restored = open_table(path, undone + 1)
    assert restored is not None  # it has just been committed
    if not _alike(Pinned(name, path, undone + 1, restored), base):
        raise LakeUnusable(f"`{name}` cannot be brought back to version {version}", help="run the pack on other data")
    return undone + 1
