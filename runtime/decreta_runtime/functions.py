"""Call the pack's own functions, Arrow in and Arrow out: scalar ones inside SQL, table functions between relations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from datafusion import ScalarUDF, SessionContext, udf

from decreta_runtime.arrow import arrow_type
from decreta_runtime.contract.errors import FunctionFailed
from decreta_runtime.contract.manifest import Call
from decreta_runtime.load import LoadedPack
from decreta_runtime.scan import quote


def scalar_functions(pack: LoadedPack) -> list[ScalarUDF]:
    """Return the pack's scalar functions as the engine takes them."""
    found = []
    for name, entry in pack.manifest.functions.items():
        function: Callable[..., Any] = getattr(pack.module(f"code.{entry.module}"), name)
        arguments = [arrow_type(argument) for argument in entry.arguments]
        found.append(udf(function, arguments, arrow_type(entry.returns), entry.volatility, name))
    return found


def call_table_function(pack: LoadedPack, name: str, call: Call, context: SessionContext) -> Iterator[pa.RecordBatch]:
    """Yield the rows that a table function computes from the inputs registered in `context`.

    The function is called as `(inputs: dict[str, RecordBatchReader], arguments: dict) -> RecordBatchReader`.
    Raises FunctionFailed.
    """
    function: Callable[..., Any] = getattr(pack.module(f"code.{call.module}"), call.function)
    inputs = {parameter: _reader(context, given.relation, given.columns) for parameter, given in call.inputs.items()}
    try:
        rows = function(inputs, dict(call.arguments))
        if isinstance(rows, pa.RecordBatchReader):
            yield from rows
            return
    except Exception as error:  # noqa: BLE001 - a pack's own code may fail in any way
        raise FunctionFailed(name, call.function, f"raised {type(error).__name__}: {error}") from None
    raise FunctionFailed(name, call.function, f"returned a {type(rows).__name__}, not a RecordBatchReader")


def _reader(context: SessionContext, relation: str, columns: dict[str, str]) -> pa.RecordBatchReader:
    listed = ", ".join(f"{quote(actual)} AS {quote(local)}" for local, actual in columns.items())
    frame = context.sql(f"SELECT {listed} FROM {quote(relation)}")
    schema = pa.schema(frame.schema())
    return pa.RecordBatchReader.from_batches(schema, (batch.to_pyarrow() for batch in frame.execute_stream()))
