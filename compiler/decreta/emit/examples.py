"""Examples of a template or relation, put into the names of the relation that is tested."""

from __future__ import annotations

import re
from decimal import Decimal
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
        if application is None or written.doc is relation.bound.relation.written.doc:
            given = {name: [row for row in rows if isinstance(row, dict)] for name, rows in example.given.items()}
            found.append(Example(_identifier(example.name), given, list(example.expect)))
        elif (bound := _applied(relation, application, example)) is not None:
            found.append(bound)
    return found


def _applied(relation: CheckedRelation, application: Application, example: ExampleSpec) -> Example | None:
    """Return a template's example in the relation's names, or None if the relation uses the template otherwise."""
    arguments = application.arguments
    scalars = {n: str(v) if isinstance(v, Decimal) else v for n, v in arguments.scalars.items()}
    chosen = {**arguments.choices, **scalars, **arguments.durations}
    lists: dict[str, str] = {}
    for name, value in example.with_.items():
        actual = arguments.columns.get(name)
        if isinstance(value, list) and actual and len(actual) == len(value):
            lists |= dict(zip(value, actual, strict=True))
        elif chosen.get(name) != value:
            return None
    if arguments.expressions or arguments.united or example.carry or set(arguments.columns) - set(example.with_):
        return None
    if len({a.relation for a in arguments.relations.values()}) < len(arguments.relations):
        return None  # one table in two parts: rows given to one part would show up in the other
    given: dict[str, list[_Row]] = {}
    for parameter, rows in example.given.items():
        argument = arguments.relations[parameter]
        named = [_row(row, {**lists, **argument.columns}) for row in rows if isinstance(row, dict)]
        if any(row is None for row in named):
            return None
        given[argument.relation] = [row for row in named if row is not None]
    outputs = lists | {name: o.as_ for name, o in relation.bound.relation.outputs.items() if o.as_}
    expect = [{outputs.get(name, name): value for name, value in row.items()} for row in example.expect]
    names = {column.name for column in relation.columns}
    if any(not row.keys() <= names for row in expect):
        return None
    return Example(_identifier(example.name), given, expect)


def _row(row: _Row, columns: dict[str, str | tuple[str, ...]]) -> _Row | None:
    """Return a row in the table's own names; a list of columns takes a list of values of the same length."""
    named: _Row = {}
    for local, value in row.items():
        actual = columns.get(local)
        if isinstance(actual, str):
            named[actual] = value
        elif isinstance(actual, tuple) and isinstance(value, list) and len(value) == len(actual):
            named |= dict(zip(actual, value, strict=True))
        else:
            return None
    return named


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower()).strip("_")
