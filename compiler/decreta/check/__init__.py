"""Fourth stage: every statement is resolved, typed by the planner, and proven against its contract.

A relation whose inputs failed is passed over, so that one cause makes one error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from decreta.check import assertions, calls, cardinality, contract, cuts, functions, order
from decreta.check.asks import asks
from decreta.check.comparisons import check_comparisons
from decreta.check.conditions import check_conditions
from decreta.check.given import check_given
from decreta.check.groups import asked_for as groups_asked_for
from decreta.check.groups import group_columns, groups, why_not
from decreta.check.locality import without_nulls
from decreta.check.recursion import check_recursion, plan_recursive
from decreta.check.rows import Flow, Rows
from decreta.check.rules import apply_rules
from decreta.check.scope import Scoped, scope
from decreta.check.steps import steps
from decreta.diagnostics import Hint, Report, did_you_mean
from decreta.engine import Engine, PlannedColumn, PlanRefused
from decreta.indexes import indexes
from decreta.model.program import (
    Bound,
    BoundQuery,
    BoundRelation,
    Checked,
    CheckedObject,
    CheckedQuery,
    CheckedRelation,
    Object,
    Relation,
    Statement,
    Written,
)
from decreta.model.spec import ExampleSpec, RelationSpec, RelationTemplateSpec, ScalarFunctionSpec
from decreta.source import Span
from decreta.sql import asked_for, print_query
from decreta_runtime.contract.manifest import Column, Key

_UNKNOWN_FUNCTION = re.compile(r"Invalid function '(\w+)'")


def check(bound: Bound, report: Report) -> Checked | None:
    """Return the pack with types, keys, lineage and cut points, or None after reporting what does not hold."""
    return _Checker(bound, report).pack()


class _Checker:
    def __init__(self, bound: Bound, report: Report) -> None:
        self.bound, self.report = bound, report
        self.engine = Engine()
        self.known: dict[str, Rows] = {}
        self.columns: dict[str, tuple[Column, ...]] = {}
        self.volatilities = functions.volatilities(bound.resolved)
        self.group_columns = group_columns(bound.resolved.objects)
        self.by_groups = groups_asked_for(bound.resolved.objects)
        self.callable = {*self.engine.functions(), *self.volatilities}
        self.scopes: dict[int, Scoped] = {}
        """By the `id` of its tree, each statement with its names resolved."""

    def pack(self) -> Checked | None:
        resolved = self.bound.resolved
        objects = resolved.objects
        self._functions()
        for obj in objects.values():
            keys = frozenset([frozenset(obj.key)]) if obj.key else frozenset()
            self._learn(obj.name, obj.columns, keys)
        found: dict[str, CheckedRelation] = {}
        filtering: dict[str, bool] = {}
        for name in self.bound.order:
            bound = self.bound.relations[name]
            if any(given not in self.known for given in bound.inputs):
                continue
            if bound.statement is None:
                relation = self._call(bound)
            else:
                relation, filtering[name] = self._relation(bound, bound.statement)
            if relation is not None:
                found[name] = relation
        queries = {name: q for name, b in self.bound.queries.items() if (q := self._query(b))}
        checked_objects = {name: self._object(obj) for name, obj in objects.items()}
        if self.report.failed:
            return None
        own = {name: functions.own_volatility(r.functions, self.volatilities) for name, r in found.items()}
        checks = [c for r in found.values() for c in r.checks] + [c for o in checked_objects.values() for c in o.checks]
        levels = resolved.rules.number("check.filter_levels")
        places, volatility = cuts.cut_points(found, filtering, self.bound.order, levels, own, cuts.mentions(checks))
        strata = cuts.strata(found, self.bound.order)
        relations = {
            n: replace(r, cut_point=places.get(n), stratum=strata[n], volatility=volatility[n])
            for n, r in found.items()
        }
        shapes = {name: cuts.reads(q, relations, objects, self.report) for name, q in queries.items()}
        if self.report.failed:
            return None
        shapes = {name: replace(q, asks=asks(q, relations, self.engine)) for name, q in shapes.items()}
        shapes = {name: replace(q, steps=steps(q, relations, self.engine)) for name, q in shapes.items()}
        program = Checked(resolved, checked_objects, relations, shapes, self.bound.order)
        apply_rules(program, self.bound, self.report)
        order.check(program, self.scopes, self.volatilities, self.engine, self.report)
        return None if self.report.failed else program

    def _functions(self) -> None:
        for name, function in self.bound.resolved.functions.items():
            if not isinstance(function.written.spec, ScalarFunctionSpec):
                continue
            spec = function.written.spec
            if self.engine.has_function(name):
                self.report.error(
                    "D206",
                    f"`{name}` is a function of the engine",
                    function.written.place("function"),
                    help="give it another name",
                )
            else:
                self.engine.declare_function(name, list(spec.arguments.values()), spec.returns, spec.volatility)

    def _learn(self, name: str, columns: tuple[Column, ...], keys: frozenset[frozenset[str]]) -> None:
        flows = {c.name: Flow(frozenset([f"{name}.{c.name}"]), frozenset(c.domain)) for c in columns}
        local = {c.name: {name: c.name} for c in columns}
        self.known[name] = Rows(flows, keys, local, frozenset([name]))
        self.columns[name] = columns
        self.engine.register(name, columns)

    def _declared(self, table: str) -> tuple[Span, ...]:
        """Return where the columns of an object or relation are written."""
        if obj := self.bound.resolved.objects.get(table):
            return obj.columns_at()
        relation = self.bound.relations[table].relation
        return (relation.body.whole() if relation.body else relation.written.entry("columns"),)

    def _typed(
        self, statement: Statement, parameters: Mapping[str, str], *, local: bool = False
    ) -> tuple[Scoped, list[PlannedColumn], str] | None:
        """Resolve and plan a statement and print it; None after reporting why that cannot be done."""
        before = Report()
        scoped = scope(statement, self.known, before, local=local, declared=self._declared)
        check_recursion(statement, before)
        contract.check_names(statement, scoped.rows, before)
        check_comparisons(scoped.comparisons, statement, self.columns, parameters, self.engine, before)
        if not before.failed:
            check_conditions(statement, self.columns, parameters, self.engine, before)
        self.report.extend(before)
        if before.failed:
            return None
        try:
            sql = print_query(statement.tree)
            self.scopes[id(statement.tree)] = scoped
            return scoped, plan_recursive(statement, self.engine, self.engine.plan(sql)), sql
        except PlanRefused as refusal:
            self._refused(statement, str(refusal))
            return None

    def _refused(self, statement: Statement, words: str) -> None:
        """Report what the planner says of a statement: of an unknown function at its call, else of the whole."""
        related = asked_for(statement.text, statement.origin)
        unknown = _UNKNOWN_FUNCTION.match(words)
        calls = statement.tree.find_all(exp.Anonymous)
        call = next((c for c in calls if unknown and c.name.lower() == unknown[1]), None)
        if call is None:
            self.report.error("D307", f"the planner says: {words}", statement.span(statement.tree), related=related)
            return
        hint = did_you_mean(call.name, {*self.bound.resolved.functions, *self.engine.functions()})
        if not isinstance(hint, Hint):
            hint = "functions are the engine's, and those that the pack declares in functions/"
        place = statement.call_span(call.name)
        self.report.error("D205", f"unknown function `{call.name}`", place, help=hint, related=related)

    def _relation(self, bound: BoundRelation, statement: Statement) -> tuple[CheckedRelation | None, bool]:
        given = Report()
        check_given(bound.relation, self.known, self._declared, given)
        self.report.extend(given)
        if given.failed:
            return None, False
        typed = self._typed(statement, {}, local=self.by_groups or contract.wants_locality(bound.relation))
        if typed is None:
            return None, False
        scoped, planned, sql = typed
        relation = bound.relation
        before = Report()
        nulls = tuple(p.name for p in planned if p.nullable)
        rows = without_nulls(scoped.rows, nulls)
        columns = contract.columns(relation, planned, rows, before)
        checked = self._kept(bound, columns, rows, nulls, before)
        joins, promises = cardinality.joins(relation, statement, scoped.joins, before)
        self.report.extend(before)
        if before.failed or checked is None:
            return None, False
        apart = groups(rows, columns, self.group_columns) if self.by_groups else None
        if apart is not None:
            self.group_columns[relation.name] = apart.column
        return (
            replace(
                checked,
                sql=sql,
                groups=apart,
                not_apart=why_not(relation, statement.tree, apart, scoped.joins),
                lineage={name: tuple(sorted(flow.lineage)) for name, flow in rows.columns.items()},
                required={name: tuple(sorted(used)) for name, used in sorted(scoped.required.items())},
                joins=joins,
                checks=(*checked.checks, *promises),
                functions=functions.called(sql, self.callable),
            ),
            scoped.filters,
        )

    def _call(self, bound: BoundRelation) -> CheckedRelation | None:
        """Check the call of a table function: its inputs have what it asks for, its result is as declared."""
        relation = bound.relation
        assert relation.call is not None
        before = Report()
        columns = contract.call_columns(relation, before)
        check_given(relation, self.known, self._declared, before)
        rows = Rows({c.name: Flow(domain=frozenset(c.domain)) for c in columns})
        nulls = tuple(c.name for c in columns)
        checked = None if before.failed else self._kept(bound, columns, rows, nulls, before)
        self.report.extend(before)
        if before.failed or checked is None:
            return None
        why = why_not(relation, None, None, ())
        called = (relation.call.function.name,)
        return replace(checked, required=calls.required(relation.call), functions=called, not_apart=why)

    def _kept(
        self, bound: BoundRelation, columns: tuple[Column, ...], rows: Rows, nulls: tuple[str, ...], report: Report
    ) -> CheckedRelation | None:
        """Return what holds of a relation's rows however they are computed, and make it known to its readers."""
        relation = bound.relation
        key = contract.key(relation, columns, rows, report)
        sort = contract.sort(relation, columns, report)
        local_to = contract.locality(relation, rows, report)
        contract.varying(relation, columns, report)
        if report.failed:
            return None
        if relation.round is not None and key and key.known == "checked":
            key = None  # of the last round, which is the relation that people know
        keys = rows.keys | (frozenset([frozenset(key.columns)]) if key else frozenset())
        self._learn(relation.name, columns, keys)
        checks = assertions.of_relation(relation, columns, key, nulls, self.known, self.columns, self.engine, report)
        examples = self._examples(relation)
        if not contract.examples_fit(relation, examples, columns, self.columns, report):
            return None
        declared = indexes(relation.written, relation.written.spec.indexes if relation.stored else {}, columns, report)
        if report.failed:
            return None
        return CheckedRelation(
            bound, None, columns, key, {}, {}, None, checks, sort, examples, local_to=local_to, indexes=declared
        )

    @staticmethod
    def _examples(relation: Relation) -> tuple[Written[ExampleSpec], ...]:
        if relation.round is not None:
            return ()
        found: list[Written[ExampleSpec]] = []
        owners: list[Written[RelationSpec] | Written[RelationTemplateSpec]] = [relation.written]
        if relation.application is not None:
            owners = [relation.application.template.written, relation.written]
        for owner in owners:
            found += [Written(e, owner.doc, (*owner.path, "examples", i)) for i, e in enumerate(owner.spec.examples)]
        return tuple(found)

    def _query(self, bound: BoundQuery) -> CheckedQuery | None:
        if any(name not in self.known for name in bound.inputs):
            return None
        typed = self._typed(bound.statement, bound.query.parameters)
        if typed is None:
            return None
        scoped, planned, sql = typed
        columns = contract.query_columns(bound, planned, scoped.rows, self.report)
        required = {name: tuple(sorted(used)) for name, used in sorted(scoped.required.items())}
        return CheckedQuery(bound, sql, columns, required, (), functions=functions.called(sql, self.callable))

    def _object(self, obj: Object) -> CheckedObject:
        key = Key(columns=obj.key, known="checked") if obj.key else None
        contract.check_renames(obj.columns, Written(None, obj.doc), {}, self.report)
        return CheckedObject(
            obj, key, assertions.of_object(obj, key, self.known, self.columns, self.engine, self.report)
        )
