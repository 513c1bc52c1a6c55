"""THE order of a table's maintenance: measure → meet the triggers → pick → rewrite → keep house → record.

For each write there is one decision and one row of it in the ledger, whether or not anything was done. What fails
leaves the table as it was and holds no run up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
import pyarrow as pa

from decreta_runtime.contract import types
from decreta_runtime.contract.errors import DecretaError, PreconditionFailed
from decreta_runtime.contract.manifest import Ask, Column, Manifest
from decreta_runtime.contract.policy import Choice, MaintenanceValue, Policy, SessionValue
from decreta_runtime.contract.records import (
    Listing,
    MaintenanceCost,
    MaintenanceDetail,
    TableOutcomes,
    TriggerOutcome,
)
from decreta_runtime.digests import require_unchanged
from decreta_runtime.guards import ask, words_of
from decreta_runtime.history import said_by
from decreta_runtime.housekeeping import Chores, Kept, keep_house
from decreta_runtime.kept import kept_logs
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.lease import Lease, leased
from decreta_runtime.limited import within
from decreta_runtime.narrow import matching
from decreta_runtime.outcomes import Written, measure, middle
from decreta_runtime.parts import parts_of, together
from decreta_runtime.pick import Picked, budget_left, pick
from decreta_runtime.pins import pinned_versions
from decreta_runtime.record import Ledger
from decreta_runtime.rewrite import TOKEN, Rewrite, Rewritten, rewrite, tidy
from decreta_runtime.scan import Pinned
from decreta_runtime.shadow import note_maintenance
from decreta_runtime.triggers import meet

_REWRITES = frozenset({"compact", "sort"})


class Maintained(NamedTuple):
    """What maintenance came to for one version of a table."""

    pinned: Pinned
    """The version to read."""
    action: str
    detail: MaintenanceDetail


class Due(NamedTuple):
    """What the outcome of a write makes due, before anything is done."""

    value: MaintenanceValue
    before: TableOutcomes
    triggers: dict[str, TriggerOutcome]
    picked: Picked
    refused: str | None
    """The guard that failed, where the decision's own triggers are therefore not met."""

    @property
    def actions(self) -> set[str]:
        """The actions of triggers that are due, and whose files there are."""
        found = {trigger.action for trigger in self.triggers.values() if trigger.due}
        return found if self.picked.files else found - _REWRITES


