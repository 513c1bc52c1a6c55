"""Hold a statement's result against what its relation declares: columns, types, domains, keys, sort."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from decreta.check.rows import WHOLE, Rows
from decreta.diagnostics import Report, did_you_mean
from decreta.engine import PlannedColumn
from decreta.model.program import BoundQuery, Relation, Statement, Written
from decreta.model.spec import (
    ExampleSpec,
    OutputSpec,
    ParameterSpec,
    RelationParameter,
    RelationsParameter,
    ScalarParameter,
    domains,
)
from decreta.source import Span
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import Column, Key, Locality

_OWN_COLUMNS = ("columns", "expression", "expressions")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def check_names(statement: Statement, rows: Rows, report: Report) -> None:
    """Report output columns whose names are not plain: engines fold their case, each in its own way."""
    told = {d.span for d in report.diagnostics()}  # a column that is not there has no name to mend
    for name in rows.columns:
        if not _NAME.fullmatch(name):
            written = (s for s in statement.tree.selects if s.alias_or_name == name)
            place = statement.span(next(written, statement.tree))
            if place in told:
                continue
            help = "name it in lower-case letters, digits and `_`, beginning with a letter"
            report.error("D210", f"`{name}` cannot be the name of a column", place, help=help)


def check_renames(columns: Iterable[Column], written: Written[Any], keys: Mapping[str, str], report: Report) -> None:
    """Report columns that take the name of one that is there still, or of one that another takes too."""
    now, taken = {column.name for column in columns}, dict[str, str]()
    for column in columns:
        if (old := column.renamed_from) is None:
            continue
        place = written.place("columns", keys.get(column.name, column.name), "renamed_from")
        if old in now:
            report.error("D203", f"`{old}` is a column still", place, help="name what the column was called before")
        elif (other := taken.setdefault(old, column.name)) != column.name:
            words = f"`{other}` is renamed from `{old}` already"
            report.error("D203", words, place, help="one column takes its place, the other is new")


def columns(relation: Relation, planned: list[PlannedColumn], rows: Rows, report: Report) -> tuple[Column, ...]:
    """Return the relation's contract: what the planner infers, with what its spec declares laid over it."""
    written = relation.written
    declared = {o.as_ or name: (name, o) for name, o in relation.outputs.items()}
    for name, (key, _) in declared.items():
        if name not in rows.columns:
            hint = did_you_mean(name, rows.columns)
            report.error(
                "D303", f"`{relation.name}` has no output column `{name}`", written.key("columns", key), help=hint
            )
    result = []
    for column in planned:
        key, output = declared.get(column.name, (column.name, OutputSpec.model_validate({})))
        place = written.place("columns", key, "type") if output.type else relation.place()
        result.append(_column(column, output, rows, relation, key, place, report))
    check_renames(result, written, {new: key for new, (key, _) in declared.items()}, report)
    return tuple(result)


def _column(
    column: PlannedColumn,
    output: OutputSpec,
    rows: Rows,
    relation: Relation,
    key: str,
    place: Span,
    report: Report,
) -> Column:
    kind = _type(column, place, report)
    if output.type is not None:
        names = types.names_of(output.type)
        if names is None:
            hint = did_you_mean(output.type, types.SCALARS)
            report.error("D203", f"unknown type `{output.type}`", place, help=hint)
        elif names.spec != kind:
            report.error(
                "D310",
                f"`{column.name}` is declared {names.spec} and is {kind}",
                place,
                help="correct the type, or CAST",
            )
    flow = rows.columns[column.name].domain
    domain = domains(output.domain)
    if domain and flow and not flow <= set(domain):
        flowing = " + ".join(f"`{d}`" for d in sorted(flow))
        report.error(
            "D309",
            f"`{column.name}` holds keys of {flowing}",
            relation.written.place("columns", key, "domain"),
            help="declare the sum: `domain: [a, b]`",
        )
    elif len(flow) > 1 and not domain:
        flowing = ", ".join(sorted(flow))
        report.error(
            "D309",
            f"keys of several domains meet in `{column.name}`",
            relation.place(),
            help=f"declare the sum under columns: {column.name}: {{domain: [{flowing}]}}",
        )
    return Column(
        name=column.name,
        type=kind,
        nullable=column.nullable if output.nullable is None else output.nullable,
        role=output.role,
        domain=domain or tuple(sorted(flow)),
        renamed_from=output.renamed_from,
    )


