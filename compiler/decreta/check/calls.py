"""Hold the call of a table function against its inputs: each column that it asks for is there."""

from __future__ import annotations

from collections.abc import Mapping

from decreta.diagnostics import Report, did_you_mean
from decreta.model.program import Call, Relation
from decreta_runtime.contract.manifest import Column


def required(
    relation: Relation, call: Call, tables: Mapping[str, tuple[Column, ...]], report: Report
) -> dict[str, tuple[str, ...]]:
    """Return for each input the columns that the function is given, reporting those that are not there."""
    found: dict[str, set[str]] = {}
    for name, argument in call.arguments.relations.items():
        known = [column.name for column in tables[argument.relation]]
        for local, column in argument.columns.items():
            for actual in (column,) if isinstance(column, str) else column:
                if actual not in known:
                    place = relation.written.place("with", name, "columns", local)
                    hint = did_you_mean(actual, known)
                    report.error("D303", f"`{argument.relation}` has no column `{actual}`", place, help=hint)
                found.setdefault(argument.relation, set()).add(actual)
    return {name: tuple(sorted(columns)) for name, columns in sorted(found.items())}
