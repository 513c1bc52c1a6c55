"""What a query shape is asked: its example as values of its parameters' types, and others that its tables hold."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from decreta_runtime.contract.manifest import QueryEntry
from decreta_runtime.pack import Pack

_MOST = 50_000
"""Distinct values of a column that are looked at."""


def example(entry: QueryEntry) -> dict[str, Any]:
    """Return the values of a shape's example."""
    return {name: _value(entry.parameters[name], value) for name, value in entry.example.items()}


def samples(pack: Pack, shape: str, times: int) -> list[dict[str, Any]]:
    """Return the example and others, in which what a column must equal is drawn from that column, evenly.

    A look-up lists its table's files anew for each value: the same one over and over would hide what that costs.
    """
    entry = pack.manifest.queries[shape]
    known = {name: _values(pack, *place, times) for name, place in _places(entry).items()}
    base = example(entry)
    others = [base | {name: found[i % len(found)] for name, found in known.items() if found} for i in range(times - 1)]
    return [base, *others]


def _places(entry: QueryEntry) -> dict[str, tuple[str, str]]:
    """Return for parameters that a column must equal the dataset and the column."""
    return {
        value.parameter: (dataset, ask.column)
        for dataset, scans in entry.asks.items()
        for asks in scans
        for ask in asks
        for value in ask.values
        if ask.op == "=" and value.parameter is not None
    }


def _values(pack: Pack, dataset: str, column: str, times: int) -> list[Any]:
    sql = f'SELECT DISTINCT "{column}" AS v FROM "{dataset}" WHERE "{column}" IS NOT NULL ORDER BY v LIMIT {_MOST}'
    found = pack.sql(sql).rows["v"].to_pylist()
    return found[:: max(1, len(found) // times)][:times]


def _value(kind: str, value: Any) -> Any:
    if kind == "date":
        return date.fromisoformat(value)
    return Decimal(value) if kind.startswith("decimal") else value
