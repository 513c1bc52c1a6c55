"""Hold a statement's result against what its relation declares: columns, types, domains, keys, sort."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from decreta.check.rows import Rows
from decreta.diagnostics import Report, did_you_mean
from decreta.engine import PlannedColumn
from decreta.model.program import BoundQuery, Relation, Written
from decreta.model.spec import ExampleSpec, OutputSpec, domains
from decreta.source import Span
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import Column, Key


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
        place = written.place("columns", key, "type") if output.type else _statement_place(relation)
        result.append(_column(column, output, rows, relation, key, place, report))
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
            _statement_place(relation),
            help=f"declare the sum under columns: {column.name}: {{domain: [{flowing}]}}",
        )
    return Column(
        name=column.name,
        type=kind,
        nullable=column.nullable if output.nullable is None else output.nullable,
        role=output.role,
        domain=domain or tuple(sorted(flow)),
    )


def _type(column: PlannedColumn, place: Span, report: Report) -> str:
    if column.type is None:
        help = "write CAST(… AS BIGINT)" if column.arrow.startswith("uint") else "CAST it to a type of the table"
        report.error("D310", f"`{column.name}` is {column.arrow}, a type that tables do not have", place, help=help)
    return column.type or "string"


def _statement_place(relation: Relation) -> Span:
    return relation.written.place("use") if relation.application else relation.written.place("body")


def key(relation: Relation, columns: tuple[Column, ...], rows: Rows, report: Report) -> Key | None:
    """Return the relation's key and whether the inputs' keys and the joins prove it; None if it declares none."""
    written, application = relation.written, relation.application
    declared, place = written.spec.key, ("key",)
    if declared is None and application and (provides := application.template.written.spec.provides):
        renamed = {name: o.as_ for name, o in relation.outputs.items() if o.as_}
        declared = [renamed.get(name, name) for name in provides.key]
    if declared is None:
        return None
    known = {column.name: column for column in columns}
    for i, name in enumerate(declared):
        if name not in known:
            span = written.place(*place, i)
            report.error("D303", f"`{relation.name}` has no column `{name}`", span, help=did_you_mean(name, known))
        elif known[name].nullable:
            span = written.place(*place, i)
            report.error(
                "D311", f"the key column `{name}` is nullable", span, help="filter nulls, or declare the column"
            )
    proven = any(candidate <= set(declared) for candidate in rows.keys)
    return Key(columns=tuple(declared), known="proven" if proven else "checked")


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
    given: Mapping[str, Iterable[str]]
    if application is None:
        given, parameters = {name: [c.name for c in cs] for name, cs in tables.items()}, {}
    else:
        given = {name: argument.columns for name, argument in application.relations.items()}
        parameters = {**application.choices, **application.scalars}
    renamed = {o.as_: name for name, o in relation.outputs.items() if o.as_}
    outputs = [renamed.get(column.name, column.name) if application else column.name for column in columns]
    for example in examples:
        _known(example.spec.with_, parameters, example, ("with",), before)
        _known(example.spec.given, given, example, ("given",), before)
        for name, rows in example.spec.given.items():
            for i, row in enumerate(rows):
                _known(row, given.get(name, row), example, ("given", name, i), before)
        for i, row in enumerate(example.spec.expect):
            _known(row, outputs, example, ("expect", i), before)
            if row.keys() != example.spec.expect[0].keys():
                place = example.place("expect", i)
                before.error("D203", "the rows expected name different columns", place, help="name the same in each")
    report.extend(before)
    return not before.failed


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
