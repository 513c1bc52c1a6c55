"""Third stage: templates and arguments become one SQL statement each, by renaming in the syntax tree, never in text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from sqlglot import exp

from decreta.diagnostics import Related, Report, did_you_mean
from decreta.model.program import (
    Application,
    Bound,
    BoundQuery,
    BoundRelation,
    Relation,
    RelationArgument,
    Resolved,
    Statement,
)
from decreta.source import Embedded, Span
from decreta.sql import asked_for, parse_query

_MACROS = ("CARRY", "COLS", "EQ_ALL")


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
    order = binder.order(relations)
    return None if report.failed else Bound(resolved, relations, queries, order)


class _Binder:
    def __init__(self, resolved: Resolved, report: Report) -> None:
        self.resolved, self.report = resolved, report
        self.known = {*resolved.objects, *resolved.relations}
        self._parsed: dict[int, Statement | None] = {}

    def relation(self, relation: Relation) -> BoundRelation | None:
        if relation.application is None:
            assert relation.body is not None
            statement = parse_query(relation.body, relation.written.place("body"), self.report)
            if statement is None:
                return None
            self.check_parameters(statement, {}, relation.name)
        else:
            statement = self._apply(relation, relation.application)
            if statement is None:
                return None
        _rename_outputs(statement.tree, {n: o.as_ for n, o in relation.outputs.items() if o.as_})
        return BoundRelation(relation, statement, self.inputs(statement))

    def inputs(self, statement: Statement) -> tuple[str, ...]:
        """Return the objects and relations that a statement reads, reporting tables that are neither."""
        found = set()
        for table in _tables(statement.tree):
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

    def _apply(self, relation: Relation, application: Application) -> Statement | None:
        template = application.template
        branch = application.choices[template.branch] if template.branch else ""
        text = template.bodies[branch]
        parsed = self._template_statement(text, template.written.place("body"))
        if parsed is None:
            return None
        statement = Statement(parsed.tree.copy(), text, relation.written.place("use"))
        _Application(application, statement, self.report, relation).bind()
        return statement

    def _template_statement(self, text: Embedded, place: Span) -> Statement | None:
        """Parse a template's body once, however many relations use it."""
        if id(text) not in self._parsed:
            self._parsed[id(text)] = parse_query(text, place, self.report)
        return self._parsed[id(text)]


