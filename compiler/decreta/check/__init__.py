"""Fourth stage: every statement is resolved, typed by the planner, and proven against its contract.

A relation whose inputs failed is passed over, so that one cause makes one error.
"""

from __future__ import annotations

from collections.abc import Mapping

from decreta.check import assertions, contract, cuts
from decreta.check.comparisons import check_comparisons
from decreta.check.rows import Flow, Rows
from decreta.check.scope import Scoped, scope
from decreta.diagnostics import Report
from decreta.engine import Engine, PlannedColumn, PlanRefused
from decreta.model.program import (
    Bound,
    BoundQuery,
    BoundRelation,
    Checked,
    CheckedObject,
    CheckedQuery,
    CheckedRelation,
    Object,
    Statement,
    Written,
)
from decreta.sql import asked_for, print_query
from decreta_runtime.contract.manifest import Column, Key


def check(bound: Bound, report: Report) -> Checked | None:
    """Return the pack with types, keys, lineage and cut points, or None after reporting what does not hold."""
    return _Checker(bound, report).pack()


class _Checker:
    def __init__(self, bound: Bound, report: Report) -> None:
        self.bound, self.report = bound, report
        self.engine = Engine()
        self.known: dict[str, Rows] = {}
        self.columns: dict[str, tuple[Column, ...]] = {}

    def pack(self) -> Checked | None:
        objects = self.bound.resolved.objects
        for obj in objects.values():
            keys = frozenset([frozenset(obj.key)]) if obj.key else frozenset()
            self._learn(obj.name, obj.columns, keys)
        found: dict[str, tuple[CheckedRelation, Scoped]] = {}
        for name in self.bound.order:
            if relation := self._relation(self.bound.relations[name]):
                found[name] = relation
        queries = {name: q for name, b in self.bound.queries.items() if (q := self._query(b))}
        checked_objects = {name: self._object(obj) for name, obj in objects.items()}
        if self.report.failed:
            return None
        places = cuts.cut_points(
            {name: r for name, (r, _) in found.items()},
            {name: s.filters for name, (_, s) in found.items()},
            self.bound.order,
            self.bound.resolved.rules.number("check.filter_levels"),
        )
        relations = {name: cuts.placed(r, places.get(name)) for name, (r, _) in found.items()}
        shapes = {name: cuts.reads(q, relations, objects, self.report) for name, q in queries.items()}
        if self.report.failed:
            return None
        return Checked(self.bound.resolved, checked_objects, relations, shapes, self.bound.order)

    def _learn(self, name: str, columns: tuple[Column, ...], keys: frozenset[frozenset[str]]) -> None:
        flows = {c.name: Flow(frozenset([f"{name}.{c.name}"]), frozenset(c.domain)) for c in columns}
        self.known[name] = Rows(flows, keys)
        self.columns[name] = columns
        self.engine.register(name, columns)

    def _typed(self, statement: Statement, parameters: Mapping[str, str]) -> tuple[Scoped, list[PlannedColumn]] | None:
        """Resolve and plan a statement; None after reporting why that cannot be done."""
        before = Report()
        scoped = scope(statement, self.known, before)
        check_comparisons(scoped.comparisons, statement, self.columns, parameters, self.engine, before)
        self.report.extend(before)
        if before.failed:
            return None
        try:
            return scoped, self.engine.plan(print_query(statement.tree))
        except PlanRefused as refusal:
            related = asked_for(statement.text, statement.origin)
            self.report.error("D307", f"the planner says: {refusal}", statement.span(statement.tree), related=related)
            return None

    def _relation(self, bound: BoundRelation) -> tuple[CheckedRelation, Scoped] | None:
        if any(name not in self.known for name in bound.inputs):
            return None
        typed = self._typed(bound.statement, {})
        if typed is None:
            return None
        scoped, planned = typed
        relation = bound.relation
        before = Report()
        columns = contract.columns(relation, planned, scoped.rows, before)
        key = contract.key(relation, columns, scoped.rows, before)
        sort = contract.sort(relation, columns, before)
        self.report.extend(before)
        if before.failed:
            return None
        keys = scoped.rows.keys | (frozenset([frozenset(key.columns)]) if key else frozenset())
        self._learn(relation.name, columns, keys)
        nulls = tuple(p.name for p in planned if p.nullable)
        checks = assertions.of_relation(
            relation, columns, key, nulls, self.known, self.columns, self.engine, self.report
        )
        lineage = {name: tuple(sorted(flow.lineage)) for name, flow in scoped.rows.columns.items()}
        required = {name: tuple(sorted(used)) for name, used in sorted(scoped.required.items())}
        application = relation.application
        written = application.template.written if application else relation.written
        examples = tuple(
            Written(e, written.doc, (*written.path, "examples", i)) for i, e in enumerate(written.spec.examples)
        )
        if not contract.examples_fit(relation, examples, columns, self.columns, self.report):
            return None
        checked = CheckedRelation(
            bound, print_query(bound.statement.tree), columns, key, lineage, required, None, checks, sort, examples
        )
        return checked, scoped

    def _query(self, bound: BoundQuery) -> CheckedQuery | None:
        if any(name not in self.known for name in bound.inputs):
            return None
        typed = self._typed(bound.statement, bound.query.parameters)
        if typed is None:
            return None
        scoped, planned = typed
        columns = contract.query_columns(bound, planned, scoped.rows, self.report)
        required = {name: tuple(sorted(used)) for name, used in sorted(scoped.required.items())}
        return CheckedQuery(bound, print_query(bound.statement.tree), columns, required, ())

    def _object(self, obj: Object) -> CheckedObject:
        key = Key(columns=obj.key, known="checked") if obj.key else None
        return CheckedObject(
            obj, key, assertions.of_object(obj, key, self.known, self.columns, self.engine, self.report)
        )
