"""Compile promises into statements that return the rows which break them: keys, column contracts, `checks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from decimal import Decimal

from sqlglot import exp

from decreta.check.comparisons import alike, check_comparisons
from decreta.check.conditions import check_conditions
from decreta.check.rows import Rows
from decreta.check.scope import scope
from decreta.check.violations import check_violation
from decreta.diagnostics import Report, did_you_mean
from decreta.engine import Engine, PlanRefused
from decreta.model.program import Object, Relation, Statement, Written
from decreta.model.spec import CheckSpec, CoverageSpec, WhereCheck
from decreta.source import Embedded, Span
from decreta.sql import literal, parse_expression, print_inline, print_query
from decreta_runtime.contract.manifest import Check, Column, Key

_Tables = Mapping[str, tuple[Column, ...]]


def of_object(
    obj: Object, key: Key | None, known: Mapping[str, Rows], tables: _Tables, engine: Engine, report: Report
) -> tuple[Check, ...]:
    """Return the checks of an object: its column contract, its key, and those it declares."""
    contract = _columns(obj.name, obj.columns, {c.name for c in obj.columns if not c.nullable})
    written = Written(None, obj.doc)
    kept = None if obj.source is not None else f"`{obj.name}` is a table of others"
    declared = _declared(obj.name, obj.checks, written, known, tables, engine, report, kept, obj.columns_at)
    return (*contract, *_key(obj.name, key), *declared)


def of_relation(
    relation: Relation,
    columns: tuple[Column, ...],
    key: Key | None,
    maybe_null: tuple[str, ...],
    known: Mapping[str, Rows],
    tables: _Tables,
    engine: Engine,
    report: Report,
) -> tuple[Check, ...]:
    """Return the checks of a relation; what the planner proves is not checked again."""
    promised = {c.name for c in columns if not c.nullable and c.name in maybe_null}
    contract = (*_columns(relation.name, columns, promised), *_key(relation.name, key))
    if relation.round is not None:
        return contract
    written = relation.written
    own = {f"cardinality_of_{name}" for name in written.spec.cardinality}
    own |= {*relation.application.provides.checks} if relation.application else set()
    kept = None if relation.stored else f"`{relation.name}` is not stored"
    declared = _declared(relation.name, written.spec.checks, written, known, tables, engine, report, kept, own=own)
    return (*contract, *declared, *_provided(relation, known, tables, engine, report))


def _provided(
    relation: Relation, known: Mapping[str, Rows], tables: _Tables, engine: Engine, report: Report
) -> tuple[Check, ...]:
    """Return the checks that a relation's template provides, with its values for their `$name`."""
    application = relation.application
    if application is None:
        return ()
    found = []
    path: tuple[str, ...] = ("provides",)
    if isinstance(application.template.written.spec.provides, dict):
        path = ("provides", application.branch)
    renamed = {name: o.as_ for name, o in relation.outputs.items() if o.as_}
    for name in application.provides.checks:
        text = application.template.written.text(*path, "checks", name, "where")
        predicate = parse_expression(text, report)
        if predicate is None:
            continue
        for parameter in list(predicate.find_all(exp.Parameter)):
            if parameter.name in application.arguments.scalars:
                value = literal(application.arguments.scalars[parameter.name])
                predicate = predicate.transform(lambda n, p=parameter, v=value: v if n is p else n, copy=False)
        for column in predicate.find_all(exp.Column):
            column.this.set("this", renamed.get(column.name, column.name))
        if sql := _where(relation.name, text, known, tables, engine, report, predicate):
            row = _of_one_row(predicate)
            found.append(Check(name=name, kind="where", summary=print_inline(predicate), sql=sql, predicate=row))
    return tuple(found)


def _columns(name: str, columns: tuple[Column, ...], not_null: set[str]) -> tuple[Check, ...]:
    broken = [f'"{column}" IS NULL' for column in sorted(not_null)]
    for column in columns:
        if column.values:
            listed = ", ".join(print_inline(exp.Literal.string(value)) for value in column.values)
            broken.append(f'"{column.name}" NOT IN ({listed})')
        if column.length is not None:
            # The engine measures text only; two hexadecimal digits are a byte.
            broken.append(f"length(encode(\"{column.name}\", 'hex')) <> {2 * column.length}")
    if not broken:
        return ()
    either = " OR ".join(broken)
    sql, predicate = f'SELECT * FROM "{name}" WHERE {either}', f"({either}) IS NOT TRUE"
    words = "columns hold what the contract says"
    return (Check(name="columns", kind="columns", summary=words, sql=sql, predicate=predicate),)


def _key(name: str, key: Key | None) -> tuple[Check, ...]:
    if key is None:
        return ()
    listed = ", ".join(f'"{column}"' for column in key.columns)
    sql = f'SELECT {listed}, count(*) AS rows FROM "{name}" GROUP BY {listed} HAVING count(*) > 1'
    words, proven = f"({', '.join(key.columns)}) is unique", key.known == "proven"
    return (Check(name="key", kind="key", summary=words, sql=sql, proven=proven),)