@dataclass(frozen=True)
class Maintainer:
    """What maintains the tables of a pack in a lake, and notes each decision."""

    manifest: Manifest
    policy: Policy
    lake: Lake
    ledger: Ledger
    workload: str
    profile: Choice[SessionValue]
    progress: Callable[[str, str], None]

    def after_write(self, dataset: str, pinned: Pinned) -> Maintained:
        """Decide about the version of a table that was just written, act, and note it.

        `dataset` is whose rows, or rows set aside, the table has. Raises LakeUnusable if it cannot be measured.
        """
        start, choice = time.perf_counter(), self.policy.maintenance(dataset)
        due, done = self._due(choice, pinned), _Done(pinned)
        if due.actions:
            try:
                self._act(due, done)
            except DecretaError as error:
                done.why, done.code = error.message, error.code
                done.failed = True
                self.progress("maintain", f"{pinned.name} stays as it is: {error.message}")
        detail = self._detail(dataset, due, done)
        action = "failed" if done.failed else "acted" if done.actions else "refused" if due.refused else "none"
        self.ledger.add(
            "maintenance",
            pinned.name,
            action,
            choice.pointer,
            seconds=time.perf_counter() - start,
            files=detail.real.files_rewritten,
            files_total=due.before.files,
            bytes=detail.real.bytes_written,
            table_version=pinned.version,
            detail=msgspec.to_builtins(detail),
        )
        return Maintained(done.pinned, action, detail)

    def records(self, plan: bool = False) -> Iterator[tuple[str, Maintained]]:
        """Decide about the lake's own tables as they are now, and act unless it is a `plan`; raises LakeUnusable.

        To be asked before the ledger is written: one commit then holds what was done and the decisions about what
        commits before have made of it.
        """
        for name, path in self.lake.records.items():
            if (table := open_table(path)) is not None:
                pinned = Pinned(name, path, table.version(), table)
                yield name, self.plan(name, pinned) if plan else self.after_write(name, pinned)

    def plan(self, dataset: str, pinned: Pinned) -> Maintained:
        """Return what would be done to a table; touch nothing. Raises LakeUnusable."""
        due = self._due(self.policy.maintenance(dataset), pinned)
        action = "due" if due.actions else "refused" if due.refused else "none"
        return Maintained(pinned, action, self._detail(dataset, due, _Done(pinned)))

    def _due(self, choice: Choice[MaintenanceValue], pinned: Pinned) -> Due:
        """Return what a decision makes due, under its guards."""
        outcomes = ask(choice, pinned.table, (), self.policy)
        for guard, holds in outcomes.items():
            self.ledger.add("guard", pinned.name, words_of(guard, holds), choice.pointer)
        failed = [guard for guard, holds in outcomes.items() if not holds]
        value = choice.otherwise if failed and choice.otherwise is not None else choice.value
        due = _due(pinned, value, f"the guard {failed[0]} fails" if failed else None)
        if choice.shadow is not None:
            self._note_shadow(pinned, choice, due)
        return due

    def _act(self, due: Due, done: _Done) -> None:
        """Do what is due under the table's lease, on a fresh look at it. Raises DecretaError."""
        pinned, folder = done.pinned, done.pinned.path
        if not isinstance(folder, Path):
            words = f"`{pinned.name}` lies in an object store, where tables are not maintained"
            raise PreconditionFailed(words, help="let whoever owns the table maintain it")
        seen: int | None = pinned.table.transaction_version(TOKEN)
        with leased(folder, due.value.lease_seconds, seen or 0) as lease:
            tidy(folder)
            if due.actions & _REWRITES:
                self._rewrite(due, done, folder, lease)
            if chores := due.actions - _REWRITES:
                # The version that the write made stays: until a run names the one that is read now, it may be needed.
                keep = pinned_versions(self.lake, folder) | {pinned.version}
                asked = Chores(
                    pinned.name,
                    folder,
                    tuple(sorted(chores)),
                    frozenset(keep),
                    kept_logs(self.lake, pinned.table_id),
                    due.value.retention_hours,
                )
                kept: Kept = within(due.value.time_limit_seconds, keep_house, asked)
                done.actions += kept.done
                done.kept, done.why = kept, done.why or kept.why

    def _rewrite(self, due: Due, done: _Done, folder: Path, lease: Lease) -> None:
        pinned, columns, parts = done.pinned, columns_of(done.pinned), parts_of(done.pinned)
        if isinstance(columns, str):
            done.why = columns
            return
        assert not isinstance(parts, str)  # else nothing was picked
        stored = tuple(column for column in columns if column.name not in pinned.partitions)
        job = Rewrite(
            name=pinned.name,
            path=folder,
            version=pinned.version,
            parts=tuple(together(parts, due.picked.files)),
            columns=stored,
            value=_of(due.value, {column.name for column in stored}),
            workload=self.workload,
            profile=self.profile._replace(shadow=None),
            lease=lease,
            total=Written(due.before.written_bytes, due.before.rewritten_bytes),
            said=said_by(folder, pinned.version),
        )
        names = map(unquote, due.picked.files)
        require_unchanged(self.lake, self.manifest.pack, folder, pinned.table, names)
        found: Rewritten = within(due.value.time_limit_seconds, rewrite, job)
        done.rewritten, done.actions = found, sorted(due.actions & _REWRITES)
        table = open_table(pinned.path, found.version)
        assert table is not None  # it has just been committed
        done.pinned = Pinned(pinned.name, pinned.path, found.version, table, pinned.place)
        self.progress("maintain", f"{pinned.name}: {len(due.picked.files)} files became {found.files}")

    def _detail(self, dataset: str, due: Due, done: _Done) -> MaintenanceDetail:
        picked = due.picked
        return MaintenanceDetail(
            written_version=done.written.version,
            before=due.before,
            triggers=due.triggers,
            cause=tuple(name for name, trigger in due.triggers.items() if trigger.due),
            done=tuple(done.actions),
            why=done.why or due.refused or picked.why,
            estimated=MaintenanceCost(
                files_rewritten=len(picked.files), bytes_read=picked.bytes, bytes_written=picked.bytes
            ),
            real=done.cost(picked),
            after=measure(done.pinned, due.value) if done.actions else None,
            shapes=self._shapes(dataset, done.written, done.pinned),
            code=done.code or (PreconditionFailed.code if due.refused else None),
        )

    def _shapes(self, dataset: str, before: Pinned, after: Pinned) -> dict[str, tuple[Listing, Listing]]:
        """Return what look-ups of the shapes that ask something of the dataset list, before and after."""
        if before.name != dataset:
            return {}
        found = {}
        for name, query in sorted(self.manifest.queries.items()):
            scans = query.asks.get(dataset)
            given = None if scans is None else _middling(before, [ask for asks in scans for ask in asks])
            if scans is not None and given is not None:
                was = _listing(before, scans, given)
                found[name] = (was, was if after is before else _listing(after, scans, given))
        return found

    def _note_shadow(self, pinned: Pinned, choice: Choice[MaintenanceValue], due: Due) -> None:
        shadow = choice.shadow
        assert shadow is not None
        would = _due(pinned, shadow.value, None)
        note_maintenance(
            self.ledger,
            pinned.name,
            choice,
            ask(shadow, pinned.table, (), self.policy),
            due.picked.bytes if due.actions & _REWRITES else 0,
            would.picked.bytes if would.actions & _REWRITES else 0,
        )


