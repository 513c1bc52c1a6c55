"""What the queries of one workload class share: a session, and the tables that it has taken from the last complete run.

A shape's tables are taken with the columns that the policy says, and with the files that can hold what its parameters
ask for: by the log's statistics, then by an external index, where the policy says so of the shape; then, where its rows
are wanted only as far as they meet a look-up of another table, by the values that the look-up gives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa
from datafusion import SessionContext, column

from decreta_runtime.arrow import arrow_type, empty_batch, schema_of
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.manifest import Ask, AskValue, Column, QueryEntry, Step
from decreta_runtime.contract.policy import Choice, IndexValue, Policy, ScanValue, SessionValue
from decreta_runtime.contract.records import IndexRung, StepRung
from decreta_runtime.functions import call_table_function
from decreta_runtime.guards import choose, words_of
from decreta_runtime.index import TermIndex, narrowed_by, open_index, relative_files
from decreta_runtime.ladder import Narrowed
from decreta_runtime.lake import Lake
from decreta_runtime.load import LoadedPack
from decreta_runtime.metrics import scan_stats
from decreta_runtime.narrow import condition_of, matching, scalar_of, unbounded
from decreta_runtime.pin import Binding
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned, Scanned, register_scan
from decreta_runtime.shadow import note_scan


@dataclass(frozen=True)
class _Taken:
    """A table as the session has it: by which decision, with which columns."""

    pinned: Pinned
    choice: Choice[ScanValue]
    columns: tuple[Column, ...]
    whole: bool
    """Whether it has all columns of the contract."""


@dataclass
class Reading:
    """One session of an open pack. Tables are taken when they are first asked for."""

    pack: LoadedPack
    policy: Policy
    lake: Lake
    binding: Binding
    ledger: Ledger
    context: SessionContext
    profile: Choice[SessionValue]
    scans: dict[str, Scanned] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)
    narrowed: dict[str, Narrowed] = field(default_factory=dict)
    """Dataset → what left files out when a shape last took it."""
    _unbounded: dict[tuple[str, str], int] = field(default_factory=dict)
    _taken: dict[str, _Taken] = field(default_factory=dict)
    _indexes: dict[tuple[str, str], tuple[Choice[IndexValue], TermIndex | None]] = field(default_factory=dict)
    _stepped: set[tuple[str, str]] = field(default_factory=set)

    def take(self, name: str) -> None:
        """Have a dataset whole, for statements that nobody has compiled."""
        taken = self._taken.get(name)
        if taken is None or not taken.whole:
            self._register(self._choose(name))
        elif self.scans[name].listed != taken.pinned.files:
            self._list(taken, taken.pinned.files)

    def take_aside(self, dataset: str) -> None:
        """Have the rows set aside of a dataset, read as the dataset itself is."""
        pinned = self.binding.quarantine[dataset]
        if pinned.name not in self._taken:
            columns = self.pack.manifest.quarantine_columns_of(dataset)
            choice = choose(self.policy.scan(dataset), pinned.name, pinned.table, self.policy, self.ledger, columns)
            self._register(_Taken(pinned, choice, columns, True), columns)

    def take_for(self, shape: str, entry: QueryEntry, given: Mapping[str, pa.Scalar]) -> None:
        """Have what a shape reads: of each dataset the files that may hold what `given` asks for, and its views."""
        # What a look-up says is asked of tables that are taken for these very parameters.
        for dataset in sorted(entry.datasets, key=lambda name: name in entry.steps):
            known = dataset in self.scans
            taken = self._taken[dataset] if known else self._choose(dataset, entry.workload)
            narrowed = self.narrowed[dataset] = self._narrowed(shape, taken, entry, given)
            if not known:
                self._register(taken, files=narrowed.files)
            elif narrowed.files != self.scans[dataset].listed:
                self._list(taken, narrowed.files)
        for view in entry.views:
            if view not in self.views:
                self.context.register_table(view, self.pack.builder(view)(self.context).into_view())
                self.views.add(view)

    def take_view(self, name: str) -> None:
        """Compute a relation anew as `<name>__shown`, and have it under its own name if it is no dataset."""
        entry, shown = self.pack.manifest.relations[name], f"{name}__shown"
        self.context.deregister_table(shown)
        if entry.call is not None:
            batches = list(call_table_function(self.pack, name, entry.call, self.context))
            self.context.register_record_batches(shown, [batches or [empty_batch(schema_of(entry.columns))]])
        else:
            self.context.register_table(shown, self.pack.builder(name)(self.context).into_view())
        if not entry.stored:
            self.context.register_table(name, self.context.table(shown))
            self.views.add(name)

    def _choose(self, name: str, workload: str | None = None) -> _Taken:
        """Decide how a dataset is taken: with all columns, or for the shapes of a workload as the policy says."""
        manifest, pinned = self.pack.manifest, self.binding[name]
        contract = columns = manifest.columns_of(name)
        choice = choose(self.policy.scan(name), name, pinned.table, self.policy, self.ledger, contract)
        if workload is not None and choice.value.columns == "required":
            columns = manifest.read_by_shapes(name, workload)
        return _Taken(pinned, choice, columns, columns == contract)

    def _register(self, taken: _Taken, contract: tuple[Column, ...] = (), files: tuple[str, ...] | None = None) -> None:
        """Make a table known for the first time, with `files` alone: the engine reads the footer of each it is told."""
        name = taken.pinned.name
        scanned = self._list(taken, taken.pinned.files if files is None else files)
        self.ledger.add(
            "scan",
            name,
            scanned.path,
            taken.choice.pointer,
            files=scanned.files,
            bytes=scanned.bytes,
            table_version=taken.pinned.version,
            files_with_statistics=taken.pinned.files_with_rows,
        )
        note_scan(self.ledger, taken.choice, scanned, contract or self.pack.manifest.columns_of(name), self.policy)

    def _list(self, taken: _Taken, files: tuple[str, ...]) -> Scanned:
        """Make a table known with these files, in the place of how it was known before."""
        name = taken.pinned.name
        if name in self.scans:
            self.context.deregister_table(name)
            del self.scans[name]
            # A view keeps the tables that it was made over, those of another shape too.
            for view in self.views:
                self.context.deregister_table(view)
            self.views.clear()
        scanned = register_scan(self.context, taken.pinned, taken.columns, taken.choice.value, files)
        self._taken[name], self.scans[name] = taken, scanned
        return scanned

    def _narrowed(self, shape: str, taken: _Taken, entry: QueryEntry, given: Mapping[str, pa.Scalar]) -> Narrowed:
        """Return the files that may hold what a shape asks for: by its conditions, then by look-ups that come first."""
        dataset = taken.pinned.name
        scans = entry.asks.get(dataset, ())
        asked = tuple(sorted({ask.column for asks in scans for ask in asks}))
        found = Narrowed(taken.pinned.files, entry.datasets[dataset], asked, self._missing(taken.pinned, asked))
        if taken.choice.value.log_pruning and scans:
            held = self._holding(shape, taken.pinned, scans, given, found.files)
            found = replace(found, files=held.files, by_log=held.by_log, indexes=held.indexes)
        return self._by_steps(shape, taken, entry.steps.get(dataset, ()), given, found)

    def _by_steps(
        self, shape: str, taken: _Taken, steps: Sequence[Step], given: Mapping[str, pa.Scalar], found: Narrowed
    ) -> Narrowed:
        """Leave out files that hold none of the values that look-ups give which come first."""
        value, pinned = taken.choice.value, taken.pinned
        if not steps or not value.step_values or len(found.files) < value.step_files:
            return found
        answers = [self._values(step, value.step_values, given) for step in steps]
        columns = tuple(dict.fromkeys([*found.asked, *(step.column for step in steps)]))
        rungs = tuple(rung for rung, _ in answers)
        found = replace(found, steps=rungs, unbounded=self._missing(pinned, columns))
        if any(values is None for _, values in answers):
            return found
        scans, named = [], dict[str, pa.Scalar]()
        for step, (_, values) in zip(steps, answers, strict=True):
            names = [f"{len(named) + i}" for i in range(len(values or ()))]
            named |= dict(zip(names, values or (), strict=True))
            scans.append([Ask(column=step.column, op="in", values=tuple(AskValue(parameter=n) for n in names))])
        self._note_steps(shape, pinned.name, steps, taken.choice.pointer)
        wanted = [asks for asks in scans if asks[0].values]  # a look-up without an answer wants no file
        held = self._holding(shape, pinned, wanted, named, found.files) if wanted else _Held((), 0, ())
        return replace(found, files=held.files, by_steps=held.by_log, step_indexes=held.indexes)

    def _holding(
        self,
        shape: str,
        pinned: Pinned,
        scans: Sequence[Sequence[Ask]],
        given: Mapping[str, pa.Scalar],
        files: tuple[str, ...],
    ) -> _Held:
        """Return those of some files that may hold rows for one of `scans`, by the log's statistics and by indexes."""
        files, rungs = _both(files, matching(pinned, scans, given)), []
        by_log = len(files)
        for name in self.pack.manifest.indexes_of(pinned.name):
            if shape not in self.policy.index(pinned.name, name).value.shapes:
                continue  # before the index is opened: to read it takes longer than most look-ups
            choice, index = self._index(pinned, name)
            kept = None
            try:
                kept = None if index is None else narrowed_by(index, pinned, scans, given)
            except LakeUnusable as error:
                self._lost(pinned.name, name, choice, error)
            files = files if kept is None else _both(files, kept)
            rungs.append(_rung(name, None if kept is None else index, pinned, files))
        return _Held(files, by_log, tuple(rungs))

    def _missing(self, pinned: Pinned, columns: Sequence[str]) -> dict[str, int]:
        """Return in how many files nothing bounds each column; a reading has one version of each table."""
        for name in columns:
            if (pinned.name, name) not in self._unbounded:
                self._unbounded[(pinned.name, name)] = unbounded(pinned, name)
        return {name: self._unbounded[(pinned.name, name)] for name in columns}

    def _values(self, step: Step, most: int, given: Mapping[str, pa.Scalar]) -> tuple[StepRung, list[pa.Scalar] | None]:
        """Return the rung of a look-up, and the values it gives for the parameters; None if they are over `most`."""
        kinds = {c.name: arrow_type(c.type) for c in self.pack.manifest.columns_of(step.dataset)}
        frame = self.context.table(step.dataset).filter(column(step.gives).is_not_null())
        for ask in step.where:
            values = [scalar_of(value, given, kinds[ask.column]) for value in ask.values]
            # A condition that cannot be said leaves more values, never fewer.
            if (condition := condition_of(ask, values)) is not None:
                frame = frame.filter(condition)
        frame = frame.select(column(step.gives)).distinct().limit(most + 1)
        values = [value.cast(kinds[step.gives]) for batch in frame.collect() for value in batch.column(0)]
        told = values if len(values) <= most else None
        read = scan_stats(frame.execution_plan(), {step.dataset: self.scans[step.dataset]}, 0).bytes_scanned
        given_by, count = f"{step.dataset}.{step.gives}", None if told is None else len(told)
        return StepRung(column=step.column, given_by=given_by, values=count, bytes_read=read), told

    def _note_steps(self, shape: str, dataset: str, steps: Sequence[Step], pointer: str) -> None:
        """Note the first time that a shape's files are narrowed by look-ups."""
        if (shape, dataset) not in self._stepped:
            self._stepped.add((shape, dataset))
            words = ", ".join(f"{step.column} by {step.dataset}.{step.gives}" for step in steps)
            self.ledger.add("scan", dataset, f"narrowed: {words}", pointer, detail={"shape": shape})

    def _index(self, pinned: Pinned, name: str) -> tuple[Choice[IndexValue], TermIndex | None]:
        """Return the decision for an index that a shape uses, and the index itself if it can be read."""
        manifest, dataset = self.pack.manifest, pinned.name
        if (dataset, name) not in self._indexes:
            choice = self.policy.index(dataset, name)
            columns, path = manifest.index_columns_of(dataset, name), self.lake.index(manifest.pack, dataset, name)
            try:
                index = open_index(path, columns, pinned, choice.value.memory_bytes)
                if index is not None and index.rows is not None:
                    index.known  # noqa: B018 - read now, so that a look-up need not
            except LakeUnusable as error:
                self._lost(dataset, name, choice, error)
                return choice, None
            if index is None:
                self._lost(dataset, name, choice, None)
            else:
                self._guarded(dataset, name, choice, True, None)
                self._indexes[(dataset, name)] = (choice, index)
        return self._indexes[(dataset, name)]

    def _lost(self, dataset: str, name: str, choice: Choice[IndexValue], error: LakeUnusable | None) -> None:
        """Do without an index from here on, and say why: its files are all read."""
        self._guarded(dataset, name, choice, False, "it is not there" if error is None else error.message)
        self._indexes[(dataset, name)] = (choice, None)

    def _guarded(self, dataset: str, name: str, choice: Choice[IndexValue], holds: bool, words: str | None) -> None:
        if "index_readable" in choice.requires:
            detail = None if words is None else {"words": words}
            subject = f"{dataset}.{name}"
            self.ledger.add("guard", subject, words_of("index_readable", holds), choice.pointer, detail=detail)


class _Held(NamedTuple):
    """Files that may hold what is asked for, and what came down to them."""

    files: tuple[str, ...]
    by_log: int
    indexes: tuple[IndexRung, ...]


def _both(files: tuple[str, ...], kept: Collection[str]) -> tuple[str, ...]:
    """Return those of some files that are kept, in their order."""
    listed = frozenset(kept)
    return tuple(path for path in files if path in listed)


def _rung(name: str, index: TermIndex | None, pinned: Pinned, left: tuple[str, ...]) -> IndexRung:
    """Return what an index left of a table's files; None is one that did not serve."""
    if index is None:
        return IndexRung(name=name, files=None, unknown=None)
    kept = frozenset(left)
    names = (file for path, file in zip(pinned.files, relative_files(pinned), strict=True) if path in kept)
    return IndexRung(name=name, files=len(left), unknown=sum(file not in index.known for file in names))
