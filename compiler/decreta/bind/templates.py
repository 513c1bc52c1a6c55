"""Bind a template's syntax tree to the arguments of one relation: tables, columns, macros, values, expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from decreta.diagnostics import Fix, Report, did_you_mean
from decreta.model.program import Application, Relation, RelationArgument, Statement
from decreta.source import Embedded, Span
from decreta.sql import asked_for, literal, parse_expression, parse_query

_MACROS = ("CARRY", "COLS", "EQ_ALL", "SAME_ALL")


class TemplateBinder:
    """Applies templates; a body is parsed once, however many relations use it."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._parsed: dict[int, Statement | None] = {}

    def apply(self, relation: Relation, application: Application) -> Statement | None:
        """Return the statement of `relation`, or None after reporting why its template does not bind."""
        text = application.template.bodies[application.branch]
        parsed = self._statement(text, application.template.written.place("body"))
        if parsed is None:
            return None
        given = application.arguments
        if not given.united:
            return self._bound(parsed, relation, application, given.relations)
        (name, arguments), *_ = given.united.items()
        parts = [
            self._bound(parsed, relation, application, {**given.relations, name: argument}) for argument in arguments
        ]
        parameter = application.template.written.spec.parameters[name]
        distinct = getattr(parameter, "united", "all") == "distinct"
        tree = exp.union(*(part.tree for part in parts), distinct=distinct, copy=False)
        return replace(parts[0], tree=tree)

    def _bound(
        self,
        parsed: Statement,
        relation: Relation,
        application: Application,
        relations: Mapping[str, RelationArgument],
    ) -> Statement:
        statement = Statement(parsed.tree.copy(), parsed.text, relation.written.place("use"))
        return _Binding(application, relations, statement, self.report, relation).bind()

    def _statement(self, text: Embedded, place: Span) -> Statement | None:
        if id(text) not in self._parsed:
            self._parsed[id(text)] = parse_query(text, place, self.report)
        return self._parsed[id(text)]


