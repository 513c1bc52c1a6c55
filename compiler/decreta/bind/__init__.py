"""Third stage: templates and arguments become one SQL statement each, by renaming in the syntax tree, never in text."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from sqlglot import exp

from decreta.bind.rounds import unroll
from decreta.bind.templates import TemplateBinder, tables_of
from decreta.diagnostics import Related, Report, did_you_mean
from decreta.model.program import (
    Bound,
    BoundQuery,
    BoundRelation,
    Relation,
    Resolved,
    Statement,
)
from decreta.sql import asked_for, parse_query


def bind(resolved: Resolved, report: Report) -> Bound | None:
    """Return all statements of the pack over its own names, in order, or None after reporting what does not bind."""
    binder = _Binder(resolved, report)
    relations = {name: bound for name, r in resolved.relations.items() if (bound := binder.relation(r))}
    queries = {}
    for name, query in resolved.queries.items():
        if statement := parse_query(query.body, query.written.place("body"), report):
            inputs = binder.inputs(statement)
            binder.check_parameters(statement, query.parameters, name)
            queries[name] = BoundQuery(query, statement, inputs)
    if not report.failed:
        relations = unroll(relations, report)
    order = binder.order(relations)
    return None if report.failed else Bound(resolved, relations, queries, order)


class _Binder:
    def __init__(self, resolved: Resolved, report: Report) -> None:
        self.resolved, self.report = resolved, report
        self.known = {*resolved.objects, *resolved.relations}
        self.templates = TemplateBinder(report)

    def relation(self, relation: Relation) -> BoundRelation | None:
        if relation.call is not None:
            return BoundRelation(relation, None, relation.call.arguments.inputs())
        if relation.application is None:
            assert relation.body is not None
            statement = parse_query(relation.body, relation.written.place("body"), self.report)
            if statement is None:
                return None
            self.check_clauses(statement)
            self.check_parameters(statement, {}, relation.name)
        else:
            statement = self.templates.apply(relation, relation.application)
            if statement is None:
                return None
            if not statement.tree.selects:
                words = (
                    f"`{relation.name}` has no columns: `{relation.application.template.name}` gives what it carries"
                )
                self.report.error("D209", words, relation.written.place("use"), help="list columns under `carry`")
                return None
        _rename_outputs(statement.tree, {n: o.as_ for n, o in relation.outputs.items() if o.as_})
        return BoundRelation(relation, statement, self.inputs(statement))

    def inputs(self, statement: Statement) -> tuple[str, ...]:
        """Return the objects and relations that a statement reads, reporting tables that are neither."""
        found = set()
        for table in tables_of(statement.tree):
            if not isinstance(table.this, exp.Identifier) or table.args.get("db"):
                self.report.error(
                    "D313",
                    "a table function cannot be called in a statement",
                    statement.span(table),
                    help="read objects and relations of the pack by their plain names",
                )
            elif table.name in self.known:
                found.add(table.name)
            else:
                self.report.error(
                    "D302",
                    f"unknown table `{table.name}`",
                    statement.span(table),
                    help=did_you_mean(table.name, self.known),
                    related=asked_for(statement.text, statement.origin),
                )
        for lateral in statement.tree.find_all(exp.Lateral):
            self.report.error("D313", "LATERAL is not allowed", statement.span(lateral), help="write a plain join")
        return tuple(sorted(found))

    def check_clauses(self, statement: Statement) -> None:
        """Report every WITH clause that bears the name of an object or relation: which is read would be a guess."""
        for cte in statement.tree.find_all(exp.CTE):
            if cte.alias in self.known:
                name = cte.args["alias"].this
                help = "give the WITH clause another name"
                words = f"`{cte.alias}` is an object or relation of the pack"
                self.report.error("D206", words, statement.span(name), help=help)

    def check_parameters(self, statement: Statement, known: Mapping[str, str], owner: str) -> None:
        """Report every `$name` that is no parameter, and every parameter that no `$name` uses."""
        used = {parameter.name for parameter in statement.tree.find_all(exp.Parameter)}
        for name in sorted(used - set(known)):
            place = statement.parameter_span(name)
            hint = did_you_mean(name, known) or "declare it under `parameters`"
            self.report.error("D205", f"unknown parameter `${name}`", place, help=hint)
        if used <= set(known):
            for name in sorted(set(known) - used):
                place = statement.origin
                self.report.error(
                    "D205", f"`{owner}` never uses its parameter `{name}`", place, help="use or remove it"
                )

    def order(self, relations: Mapping[str, BoundRelation]) -> tuple[str, ...]:
        """Return relations after their inputs; among the ready ones the order is that of names, so it is stable."""
        graph = {n: [i for i in r.inputs if i in relations] for n, r in sorted(relations.items())}
        sorter = TopologicalSorter(graph)
        try:
            sorter.prepare()
        except CycleError as error:
            self._cycle(list(error.args[1]), relations)
            return ()
        order: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            order += ready
            sorter.done(*ready)
        return tuple(order)

    def _cycle(self, cycle: list[str], relations: Mapping[str, BoundRelation]) -> None:
        if self.report.failed and any(relations[n].relation.written.spec.rounds is not None for n in cycle):
            return  # it would have been unrolled, but for another mistake
        start = cycle.index(min(cycle[:-1]))
        names = [*cycle[start:-1], *cycle[:start], cycle[start]]
        first, *others = (relations[n] for n in dict.fromkeys(names))
        self.report.error(
            "D208",
            "relations depend on each other: " + " ← ".join(f"`{n}`" for n in names),
            first.relation.written.place("relation"),
            help="take one of them out of the other's inputs",
            related=[Related(o.relation.written.place("relation"), "part of the cycle") for o in others],
        )


def _rename_outputs(tree: exp.Query, names: Mapping[str, str]) -> None:
    """Rename output columns of the outermost statement, in each branch of a set operation."""
    if not names:
        return
    if isinstance(tree, exp.SetOperation):
        _rename_outputs(tree.left, names)
        _rename_outputs(tree.right, names)
        return
    if not isinstance(tree, exp.Select):
        return
    for projection in list(tree.expressions):
        new = names.get(projection.alias_or_name)
        if new is None:
            continue
        if isinstance(projection, exp.Alias):
            if isinstance(projection.this, exp.Column) and projection.this.name == new:
                projection.replace(projection.this)
            else:
                projection.args["alias"].set("this", new)
        elif projection.name != new:
            projection.replace(exp.alias_(projection.copy(), new))