def _type(column: PlannedColumn, place: Span, report: Report) -> str:
    if column.type is None:
        help = "write CAST(… AS BIGINT)" if column.arrow.startswith("uint") else "CAST it to a type of the table"
        report.error("D310", f"`{column.name}` is {column.arrow}, a type that tables do not have", place, help=help)
    return column.type or "string"


def key(relation: Relation, columns: tuple[Column, ...], rows: Rows, report: Report) -> Key | None:
    """Return the relation's key and whether the inputs' keys and the joins prove it; None if it has none.

    A key that the template provides is left out where a column of it may be null: it would be no key.
    """
    written = relation.written
    known = {column.name: column for column in columns}
    declared = written.spec.key
    if declared is None:
        declared = _provided_key(relation)
        if not declared or any(name not in known or known[name].nullable for name in declared):
            return None
    for i, name in enumerate(declared):
        if name not in known:
            span = written.place("key", i)
            report.error("D303", f"`{relation.name}` has no column `{name}`", span, help=did_you_mean(name, known))
        elif known[name].nullable:
            span = written.place("key", i)
            report.error(
                "D311", f"the key column `{name}` is nullable", span, help="filter nulls, or declare the column"
            )
    proven = any(candidate <= set(declared) for candidate in rows.keys)
    return Key(columns=tuple(declared), known="proven" if proven else "checked")


def _provided_key(relation: Relation) -> list[str]:
    application = relation.application
    if application is None or application.provides.key is None:
        return []
    lists, names = application.arguments.columns, list[str]()
    for part in application.provides.key:
        names += lists.get(part[1:], ()) if part.startswith("$") else [part]
    renamed = {name: o.as_ for name, o in relation.outputs.items() if o.as_}
    return [renamed.get(name, name) for name in names]


def varying(relation: Relation, columns: tuple[Column, ...], report: Report) -> None:
    """Check that what is declared to vary are columns, and that only floats are given a tolerance."""
    types = {column.name: column.type for column in columns}
    for name, tolerance in relation.written.spec.varies.items():
        place = relation.written.key("varies", name)
        if name not in types:
            hint = did_you_mean(name, types)
            report.error("D303", f"`{relation.name}` has no column `{name}`", place, help=hint)
        elif tolerance != "any" and not types[name].startswith("float"):
            words = f"`{name}` is {types[name]}, and only floats differ by a share"
            report.error("D203", words, relation.written.place("varies", name), help="write `any`, or leave it out")


def wants_locality(relation: Relation) -> bool:
    """Whether a relation declares a locality, or its template provides one."""
    application = relation.application
    return relation.written.spec.local_to is not None or bool(application and application.provides.local_to)


def locality(relation: Relation, rows: Rows, report: Report) -> Locality | None:
    """Return the column by which the relation falls apart, and the column of each input that goes with it.

    What the spec declares must be proven; what its template provides is taken where it can be.
    """
    declared = relation.written.spec.local_to
    apart = {name: inputs for name, inputs in rows.local.items() if WHOLE not in inputs.values()}
    if declared is not None:
        if declared in apart:
            return Locality(column=declared, inputs=dict(apart[declared]))
        place = relation.written.place("local_to")
        if declared not in rows.columns:
            hint = did_you_mean(declared, rows.columns)
            report.error("D303", f"`{relation.name}` has no column `{declared}`", place, help=hint)
        else:
            proven = ", ".join(f"`{name}`" for name in apart) or "no column"
            report.error(
                "D318",
                f"`{relation.name}` is not shown to be local to `{declared}`",
                place,
                help=f"it is local to {proven}; it must never be null, every table needs a column that the joins make "
                "equal to it, and groupings and windows must contain it",
            )
        return None
    application = relation.application
    if application is None or application.provides.local_to is None:
        return None
    parameter, local = application.provides.local_to.split(".")
    argument = application.arguments.relations.get(parameter)
    wanted = argument.columns.get(local) if argument else None
    for name, inputs in apart.items():
        if argument and inputs.get(argument.relation) == wanted:
            return Locality(column=name, inputs=dict(inputs))
    return None


