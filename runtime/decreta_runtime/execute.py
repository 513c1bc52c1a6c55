"""Compute relations in the manifest's order: stored ones are written, cut points are kept, the rest is inlined."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
from datafusion import DataFrame, SessionContext

from decreta_runtime.checks import Asked, Sieve, Violation, ask_again, asked_at
from decreta_runtime.contract.errors import PolicyIncomplete, StatementFailed
from decreta_runtime.contract.manifest import QUARANTINE, Column, Manifest
from decreta_runtime.contract.policy import CacheValue, Choice, Policy, SessionValue, WriteValue
from decreta_runtime.contract.records import ComputeDetail
from decreta_runtime.digests import data_files, intact, record, require_unchanged
from decreta_runtime.evolve import Evolution, key_text
from decreta_runtime.functions import call_table_function
from decreta_runtime.guards import choose
from decreta_runtime.indexing import Indexing
from decreta_runtime.lake import Lake
from decreta_runtime.load import LoadedPack
from decreta_runtime.maintain import Maintainer
from decreta_runtime.metrics import Reading, reading
from decreta_runtime.pin import Binding
from decreta_runtime.place import Place, PlaceBeside, Placed, Places, Wanted
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned, Scanned, quote, register_scan
from decreta_runtime.shadow import note_cache, note_scan, note_write
from decreta_runtime.write import Part, RunIdentity, Written, already_written, write


@dataclass(frozen=True)
class TableOutcome:
    """What a run did to one dataset."""

    action: str
    version: int
    rows: int | None
    files: int
    bytes: int


@dataclass
class Execution:
    """One attempt at a run: the session it uses, the tables it has pinned, and what it did so far."""

    pack: LoadedPack
    policy: Policy
    lake: Lake
    identity: RunIdentity
    context: SessionContext
    workload: str
    profile: Choice[SessionValue]
    binding: Binding
    places: Places
    ledger: Ledger
    progress: Callable[[str, str], None]
    schemas: Mapping[str, Evolution]
    outcomes: dict[str, TableOutcome] = field(default_factory=dict)
    quarantine: dict[str, TableOutcome] = field(default_factory=dict)
    """Dataset -> what was done to the table of the rows that its checks took out."""
    aside_before: dict[str, Pinned] = field(default_factory=dict)
    """Dataset -> the rows set aside as the last complete run left them."""
    violations: list[Violation] = field(default_factory=list)
    scans: list[Scanned] = field(default_factory=list)
    kept: dict[str, Placed] = field(default_factory=dict)

    def register(self, pinned: Pinned, columns: tuple[Column, ...], action: str) -> None:
        """Pin a table and make it readable under its name, by the path that the policy and its guards give."""
        self.binding.put(pinned)
        self.scan(pinned, columns, pinned.name)
        self._index(pinned)
        self.outcomes[pinned.name] = outcome(pinned, action)

    def _index(self, pinned: Pinned) -> None:
        """Bring the indexes of a table up to date that the policy wants built; one that fails is noted."""
        indexing = Indexing(self.pack.manifest, self.policy, self.lake, self.ledger, self.context)
        for done in indexing.keep(pinned):
            if done.wanted:
                failed = " is not up to date" if done.failed else ""
                self.progress("index", f"{done.subject}{failed}: {done.words}")

    def scan(self, pinned: Pinned, columns: tuple[Column, ...], dataset: str) -> None:
        """Make a table readable as the policy says of `dataset`, whose rows or rows set aside it holds."""
        own = pinned.name == dataset
        contract = self.pack.manifest.columns_of(dataset) if own else columns
        choice = choose(self.policy.scan(dataset), pinned.name, pinned.table, self.policy, self.ledger, contract)
        if choice.value.columns == "required" and own:
            columns = self.pack.manifest.read_by_run(pinned.name)
        scanned = register_scan(self.context, pinned, columns, choice.value)
        self.scans.append(scanned)
        self.ledger.add(
            "scan",
            pinned.name,
            scanned.path,
            choice.pointer,
            bytes=scanned.bytes,
            files=scanned.files,
            table_version=pinned.version,
            files_with_statistics=pinned.files_with_rows,
        )
        note_scan(self.ledger, choice, scanned, contract, self.policy)

    def resume(self, name: str, columns: tuple[Column, ...]) -> bool:
        """Take over the dataset as an earlier attempt at this run committed it; False if none did."""
        asked = asked_at("write", name, self.pack.manifest, self.policy)
        pinned, beside = self._already(name), None
        if self.sets_aside(name):
            # One without the other is of an attempt that died between the two commits: both are written anew.
            beside = self._already(name + QUARANTINE)
            pinned = None if beside is None else pinned
        if pinned is None:
            return False
        self.register(pinned, columns, "kept")
        if beside is not None:
            self.put_aside(name, beside, "kept")
            self.scan(beside, self.pack.manifest.quarantine_columns_of(name), name)
        self.violations += ask_again(self.context, asked, beside.name if beside else None, self.ledger)
        self.progress("write", f"{name}: kept from an earlier attempt")
        return True

    def sets_aside(self, name: str) -> bool:
        """Whether checks may take rows out of a dataset while it is written."""
        return any(asked.sets_aside for asked in asked_at("write", name, self.pack.manifest, self.policy))

    def put_aside(self, name: str, beside: Pinned, action: str) -> None:
        """Pin the rows set aside of the dataset `name`, so that the run's record names them."""
        self.binding.quarantine[name] = beside
        self.quarantine[name] = outcome(beside, action)

    def _already(self, name: str) -> Pinned | None:
        pack, path = self.identity.pack, self.lake.dataset(self.identity.pack, name)
        found = already_written(name, path, self.identity)
        return found if found is None or intact(self.lake, pack, path, found.table) else None

    def store(
        self,
        name: str,
        rows: str,
        columns: tuple[Column, ...],
        choice: Choice[WriteValue],
        staged: Placed | None = None,
        part: Part | None = None,
    ) -> None:
        """Write the table or view `rows` as the dataset `name` or a part of it, and read the dataset from here on.

        Its checks of single rows are asked in the same pass. `staged` says where the rows have waited, if they did.
        Raises CheckViolated; then nothing of it is committed.
        """
        start = time.perf_counter()
        tried = _Tried(self, name, rows, columns, choice)
        key = key_text(self.pack.manifest.key_of(name))
        done = self._commit(name, tried.again, self.schemas[name].columns, key, choice, part)
        pinned, read, sieve, aside = done.pinned, self._reading(tried.frame), tried.sieve, tried.aside
        self.context.deregister_table(rows)
        action = _action(part)
        self.register(self._maintained(name, pinned), columns, action)
        apart = {} if aside is None else {"given": sieve.given, "quarantined": sieve.taken_out}
        detail = self._detail(read, **apart, **_of_a_part(done, part))
        figures = {"rows_read": read.rows, "bytes_scanned": read.bytes, "memory_bytes": done.memory_bytes}
        self._written(outcome(pinned, action), name, done.rows, start, choice, detail, **figures)
        note_write(self.ledger, choice, pinned, done.rows, staged, self.policy)
        self.violations += sieve.violations
        if aside is not None:
            self._store_aside(name, aside, choice, part)

    def aside(self, name: str, asked: Sequence[Asked], choice: Choice[WriteValue]) -> Place | None:
        """Begin to gather the rows that checks take out, where others wait for their write; None if none may."""
        if not any(a.sets_aside for a in asked):
            return None
        columns = self.pack.manifest.quarantine_columns_of(name)
        return PlaceBeside(self.places, f"{name}{QUARANTINE}__staged", columns, _staging(choice))

    def _store_aside(self, name: str, staged: Place, choice: Choice[WriteValue], part: Part | None) -> None:
        """Replace the quarantine of the dataset `name`, or a part of it, by what its checks have taken out.

        Also if that is nothing.
        """
        start, beside = time.perf_counter(), name + QUARANTINE
        part = None if part is None else part._replace(base=self.aside_before[name])
        columns = self.pack.manifest.quarantine_columns_of(name)
        choice, _ = self._finished(beside, staged, choice)
        frame = self.ordered(beside, f"{beside}__staged", columns, choice)
        done = self._commit(beside, lambda: _batches(beside, frame), columns, key_text(None), choice, part)
        self.places.drop(f"{beside}__staged")
        action = _action(part)
        self.put_aside(name, self._maintained(name, done.pinned), action)
        detail = _of_a_part(done, part) or None
        self._written(outcome(done.pinned, action), beside, done.rows, start, choice, detail)

    def _maintained(self, name: str, written: Pinned) -> Pinned:
        """Decide about the table of a dataset, or of its rows set aside, by its outcome; return the version to read."""
        return self._maintainer().after_write(name, written).pinned

    def maintain_records(self) -> None:
        """Decide about the lake's own tables, as the runs and look-ups before have left them."""
        for _ in self._maintainer().records():
            pass

    def _maintainer(self) -> Maintainer:
        return Maintainer(
            self.pack.manifest, self.policy, self.lake, self.ledger, self.workload, self.profile, self.progress
        )

    def ordered(
        self, name: str, rows: str, columns: tuple[Column, ...], choice: Choice[WriteValue], more: str = ""
    ) -> DataFrame:
        """Return rows in the order that the policy has them written."""
        order = ", ".join(quote(column) for column in choice.value.sort)
        listed = ", ".join(quote(column.name) for column in columns) + more
        ordered = f" ORDER BY {order}" if order else ""
        return self.context.sql(f"SELECT {listed} FROM {quote(rows)} AS {quote(name)}{ordered}")

    def _commit(
        self,
        name: str,
        batches: Callable[[], Iterator[pa.RecordBatch]],
        columns: tuple[Column, ...],
        key: str,
        choice: Choice[WriteValue],
        part: Part | None = None,
    ) -> Written:
        path = self.lake.dataset(self.identity.pack, name)
        ordered = self.profile.value.ordered_writes
        done = write(name, path, batches, columns, key, choice.value, self.identity, part, ordered=ordered)
        if done.conflicts:
            self.progress("write", f"{name}: another writer was faster, tries: {done.conflicts + 1}")
        if part is not None:
            base = part.base.table
            gone = set(data_files(base)) - set(data_files(done.pinned.table))
            require_unchanged(self.lake, self.identity.pack, path, base, gone)
        first = done.pinned.version if done.undone is None else done.undone + 1
        record(self.lake, self.identity.pack, path, done.pinned.table, first)
        return done

    def _written(
        self,
        done: TableOutcome,
        name: str,
        rows: int,
        start: float,
        choice: Choice[WriteValue],
        detail: Any = None,
        **figures: int | None,
    ) -> None:
        seconds = time.perf_counter() - start
        self.ledger.add(
            "write",
            name,
            choice.value.mode,
            choice.pointer,
            seconds=seconds,
            rows=rows,
            bytes=done.bytes,
            files=done.files,
            table_version=done.version,
            detail=detail,
            **figures,
        )
        self.progress("write", f"{name}: {rows:,} rows in {seconds:.1f} s")

    def _reading(self, frame: DataFrame) -> Reading:
        """Return what an executed statement has read, as far as that is known."""
        in_memory = {name: placed.rows for name, placed in self.kept.items() if placed.placement == "memory"}
        scans = {scanned.pinned.name: scanned for scanned in self.scans}
        return reading(frame, in_memory, self.kept.keys() - in_memory.keys(), scans)

    def _detail(self, read: Reading, **apart: int) -> dict[str, Any]:
        """Return what the ledger's row of a statement says of its reading."""
        found: dict[str, Any] = msgspec.to_builtins(ComputeDetail(workload=self.workload, ladder=read.ladder, **apart))
        return found

    def staging(self, name: str, columns: tuple[Column, ...], choice: Choice[WriteValue]) -> Place:
        """Begin to gather rows that come from outside SQL, where the write policy says."""
        wanted = _staging(choice)
        if choice.shadow is not None:
            wanted = wanted._replace(shadow=_staging(choice.shadow))
        return Place(self.places, f"{name}__staged", columns, wanted, subject=name)

    def store_staged(
        self,
        name: str,
        staged: Place,
        columns: tuple[Column, ...],
        choice: Choice[WriteValue],
        seconds: float | None = None,
        part: Part | None = None,
    ) -> None:
        """Write the rows that were gathered, in so many `seconds` if they are this dataset's own, as the dataset."""
        choice, placed = self._finished(name, staged, choice, seconds)
        self.store(name, f"{name}__staged", columns, choice, placed, part)
        self.places.drop(f"{name}__staged")

    def _finished(
        self, name: str, staged: Place, choice: Choice[WriteValue], seconds: float | None = None
    ) -> tuple[Choice[WriteValue], Placed]:
        """Make gathered rows a table, `<name>__staged`; return the choice as their place leaves it, and the place."""
        placed = staged.finish()
        self.ledger.add(
            "step", name, placed.placement, choice.pointer, seconds=seconds, rows=placed.rows, bytes=placed.bytes
        )
        value = choice.otherwise if placed.otherwise and choice.otherwise is not None else choice.value
        return choice._replace(value=value), placed

    def view(self, name: str) -> None:
        """Compute a relation that is not stored and keep its rows where the policy says."""
        entry = self.pack.manifest.relations[name]
        if entry.call is not None:
            rows = call_table_function(self.pack, name, entry.call, self.context)
            self._keep(name, entry.columns, rows, None)
        else:
            frame = self.pack.builder(name)(self.context)
            self._keep(name, entry.columns, _batches(name, frame), frame)

    def require_files(self) -> None:
        """Raise LakeUnusable if a file that was read has gone since: its rows may be missing from what was computed."""
        for scanned in self.scans:
            scanned.require_files()

    def relation(self, name: str) -> None:
        """Compute a stored relation as a whole and write it."""
        entry = self.pack.manifest.relations[name]
        if entry.call is not None:
            choice = choose(self.policy.write(name), name, None, self.policy, self.ledger)
            start = time.perf_counter()
            staged = self.staging(name, entry.columns, choice)
            for batch in call_table_function(self.pack, name, entry.call, self.context):
                staged.add(batch)
            self.store_staged(name, staged, entry.columns, choice, time.perf_counter() - start)
            return
        self.write_frame(name, self.pack.builder(name)(self.context))

    def write_frame(self, name: str, frame: DataFrame, part: Part | None = None) -> None:
        """Write what a relation's statement gives as its dataset, or as a part of it."""
        choice = choose(self.policy.write(name), name, None, self.policy, self.ledger)
        view = f"{name}__rows"
        self.context.register_table(view, frame.into_view())
        self.store(name, view, self.pack.manifest.columns_of(name), choice, part=part)

    def _keep(
        self, name: str, columns: tuple[Column, ...], rows: Iterator[pa.RecordBatch], frame: DataFrame | None
    ) -> None:
        """Keep a view's rows where the policy says; what may be computed again, its `frame`, may be kept nowhere."""
        choice = choose(self.policy.cache(name), name, None, self.policy, self.ledger)
        start = time.perf_counter()
        wanted = _wanted(choice)
        if choice.shadow is not None:
            wanted = wanted._replace(shadow=_wanted(choice.shadow))
        if wanted.placement == "none" and frame is None:
            raise PolicyIncomplete(choice.pointer, f"`{name}` is computed by a function and must be kept somewhere")
        placed = None if wanted.placement == "none" else self.places.put(name, rows, columns, wanted)
        if placed is None:
            assert frame is not None
            self.context.register_table(name, frame.into_view())
            self.ledger.add("step", name, "none", choice.pointer)
            note_cache(self.ledger, name, choice, None, self.policy)
            return
        seconds = time.perf_counter() - start
        self.kept[name] = placed
        read = Reading(None, None, {}) if frame is None else self._reading(frame)
        self.ledger.add(
            "step",
            name,
            placed.placement,
            choice.pointer,
            seconds=seconds,
            rows=placed.rows,
            bytes=placed.bytes,
            rows_read=read.rows,
            bytes_scanned=read.bytes,
            memory_bytes=placed.held,
            detail=None if frame is None else self._detail(read),
        )
        note_cache(self.ledger, name, choice, placed, self.policy)
        self.progress("keep", f"{name}: {placed.rows:,} rows in {placed.placement}")


