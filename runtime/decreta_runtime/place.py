"""Keep rows for the length of a run: in memory while the budget lasts, else in a spill, as the policy says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from datafusion import SessionContext
from deltalake import DeltaTable, write_deltalake

from decreta_runtime.arrow import empty_batch, exactly, schema_of
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import Choice, Policy, ScanValue
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned, register_scan

_SPILL_SCAN = ScanValue(path="native", pushdown=False, page_index=False)
"""How a spill is read back: whole, by the files that this run has just written itself."""
_SPILL_BUFFER = 64 << 20
"""Bytes that a spill gathers before it appends: one commit and one file each, so neither grows many."""


class Placed(NamedTuple):
    """Where rows ended up, and how many."""

    placement: str
    rows: int
    bytes: int


class Places:
    """The memory budget of one run and the spills beside it."""

    def __init__(self, context: SessionContext, policy: Policy, spill: Path, ledger: Ledger) -> None:
        self.context, self.policy, self.spill, self.ledger = context, policy, spill, ledger
        self.held: dict[str, int] = {}

    def put(
        self,
        name: str,
        batches: Iterable[pa.RecordBatch],
        columns: tuple[Column, ...],
        wanted: str,
        choice: Choice[object],
    ) -> Placed:
        """Register the rows of `batches` as the table `name`, in the placement `wanted` by `choice`."""
        place = Place(self, name, columns, wanted, choice)
        for batch in batches:
            place.add(batch)
        return place.finish()

    def drop(self, name: str) -> None:
        """Forget the rows of `name`."""
        self.held.pop(name, None)
        self.context.deregister_table(name)


class Place:
    """A table in the making. Memory is counted while rows come; at the budget all of them go to a spill."""

    def __init__(
        self, places: Places, name: str, columns: tuple[Column, ...], wanted: str, choice: Choice[object]
    ) -> None:
        self._places, self._name, self._columns, self._choice = places, name, columns, choice
        self._schema = schema_of(columns)
        self._kept: list[pa.RecordBatch] = []
        self._size = self._rows = 0
        self._in_memory = wanted == "memory"
        self._path = places.spill / name
        self._budget = places.policy.budget("cache_bytes") if self._in_memory else None

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows. Raises SchemaMismatch and CheckViolated if they are not as the contract says."""
        for exact in exactly([batch], self._schema, self._name):
            self._kept.append(exact)
            self._rows += exact.num_rows
            size = exact.get_total_buffer_size()
            self._size += size
            if self._budget is not None:
                self._places.held[self._name] = self._size
                if sum(self._places.held.values()) > self._budget.value:
                    self._leave_memory()
            elif self._size >= _SPILL_BUFFER:
                self._append()

    def finish(self) -> Placed:
        """Register the table and say where its rows are."""
        context = self._places.context
        if self._in_memory and self._budget is not None:
            self._note("holds")
            context.register_record_batches(self._name, [self._kept or [empty_batch(self._schema)]])
            return Placed("memory", self._rows, self._size)
        if self._kept or not self._path.exists():
            self._append()
        table = DeltaTable(str(self._path))
        pinned = Pinned(self._name, self._path, table.version(), table)
        scanned = register_scan(context, pinned, self._columns, _SPILL_SCAN)
        return Placed("spill", self._rows, scanned.bytes)

    def _leave_memory(self) -> None:
        self._note("fails")
        self._places.held.pop(self._name)
        self._in_memory, self._budget = False, None
        self._append()

    def _append(self) -> None:
        reader = pa.RecordBatchReader.from_batches(self._schema, self._kept)
        write_deltalake(str(self._path), reader, mode="append")
        self._kept, self._size = [], 0

    def _note(self, outcome: str) -> None:
        assert self._budget is not None
        self._places.ledger.add(
            "guard",
            self._name,
            f"within_memory_budget: {outcome}",
            self._choice.pointer,
            detail={"budget": self._budget.pointer},
            rows=self._rows,
            bytes=self._size,
        )
