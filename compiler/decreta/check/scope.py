"""Resolve every column of a statement to its table: names with places, lineage and domains.

The planner knows types but gives no places; this walk knows places, and what flows where, but no types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from decreta.check.keys import proven_keys
from decreta.check.locality import local_columns, united
from decreta.check.rows import NOT_LOCAL, Flow, JoinFound, Rows, SelectScope
from decreta.diagnostics import Fix, Related, Report, did_you_mean
from decreta.model.program import Statement
from decreta.source import Span
from decreta.sql import asked_for

COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)


@dataclass
class Comparison:
    """Two operands that a statement compares, with the SELECT whose tables they see."""

    node: exp.Expr
    left: exp.Expr
    right: exp.Expr
    select: exp.Select
    inner: exp.Select | None = None
    """The SELECT whose tables the right operand sees, if it is the output of a query."""


@dataclass
class Scoped:
    """A statement with all names resolved."""

    rows: Rows
    required: dict[str, set[str]]
    comparisons: list[Comparison]
    filters: bool
    joins: list[JoinFound]
    selects: Mapping[int, SelectScope]
    """By the `id` of its node, each SELECT with the tables in its sight."""
    queries: Mapping[int, Rows]
    """By the `id` of its node, what is known of the rows of each query."""


Declared = Callable[[str], tuple[Span, ...]]
"""Tells where the columns of an object or relation are written."""


def scope(
    statement: Statement,
    known: Mapping[str, Rows],
    report: Report,
    *,
    local: bool = False,
    declared: Declared = lambda _: (),
) -> Scoped:
    """Resolve `statement` over the tables in `known`, reporting every name that does not resolve.

    Locality costs as much as all the rest, so it is found where `local` asks for it.
    """
    walker = _Walker(statement, known, report, local, declared)
    rows = walker.query(statement.tree, {}, None)
    return Scoped(
        rows, walker.required, walker.comparisons, walker.filters, walker.joins, walker.selects, walker.queries
    )


class _Walker:
    def __init__(
        self, statement: Statement, known: Mapping[str, Rows], report: Report, local: bool, declared: Declared
    ) -> None:
        self.statement, self.known, self.report, self.local = statement, known, report, local
        self.declared = declared
        self.required: dict[str, set[str]] = {}
        self.comparisons: list[Comparison] = []
        self.filters = False
        self.joins: list[JoinFound] = []
        self.selects: dict[int, SelectScope] = {}
        self.queries: dict[int, Rows] = {}
        self._domains: dict[int, frozenset[str]] = {}

    # -- queries

    def query(self, node: exp.Expr, ctes: Mapping[str, Rows], outer: SelectScope | None) -> Rows:
        self.queries[id(node)] = rows = self._query(node, ctes, outer)
        return rows

    def _query(self, node: exp.Expr, ctes: Mapping[str, Rows], outer: SelectScope | None) -> Rows:
        if isinstance(node, exp.Subquery):
            rows = self.query(node.this, self._with(node, ctes, outer), outer)
            return replace(rows, local=NOT_LOCAL) if _is_cut(node) else rows
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, self._with(node, ctes, outer), outer)
        if isinstance(node, exp.Select):
            return self._select(node, self._with(node, ctes, outer), outer)
        self._error("D313", "this form of query is not allowed", node, help="write SELECT … FROM …")
        return Rows({})

    def _with(self, node: exp.Expr, ctes: Mapping[str, Rows], outer: SelectScope | None) -> Mapping[str, Rows]:
        clause = node.args.get("with_")
        if clause is None:
            return ctes
        known = dict(ctes)
        for cte in clause.expressions:
            names = [column.name for column in cte.args["alias"].args.get("columns") or []]
            if clause.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                # The recursive branch sees what the first branch gives; a fixed point of flows needs no second look.
                # Keys of the first branch are none of the rows that the recursion adds.
                first = self.query(cte.this.left, known, outer)
                known[cte.alias] = _renamed(replace(first, keys=frozenset([frozenset(first.columns)])), names)
            known[cte.alias] = _renamed(self.query(cte.this, known, outer), names)
        return known

    def _set_operation(self, node: exp.SetOperation, ctes: Mapping[str, Rows], outer: SelectScope | None) -> Rows:
        left, right = self.query(node.left, ctes, outer), self.query(node.right, ctes, outer)
        if len(left.columns) != len(right.columns):
            count = f"{len(left.columns)} and {len(right.columns)}"
            self._error("D307", f"the branches have {count} columns", node)
            return left
        self._same_types(node)
        names = list(zip(left.columns, right.columns, strict=True))
        local = NOT_LOCAL if _is_cut(node) else united(left.local, right.local, names)
        tables = left.tables | right.tables
        if not isinstance(node, exp.Union):
            for (_, a), (_, b) in zip(left.columns.items(), right.columns.items(), strict=True):
                self._same_domain(node, a.domain, b.domain)
            return Rows(left.columns, left.keys, local, tables)
        columns = {}
        for (name, a), (_, b) in zip(left.columns.items(), right.columns.items(), strict=True):
            domain = a.domain if a.domain == b.domain else frozenset()
            if a.domain and b.domain and a.domain != b.domain:
                domain = a.domain | b.domain
            columns[name] = Flow(a.lineage | b.lineage, domain)
        keys = frozenset([frozenset(columns)]) if node.args.get("distinct") else frozenset()
        return Rows(columns, keys, local, tables)

    def _same_types(self, node: exp.SetOperation) -> None:
        """Hold the columns that a set operation puts under each other as the comparisons that they are."""
        selects = [_first_select(branch) for branch in (node.left, node.right)]
        if not any(s is None or any(map(_is_star, s.expressions)) for s in selects):
            mine, theirs = (s.expressions for s in selects if s is not None)
            for left, right in zip(mine, theirs, strict=False):
                pair = left.unalias(), right.unalias()
                self.comparisons.append(Comparison(right, *pair, *(s for s in selects if s is not None)))

    def _select(self, node: exp.Select, ctes: Mapping[str, Rows], outer: SelectScope | None) -> Rows:
        select = SelectScope(node, outer=outer)
        self._sources(select, ctes)
        for clause in ("where", "having", "qualify"):
            self.filters = self.filters or node.args.get(clause) is not None
        self._expressions(select, ctes)
        outputs = self._outputs(select, ctes)
        keys = proven_keys(select, outputs)
        select.outputs = tuple((name, node) for name, _, node in outputs)
        self.selects[id(select.node)] = select
        self.joins += select.joins
        local = local_columns(select, outputs) if self.local else NOT_LOCAL
        read = {table.name for table in node.find_all(exp.Table)} & self.known.keys()
        tables = frozenset(read).union(*(rows.tables for rows in select.sources.values()))
        return Rows({name: flow for name, flow, _ in outputs}, keys, local, tables)

    def _sources(self, select: SelectScope, ctes: Mapping[str, Rows]) -> None:
        clause = select.node.args.get("from_")
        nodes = [clause.this] if clause else []
        for join in select.node.args.get("joins") or []:
            nodes.append(join.this)
            select.merged |= {column.name for column in join.args.get("using") or []}
            if join.args.get("method"):
                words = f"a {join.args['method'].lower()} join"
                self._error("D313", f"{words} is not allowed", join.this, help="write what is equal after ON")
        for node in nodes:
            alias = node.alias_or_name
            if alias in select.sources:
                self._error("D304", f"two tables are called `{alias}`", node, help="give each an alias of its own")
            if isinstance(node, exp.Table):
                rows = ctes.get(node.name) or self.known.get(node.name)
                if rows is None:
                    continue  # reported by bind
                if node.name not in ctes:
                    select.tables[alias] = node.name
                    self.required.setdefault(node.name, set())
            elif isinstance(node, exp.Subquery):
                rows = self.query(node, ctes, select.outer)
            else:
                continue
            select.sources[alias] = rows
        for join in select.node.args.get("joins") or []:
            for column in join.args.get("using") or []:
                self._using(select, join, column)

    def _using(self, select: SelectScope, join: exp.Join, column: exp.Expr) -> None:
        """Hold a column of USING as the comparison that it is."""
        mine, name = join.this.alias_or_name, column.name
        others = [a for a, rows in select.sources.items() if a != mine and name in rows.columns]
        if others and mine in select.sources and name in select.sources[mine].columns:
            left, right = exp.column(name, table=others[0]), exp.column(name, table=mine)
            self.comparisons.append(Comparison(join.this, left, right, select.node))
            self._same_domain(join.this, self.domain(select, left), self.domain(select, right))

    def _expressions(self, select: SelectScope, ctes: Mapping[str, Rows]) -> None:
        """Resolve every column in the SELECT's own clauses; queries inside expressions see this SELECT around them."""
        nodes = list(_own(select.node))
        for node in nodes:
            if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
                self._column(select, node)
            elif isinstance(node, exp.Query) and not isinstance(node.parent, exp.From | exp.Join):
                inner = self.query(node, ctes, select)
                if isinstance(node.parent, exp.In) and len(inner.columns) == 1:
                    self._domains[id(node)] = next(iter(inner.columns.values())).domain
        for node in nodes:
            self._compare(select, node)

    def _column(self, select: SelectScope, node: exp.Column) -> tuple[SelectScope, str] | None:
        """Return the SELECT and alias that `node` belongs to, reporting a name that is unknown or ambiguous."""
        here: SelectScope | None = select
        while here is not None:
            if node.table:
                if node.table in here.sources:
                    return self._use(here, node.table, node)
            else:
                found = [alias for alias, rows in here.sources.items() if node.name in rows.columns]
                if len(found) > 1 and node.name not in here.merged:
                    tables = " and ".join(f"`{alias}`" for alias in found)
                    name = f"{found[0]}.{node.name}"
                    fix = Fix(self.statement.span(node), node.name, name, safe=False)
                    help = f"write `{name}`"
                    self._error("D304", f"`{node.name}` is a column of {tables}", node, help=help, fix=fix)
                if found:
                    return self._use(here, found[0], node)
            here = here.outer
        if not node.table and _names_output(select, node):
            return None
        self._unknown(select, node)
        return None

    def _use(self, select: SelectScope, alias: str, node: exp.Column) -> tuple[SelectScope, str] | None:
        if node.name not in select.sources[alias].columns:
            known = select.sources[alias].columns
            hint = did_you_mean(node.name, known)
            words, table = f"`{alias}` has no column `{node.name}`", select.tables.get(alias)
            cause = f"{table}.{node.name}" if table else ""
            self._error("D303", words, node, help=hint, related=self._declares(select, alias), cause=cause)
            return None
        if table := select.tables.get(alias):
            self.required[table].add(node.name)
        return select, alias

    def _unknown(self, select: SelectScope, node: exp.Column) -> None:
        if node.table:
            self._error(
                "D302", f"no table is called `{node.table}` here", node, help=did_you_mean(node.table, select.sources)
            )
            return
        known = {name for rows in select.sources.values() for name in rows.columns}
        only = next(iter(select.tables.values())) if len(select.sources) == len(select.tables) == 1 else ""
        hint, cause = did_you_mean(node.name, known), f"{only}.{node.name}" if only else ""
        related = self._declares(select, next(iter(select.tables))) if only else []
        self._error("D303", f"unknown column `{node.name}`", node, help=hint, related=related, cause=cause)

    # -- flows

    def _outputs(self, select: SelectScope, ctes: Mapping[str, Rows]) -> list[tuple[str, Flow, exp.Expr]]:
        outputs: list[tuple[str, Flow, exp.Expr]] = []
        for projection in select.node.expressions:
            if _is_star(projection):
                for output in self._star(select, projection):
                    if output[0] in {n for n, _, _ in outputs}:
                        words, cause = f"two output columns are called `{output[0]}`", f"{id(projection)}"
                        help = "list the columns, and rename one with AS"
                        self._error("D306", words, projection, help=help, cause=cause)
                    outputs.append(output)
                continue
            name = projection.alias_or_name
            if not _is_named(select.node) and not isinstance(projection, exp.Alias | exp.Column):
                name = f"_{len(outputs)}"
            elif not name or not isinstance(projection, exp.Alias | exp.Column):
                self._error("D306", "an output column has no name", projection, help="add `AS name`")
                continue
            inner = projection.unalias()
            if name in {n for n, _, _ in outputs}:
                self._error("D306", f"two output columns are called `{name}`", projection, help="rename one with AS")
            outputs.append((name, Flow(self._lineage(select, inner), self.domain(select, inner)), inner))
        return outputs

    def _star(self, select: SelectScope, star: exp.Expr) -> Iterator[tuple[str, Flow, exp.Expr]]:
        table = star.table if isinstance(star, exp.Column) else ""
        told: set[str] = set()
        excluded = {e.name for e in (star.args.get("except_") or star.args.get("except") or [])}
        for alias, rows in select.sources.items():
            if table and alias != table:
                continue
            for name, flow in rows.columns.items():
                if name in excluded or (not table and name in told & select.merged):
                    continue
                told.add(name)
                if source := select.tables.get(alias):
                    self.required[source].add(name)
                yield name, flow, exp.column(name, table=alias)

    def _flow(self, select: SelectScope, node: exp.Column) -> Flow:
        here: SelectScope | None = select
        while here is not None:
            for alias, rows in here.sources.items():
                if (not node.table or node.table == alias) and node.name in rows.columns:
                    return rows.columns[node.name]
            here = here.outer
        return Flow()

    def _lineage(self, select: SelectScope, node: exp.Expr) -> frozenset[str]:
        columns = [n for n in node.walk() if isinstance(n, exp.Column) and not isinstance(n.this, exp.Star)]
        return frozenset().union(*(self._flow(select, column).lineage for column in columns))

    def domain(self, select: SelectScope, node: exp.Expr) -> frozenset[str]:
        """Return the domain that a value keeps: a bare column's, or the one of COALESCE, CASE, MIN, MAX."""
        if isinstance(node, exp.Paren):
            return self.domain(select, node.this)
        if isinstance(node, exp.Column):
            return self._flow(select, node).domain
        if isinstance(node, exp.Min | exp.Max):
            return self.domain(select, node.this)
        parts: list[exp.Expr] = []
        if isinstance(node, exp.Coalesce):
            parts = [node.this, *node.expressions]
        elif isinstance(node, exp.Case):
            parts = [branch.args["true"] for branch in node.args["ifs"]]
            parts += [node.args["default"]] if node.args.get("default") else []
        found = {self.domain(select, part) for part in parts if not isinstance(part, exp.Null)}
        return found.pop() if len(found) == 1 else frozenset()

    def _compare(self, select: SelectScope, node: exp.Expr) -> None:
        pairs: list[tuple[exp.Expr, exp.Expr]] = []
        if isinstance(node, COMPARISONS):
            pairs = [(node.left, node.right)]
        elif isinstance(node, exp.Between):
            pairs = [(node.this, node.args["low"]), (node.this, node.args["high"])]
        elif isinstance(node, exp.In):
            pairs = [(node.this, value) for value in node.expressions]
            if (query := node.args.get("query")) is not None:
                self._same_domain(node, self.domain(select, node.this), self._domains.get(id(query), frozenset()))
                if isinstance(inner := query.unnest(), exp.Select) and len(inner.expressions) == 1:
                    output = inner.expressions[0].unalias()
                    self.comparisons.append(Comparison(node, node.this, output, select.node, inner))
        elif isinstance(node, exp.Nullif):
            pairs = [(node.this, node.expression)]
        elif isinstance(node, exp.Case) and node.this is not None:
            pairs = [(node.this, branch.this) for branch in node.args["ifs"]]
        for left, right in [p for pair in pairs for p in _apart(*pair)]:
            self.comparisons.append(Comparison(node, left, right, select.node))
            self._same_domain(node, self.domain(select, left), self.domain(select, right))

    def _same_domain(self, node: exp.Expr, left: frozenset[str], right: frozenset[str]) -> None:
        if left and right and not left & right:
            a, b = (" + ".join(f"`{d}`" for d in sorted(side)) for side in (left, right))
            self._error("D309", f"a key of {a} is compared with a key of {b}", node, help="join keys of one domain")

    def _declares(self, select: SelectScope, alias: str) -> list[Related]:
        """Return the place that says which columns stand behind an alias."""
        if table := select.tables.get(alias):
            return [Related(place, f"the columns of `{table}`") for place in self.declared(table)]
        named = [n for n in select.node.find_all(exp.Subquery) if n.alias == alias]
        around: exp.Expr | None = select.node
        while around is not None and not named:
            clause = around.args.get("with_")
            sources = {t.alias_or_name: t.name for t in select.node.find_all(exp.Table)}
            named = [n for n in (clause.expressions if clause else []) if n.alias == sources.get(alias)]
            around = around.parent
        return [Related(self.statement.span(n.this), f"the columns of `{alias}`") for n in named[:1]]

    def _error(
        self,
        code: str,
        message: str,
        node: exp.Expr,
        *,
        help: str = "",
        related: Iterable[Related] = (),
        fix: Fix | None = None,
        cause: str = "",
    ) -> None:
        s = self.statement
        related = [*asked_for(s.text, s.origin), *related]
        cause = cause or f"{s.origin} {message}"
        self.report.error(code, message, s.span(node), help=help, related=related, fix=fix, cause=cause)


