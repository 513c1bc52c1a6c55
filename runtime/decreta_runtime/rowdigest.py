"""A digest of rows that depends on their values alone: not on order, files, partitions or batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from decreta_runtime.contract.package import Rows
from decreta_runtime.session import bare_session

_NULL = "-"
_NESTED = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)


def rows_digest(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Rows:
    """Return how many rows there are, and SHA-256 over the sorted SHA-256 of each.

    A row is written as the length and the text of each value, so no two rows are written alike; null has no length.
    Floats count to their last bit: 0.0 and -0.0 differ, and each NaN is NaN. Names and types count too.
    """
    whole = hashlib.sha256(repr([(field.name, str(field.type)) for field in schema]).encode())
    table = pa.Table.from_batches([_plain(batch) for batch in batches], _texts(schema))
    if table.num_rows and table.num_columns:
        context = bare_session()
        context.register_record_batches("rows", [table.to_batches()])
        parts = ", ".join(
            f"coalesce(concat(CAST(octet_length({name}) AS VARCHAR), ':', {name}), '{_NULL}'), ';'"
            for name in table.column_names
        )
        found = context.sql(f"SELECT sha256(concat({parts})) AS h FROM rows").collect()
        whole.update(b"".join(sorted(h for batch in found for h in batch["h"].to_pylist())))
    whole.update(str(table.num_rows).encode())
    return Rows(count=table.num_rows, digest="sha256:" + whole.hexdigest())


def _texts(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(f"c{i}", pa.large_string()) for i in range(len(schema))])


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [_text(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=_texts(batch.schema))


def _text(column: pa.Array) -> pa.Array:
    kind = column.type
    if any(of(kind) for of in _NESTED):
        return pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.large_string())
    if pa.types.is_timestamp(kind):
        return pc.cast(pc.cast(column, pa.int64()), pa.large_string())
    if pa.types.is_floating(kind):
        known = pc.if_else(pc.is_nan(column), pa.scalar(float("nan"), kind), column)
        return pc.cast(
            known.view(pa.int64() if kind.bit_width == pa.int64().bit_width else pa.int32()), pa.large_string()
        )
    return pc.cast(column, pa.large_string())