def call_columns(relation: Relation, report: Report) -> tuple[Column, ...]:
    """Return the columns of a table function's result, all of which its relation declares with their types."""
    if not relation.outputs:
        report.error(
            "D202", "the result of a table function has no declared columns", relation.place(), help="write `columns`"
        )
    found = []
    for name, output in relation.outputs.items():
        place = relation.written.place("columns", name)
        names = types.names_of(output.type) if output.type else None
        if names is None:
            words = f"unknown type `{output.type}`" if output.type else f"`{name}` needs a `type`"
            report.error("D203" if output.type else "D202", words, place, help="its type is not inferred")
            continue
        found.append(
            Column(
                name=output.as_ or name,
                type=names.spec,
                nullable=bool(output.nullable),
                role=output.role,
                domain=domains(output.domain),
                renamed_from=output.renamed_from,
            )
        )
    check_renames(found, relation.written, {o.as_ or name: name for name, o in relation.outputs.items()}, report)
    return tuple(found)


def sort(relation: Relation, columns: tuple[Column, ...], report: Report) -> tuple[str, ...]:
    """Return the columns that a stored relation's rows are sorted by."""
    layout = relation.written.spec.layout
    if layout is None:
        return ()
    known = [column.name for column in columns]
    for i, name in enumerate(layout.sort):
        if name not in known:
            place = relation.written.place("layout", "sort", i)
            report.error("D303", f"there is no column `{name}`", place, help=did_you_mean(name, known))
    return tuple(layout.sort)


def examples_fit(
    relation: Relation,
    examples: tuple[Written[ExampleSpec], ...],
    columns: tuple[Column, ...],
    tables: Mapping[str, tuple[Column, ...]],
    report: Report,
) -> bool:
    """Report every name in an example that is no input, column or output; say whether there is none."""
    before = Report()
    application = relation.application
    for example in examples:
        if application is None or example.doc is relation.written.doc:
            given: Mapping[str, Iterable[str] | None] = {name: [c.name for c in cs] for name, cs in tables.items()}
            _fits(example, (), given, [column.name for column in columns], before)
        else:
            parameters = application.template.written.spec.parameters
            _fits(example, parameters, _local_names(parameters), None, before)
    report.extend(before)
    return not before.failed


def _local_names(parameters: Mapping[str, ParameterSpec]) -> dict[str, Iterable[str] | None]:
    """Return the names that rows of each relation parameter may have in an example; None where it may have its own."""
    own = any(isinstance(p, ScalarParameter) and p.type in _OWN_COLUMNS for p in parameters.values())
    found: dict[str, Iterable[str] | None] = {}
    for name, parameter in parameters.items():
        if isinstance(parameter, RelationParameter):
            found[name] = None if own else parameter.relation
        elif isinstance(parameter, RelationsParameter):
            found[name] = None
    return found


def _fits(
    example: Written[ExampleSpec],
    parameters: Iterable[str],
    given: Mapping[str, Iterable[str] | None],
    outputs: Iterable[str] | None,
    report: Report,
) -> None:
    _known(example.spec.with_, parameters, example, ("with",), report)
    _known(example.spec.given, given, example, ("given",), report)
    for name, rows in example.spec.given.items():
        names = given.get(name)
        for i, row in enumerate(rows):
            if names is not None and isinstance(row, dict):
                _known(row, names, example, ("given", name, i), report)
    for i, row in enumerate(example.spec.expect):
        if outputs is not None:
            _known(row, outputs, example, ("expect", i), report)
        if row.keys() != example.spec.expect[0].keys():
            place = example.place("expect", i)
            report.error("D203", "the rows expected name different columns", place, help="name the same in each")


def _known(
    names: Iterable[str],
    known: Iterable[str],
    example: Written[ExampleSpec],
    path: tuple[str | int, ...],
    report: Report,
) -> None:
    for name in names:
        if name not in set(known):
            place = example.key(*path, name)
            report.error("D303", f"the example has no use for `{name}`", place, help=did_you_mean(name, known))


def query_columns(bound: BoundQuery, planned: list[PlannedColumn], rows: Rows, report: Report) -> tuple[Column, ...]:
    """Return the columns that a query shape returns."""
    place = bound.query.written.place("body")
    return tuple(
        Column(
            name=c.name,
            type=_type(c, place, report),
            nullable=c.nullable,
            domain=tuple(sorted(rows.columns[c.name].domain)),
        )
        for c in planned
    )