def _own(select: exp.Select) -> Iterator[exp.Expr]:
    """Yield the nodes of a SELECT's own clauses, stopping at queries inside them, which are yielded but not entered."""
    stack: list[exp.Expr] = []
    for key, value in select.args.items():
        if key in ("with_", "from_", "joins"):
            continue
        stack += _nodes(value)
    for join in select.args.get("joins") or []:
        stack += _nodes(join.args.get("on"))
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, exp.Query):
            continue
        for value in node.args.values():
            stack += _nodes(value)


def _first_select(query: exp.Expr) -> exp.Select | None:
    """Return the SELECT that names the columns of a query."""
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.left if isinstance(query, exp.SetOperation) else query.this
    return query if isinstance(query, exp.Select) else None


def _is_star(projection: exp.Expr) -> bool:
    return isinstance(projection.this if isinstance(projection, exp.Column) else projection, exp.Star)


def _is_cut(query: exp.Expr) -> bool:
    """Whether a query keeps only some of its rows, however many groups they fall into."""
    return any(query.args.get(clause) for clause in ("limit", "offset"))


def _apart(left: exp.Expr, right: exp.Expr) -> list[tuple[exp.Expr, exp.Expr]]:
    """Return the pairs of two rows in parentheses that are compared, or the pair itself."""
    if isinstance(left, exp.Tuple) and isinstance(right, exp.Tuple):
        return list(zip(left.expressions, right.expressions, strict=False))
    return [(left, right)]


