"""Examples of a template or relation, put into the names of the relation that is tested."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from decreta.model.program import Application, CheckedRelation
from decreta.model.spec import ExampleSpec

_Row = dict[str, Any]


class Example(NamedTuple):
    """Rows given by input table, and the rows expected; columns that are not named do not matter."""

    name: str
    given: dict[str, list[_Row]]
    expect: list[_Row]


def examples(relation: CheckedRelation) -> list[Example]:
    """Return the examples that bear on `relation`: its own, or those of its template with the same choices."""
    application = relation.bound.relation.application
    found = []
    for written in relation.examples:
        example = written.spec
        if application is None:
            found.append(Example(_identifier(example.name), dict(example.given), list(example.expect)))
        elif (bound := _applied(relation, application, example)) is not None:
            found.append(bound)
    return found


def _applied(relation: CheckedRelation, application: Application, example: ExampleSpec) -> Example | None:
    chosen = {**application.choices, **application.scalars}
    if any(chosen.get(name) != value for name, value in example.with_.items()):
        return None
    if len({a.relation for a in application.relations.values()}) < len(application.relations):
        return None  # one table in two parts: rows given to one part would show up in the other
    given: dict[str, list[_Row]] = {}
    for parameter, rows in example.given.items():
        argument = application.relations[parameter]
        named = [_row(row, dict(argument.columns)) for row in rows]
        if any(row is None for row in named):
            return None
        given[argument.relation] = [row for row in named if row is not None]
    outputs = {name: o.as_ for name, o in relation.bound.relation.outputs.items() if o.as_}
    expect = [{outputs.get(name, name): value for name, value in row.items()} for row in example.expect]
    return Example(_identifier(example.name), given, expect)


def _row(row: _Row, columns: dict[str, str | tuple[str, ...]]) -> _Row | None:
    """Return a row in the table's own names; a list of columns takes a list of values of the same length."""
    named: _Row = {}
    for local, value in row.items():
        actual = columns[local]
        if isinstance(actual, str):
            named[actual] = value
        elif isinstance(value, list) and len(value) == len(actual):
            named |= dict(zip(actual, value, strict=True))
        else:
            return None
    return named


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower()).strip("_")
