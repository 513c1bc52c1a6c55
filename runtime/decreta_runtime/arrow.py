"""Column contracts as Arrow schemas, and batches brought to exactly that schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from decreta_runtime.contract import types
from decreta_runtime.contract.errors import CheckViolated, SchemaMismatch
from decreta_runtime.contract.manifest import Column

_SCALARS = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_local": pa.timestamp("us"),
}


def arrow_type(spec: str) -> pa.DataType:
    """Return the Arrow type of a spec type."""
    if scalar := _SCALARS.get(spec):
        return scalar
    if spec.startswith("list<"):
        return pa.list_(arrow_type(spec[5:-1]))
    precision, scale = spec.removeprefix("decimal(").removesuffix(")").split(",")
    return pa.decimal128(int(precision), int(scale))


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """Return the Arrow schema of a contract."""
    return pa.schema([pa.field(c.name, arrow_type(c.type), nullable=c.nullable) for c in columns])


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch of no rows."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def one_batch(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `batches` as one batch; as few as can be where a column has more text than one may hold."""
    yield from pa.Table.from_batches(batches, schema).combine_chunks().to_batches()


def differences(found: pa.Schema, columns: Iterable[Column]) -> list[str]:
    """Say how `found` falls short of a contract: columns that are missing or of another type. More columns are none."""
    words = []
    for column in columns:
        index = found.get_field_index(column.name)
        if index < 0:
            words.append(f"`{column.name}` is missing")
            continue
        spec = types.from_arrow(str(found.field(index).type))
        if spec != column.type:
            words.append(f"`{column.name}` is {spec or found.field(index).type}, the contract says {column.type}")
    return words


def require(found: pa.Schema, columns: Iterable[Column], subject: str) -> None:
    """Raise SchemaMismatch, naming each difference, if `found` falls short of a contract."""
    if words := differences(found, columns):
        raise SchemaMismatch(
            f"{subject} is not as compiled: {'; '.join(words)}",
            help="correct the object's spec and regenerate, or bind another table",
        )


def require_no_more(found: pa.Schema, columns: Iterable[Column], subject: str) -> None:
    """Raise SchemaMismatch if `found` has columns that a contract does not know."""
    if more := [name for name in found.names if name not in {c.name for c in columns}]:
        raise SchemaMismatch(
            f"{subject} has columns that its contract does not know: {_listed(more)}",
            help="add them to the object's spec, or write `on_upstream_change: ignore_new`",
        )


def exactly(batches: Iterable[pa.RecordBatch], schema: pa.Schema, subject: str) -> Iterator[pa.RecordBatch]:
    """Yield `batches` in `schema`: columns by name, another layout of the same type rewritten, nothing else cast.

    Delta would cast '7' to 7 and drop a fraction without a word, so an unlike type raises SchemaMismatch, as does a
    column that is missing, twice there or not in the contract; a null where the contract has none raises CheckViolated.
    """
    for batch in batches:
        if sorted(batch.schema.names) != sorted(schema.names):
            raise SchemaMismatch(
                f"`{subject}` came with the columns {_listed(batch.schema.names)}, "
                f"its contract has {_listed(schema.names)}",
                help="regenerate the pack, or mend the adapter that emits it",
            )
        arrays = []
        for field in schema:
            array = batch.column(batch.schema.get_field_index(field.name))
            if array.type != field.type:
                same = types.from_arrow(str(array.type)) == types.from_arrow(str(field.type))
                if not same and not _fits(array, field.type):
                    raise SchemaMismatch(
                        f"`{subject}.{field.name}` came as {array.type}, its contract says {field.type}",
                        help="regenerate the pack, or mend the adapter that emits it",
                    )
                array = array.cast(field.type)
            if not field.nullable and array.null_count:
                raise CheckViolated(
                    f"`{subject}.{field.name}` has {array.null_count} nulls, its contract allows none",
                    help="mend the source, or declare the column `nullable: true`",
                )
            arrays.append(array)
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _fits(array: pa.Array, kind: pa.DataType) -> bool:
    """Whether decimals fit another width of their scale: the engine may plan a sum with one and run it with another."""
    if not (pa.types.is_decimal(array.type) and pa.types.is_decimal(kind) and array.type.scale == kind.scale):
        return False
    try:
        array.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def plain(table: pa.Table) -> pa.Table:
    """Return `table` with the closed table's layouts in place of the engine's views."""
    fields = []
    for field in table.schema:
        spec = types.from_arrow(str(field.type))
        fields.append(field.with_type(arrow_type(spec)) if spec else field)
    return table.cast(pa.schema(fields))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