def _nodes(value: object) -> Iterable[exp.Expr]:
    if isinstance(value, exp.Expr):
        return [value]
    return [item for item in value if isinstance(item, exp.Expr)] if isinstance(value, list) else []


def _is_named(select: exp.Select) -> bool:
    """Whether others name the output columns of a SELECT; those of a query inside an expression nobody does."""
    parent = select.parent
    while isinstance(parent, exp.Subquery | exp.SetOperation):
        parent = parent.parent
    return parent is None or isinstance(parent, exp.From | exp.Join | exp.CTE)


def _names_output(select: SelectScope, node: exp.Column) -> bool:
    """Whether an unqualified name may mean an output column: in ORDER BY, GROUP BY and HAVING."""
    inside = node.find_ancestor(exp.Order, exp.Group, exp.Having, exp.Select)
    return not isinstance(inside, exp.Select) and node.name in {e.alias_or_name for e in select.node.expressions}


def _renamed(rows: Rows, names: list[str]) -> Rows:
    if not names or len(names) != len(rows.columns):
        return rows
    new = dict(zip(rows.columns, names, strict=True))
    columns = {new[name]: flow for name, flow in rows.columns.items()}
    keys = frozenset(frozenset(new[c] for c in key) for key in rows.keys)
    return Rows(columns, keys, {new[name]: inputs for name, inputs in rows.local.items()}, rows.tables)
