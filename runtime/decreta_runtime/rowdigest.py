"""Digests of rows that depend on their values alone: not on order, files, partitions, batches or layout in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from decreta_runtime.contract.package import Rows
from decreta_runtime.session import bare_session

_TEXT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)
_DECIMAL = (pa.types.is_decimal32, pa.types.is_decimal64, pa.types.is_decimal128)
_WORDS = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
"""Bits of a fixed-width value → the integers that it is read as."""
_BATCH = 1 << 16
"""Rows that the engine hashes at a time."""


def rows_digest(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Rows:
    """Return how many rows there are, and a SHA-256 over all of them: rows are equal if and only if it is.

    Rows are brought into an order that follows from their values, then every column is hashed whole: where it is null,
    the length of each text or list, the bytes of each value. Floats count to their last bit: 0.0 and -0.0 differ, and
    each NaN is NaN. Names and types count too. The table must fit into memory.
    """
    table = pa.Table.from_batches(batches, schema)
    whole = hashlib.sha256(repr([(field.name, _said(field.type)) for field in schema]).encode())
    whole.update(str(table.num_rows).encode())
    if table.num_rows and table.num_columns:
        columns = [_normal(column) for column in table.columns]
        order = _order(columns)
        with ThreadPoolExecutor() as pool:  # Arrow and hashlib leave the interpreter to others meanwhile
            whole.update(b"".join(pool.map(lambda column: _column_digest(column.take(order)), columns)))
    return Rows(count=table.num_rows, digest="sha256:" + whole.hexdigest())


def loose_values(table: pa.Table, loose: Sequence[str]) -> dict[str, list[float | None]]:
    """Return the values of some columns in an order that follows from the other columns, and then from their own.

    Where the others are a key this is row by row; else each column's values are those of rows alike in the others.
    """
    exact = [_normal(table[name]) for name in table.column_names if name not in loose]
    place = pa.table({"row": pa.array([], pa.int64())})
    if table.num_rows and exact:
        asked = f"SELECT row, {_hash(exact)} AS h, {_hash(exact, '1, ')} AS again FROM rows"
        place = _ask(exact, asked).sort_by("row")
    found = {}
    for name in loose:
        keys = [place[key] for key in ("h", "again") if key in place.column_names]
        sorted_by = pa.table([*keys, table[name]], names=[*"ab"[: len(keys)], "value"])
        order = pc.sort_indices(sorted_by, [(key, "ascending") for key in sorted_by.column_names])
        found[name] = table[name].take(order).to_pylist()
    return found


def quick_digest(table: pa.Table) -> str:
    """Return the count, sum and xor of a 64-bit hash of each row: for comparing two runs, no proof against intent.

    It tells the same rows apart from others as `rows_digest` does, but for chance of the order of 2**-64.
    """
    names = repr([(field.name, _said(field.type)) for field in table.schema])
    found = {"low": 0, "high": 0, "mixed": 0}
    if table.num_rows and table.num_columns:
        sums = "sum(h & 4294967295) AS low, sum(h >> 32) AS high, bit_xor(h) AS mixed"  # halves: no sum overflows
        columns = [_normal(column) for column in table.columns]
        (found,) = _ask(columns, f"SELECT {sums} FROM (SELECT {_hash(columns)} AS h FROM rows)").to_pylist()
    head = hashlib.sha256(names.encode()).hexdigest()[:16]
    return f"xxh64:{head}:{table.num_rows}:{(found['high'] << 32) + found['low']}:{found['mixed']}"


def _said(kind: pa.DataType) -> str:
    """Return the words for a type, the same for each of its layouts in memory."""
    if pa.types.is_dictionary(kind):
        return _said(kind.value_type)
    if any(of(kind) for of in _TEXT):
        return "string" if "string" in str(kind) else "binary"
    if any(of(kind) for of in _DECIMAL):
        return f"decimal({kind.precision}, {kind.scale})"
    if _is_list(kind):
        return f"list<{_said(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {_said(field.type)}' for field in kind)}>"
    return str(kind)


def _is_list(kind: pa.DataType) -> bool:
    return any(of(kind) for of in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _normal(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as integers, decimals, bytes or plain lists of them, equal where its values are."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _normal(column.cast(kind.value_type))
    if any(of(kind) for of in _TEXT):
        text = pa.types.is_string_view(kind) or pa.types.is_string(kind)
        return (column.cast(pa.large_string()) if text else column).cast(pa.large_binary()).combine_chunks()
    if _is_list(kind):
        return _list(column)
    whole = column.combine_chunks()
    if any(of(kind) for of in _DECIMAL):
        return whole.cast(pa.decimal128(kind.precision, kind.scale))
    if pa.types.is_boolean(kind):
        return whole.cast(pa.int8())
    if pa.types.is_floating(kind):
        whole = pc.if_else(pc.is_nan(whole), pa.scalar(float("nan"), kind), whole)
    elif not (pa.types.is_integer(kind) or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind))):
        return _written(whole)
    return whole.view(_WORDS[kind.bit_width])


def _list(column: pa.ChunkedArray) -> pa.Array:
    """Return lists of whole scalars as they are; the hash passes over nulls and cannot tell lists of lists apart."""
    whole, of = column.combine_chunks(), column.type.value_type
    inner = whole.flatten()
    if inner.null_count or pa.types.is_nested(of) or pa.types.is_floating(of) or pa.types.is_dictionary(of):
        return _written(whole)
    ends = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(_lengths(pc.list_value_length(whole)))])
    mask = whole.is_null() if whole.null_count else None
    return pa.LargeListArray.from_arrays(ends, _normal(pa.chunked_array([inner])), mask=mask)


def _written(column: pa.Array) -> pa.Array:
    return pa.array(
        [None if value is None else repr(value).encode() for value in column.to_pylist()], pa.large_binary()
    )


def _order(columns: list[pa.Array]) -> pa.Array:
    """Return an order of the rows that follows from their values; a second hash parts rows that share the first."""
    found = _ask(columns, f"SELECT row, {_hash(columns)} AS h FROM rows")
    first = found["h"].combine_chunks()
    order = pc.sort_indices(first)
    ordered = first.take(order)
    if pc.any(pc.equal(ordered[1:], ordered[:-1])).as_py():
        asked = f"SELECT row, {_hash(columns)} AS h, {_hash(columns, '1, ')} AS again FROM rows"
        found = _ask(columns, asked)
        order = pc.sort_indices(found, [("h", "ascending"), ("again", "ascending")])
    return found["row"].combine_chunks().take(order)


def _hash(columns: list[pa.Array], before: str = "") -> str:
    """Return the hash of a row in SQL. It passes over nulls, so each value says beside it whether it is one."""
    names = [f"c{i}" for i in range(len(columns))]
    flags = [f"{name} IS NULL" for name, column in zip(names, columns, strict=True) if column.null_count]
    return f"xxhash64({before}{', '.join([*names, *flags])})"


def _ask(columns: list[pa.Array], statement: str) -> pa.Table:
    """Return the rows of a statement over `rows`: the columns c0, c1 … and the number of each row."""
    numbers = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(columns[0])), start=-1)
    table = pa.table([*columns, numbers], names=[*(f"c{i}" for i in range(len(columns))), "row"])
    context = bare_session()
    context.enable_spark_functions()
    context.register_record_batches("rows", [table.to_batches(max_chunksize=_BATCH)])
    return context.sql(statement).to_arrow_table()


def _column_digest(column: pa.Array) -> bytes:
    hashed = hashlib.sha256()
    for part in _bytes(column):
        hashed.update(part)
    return hashed.digest()


def _bytes(column: pa.Array) -> Iterator[memoryview]:
    """Yield what a column holds: which values are null, how long each is, and the bytes of all."""
    kind = column.type
    yield _fixed(column.is_valid().cast(pa.int8()))
    if pa.types.is_large_list(kind):
        yield _fixed(_lengths(pc.list_value_length(column)))
        yield from _bytes(column.flatten())
    elif pa.types.is_large_binary(kind):
        whole = pc.fill_null(column, b"") if column.null_count else column
        yield _fixed(_lengths(pc.binary_length(whole)))
        ends = memoryview(whole.buffers()[1]).cast("q")
        if whole.buffers()[2] is not None:
            yield memoryview(whole.buffers()[2])[ends[whole.offset] : ends[whole.offset + len(whole)]]
    else:
        yield _fixed(pc.fill_null(column, pa.scalar(0, kind)) if column.null_count else column)


def _lengths(found: pa.Array) -> pa.Array:
    return pc.fill_null(found, 0).cast(pa.int64())


def _fixed(column: pa.Array) -> memoryview:
    width = column.type.bit_width >> 3
    return memoryview(column.buffers()[1])[column.offset * width : (column.offset + len(column)) * width]