def _declared(
    name: str,
    checks: Mapping[str, CheckSpec],
    written: Written[object],
    known: Mapping[str, Rows],
    tables: _Tables,
    engine: Engine,
    report: Report,
    kept: str | None,
    columns_at: Callable[[], tuple[Span, ...]] | None = None,
    *,
    own: Set[str] = frozenset(),
) -> tuple[Check, ...]:
    """Compile the checks that a spec declares; `own` are the names of those that it has besides."""
    found: list[Check] = []
    for check_name, check in checks.items():
        path = ("checks", check_name)
        if check_name in {"columns", "key", *own}:
            report.error(
                "D206", f"`{check_name}` is the name of a check of its own", written.key(*path), help="rename it"
            )
        row = None
        if isinstance(check, WhereCheck):
            text = written.text(*path, "where")
            predicate = parse_expression(text, report)
            if predicate is None:
                continue
            row = _of_one_row(predicate)
            sql = _where(name, text, known, tables, engine, report, predicate, columns_at=columns_at)
            kind, summary = "where", check.where
        else:
            sql = _coverage(name, check.coverage, written, path, tables, report)
            c = check.coverage
            kind, summary = "coverage", f"at least {c.at_least} of the values of {c.of} occur in {c.by}"
        single = row is not None
        check_violation(check_name, check, written, tables[name], single_rows=single, kept=kept, report=report)
        if sql:
            found.append(Check(name=check_name, kind=kind, summary=summary, sql=sql, predicate=row))  # type: ignore[arg-type]
    return tuple(found)


def _of_one_row(predicate: exp.Expr) -> str | None:
    """Return a condition as SQL if it can be asked of each row by itself."""
    return None if predicate.find(exp.Query, exp.AggFunc, exp.Window) else print_inline(predicate)


def _where(
    name: str,
    text: Embedded,
    known: Mapping[str, Rows],
    tables: _Tables,
    engine: Engine,
    report: Report,
    predicate: exp.Expr,
    *,
    columns_at: Callable[[], tuple[Span, ...]] | None = None,
) -> str | None:
    before = Report()
    for parameter in predicate.find_all(exp.Parameter):
        before.error("D205", f"`${parameter.name}` has no value: a check has no parameters", text.whole())
    # A row for which the predicate is unknown has not been shown to be right.
    tree = (
        exp.select("*")
        .from_(exp.to_table(name))
        .where(exp.Not(this=exp.Is(this=exp.Paren(this=predicate), expression=exp.true())))
    )
    statement = Statement(tree, text, text.whole())
    scoped = scope(statement, known, before, declared=lambda _: columns_at() if columns_at else ())
    check_comparisons(scoped.comparisons, statement, tables, {}, engine, before)
    if not before.failed:
        check_conditions(statement, tables, {}, engine, before)
    sql = print_query(tree)
    if not before.failed:
        try:
            engine.plan(sql)
        except PlanRefused as refusal:
            before.error("D307", f"the planner says: {refusal}", text.whole())
    report.extend(before)
    return None if before.failed else sql


def _coverage(
    name: str, coverage: CoverageSpec, written: Written[object], path: tuple[str, ...], tables: _Tables, report: Report
) -> str | None:
    table, _, column = coverage.of.partition(".")
    columns = {t: {c.name: c for c in cs} for t, cs in tables.items()}
    place = written.place(*path, "coverage", "of")
    if table not in columns:
        report.error("D205", f"unknown relation `{table}`", place, help=did_you_mean(table, columns))
        return None
    if column not in columns[table]:
        report.error("D303", f"`{table}` has no column `{column}`", place, help=did_you_mean(column, columns[table]))
        return None
    if coverage.by not in columns[name]:
        place = written.place(*path, "coverage", "by")
        report.error(
            "D303", f"`{name}` has no column `{coverage.by}`", place, help=did_you_mean(coverage.by, columns[name])
        )
        return None
    if not _comparable(columns[table][column], columns[name][coverage.by], written, path, report):
        return None
    share = Decimal(str(coverage.at_least))
    parts = 10 ** max(0, -int(share.as_tuple().exponent))
    return (
        f"SELECT covered, total FROM (SELECT count(b.v) AS covered, count(*) AS total "
        f'FROM (SELECT DISTINCT "{column}" AS v FROM "{table}" WHERE "{column}" IS NOT NULL) AS a '
        f'LEFT JOIN (SELECT DISTINCT "{coverage.by}" AS v FROM "{name}") AS b ON a.v = b.v) AS counted '
        f"WHERE total > 0 AND covered * {parts} < total * {int(share * parts)}"
    )


def _comparable(of: Column, by: Column, written: Written[object], path: tuple[str, ...], report: Report) -> bool:
    """Report a coverage that compares unlike types or keys of unlike domains."""
    place = written.place(*path, "coverage", "by")
    if not alike(of.type, by.type):
        report.error(
            "D308", f"`{of.name}` is {of.type}, `{by.name}` is {by.type}", place, help="compare like with like"
        )
        return False
    if of.domain and by.domain and not {*of.domain} & {*by.domain}:
        a, b = (" + ".join(f"`{d}`" for d in sorted(side)) for side in (of.domain, by.domain))
        report.error("D309", f"a key of {a} is compared with a key of {b}", place, help="compare keys of one domain")
        return False
    return True
