"""What the queries of one workload class share: a session, and the tables that it has taken from the last complete run.

A shape's tables are taken with the columns that the policy says, and with the files that can hold what its parameters
ask for: by the log's statistics, then by an external index, where the policy says so of the shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
from datafusion import SessionContext

from decreta_runtime.arrow import empty_batch, schema_of
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.manifest import Column, QueryEntry
from decreta_runtime.contract.policy import Choice, IndexValue, Policy, ScanValue, SessionValue
from decreta_runtime.functions import call_table_function
from decreta_runtime.guards import choose
from decreta_runtime.index import TermIndex, narrowed_by, open_index
from decreta_runtime.lake import Lake
from decreta_runtime.load import LoadedPack
from decreta_runtime.narrow import matching
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
    _taken: dict[str, _Taken] = field(default_factory=dict)
    _indexes: dict[tuple[str, str], tuple[Choice[IndexValue], TermIndex | None]] = field(default_factory=dict)

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
        for dataset in entry.datasets:
            known = self._taken.get(dataset)
            taken = known or self._choose(dataset, entry.workload)
            pruned = taken.choice.value.log_pruning
            files = self._files(shape, taken.pinned, entry, given) if pruned else taken.pinned.files
            if known is None:
                self._register(taken, files=files)
            elif files != self.scans[dataset].listed:
                self._list(taken, files)
        for view in entry.views:
            if view not in self.views:
                self.context.register_table(view, self.pack.builder(view)(self.context).into_view())
                self.views.add(view)

    def take_view(self, name: str) -> None:
        """Compute a relation anew as `<name>__shown`, and have it under its own name if it is no dataset."""
        entry, shown = self.pack.manifest.relations[name], f"{name}__shown"
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

    def _files(self, shape: str, pinned: Pinned, entry: QueryEntry, given: Mapping[str, pa.Scalar]) -> tuple[str, ...]:
        dataset, scans = pinned.name, entry.asks.get(pinned.name)
        if scans is None:
            return pinned.files
        files = matching(pinned, scans, given)
        for name in self.pack.manifest.indexes_of(dataset):
            if shape not in self.policy.index(dataset, name).value.shapes:
                continue  # before the index is opened: to read it takes longer than most look-ups
            choice, index = self._index(dataset, name)
            if index is None or shape not in choice.value.shapes:
                continue
            kept = narrowed_by(index, pinned, scans, given)
            if kept is not None:
                files = tuple(path for path in files if path in frozenset(kept))
        return files

    def _index(self, dataset: str, name: str) -> tuple[Choice[IndexValue], TermIndex | None]:
        """Return the decision for an index, and the index itself if it is there and can be read."""
        if (dataset, name) not in self._indexes:
            manifest = self.pack.manifest
            choice, index = self.policy.index(dataset, name), None
            try:
                columns = manifest.index_columns_of(dataset, name)
                index = open_index(self.lake.index(manifest.pack, dataset, name), columns)
                readable = index is not None and index.rows is not None
            except LakeUnusable:
                readable = False
            if "index_readable" in choice.requires:
                holds = "holds" if readable else "fails"
                self.ledger.add("guard", f"{dataset}.{name}", f"index_readable: {holds}", choice.pointer)
            self._indexes[(dataset, name)] = (choice, index if readable else None)
        return self._indexes[(dataset, name)]