@dataclass
class _Application:
    """Binds one template's tree in place: tables, columns, macros and values."""

    application: Application
    statement: Statement
    report: Report
    relation: Relation

    def bind(self) -> None:
        tree = self.statement.tree
        aliases = self._bind_tables(tree)
        # What a macro expands to is in the pack's own names already, so it comes after the renaming.
        for column in list(tree.find_all(exp.Column)):
            around = column.parent
            if not (isinstance(around, exp.Anonymous) and around.name.upper() in _MACROS):
                self._bind_column(column, aliases)
        self._expand_macros(tree, aliases)
        for parameter in list(tree.find_all(exp.Parameter)):
            self._bind_value(parameter)

    def _bind_tables(self, tree: exp.Query) -> dict[str, tuple[str, RelationArgument]]:
        aliases: dict[str, tuple[str, RelationArgument]] = {}
        for table in _tables(tree):
            argument = self.application.relations.get(table.name)
            if argument is None:
                self._error("D302", f"unknown table `{table.name}` in a template", table, self.application.relations)
                continue
            name = table.name
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(name)))
            if table.alias in aliases and aliases[table.alias][0] != name:
                self._error("D312", f"the alias `{table.alias}` names two relations", table)
            aliases[table.alias] = (name, argument)
            table.this.set("this", argument.relation)
        return aliases

    def _bind_column(self, column: exp.Column, aliases: Mapping[str, tuple[str, RelationArgument]]) -> None:
        if column.root() is not self.statement.tree:
            return
        if not column.table:
            if not isinstance(column.this, exp.Star) and not self._is_output(column):
                self._error("D305", f"`{column.name}` has no table in front", column)
            return
        if column.table not in aliases:
            return
        local, (_, argument) = column.name, aliases[column.table]
        actual = argument.columns.get(local)
        if actual is None:
            self._error("D303", f"`{column.table}` has no local column `{local}`", column, argument.columns)
        elif isinstance(actual, tuple):
            self._error("D312", f"`{local}` is a list of columns", column, help=f"write COLS({column.table}.{local})")
        else:
            _rename_column(column, actual)

    @staticmethod
    def _is_output(column: exp.Column) -> bool:
        """Whether an unqualified name in the outermost ORDER BY names an output column."""
        return column.find_ancestor(exp.Order, exp.Select) is not None and isinstance(
            column.find_ancestor(exp.Order, exp.Window, exp.Select), exp.Order
        )

    def _expand_macros(self, tree: exp.Query, aliases: Mapping[str, tuple[str, RelationArgument]]) -> None:
        carried: set[str] = set()
        for call in list(tree.find_all(exp.Anonymous)):
            name = call.name.upper()
            if name in ("CARRY", "COLS") and call.index is None:
                self._error("D312", f"{name} stands in a list of columns", call)
            elif name == "CARRY":
                _replace_in_list(call, list(self._carry(call, aliases, carried)))
            elif name == "COLS":
                columns = self._list(call, call.expressions[0] if call.expressions else None, aliases)
                _replace_in_list(call, [exp.column(c, table=t) for t, c in columns])
            elif name == "EQ_ALL":
                self._eq_all(call, aliases)
        for parameter in self.application.carry:
            if parameter not in carried:
                self.report.error(
                    "D312",
                    f"`{self.application.template.name}` cannot carry columns of `{parameter}`",
                    self.relation.written.key("carry", parameter),
                    help="its body has no CARRY for it",
                )

    def _carry(
        self, call: exp.Anonymous, aliases: Mapping[str, tuple[str, RelationArgument]], carried: set[str]
    ) -> Iterator[exp.Expr]:
        for argument in call.expressions:
            alias = argument.name
            if not isinstance(argument, exp.Column) or argument.table or alias not in aliases:
                self._error("D312", "CARRY takes aliases of relations", argument, aliases)
                continue
            parameter = aliases[alias][0]
            carried.add(parameter)
            for column, name in self.application.carry.get(parameter, ()):
                plain = exp.column(column, table=alias)
                yield plain if name == column else exp.alias_(plain, name)

    def _list(
        self, call: exp.Anonymous, node: exp.Expr | None, aliases: Mapping[str, tuple[str, RelationArgument]]
    ) -> list[tuple[str, str]]:
        if isinstance(node, exp.Column) and node.table in aliases:
            columns = aliases[node.table][1].columns.get(node.name)
            if isinstance(columns, tuple):
                return [(node.table, column) for column in columns]
            if columns is None:
                self._error(
                    "D303", f"`{node.table}` has no local column `{node.name}`", node, aliases[node.table][1].columns
                )
                return []
        self._error("D312", f"{call.name.upper()} takes a list of columns, such as `l.keys`", call)
        return []

    def _eq_all(self, call: exp.Anonymous, aliases: Mapping[str, tuple[str, RelationArgument]]) -> None:
        if len(call.expressions) != 2:
            self._error("D312", "EQ_ALL takes two lists of columns", call)
            return
        left, right = (self._list(call, node, aliases) for node in call.expressions)
        if len(left) != len(right):
            self.report.error(
                "D209",
                f"the lists of equal columns have {len(left)} and {len(right)} columns",
                self.relation.written.place("with"),
                help="name as many columns on one side as on the other",
            )
        pairs = [
            exp.EQ(this=exp.column(c, table=t), expression=exp.column(d, table=u))
            for (t, c), (u, d) in zip(left, right, strict=False)
        ]
        if pairs:
            call.replace(exp.and_(*pairs, copy=False))

    def _bind_value(self, parameter: exp.Parameter) -> None:
        name = parameter.name
        if name in self.application.scalars:
            value = self.application.scalars[name]
            parameter.replace(exp.convert(value))
        else:
            self._error("D205", f"unknown parameter `${name}` in a template", parameter, self.application.scalars)

    def _error(
        self, code: str, message: str, node: exp.Expr, known: Mapping[str, object] | None = None, *, help: str = ""
    ) -> None:
        hint = help or (did_you_mean(node.name, known) if known is not None else "")
        self.report.error(
            code,
            message,
            self.statement.span(node),
            help=hint,
            related=asked_for(self.statement.text, self.statement.origin),
        )


def _tables(tree: exp.Query) -> list[exp.Table]:
    """Return the tables that a statement reads, its WITH clauses apart."""
    names = {cte.alias for cte in tree.find_all(exp.CTE)}
    return [table for table in tree.find_all(exp.Table) if table.name not in names]


def _rename_column(column: exp.Column, name: str) -> None:
    """Give `column` another name; where it is a bare output, the output keeps the local name."""
    local = column.name
    column.this.set("this", name)
    if name != local and isinstance(column.parent, exp.Select) and column.arg_key == "expressions":
        column.replace(exp.alias_(column.copy(), local))


def _replace_in_list(node: exp.Expr, expansion: list[exp.Expr]) -> None:
    """Put `expansion` in the place of `node` in its parent's list of expressions."""
    parent, key, index = node.parent, node.arg_key, node.index
    assert parent is not None and key is not None and index is not None
    values = list(parent.args[key])
    parent.set(key, [*values[:index], *expansion, *values[index + 1 :]])


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
