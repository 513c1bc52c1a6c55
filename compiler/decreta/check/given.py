"""Hold what a relation gives to its template or table function against the relations given: their columns are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from decreta.check.rows import Rows
from decreta.check.scope import Declared
from decreta.diagnostics import Related, Report, did_you_mean
from decreta.model.program import Arguments, Relation

_Path = tuple[str | int, ...]


def check_given(relation: Relation, known: Mapping[str, Rows], declared: Declared, report: Report) -> None:
    """Report each column that a relation gives or carries and that is not there, where it is given."""
    for table, column, path in _given(relation):
        if table not in known or column in known[table].columns:
            continue
        hint = did_you_mean(column, known[table].columns)
        place = relation.written.place(*path)
        related = [Related(columns, f"the columns of `{table}`") for columns in declared(table)]
        words, cause = f"`{table}` has no column `{column}`", f"{table}.{column}"
        report.error("D303", words, place, help=hint, related=related, cause=cause)


def _given(relation: Relation) -> Iterator[tuple[str, str, _Path]]:
    """Yield the table, the column and the path in the spec of each column that is given by name."""
    application = relation.application
    arguments: Arguments | None = application.arguments if application else None
    if relation.call is not None:
        arguments = relation.call.arguments
    if arguments is None:
        return
    for name, argument in arguments.relations.items():
        for local, column in argument.columns.items():
            if isinstance(column, str):
                yield argument.relation, column, ("with", name, "columns", local)
            else:
                for i, one in enumerate(column):
                    yield argument.relation, one, ("with", name, "columns", local, i)
    for name, columns in (application.carry if application else {}).items():
        if name in arguments.relations:
            for i, (column, as_) in enumerate(columns):
                path = ("carry", name, i if column == as_ else column)
                if column != "*":
                    yield arguments.relations[name].relation, column, path