class _Tried:
    """A dataset's rows through its checks, as often as they are asked for: each try counts and sets aside anew."""

    def __init__(
        self, execution: Execution, name: str, rows: str, columns: tuple[Column, ...], choice: Choice[WriteValue]
    ) -> None:
        self._execution, self._name, self._rows, self._columns = execution, name, rows, columns
        self._choice = choice
        self._begin()

    def _begin(self) -> None:
        execution, name = self._execution, self._name
        asked = asked_at("write", name, execution.pack.manifest, execution.policy)
        self.aside = execution.aside(name, asked, self._choice)
        set_aside = None if self.aside is None else self.aside.add
        self.sieve = Sieve(name, self._columns, asked, set_aside, execution.ledger)
        self.frame = execution.ordered(name, self._rows, self._columns, self._choice, self.sieve.columns())
        self._used = False

    def again(self) -> Iterator[pa.RecordBatch]:
        """Return the rows that stay."""
        if self._used:
            if self.aside is not None:
                self._execution.places.drop(f"{self._name}{QUARANTINE}__staged")
            self._begin()
        self._used = True
        return self.sieve.through(_batches(self._name, self.frame))


def _action(part: Part | None) -> str:
    """Say what is done to a table of which a part is written, or all of it."""
    if part is None:
        return "written"
    return "appended" if part.predicate is None else "replaced"


