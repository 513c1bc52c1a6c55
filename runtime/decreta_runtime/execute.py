"""Compute relations in the manifest's order: stored ones are written, cut points are kept, the rest is inlined."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
from datafusion import DataFrame, SessionContext

from decreta_runtime.contract.errors import PreconditionFailed, StatementFailed
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import Policy
from decreta_runtime.guards import choose
from decreta_runtime.lake import Lake
from decreta_runtime.load import LoadedPack
from decreta_runtime.pin import Binding
from decreta_runtime.place import Places
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned, Scanned, quote, register_scan
from decreta_runtime.write import RunIdentity, already_written, write


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
    binding: Binding
    places: Places
    ledger: Ledger
    progress: Callable[[str, str], None]
    outcomes: dict[str, TableOutcome] = field(default_factory=dict)

    def register(self, pinned: Pinned, columns: tuple[Column, ...]) -> Scanned:
        """Pin a table and make it readable under its name, by the path that the policy and its guards give."""
        self.binding.put(pinned)
        choice = self.policy.scan(pinned.name)
        value = choose(choice, pinned.name, pinned.table, self.policy, self.ledger)
        scanned = register_scan(self.context, pinned, columns, value)
        self.ledger.add(
            "scan",
            pinned.name,
            scanned.path,
            choice.pointer,
            bytes=scanned.bytes,
            files=scanned.files,
            table_version=pinned.version,
        )
        return scanned

    def resume(self, name: str, columns: tuple[Column, ...]) -> bool:
        """Take over the dataset as an earlier attempt at this run committed it; False if none did."""
        pinned = already_written(name, self.lake.dataset(self.identity.pack, name), self.identity)
        if pinned is None:
            return False
        scanned = self.register(pinned, columns)
        self.outcomes[name] = TableOutcome("kept", pinned.version, None, scanned.files, scanned.bytes)
        self.progress("write", f"{name}: kept from an earlier attempt")
        return True

    def store(self, name: str, rows: str, columns: tuple[Column, ...]) -> None:
        """Write the table or view `rows` as the dataset `name`, and read the dataset from here on."""
        choice = self.policy.write(name)
        start = time.perf_counter()
        order = ", ".join(quote(column) for column in choice.value.sort)
        listed = ", ".join(quote(column.name) for column in columns)
        frame = self.context.sql(f"SELECT {listed} FROM {quote(rows)}" + (f" ORDER BY {order}" if order else ""))
        path = self.lake.dataset(self.identity.pack, name)
        pinned, count = write(name, path, frame, columns, choice.value, self.identity)
        seconds = time.perf_counter() - start
        self.context.deregister_table(rows)
        scanned = self.register(pinned, columns)
        self.outcomes[name] = TableOutcome("written", pinned.version, count, scanned.files, scanned.bytes)
        self.ledger.add(
            "write",
            name,
            choice.value.mode,
            choice.pointer,
            seconds=seconds,
            rows=count,
            bytes=scanned.bytes,
            files=scanned.files,
            table_version=pinned.version,
        )
        self.progress("write", f"{name}: {count:,} rows in {seconds:.1f} s")

    def relations(self) -> None:
        """Compute every relation of the pack."""
        for name in self.pack.manifest.order:
            entry = self.pack.manifest.relations[name]
            if entry.stored:
                if not self.resume(name, entry.columns):
                    view = f"{name}__rows"
                    self.context.register_table(view, self.pack.builder(name)(self.context).into_view())
                    self.store(name, view, entry.columns)
            else:
                self._keep(name, entry.columns, self.pack.builder(name)(self.context))

    def _keep(self, name: str, columns: tuple[Column, ...], frame: DataFrame) -> None:
        choice = self.policy.cache(name)
        if choice.value.placement == "none":
            self.context.register_table(name, frame.into_view())
            self.ledger.add("step", name, "none", choice.pointer)
            return
        start = time.perf_counter()
        placed = self.places.put(name, _batches(name, frame), columns, choice.value.placement, choice)
        if placed.placement != choice.value.placement and (
            choice.otherwise is None or choice.otherwise.placement != placed.placement
        ):
            raise PreconditionFailed(
                f"`{name}` does not fit the memory budget, and the policy names nothing to do instead",
                help="raise budgets.cache_bytes, or give the rule an `otherwise`",
            )
        seconds = time.perf_counter() - start
        self.ledger.add(
            "step", name, placed.placement, choice.pointer, seconds=seconds, rows=placed.rows, bytes=placed.bytes
        )
        self.progress("keep", f"{name}: {placed.rows:,} rows in {placed.placement}")


def _batches(name: str, frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a relation as they are computed. Raises StatementFailed."""
    try:
        for batch in frame.execute_stream():
            yield batch.to_pyarrow()
    except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
        raise StatementFailed(name, error) from None
