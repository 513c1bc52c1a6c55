"""Keep external indexes up to date with their tables, as the policy says, and say what became of each.

An index that cannot be built costs its look-ups, not the run: its failure is recorded, and readers do without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from datafusion import SessionContext

from decreta_runtime.contract.errors import DecretaError, LakeUnusable
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.contract.policy import Choice, IndexValue, Policy
from decreta_runtime.index import Updated, open_index, relative_files, update_index
from decreta_runtime.lake import Lake
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned
from decreta_runtime.shadow import note_index


@dataclass(frozen=True)
class Indexed:
    """What became of one index."""

    subject: str
    """`dataset.index`."""
    action: str
    """`built`, `updated`, `unchanged`, `failed`, or `left out` by the policy."""
    pointer: str
    words: str
    wanted: bool = True
    """Whether the policy builds it."""
    failed: bool = False


@dataclass(frozen=True)
class Indexing:
    """Where indexes are built, by which decisions, and where that is written down."""

    manifest: Manifest
    policy: Policy
    lake: Lake
    ledger: Ledger
    context: SessionContext

    def keep(self, pinned: Pinned, *, rebuild: bool = False) -> Iterator[Indexed]:
        """Bring the indexes of a table up to date that the policy wants built, or build them anew."""
        for name in self.manifest.indexes_of(pinned.name):
            subject, choice = f"{pinned.name}.{name}", self.policy.index(pinned.name, name)
            note_index(self.ledger, subject, choice, pinned)
            if not choice.value.build:
                yield Indexed(subject, "left out", choice.pointer, "the policy does not build it", False)
                continue
            columns = self.manifest.index_columns_of(pinned.name, name)
            path, start = self.lake.index(self.manifest.pack, pinned.name, name), time.perf_counter()
            try:
                done = update_index(self.context, pinned, columns, path, rebuild=rebuild)
            except DecretaError as error:
                self.ledger.add("index", subject, "failed", choice.pointer, detail={"words": error.message})
                yield Indexed(subject, "failed", choice.pointer, error.message, failed=True)
            else:
                yield self._kept(subject, choice, pinned, done, time.perf_counter() - start)

    def _kept(self, subject: str, choice: Choice[IndexValue], pinned: Pinned, done: Updated, seconds: float) -> Indexed:
        changed = "updated" if done.files_added or done.files_removed else "unchanged"
        action = "built" if done.anew else changed
        self.ledger.add(
            "index",
            subject,
            action,
            choice.pointer,
            seconds=seconds,
            rows=done.rows,
            bytes=done.bytes,
            files=done.files_added,
            files_total=len(pinned.files),
            table_version=done.version,
            detail={"removed": done.files_removed},
        )
        gone = f", {done.files_removed:,} forgotten" if done.files_removed else ""
        words = f"{done.files_added:,} files read{gone}, {done.rows:,} rows, {done.bytes:,} bytes"
        return Indexed(subject, action, choice.pointer, words)


def states(manifest: Manifest, policy: Policy, lake: Lake, pinned: Pinned) -> Iterator[Indexed]:
    """Say of each index of a table how it stands: `current`, `stale`, `missing`, `unreadable`, or `left out`."""
    names = set(relative_files(pinned))
    for name in manifest.indexes_of(pinned.name):
        subject, choice = f"{pinned.name}.{name}", policy.index(pinned.name, name)
        if not choice.value.build:
            yield Indexed(subject, "left out", choice.pointer, "the policy does not build it", False)
            continue
        columns, path = manifest.index_columns_of(pinned.name, name), lake.index(manifest.pack, pinned.name, name)
        try:
            index = open_index(path, columns, pinned, 0)
            unknown = len(names - index.known) if index is not None else 0
        except LakeUnusable as error:
            yield Indexed(subject, "unreadable", choice.pointer, error.message)
            continue
        if index is None:
            yield Indexed(subject, "missing", choice.pointer, "it was never built; all files are read")
        elif unknown:
            words = f"it does not know {unknown:,} of {len(names):,} files, which are always read"
            yield Indexed(subject, "stale", choice.pointer, words)
        else:
            yield Indexed(subject, "current", choice.pointer, f"{len(names):,} files, {index.count:,} rows")
