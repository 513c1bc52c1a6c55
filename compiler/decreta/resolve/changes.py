"""What an object promises of its changes, held against its columns and its source."""

from __future__ import annotations

from decreta.diagnostics import Report, did_you_mean
from decreta.model.program import Written
from decreta.model.spec import ObjectSpec, TableSpec
from decreta_runtime.contract.manifest import Changes, Column

_REPLACED = ("int8", "int16", "int32", "int64", "string", "date")


def changes(written: Written[ObjectSpec], columns: tuple[Column, ...], report: Report) -> Changes:
    """Return how an object changes, reporting a promise that its columns or its source cannot keep."""
    spec = written.spec.changes
    known = {column.name: column for column in columns}
    by = known.get(spec.column or "")
    if spec.kind == "replace_by" and spec.column is None:
        words, help = "`replace_by` needs a `column`", "name the column whose values are replaced one by one"
        report.error("D202", words, written.key("changes"), help=help)
    for key in ("column", "visible"):
        name = getattr(spec, key)
        if name is None:
            continue
        if spec.kind != "replace_by":
            words = f"`{key}` is of `replace_by`"
            report.error("D203", words, written.key("changes", key), help="remove it, or write `kind: replace_by`")
        elif name not in known:
            hint, place = did_you_mean(name, known), written.place("changes", key)
            report.error("D303", f"there is no column `{name}`", place, help=hint)
    if by is not None and (by.nullable or by.type not in _REPLACED):
        words = "is nullable" if by.nullable else f"is of type {by.type}"
        help = "rows are replaced by a whole number, a string or a date that is never null"
        report.error("D203", f"`{by.name}` {words}", written.place("changes", "column"), help=help)
    if spec.lateness is not None and (by is None or by.type != "date"):
        help = "lateness is of a `column` of dates"
        report.error("D203", "there are no days that could be late", written.key("changes", "lateness"), help=help)
    if spec.kind == "cdf" and not isinstance(written.spec.source, TableSpec):
        help = "only a table of others keeps a change data feed: write `append` or `replace_by`"
        report.error("D203", "the object is filled by a source", written.place("changes", "kind"), help=help)
    days = int(spec.lateness.split()[0]) if spec.lateness is not None else None
    return Changes(kind=spec.kind, column=spec.column, lateness_days=days, visible=spec.visible)