@dataclass
class _Binding:
    """Binds one template's tree in place: tables, columns, macros and values."""

    application: Application
    relations: Mapping[str, RelationArgument]
    statement: Statement
    report: Report
    relation: Relation
    grafts: list[Embedded] = field(default_factory=list)

    def bind(self) -> Statement:
        """Bind the tree in place and return it with the texts that were put into it."""
        tree = self.statement.tree
        self._rename_clauses(tree)
        aliases = self._bind_tables(tree)
        # What a macro expands to is in the pack's own names already, so it comes after the renaming.
        for column in list(tree.find_all(exp.Column)):
            around = column.parent
            if not (isinstance(around, exp.Anonymous) and around.name.upper() in _MACROS):
                self._bind_column(column, aliases)
        self._expand_macros(tree, aliases)
        for parameter in list(tree.find_all(exp.Parameter)):
            self._bind_value(parameter, aliases)
        where = tree.args.get("where")
        if where is not None and isinstance(where.this, exp.Boolean) and where.this.this:
            tree.set("where", None)  # the default of a filter
        return replace(self.statement, grafts=tuple(self.grafts))

    def _rename_clauses(self, tree: exp.Query) -> None:
        """Give a WITH clause another name where a relation given bears its name: it would be read in its place."""
        taken = {argument.relation for argument in self.relations.values()}
        local = {cte.alias for cte in tree.find_all(exp.CTE)}
        for cte in list(tree.find_all(exp.CTE)):
            old = new = cte.alias
            while new in taken or (new != old and new in local):
                new += "_"
            if new == old:
                continue
            for table in tree.find_all(exp.Table):
                if table.name == old:
                    if not table.alias:
                        table.set("alias", exp.TableAlias(this=exp.to_identifier(old)))
                    table.this.set("this", new)
            cte.args["alias"].this.set("this", new)

    def _bind_tables(self, tree: exp.Query) -> dict[str, tuple[str, RelationArgument]]:
        aliases: dict[str, tuple[str, RelationArgument]] = {}
        for table in tables_of(tree):
            argument = self.relations.get(table.name)
            if argument is None:
                self._error("D302", f"unknown table `{table.name}` in a template", table, self.relations)
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
        if isinstance(column.this, exp.Star):
            return
        if not column.table:
            if not self._is_output(column):
                self._no_table(column, aliases)
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

    def _no_table(self, column: exp.Column, aliases: Mapping[str, tuple[str, RelationArgument]]) -> None:
        call = column.parent
        if isinstance(call, exp.Anonymous) and column.name in aliases:  # only macros take an alias alone
            place, related = self.statement.call_span(call.name), asked_for(self.statement.text, self.statement.origin)
            hint = did_you_mean(call.name, _MACROS)
            self.report.error("D312", f"there is no macro `{call.name}`", place, help=hint, related=related)
            return
        owners = [f"{alias}.{column.name}" for alias, (_, given) in aliases.items() if column.name in given.columns]
        help = "write " + " or ".join(f"`{owner}`" for owner in owners) if owners else ""
        span = self.statement.span(column)
        fix = Fix(span, column.name, owners[0], safe=len(owners) == 1) if owners else None
        self._error("D305", f"`{column.name}` has no table in front", column, help=help, fix=fix)

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
            if name in ("CARRY", "COLS") and call.index is None and not isinstance(call.parent, exp.Ordered):
                self._error("D312", f"{name} stands in a list of columns", call)
            elif name == "CARRY":
                _replace_in_list(call, list(self._carry(call, aliases, carried)))
            elif name == "COLS":
                _replace_in_list(call, self._columns(call, aliases))
            elif name in ("EQ_ALL", "SAME_ALL"):
                self._equal_all(call, aliases)
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
                if column == "*":
                    yield exp.Column(this=exp.Star(), table=exp.to_identifier(alias))
                    continue
                plain = exp.column(column, table=alias)
                yield plain if name == column else exp.alias_(plain, name)

    def _columns(self, call: exp.Anonymous, aliases: Mapping[str, tuple[str, RelationArgument]]) -> list[exp.Expr]:
        """Return what `COLS(alias.list)`, `COLS(alias, $columns)` or `COLS($expressions)` stands for."""
        first = call.expressions[0] if call.expressions else None
        if isinstance(first, exp.Parameter) and len(call.expressions) == 1:
            found = self._expressions(first, call, aliases)
            return [exp.alias_(tree, name) for name, tree in found]
        return [exp.column(c, table=t) for t, c in self._list(call, call.expressions, aliases)]

    def _list(
        self, call: exp.Anonymous, nodes: Sequence[exp.Expr], aliases: Mapping[str, tuple[str, RelationArgument]]
    ) -> list[tuple[str, str]]:
        """Return the columns, each with its alias, that `alias.list` or `alias, $columns` names."""
        match list(nodes):
            case [exp.Column() as node] if node.table in aliases:
                columns = aliases[node.table][1].columns.get(node.name)
                if isinstance(columns, tuple):
                    return [(node.table, column) for column in columns]
                if columns is None:
                    words = f"`{node.table}` has no local column `{node.name}`"
                    self._error("D303", words, node, aliases[node.table][1].columns)
                    return []
            case [exp.Column() as node, exp.Parameter() as listed] if not node.table:
                known = self.application.arguments.columns
                if listed.name in known:
                    return [(node.name, column) for column in known[listed.name]]
                self._error("D205", f"`${listed.name}` is no list of columns", call, known)
                return []
        words = f"{call.name.upper()} takes lists of columns"
        self._error("D312", words, call, help="write `l.keys` for a relation's own list, `l, $keys` for a parameter")
        return []

    def _equal_all(self, call: exp.Anonymous, aliases: Mapping[str, tuple[str, RelationArgument]]) -> None:
        nodes = list(call.expressions)
        if len(nodes) == 3:
            left, right = self._list(call, [nodes[0], nodes[2]], aliases), self._list(call, nodes[1:], aliases)
        elif len(nodes) == 2:
            left, right = self._list(call, nodes[:1], aliases), self._list(call, nodes[1:], aliases)
        else:
            self._error("D312", f"{call.name.upper()} takes two lists of columns", call)
            return
        if len(left) != len(right):
            self.report.error(
                "D209",
                f"the lists of equal columns have {len(left)} and {len(right)} columns",
                self.relation.written.place("with"),
                help="name as many columns on one side as on the other",
            )
        null_safe = call.name.upper() == "SAME_ALL"
        pairs: list[exp.Expr] = []
        for (t, c), (u, d) in zip(left, right, strict=False):
            sides = {"this": exp.column(c, table=t), "expression": exp.column(d, table=u)}
            # In parentheses: the engine's parser takes all that follows IS NOT DISTINCT FROM for its right side.
            pairs.append(exp.paren(exp.NullSafeEQ(**sides), copy=False) if null_safe else exp.EQ(**sides))
        if pairs:
            joined = exp.and_(*pairs, copy=False)
            inside = isinstance(call.parent, exp.Not | exp.Or) and len(pairs) > 1
            call.replace(exp.paren(joined, copy=False) if inside else joined)

    def _bind_value(self, parameter: exp.Parameter, aliases: Mapping[str, tuple[str, RelationArgument]]) -> None:
        name, given = parameter.name, self.application.arguments
        if name in given.scalars:
            parameter.replace(literal(given.scalars[name]))
        elif name in given.durations:
            number, unit = given.durations[name].split()
            interval = exp.Interval(this=exp.Literal.string(number), unit=exp.var(unit.rstrip("s").upper()))
            parameter.replace(interval)
        elif name in given.expressions and "" in given.expressions[name].texts:
            for _, tree in self._expressions(parameter, parameter, aliases):
                parameter.replace(tree if isinstance(tree, exp.Column | exp.Literal | exp.Boolean) else exp.paren(tree))
        else:
            known = {**given.scalars, **given.durations, **given.expressions}
            self._error("D205", f"unknown parameter `${name}` in a template", parameter, known)

    def _expressions(
        self, parameter: exp.Parameter, at: exp.Expr, aliases: Mapping[str, tuple[str, RelationArgument]]
    ) -> list[tuple[str, exp.Expr]]:
        """Return the caller's expressions with their columns under the alias of the relation they are over."""
        given = self.application.arguments.expressions.get(parameter.name)
        if given is None:
            known = self.application.arguments.expressions
            self._error("D205", f"`${parameter.name}` is no expression", at, known)
            return []
        select = at.find_ancestor(exp.Select)
        inside = {t.alias for t in tables_of(select)} if select else set()
        alias = next((a for a, (name, _) in aliases.items() if name == given.over and a in inside), None)
        if alias is None:
            self._error("D312", f"`{given.over}` is not read where `${parameter.name}` stands", at)
            return []
        found = []
        for name, text in given.texts.items():
            if (tree := parse_expression(text, self.report)) is not None:
                found.append((name, self._graft(tree, text, alias)))
        return found

    def _graft(self, tree: exp.Expr, text: Embedded, alias: str) -> exp.Expr:
        """Note on each name of a caller's expression which text it stands in, and whose column it is."""
        if text not in self.grafts:
            self.grafts.append(text)
        for node in tree.find_all(exp.Identifier, exp.Var, exp.Star):
            node.meta["graft"] = self.grafts.index(text)
        for column in tree.find_all(exp.Column):
            if column.table:
                self.report.error(
                    "D312",
                    f"`{column.sql()}`: an argument names columns without a table",
                    text.whole(),
                    help=f"write `{column.name}`",
                )
            column.set("table", exp.to_identifier(alias))
        return tree

    def _error(
        self,
        code: str,
        message: str,
        node: exp.Expr,
        known: Mapping[str, object] | None = None,
        *,
        help: str = "",
        fix: Fix | None = None,
    ) -> None:
        hint = help or (did_you_mean(node.name, known) if known is not None else "")
        self.report.error(
            code,
            message,
            self.statement.span(node),
            help=hint,
            related=asked_for(self.statement.text, self.statement.origin),
            fix=fix,
        )


def tables_of(tree: exp.Expr) -> list[exp.Table]:
    """Return the tables that a statement reads, its WITH clauses apart."""
    names = {cte.alias for cte in tree.root().find_all(exp.CTE)}
    return [table for table in tree.find_all(exp.Table) if table.name not in names]


def _rename_column(column: exp.Column, name: str) -> None:
    """Give `column` another name; where it is a bare output, the output keeps the local name."""
    local = column.name
    column.this.set("this", name)
    if name != local and isinstance(column.parent, exp.Select) and column.arg_key == "expressions":
        column.replace(exp.alias_(column.copy(), local))


def _replace_in_list(node: exp.Expr, expansion: list[exp.Expr]) -> None:
    """Put `expansion` in the place of `node` in its parent's list of expressions, or of its ORDER BY."""
    if isinstance(node.parent, exp.Ordered):
        ordered = node.parent
        expansion = [exp.Ordered(**{**ordered.args, "this": e}) for e in expansion]
        node = ordered
    parent, key, index = node.parent, node.arg_key, node.index
    assert parent is not None and key is not None and index is not None
    values = list(parent.args[key])
    parent.set(key, [*values[:index], *expansion, *values[index + 1 :]])