class _Done:
    """What was done so far."""

    def __init__(self, pinned: Pinned) -> None:
        self.written = self.pinned = pinned
        self.actions: list[str] = []
        self.rewritten: Rewritten | None = None
        self.kept: Kept | None = None
        self.why: str | None = None
        self.code: str | None = None
        self.failed = False

    def cost(self, picked: Picked) -> MaintenanceCost:
        rewritten, kept = self.rewritten, self.kept
        return MaintenanceCost(
            files_rewritten=len(picked.files) if rewritten else 0,
            files_written=rewritten.files if rewritten else 0,
            bytes_read=picked.bytes if rewritten else 0,
            bytes_written=rewritten.bytes if rewritten else 0,
            files_deleted=kept.files if kept else 0,
            bytes_deleted=kept.bytes if kept else 0,
        )


def _due(pinned: Pinned, value: MaintenanceValue, refused: str | None) -> Due:
    before = measure(pinned, value)
    triggers = meet(value.triggers, before)
    budget = budget_left(value.amplification, before.written_bytes, before.rewritten_bytes)
    asked = {trigger.action for trigger in triggers.values() if trigger.due} & _REWRITES
    picked = pick(pinned, value, asked, budget) if asked else Picked((), 0, None)
    return Due(value, before, triggers, picked, refused)


def _of(value: MaintenanceValue, columns: Collection[str]) -> MaintenanceValue:
    """Return how files are written that have some columns alone: values of partitions stand in the log."""
    sort = tuple(name for name in value.sort if name in columns)
    return msgspec.structs.replace(
        value, sort=sort, bloom_columns=tuple(n for n in value.bloom_columns if n in columns)
    )


def columns_of(pinned: Pinned) -> tuple[Column, ...] | str:
    """Return a table's own columns, those beyond its contract too; or in words why they cannot be rewritten."""
    found = []
    for field in pinned.schema:
        spec = types.from_arrow(str(field.type))
        if spec is None:
            return f"the column `{field.name}` has a type that is not rewritten: {field.type}"
        found.append(Column(name=field.name, type=spec, nullable=field.nullable))
    return tuple(found)


def _middling(pinned: Pinned, asks: Collection[Ask]) -> dict[str, pa.Scalar] | None:
    """Return for each parameter of conditions a value from the middle of its column; None if one is unknown."""
    found: dict[str, pa.Scalar] = {}
    for asked in asks:
        name = f"min.{asked.column}"
        for value in asked.values:
            if value.parameter is None or value.parameter in found:
                continue
            if name not in pinned.actions.column_names:
                return None
            found[value.parameter] = middle(pinned.actions[name])
    return found


def _listing(pinned: Pinned, scans: Collection[Collection[Ask]], given: Mapping[str, pa.Scalar]) -> Listing:
    files = frozenset(matching(pinned, scans, given))
    sizes = zip(pinned.files, pinned.actions["size_bytes"].to_pylist(), strict=True)
    return Listing(files=len(files), bytes=sum(size for path, size in sizes if path in files))
