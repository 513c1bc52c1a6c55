"""Bring objects and relations up to date with what has changed since the last complete run, as the policy says of each.

A part of a table is computed only where the last run was of this very pack and policy, over the tables that it names.
Whatever is in doubt is computed as a whole.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from decreta_runtime.adapter import Unit
from decreta_runtime.arrow import arrow_type, empty_batch, plain, schema_of
from decreta_runtime.changes import BEFORE, Change, Changes, Some, between, within
from decreta_runtime.contract.errors import (
    DecretaError,
    InputInvalid,
    LakeUnusable,
    PreconditionFailed,
    SourceUnreadable,
)
from decreta_runtime.contract.manifest import Check, Manifest, ObjectEntry
from decreta_runtime.contract.policy import Choice, RefreshValue
from decreta_runtime.contract.records import Done, RunRecord
from decreta_runtime.execute import Execution, last_readers
from decreta_runtime.guards import choose
from decreta_runtime.place import Place
from decreta_runtime.scan import UNPRUNED, Pinned, hides_nan, register_scan
from decreta_runtime.shadow import note_refresh
from decreta_runtime.sources import SourceUnits, extract
from decreta_runtime.units import Changed, changed_units
from decreta_runtime.write import Part

_COME, _GONE = "__come", "__gone"
"""What a name is followed by in the names of the tables of rows that came to it and went from it since the last run."""


class Days(NamedTuple):
    """Days that are filled again, the first and the last among them."""

    first: date
    last: date

    @classmethod
    def read(cls, text: str) -> Days:
        """Return the days that `FROM..TO` names. Raises InputInvalid."""
        first, dots, last = text.partition("..")
        try:
            found = cls(date.fromisoformat(first), date.fromisoformat(last))
        except ValueError:
            found = None
        if not dots or found is None or found.first > found.last:
            raise InputInvalid(f"`{text}` is no range of days", help="write it like 2024-01-01..2024-01-31")
        return found

    def has(self, value: Any) -> bool:
        """Whether a value is one of these days."""
        return isinstance(value, date) and self.first <= value <= self.last


class Todo(NamedTuple):
    """What an object needs of its source: all of its units, or some, whose rows take the place of a part of it."""

    choice: Choice[RefreshValue]
    change: Change
    units: tuple[Unit, ...]
    part: Part | None
    groups: tuple[Any, ...] = ()


def require_days(manifest: Manifest, chosen: frozenset[str]) -> None:
    """Raise InputInvalid unless an object among those chosen is replaced by days."""
    if not any(name in chosen and of_days(entry) for name, entry in manifest.objects.items()):
        words, help = "no object that is computed is replaced by days", "a range is for `replace_by` a column of dates"
        raise InputInvalid(words, help=help)


def of_days(entry: ObjectEntry) -> bool:
    """Whether an object is replaced day by day."""
    return any(c.name == entry.changes.column and arrow_type(c.type) == pa.date32() for c in entry.columns)


@dataclass
class Refresh:
    """One run's way from what has changed to the tables it writes."""

    execution: Execution
    last: RunRecord | None
    changes: Changes
    days: Days | None = None
    """What is filled again, whether or not it has changed."""
    stale: dict[str, str] = field(default_factory=dict)
    """Datasets that this run does not compute -> what has changed beneath them."""

    @property
    def alike(self) -> bool:
        """Whether the last complete run was of this very pack and policy."""
        last, execution = self.last, self.execution
        wanted = execution.pack.digest, execution.policy.digest
        return last is not None and (last.manifest_digest, last.policy_digest) == wanted

    # -- objects

    def tables(self) -> None:
        """Find what has changed in the tables of others, and make them readable."""
        for name, entry in self.execution.pack.manifest.objects.items():
            if entry.table is not None:
                pinned = self.execution.binding[name]
                self.execution.register(pinned, entry.columns, "read")
                choice = self._choose(name, pinned)
                self.changes.of[name] = found = self._of_table(name, entry, pinned, choice.value)
                self._not_late(name, entry, found)
                self._note(name, choice, found, "looked")

    def _of_table(self, name: str, entry: ObjectEntry, pinned: Pinned, value: RefreshValue) -> Change:
        base, column = self.changes.before.get(name), entry.changes.column
        if base is None or value.kind == "full" or base.path != pinned.path or base.table_id != pinned.table_id:
            return None
        again: tuple[Some, ...] = ()
        if self.days is not None and of_days(entry) and column is not None:
            again = (Some(between(column, self.days.first, self.days.last), name + BEFORE, name, True),)
        if base.version == pinned.version:
            return again
        try:
            found = self._fed(name, base, pinned) if value.kind == "cdf" else self._of_files(name, base, pinned, value)
        except DecretaError as error:
            self.execution.progress("refresh", f"{name}: {error.message}: what changed is not known")
            return None
        return None if found is None else (*found, *again)

    def _of_files(self, name: str, base: Pinned, pinned: Pinned, value: RefreshValue) -> Change:
        """Return the rows of files that came and went between two versions; None if the policy looks at none."""
        if value.kind != "groups":
            return None
        return self._between(name, base, pinned)

    def _between(self, name: str, base: Pinned, pinned: Pinned) -> Change:
        """Return the rows of files that one version has and another has not.

        Maintenance puts rows into other files, old ones among new: those come as often as they go, so both are read.
        """
        columns = self.execution.pack.manifest.read_by_run(name)
        if hides_nan(base.table, columns) or hides_nan(pinned.table, columns):
            return None  # its files cannot be read by themselves
        come, gone = frozenset(pinned.files) - frozenset(base.files), frozenset(base.files) - frozenset(pinned.files)
        self._files(name + _COME, pinned, come, name)
        if gone:
            self._files(name + _GONE, base, gone, name)
        return (Some(None, name + _GONE if gone else None, name + _COME),)

    def _files(self, table: str, pinned: Pinned, files: Iterable[str], name: str) -> None:
        columns, named = self.execution.pack.manifest.read_by_run(name), replace(pinned, name=table)
        scanned = register_scan(self.execution.context, named, columns, UNPRUNED, tuple(sorted(files)))
        self.execution.scans.append(scanned)

    def _fed(self, name: str, base: Pinned, pinned: Pinned) -> Change:
        """Return the rows that a table's change data feed says came and went. Raises LakeUnusable."""
        columns = self.execution.pack.manifest.read_by_run(name)
        names = [column.name for column in columns]
        try:
            reader = pinned.table.load_cdf(base.version + 1, pinned.version, columns=[*names, _CHANGE])
            rows = plain(pa.table(reader.read_all()))
        except Exception as error:  # noqa: BLE001 - the reader raises several kinds
            words = str(error).strip().split("\n")[0]
            raise LakeUnusable(f"the change data feed of `{name}` cannot be read: {words}") from None
        schema = pa.schema([f.with_nullable(True) for f in schema_of(columns)])
        for table, kinds in ((name + _COME, _CAME), (name + _GONE, _WENT)):
            side = rows.filter(pc.is_in(rows[_CHANGE], pa.array(kinds))).select(names).cast(schema)
            batches = side.to_batches() or [empty_batch(schema)]
            self.execution.context.register_record_batches(table, [batches])
        return (Some(None, name + _GONE, name + _COME),)

    def source(self, source: SourceUnits, names: Sequence[str]) -> None:
        """Bring the objects of a source up to date: read the units that they need, and write what comes of them."""
        execution, objects = self.execution, self.execution.pack.manifest.objects
        known = None if self.last is None else self.last.sources.get(source.name)
        differs = changed_units(execution.lake, execution.identity.pack, source, known)
        todo: dict[tuple[Unit, ...], dict[str, Todo]] = {}
        for name in names:
            found = self._todo(name, objects[name], source, differs)
            self.changes.of[name] = found.change
            if found.change == ():
                self._carry(name, found.choice)
            elif not execution.resume(name, objects[name].columns):
                todo.setdefault(found.units, {})[name] = found
            else:
                self._done(name, found, "kept")
        for units, asked in todo.items():
            self._read(replace(source, units=units), asked)

    def _todo(self, name: str, entry: ObjectEntry, source: SourceUnits, differs: Changed | None) -> Todo:
        choice, base = self._choose(name, None), self.changes.before.get(name)
        value, column = choice.value, entry.changes.column
        whole = Todo(choice, None, source.units, None, self._all_groups(source, entry))
        if base is None or differs is None or value.kind == "full" or entry.source is None:
            return whole
        added, differs = differs.added, differs.within(entry.source.stream)
        again = [u for u in source.units if self.days is not None and of_days(entry) and self.days.has(_day(u))]
        if not (differs.added or differs.changed or differs.gone or again):
            return Todo(choice, (), (), None)
        if value.kind == "append" and not (differs.changed or differs.gone):
            return Todo(choice, (Some(None, None, name + _COME),), added, Part(base, None))
        if column is None or value.kind != "groups":
            return whole
        groups = differs.groups() | {unit.group for unit in again}
        if None in groups or len(groups) > value.at_most_groups:
            return whole
        typed = {group: self._typed(source.name, entry, group) for group in groups}
        self._in_time(name, entry, list(typed.values()))
        values = tuple(sorted(typed.values()))
        units = tuple(unit for unit in source.units if unit.group in groups)
        change = (Some(within(column, values), name + BEFORE, name, bool(again)),)
        return Todo(choice, change, units, Part(base, within(column, values)), values)

    def _all_groups(self, source: SourceUnits, entry: ObjectEntry) -> tuple[Any, ...]:
        """Return the groups of all units of a source, none of them if a unit is no group or none is asked for."""
        groups = {unit.group for unit in source.units}
        if entry.changes.column is None or None in groups:
            return ()
        return tuple(self._typed(source.name, entry, group) for group in groups)

    def _typed(self, source: str, entry: ObjectEntry, group: Any) -> Any:
        """Return a unit's group as the object's column has it. Raises SourceUnreadable."""
        kind = next(column.type for column in entry.columns if column.name == entry.changes.column)
        try:
            value = date.fromisoformat(group) if of_days(entry) else group
            return pa.scalar(value, arrow_type(kind)).as_py()
        except (TypeError, ValueError, pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            words = f"a unit of `{source}` has the group {group!r}, `{entry.changes.column}` is of type {kind}"
            raise SourceUnreadable(words, help="mend the adapter") from None

    def _read(self, source: SourceUnits, asked: Mapping[str, Todo]) -> None:
        """Extract the units that some objects need alike, and write each object or its part."""
        execution, objects = self.execution, self.execution.pack.manifest.objects
        policy, ledger = execution.policy, execution.ledger
        choices = {name: choose(policy.write(name), name, None, policy, ledger) for name in asked}
        staged = {name: execution.staging(name, objects[name].columns, choice) for name, choice in choices.items()}
        if source.units:
            self._extract(source, staged, asked)
        for name, choice in choices.items():
            found, columns = asked[name], objects[name].columns
            execution.store_staged(name, staged.pop(name), columns, choice, part=found.part)
            self._done(name, found, "written")

    def _extract(self, source: SourceUnits, staged: Mapping[str, Place], asked: Mapping[str, Todo]) -> None:
        execution, objects = self.execution, self.execution.pack.manifest.objects
        streams = {name: bound.stream for name in staged if (bound := objects[name].source) is not None}
        schemas = {stream: schema_of(objects[name].columns) for name, stream in streams.items()}
        start = time.perf_counter()

        def done(n: int, total: int) -> None:
            execution.progress("extract", f"{source.name}: {n:,} of {total:,} units")

        for batches in extract(execution.pack, source, schemas, execution.profile.value, done):
            for name, stream in streams.items():
                self._of_groups(source.name, objects[name], batches[stream], asked[name].groups)
                staged[name].add(batches[stream])
        figures = {"seconds": time.perf_counter() - start, "files": len(source.units)}
        execution.ledger.add("step", source.name, "extract", execution.profile.pointer, **figures)

    @staticmethod
    def _of_groups(source: str, entry: ObjectEntry, batch: pa.RecordBatch, groups: Sequence[Any]) -> None:
        """Raise SourceUnreadable if units gave rows of another group than theirs: those would be doubled."""
        column = entry.changes.column
        if not groups or column is None:
            return
        found = batch.column(column)
        if not pc.all(pc.is_in(found, pa.array(groups, found.type)), min_count=0).as_py():
            words = f"a unit of `{source}` gives rows of another `{column}` than the group it names"
            raise SourceUnreadable(words, help="mend the adapter")

    def _done(self, name: str, found: Todo, done: Done) -> None:
        """Keep new rows readable by themselves, whoever has appended them, and note what has become of an object."""
        if found.part is not None and found.part.predicate is None:
            self.changes.of[name] = self._between(name, found.part.base, self.execution.binding[name])
        self._note(name, found.choice, found.change, done)

    # -- days

    def _in_time(self, name: str, entry: ObjectEntry, days: Sequence[Any]) -> None:
        """Raise PreconditionFailed if a day has changed that is closed, and is not filled again."""
        promised = entry.changes
        if promised.lateness_days is None or promised.column is None or not days:
            return
        newest = self.changes.newest(name, promised.column)
        if newest is None:
            return
        closed = newest - timedelta(days=promised.lateness_days)
        late = [day for day in days if day < closed and not (self.days is not None and self.days.has(day))]
        if late:
            words = f"`{name}` has changed on {min(late)}: its `lateness` closes days before {closed}"
            help = f"fill them again with `--range {min(late)}..{max(late)}`, or allow for more lateness"
            raise PreconditionFailed(words, help=help)

    def _not_late(self, name: str, entry: ObjectEntry, change: Change) -> None:
        column = entry.changes.column
        if change and entry.changes.lateness_days is not None and column is not None:
            looked = [some for some in change if not some.forced]
            self._in_time(name, entry, [day for some in looked for day in self.changes.of_all(name, some, column)])

    # -- relations

    def relations(self, computed: frozenset[str]) -> None:
        """Bring the relations named up to date, inputs first; forget rows as soon as nobody reads them any more."""
        manifest, execution = self.execution.pack.manifest, self.execution
        until = last_readers(manifest, execution.policy)
        for i, name in enumerate(manifest.order):
            if name in computed:
                self._relation(name)
            for done in [view for view, last in until.items() if last == i and view in computed]:
                self.changes.forget(done)

    def _relation(self, name: str) -> None:
        entry, execution = self.execution.pack.manifest.relations[name], self.execution
        choice = self._choose(name, None)
        values = self._groups(name, choice.value)
        if entry.groups is None or values is None:
            self.changes.of[name] = None
        elif values:
            self.changes.replaced(name, entry.groups.column, values)
        else:
            self.changes.of[name] = ()
        if values == () and entry.stored:
            return self._carry(name, choice)
        if not entry.stored:
            if values is None:
                self.changes.whole(name)
            return self._note(name, choice, self.changes.of[name], "looked", values)
        if execution.resume(name, entry.columns):
            return self._note(name, choice, self.changes.of[name], "kept")
        if values is None or entry.groups is None:
            for given in entry.inputs:
                self.changes.whole(given)
            execution.relation(name)
        else:
            part = Part(self.changes.before[name], within(entry.groups.column, values))
            execution.write_frame(name, self.changes.restricted(name, entry.groups, values), part)
        return self._note(name, choice, self.changes.of[name], "written", values)

    def _groups(self, name: str, value: RefreshValue) -> tuple[Any, ...] | None:
        """Return the groups of a relation that changes touch, none of them if it stays; None if it is all of it."""
        entry = self.execution.pack.manifest.relations[name]
        lost = entry.stored and name not in self.changes.before
        if lost or value.kind == "full":
            return None
        if all(self.changes.of[given] == () for given in entry.inputs):
            return ()
        if entry.groups is None or value.kind != "groups":
            return None
        if any(self.changes.touches(name, given) for given in entry.groups.whole):
            return None
        if any(self.changes.of[given] is None for given in entry.groups.inputs):
            return None
        found = [self.changes.values(name, given, column) for given, column in entry.groups.inputs.items()]
        values = {value for some in found for value in some if value is not None}  # those rows are of no group
        return None if len(values) > value.at_most_groups else tuple(sorted(values))

    def bears_on(self, subject: str, check: Check) -> bool:
        """Whether something that a check looks at has changed; then make it readable."""
        words, manifest = {subject, *re.findall(r"\w+", check.sql)}, self.execution.pack.manifest
        named = [name for name in manifest.everything() if name in words]
        if all(self.changes.of.get(name) == () for name in named):
            return False
        for name in named:
            self.changes.whole(name)
        return True

    # -- what stays, and what is noted

    def carry_over(self, names: Iterable[str]) -> None:
        """Take over the datasets that this run does not compute, and note which of them it leaves behind the others."""
        for name in names:
            self.changes.of[name] = ()

    def left_behind(self, carried: Iterable[str], sources: Sequence[SourceUnits]) -> dict[str, str]:
        """Return the datasets that this run has not computed, and what has changed beneath each since it was."""
        manifest, last = self.execution.pack.manifest, self.last
        found = {} if last is None else {name: why for name, why in last.stale.items() if name in carried}
        moved = {s.name for s in sources if last is not None and last.sources.get(s.name) != s.fingerprint}
        for name in [n for n in (*manifest.objects, *manifest.order) if n in carried]:
            if name in manifest.objects:
                bound = manifest.objects[name].source
                why = bound.name if bound is not None and bound.name in moved else None
            else:
                moved_below = (g for g in self._beneath(name) if self.changes.of.get(g) != () or g in found)
                why = next(moved_below, None)
            if why is not None:
                found.setdefault(name, why)
        return found

    def _beneath(self, name: str) -> list[str]:
        """Return the datasets that a relation reads, directly or by way of views."""
        manifest, found = self.execution.pack.manifest, list[str]()
        for given in manifest.relations[name].inputs:
            stored = given in manifest.objects or manifest.relations[given].stored
            found += [given] if stored else self._beneath(given)
        return found

    def _carry(self, name: str, choice: Choice[RefreshValue]) -> None:
        execution, pinned = self.execution, self.changes.before[name]
        execution.register(pinned, execution.pack.manifest.columns_of(name), "carried")
        if name in execution.aside_before:
            execution.put_aside(name, execution.aside_before[name], "carried")
        self._note(name, choice, (), "carried")

    def _choose(self, name: str, pinned: Pinned | None) -> Choice[RefreshValue]:
        execution = self.execution
        choice, table = execution.policy.refresh(name), None if pinned is None else pinned.table
        columns = execution.pack.manifest.columns_of(name)
        alike = self.alike and execution.profile.value.refresh == "changes"
        note_refresh(execution.ledger, name, choice, table, columns, alike, execution.policy)
        return choose(choice, name, table, execution.policy, execution.ledger, columns, alike)

    def _note(
        self, name: str, choice: Choice[RefreshValue], change: Change, done: Done, groups: Sequence[Any] | None = None
    ) -> None:
        """Note what has become of an object or relation: what of it differs, and the rows and files that took."""
        what = "whole" if change is None else "changed" if change else "unchanged"
        value, ledger, figures = choice.value, self.execution.ledger, {"rows": 0, "table_version": None}
        detail: dict[str, Any] = {"done": done, "kind": value.kind, "why_not_better": value.why_not_better}
        if groups is not None:
            detail["groups"] = len(groups)
        if done == "written":
            written = next(row for row in reversed(ledger.rows) if (row.kind, row.subject) == ("write", name))
            figures = {"rows": written.rows, "table_version": written.table_version}
            said = json.loads(written.detail or "{}")
            detail |= {name: said[name] for name in _OF_A_PART if name in said}
        ledger.add("refresh", name, what, choice.pointer, detail=detail, **figures)


def _day(unit: Unit) -> Any:
    try:
        return date.fromisoformat(str(unit.group))
    except ValueError:
        return None


_OF_A_PART = ("files_rewritten", "files_added", "undone")
"""What the row of a write says of a part of a table."""
_CHANGE = "_change_type"
_CAME, _WENT = ["insert", "update_postimage"], ["delete", "update_preimage"]
"""How Delta's change data feed calls rows that come and rows that go."""
