"""Keep rows for the length of a run: in memory while the budget lasts, else in a spill, as the policy says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from datafusion import SessionContext
from deltalake import DeltaTable, write_deltalake

from decreta_runtime.arrow import exactly, schema_of
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import Choice, Policy, ScanValue
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned, register_scan

_SPILL_SCAN = ScanValue(path="native", pushdown=False, page_index=False)
"""How a spill is read back: whole, by the files that this run has just written itself."""


class Placed(NamedTuple):
    """Where rows ended up, and how many."""

    placement: str
    rows: int
    bytes: int


class Places:
    """The memory budget of one run and the spills beside it."""

    def __init__(self, context: SessionContext, policy: Policy, spill: Path, ledger: Ledger) -> None:
        self._context, self._spill, self._ledger = context, spill, ledger
        self._policy = policy
        self._held: dict[str, int] = {}

    def put(
        self,
        name: str,
        batches: Iterable[pa.RecordBatch],
        columns: tuple[Column, ...],
        wanted: str,
        choice: Choice[object],
    ) -> Placed:
        """Register the rows of `batches` as the table `name`, in the placement `wanted` by `choice`.

        Memory is counted while the rows come; at the budget they go to a spill, those already read first.
        """
        schema = schema_of(columns)
        stream = iter(exactly(batches, schema, name))
        kept: list[pa.RecordBatch] = []
        size = 0
        if wanted == "memory":
            budget = self._policy.budget("cache_bytes")
            left = budget.value - sum(self._held.values())
            for batch in stream:
                kept.append(batch)
                size += batch.get_total_buffer_size()
                if size > left:
                    break
            fits = size <= left
            self._ledger.add(
                "guard",
                name,
                f"within_memory_budget: {'holds' if fits else 'fails'}",
                choice.pointer,
                detail={"budget": budget.pointer},
                bytes=size,
            )
            if fits:
                return self._memory(name, kept, schema, size)
        return self._spilled(name, chain(kept, stream), columns, schema)

    def drop(self, name: str) -> None:
        """Forget the rows of `name`; a view or table that was not placed is only taken out of the session."""
        self._held.pop(name, None)
        self._context.deregister_table(name)

    def _memory(self, name: str, batches: list[pa.RecordBatch], schema: pa.Schema, size: int) -> Placed:
        self._held[name] = size
        rows = sum(batch.num_rows for batch in batches)
        self._context.register_record_batches(name, [batches or schema.empty_table().to_batches() or [_none(schema)]])
        return Placed("memory", rows, size)

    def _spilled(
        self, name: str, batches: Iterable[pa.RecordBatch], columns: tuple[Column, ...], schema: pa.Schema
    ) -> Placed:
        path = self._spill / name
        rows = 0

        def counted() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for batch in batches:
                rows += batch.num_rows
                yield batch

        write_deltalake(str(path), pa.RecordBatchReader.from_batches(schema, counted()), mode="error")
        table = DeltaTable(str(path))
        scanned = register_scan(self._context, Pinned(name, path, table.version(), table), columns, _SPILL_SCAN)
        return Placed("spill", rows, scanned.bytes)


def _none(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
