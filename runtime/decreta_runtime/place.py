"""Keep rows for the length of a run: in memory while the budget lasts, else in a spill, as the policy says."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import SessionContext
from deltalake import ColumnProperties, DeltaTable, WriterProperties, convert_to_deltalake, write_deltalake

from decreta_runtime.arrow import empty_batch, exactly, one_batch, schema_of
from decreta_runtime.contract.errors import PreconditionFailed
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import Choice, Guard, Policy
from decreta_runtime.lake import writing
from decreta_runtime.record import Ledger
from decreta_runtime.scan import UNPRUNED, Pinned, register_scan

Placement = Literal["none", "memory", "spill"]
_PART = "__append"
"""The column that a spill is partitioned by; no column of a contract begins so."""

_UNTOLD = ColumnProperties(statistics_enabled="NONE")
"""Floats have no statistics in a spill: they would leave NaN out, and the engine takes values from them."""


class Wanted(NamedTuple):
    """A placement, the guards it stands under, what holds when one fails, and the policy entry that says so."""

    placement: Placement
    requires: tuple[Guard, ...]
    otherwise: Placement | None
    pointer: str
    pushdown: bool = False
    """Whether readers of a spill filter inside its scan."""
    shadow: Wanted | None = None
    """What a decision in `warn` wants, which is counted and not obeyed."""


class Placed(NamedTuple):
    """Where rows ended up, how many, and whether that is what the policy names for a guard that fails."""

    placement: Placement
    rows: int
    bytes: int
    otherwise: bool
    held: int
    """Bytes of all rows in memory, wherever they are."""
    would_fit: bool | None
    """Whether a decision in `warn` would have kept within its memory budget; None if it has none."""


class Places:
    """The memory budget of one run and the spills beside it."""

    def __init__(self, context: SessionContext, policy: Policy, buffer: int, spill: Path, ledger: Ledger) -> None:
        self.context, self.policy, self.spill, self.ledger = context, policy, spill, ledger
        self.buffer = buffer
        self.held: dict[str, int] = {}
        self.would: dict[str, int] = {}
        """What decisions in `warn` would hold of their views, in the place of what is held."""

    def budget(self, wanted: Wanted) -> Choice[int] | None:
        """Return the budget that a placement must keep within, None if it need not."""
        guarded = wanted.placement == "memory" and "within_memory_budget" in wanted.requires
        return self.policy.budget("cache_bytes") if guarded else None

    def put(
        self, name: str, batches: Iterable[pa.RecordBatch], columns: tuple[Column, ...], wanted: Wanted
    ) -> Placed | None:
        """Register the rows of `batches` as the table `name`; None if they fit nowhere and need no place."""
        place = Place(self, name, columns, wanted)
        for batch in batches:
            if not place.add(batch):
                return None
        return place.finish()

    def drop(self, name: str) -> None:
        """Forget the rows of `name`: nobody reads them any more."""
        self.held.pop(name, None)
        self.would.pop(name, None)
        self.context.deregister_table(name)
        shutil.rmtree(self.spill / name, ignore_errors=True)


class Place:
    """A table in the making. Memory is counted while rows come; at the budget all of them go to a spill."""

    def __init__(
        self, places: Places, name: str, columns: tuple[Column, ...], wanted: Wanted, *, subject: str = ""
    ) -> None:
        self._subject = subject or name
        self._places, self._name, self._columns, self._wanted = places, name, columns, wanted
        self._schema = schema_of(columns)
        self._floats = [field.name for field in self._schema if pa.types.is_floating(field.type)]
        self._kept: list[pa.RecordBatch] = []
        self._size = self._rows = self._total = self._appended = 0
        self._path = places.spill / name
        self._placement = wanted.placement
        self._budget = places.budget(wanted)
        self._would_budget = places.budget(wanted.shadow) if wanted.shadow is not None else None
        self._would_fit = None if self._would_budget is None else True

    def add(self, batch: pa.RecordBatch) -> bool:
        """Take the next rows; False if the policy wants them nowhere now that they do not fit.

        Raises SchemaMismatch and CheckViolated if they are not as the contract says, PreconditionFailed if they do not
        fit and the policy names nothing to do instead.
        """
        for exact in exactly([batch], self._schema, self._subject):
            self._kept.append(exact)
            self._rows += exact.num_rows
            self._size += exact.nbytes  # of the slice: batches may share their buffers
            self._total += exact.nbytes
        self._count_shadow()
        if self._placement == "memory":
            self._places.held[self._name] = self._size
            if self._budget is not None and sum(self._places.held.values()) > self._budget.value:
                return self._leave_memory()
        elif self._size >= self._places.buffer:
            self._append()
        return True

    def finish(self) -> Placed:
        """Register the table and say where its rows are."""
        context, otherwise = self._places.context, self._placement != self._wanted.placement
        if self._placement == "memory":
            if self._budget is not None:
                self._note("holds")
            context.register_record_batches(self._name, [self._kept or [empty_batch(self._schema)]])
            return Placed("memory", self._rows, self._size, otherwise, self._total, self._would_fit)
        if self._kept or not self._path.exists():
            self._append()
        table = self._table()
        pinned = Pinned(self._name, self._path, table.version(), table)
        value = msgspec.structs.replace(UNPRUNED, pushdown=self._wanted.pushdown)
        scanned = register_scan(context, pinned, self._columns, value)
        return Placed("spill", self._rows, scanned.bytes, otherwise, self._total, self._would_fit)

    def _count_shadow(self) -> None:
        """Count what a decision in `warn` would hold as rows come, just as what is held is counted."""
        wanted = self._wanted.shadow
        if wanted is None:
            return
        in_memory = wanted.placement == "memory" and self._would_fit is not False
        self._places.would[self._name] = self._total if in_memory else 0
        held = {**self._places.held, **self._places.would}
        if in_memory and self._would_budget is not None and sum(held.values()) > self._would_budget.value:
            self._would_fit, self._places.would[self._name] = False, 0

    def _leave_memory(self) -> bool:
        self._note("fails")
        self._places.held.pop(self._name)
        if self._wanted.otherwise == "none":
            return False
        if self._wanted.otherwise != "spill":
            words = f"`{self._name}` does not fit the memory budget, and `{self._wanted.pointer}` names no other place"
            raise PreconditionFailed(words, help="raise budgets.cache_bytes, or give the rule another `otherwise`")
        self._placement, self._budget = "spill", None
        self._append()
        return True

    def _append(self) -> None:
        # The engine reads files in the order of their paths, and delta-rs names them at random: a folder an append
        # keeps rows in the order they came in, and so does one batch, since it permutes several. Repeatable sessions
        # rely on both.
        part = pa.scalar(f"{self._appended:06}", pa.string())
        schema = self._schema.append(pa.field(_PART, pa.string(), nullable=False))
        numbered = (
            pa.RecordBatch.from_arrays([*batch.columns, pa.repeat(part, batch.num_rows)], schema=schema)
            for batch in one_batch(self._schema, self._kept)
        )
        reader = pa.RecordBatchReader.from_batches(schema, numbered)
        with writing(f"the spill of `{self._name}`"):
            write_deltalake(
                str(self._path),
                reader,
                mode="append",
                partition_by=[_PART],
                writer_properties=WriterProperties(column_properties=dict.fromkeys(self._floats, _UNTOLD)),
            )
        self._kept, self._size, self._appended = [], 0, self._appended + 1

    def _table(self) -> DeltaTable:
        return DeltaTable(str(self._path))

    def _note(self, outcome: str) -> None:
        assert self._budget is not None
        self._places.ledger.add(
            "guard",
            self._name,
            f"within_memory_budget: {outcome}",
            self._wanted.pointer,
            detail={"budget": self._budget.pointer},
            rows=self._rows,
            bytes=self._size,
        )


class PlaceBeside(Place):
    """A table in the making while the Delta engine writes another from a stream that this one branches off.

    The engine cannot be called inside its own write: with few cores it would wait for itself. So what spills goes to
    plain files, and they become a table when all rows are there.
    """

    def _append(self) -> None:
        with writing(f"the spill of `{self._name}`"):
            self._path.mkdir(parents=True, exist_ok=True)
            file = self._path / f"{self._rows}.parquet"  # rows only grow, so no name comes twice
            told = [name for name in self._schema.names if name not in self._floats]
            pq.write_table(pa.Table.from_batches(self._kept, self._schema), file, write_statistics=told or False)
        self._kept, self._size = [], 0

    def _table(self) -> DeltaTable:
        with writing(f"the spill of `{self._name}`"):
            convert_to_deltalake(str(self._path))
        return super()._table()