def _of_a_part(done: Written, part: Part | None) -> dict[str, int]:
    """Say which files a write over a part of a table has taken away and added, what it undid and who was faster."""
    found = {} if part is None or done.undone is None else {"undone": done.undone}
    if part is not None:
        before, after = frozenset(part.base.files), frozenset(done.pinned.files)
        found |= {"files_rewritten": len(before - after), "files_added": len(after - before)}
    return found | ({"conflicts": done.conflicts} if done.conflicts else {})


def outcome(pinned: Pinned, action: str) -> TableOutcome:
    """Say of a table's version what was done to it and what it holds."""
    return TableOutcome(action, pinned.version, pinned.rows, len(pinned.files), pinned.bytes)


def last_readers(manifest: Manifest, policy: Policy) -> dict[str, int]:
    """Return for each view the place in the order after which nobody reads it; the length of the order if checks do.

    A view that may be inlined is computed where its readers are, so what it reads must last as long.
    """
    # A word that happens to be a name keeps rows longer than they need; never shorter.
    words = {word for checks in manifest.checks().values() for c in checks for word in re.findall(r"\w+", c.sql)}
    end = len(manifest.order)
    until = {name: end for name in manifest.order if name in words}
    for i, name in reversed(list(enumerate(manifest.order))):
        entry, choice = manifest.relations[name], policy.cache(name)
        ways = {choice.value.placement, choice.otherwise.placement if choice.otherwise else choice.value.placement}
        read_at = until.setdefault(name, i) if "none" in ways and not entry.stored else i
        for given in entry.inputs:
            until[given] = max(until.get(given, i), read_at)
        until.setdefault(name, i)
    return {
        name: last for name, last in until.items() if name in manifest.order and not manifest.relations[name].stored
    }


def _staging(choice: Choice[WriteValue]) -> Wanted:
    otherwise = choice.otherwise.staging if choice.otherwise else None
    return Wanted(choice.value.staging, choice.requires, otherwise, choice.pointer)


def _wanted(choice: Choice[CacheValue]) -> Wanted:
    otherwise = choice.otherwise.placement if choice.otherwise else None
    return Wanted(choice.value.placement, choice.requires, otherwise, choice.pointer, choice.value.pushdown)


def _batches(name: str, frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a relation as they are computed. Raises StatementFailed."""
    try:
        for batch in frame.execute_stream():
            yield batch.to_pyarrow()
    except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
        raise StatementFailed(name, error) from None
