"""External indexes that a dataset declares: their columns are there, and are of types that have terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decreta.diagnostics import Report, did_you_mean
from decreta.model.program import Written
from decreta.model.spec import IndexSpec
from decreta_runtime.contract.manifest import Column, IndexEntry
from decreta_runtime.contract.types import has_terms


def indexes(
    written: Written[Any], declared: Mapping[str, IndexSpec], columns: tuple[Column, ...], report: Report
) -> dict[str, IndexEntry]:
    """Return the indexes of a dataset, reporting columns that are not there or cannot be looked up."""
    return {name: _index(written, name, spec, columns, report) for name, spec in declared.items()}


def _index(
    written: Written[Any], name: str, spec: IndexSpec, columns: tuple[Column, ...], report: Report
) -> IndexEntry:
    known, path = {column.name: column for column in columns}, ("indexes", name)
    if (spec.column is None) == (spec.columns is None):
        help = "write `column: NAME`, or `columns: [NAME, …]` for several together"
        report.error("D202", f"the index `{name}` needs one of `column` and `columns`", written.key(*path), help=help)
    listed = [spec.column] if spec.column else spec.columns or []
    for i, column in enumerate(listed):
        place = written.place(*path, "column") if spec.column else written.place(*path, "columns", i)
        if column not in known:
            hint = did_you_mean(column, known)
            report.error("D303", f"there is no column `{column}`", place, help=hint)
        elif not has_terms(known[column].type):
            help = "index a column that is compared by equality"
            report.error("D203", f"a {known[column].type} has no terms to look up", place, help=help)
        elif column in listed[:i]:
            report.error("D203", f"`{column}` is listed twice", place, help="remove one")
    return IndexEntry(kind=spec.kind, columns=tuple(listed))
