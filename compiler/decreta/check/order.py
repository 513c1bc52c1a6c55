"""Rows that another run over the same data need not repeat: relations must be total, or declare which columns vary.

What a declaration can say is how far a column differs. Rows that come and go cannot be declared, because a replay
always counts rows, nor can a key, because rows are told apart by it. Of a query shape all of it is a warning, for
nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from decreta.check.scope import Scoped
from decreta.check.sensitivity import called
from decreta.check.unsettled import Unsettled
from decreta.check.varying import Cause, Varies, varying
from decreta.diagnostics import Report
from decreta.engine import Engine
from decreta.model.program import Checked, CheckedRelation, Statement
from decreta.source import Span
from decreta.sql import asked_for
from decreta_runtime.contract.capabilities import Volatility


def check(
    program: Checked,
    scopes: Mapping[int, Scoped],
    volatilities: Mapping[str, Volatility],
    engine: Engine,
    report: Report,
) -> None:
    """Find what depends on the order of rows, the clock or chance, and is not declared.

    `scopes` has every statement with its names resolved, by the `id` of its tree.
    """
    known: dict[str, Varies] = {}
    for name in program.order:
        relation = program.relations[name]
        statement = relation.bound.statement
        if statement is None:
            found = _of_call(relation, known, volatilities)
        else:
            found = varying(statement.tree, scopes[id(statement.tree)], known, volatilities, engine)
        if relation.bound.relation.round is not None:
            people_know = relation.bound.relation.written.spec.relation
            known[name] = _read_as(people_know, {c for c, causes in found.columns.items() if causes}, bool(found.rows))
            continue
        declared = relation.bound.relation.written.spec.varies
        known[name] = _read_as(name, declared, False)
        _Undeclared(name, relation, report).tell(found)
    for query in program.queries.values():
        statement = query.bound.statement
        for cause in varying(statement.tree, scopes[id(statement.tree)], {}, volatilities, engine).all():
            if isinstance(cause, Unsettled) and cause.by_order:
                related = asked_for(statement.text, statement.origin)
                report.warning("D604", cause.words, _place(statement, cause), help=cause.help, related=related)


def _read_as(name: str, columns: Iterable[str], rows: bool) -> Varies:
    """Return what varies for those who read a relation."""
    causes: frozenset[Cause] = frozenset([f"the rows of `{name}`"] if rows else [])
    return Varies({column: frozenset([f"`{name}.{column}`"]) for column in columns}, causes)


def _of_call(relation: CheckedRelation, known: Mapping[str, Varies], volatilities: Mapping[str, Volatility]) -> Varies:
    """Return what varies of a table function's result: all but its key, for nobody sees how it is made."""
    call = relation.bound.relation.call
    assert call is not None
    causes: set[Cause] = set()
    for table, columns in relation.required.items():
        of = known.get(table, Varies())
        causes |= of.rows.union(*(of.columns.get(column, frozenset()) for column in columns))
    if volatilities.get(call.function.name, "immutable") != "immutable":
        causes.add(f"`{call.function.name}`, a function")
    key = relation.key.columns if relation.key else ()
    return Varies({c.name: frozenset(causes) for c in relation.columns if c.name not in key})


class _Undeclared:
    """What of a relation varies and is not declared, or cannot be."""

    def __init__(self, name: str, relation: CheckedRelation, report: Report) -> None:
        self.name, self.relation, self.report = name, relation, report
        self.written = relation.bound.relation.written
        self.key = relation.key.columns if relation.key else ()

    def tell(self, found: Varies) -> None:
        """Report what of `found` is not declared, each cause once."""
        for column in self.key:
            if column in self.written.spec.varies:
                words = f"`{column}` is of the key of `{self.name}`, and rows are told apart by it"
                help = "make it total, or give the relation another key"
                self.report.error("D604", words, self.written.key("varies", column), help=help)
        columns: dict[Cause, list[str]] = {}
        for column, causes in found.columns.items():
            for cause in causes - found.rows if column not in self.written.spec.varies else ():
                columns.setdefault(cause, []).append(column)
        if read := sorted(cause for cause in found.rows if isinstance(cause, str)):
            self._rows_of(read[0])
        for column in found.columns:
            if read := sorted(cause for cause in columns if isinstance(cause, str) and column in columns[cause]):
                self._made_from(column, read[0])
        for cause in [*found.rows, *columns]:
            if isinstance(cause, Unsettled):
                self._unsettled(cause, columns.get(cause))

    def _rows_of(self, cause: str) -> None:
        words = f"rows of `{self.name}` come and go by {cause}, which varies from run to run"
        help = "make that certain, or keep rows by something else; rows that come and go cannot be declared"
        self.report.error("D604", words, self.written.place("relation"), help=help)

    def _made_from(self, column: str, cause: str) -> None:
        words = f"`{self.name}.{column}` is made from {cause}, which varies from run to run"
        help = self._declare("make that certain", "declare it too:", [column])
        self.report.error("D604", words, self.written.place("relation"), help=help)

    def _unsettled(self, cause: Unsettled, columns: list[str] | None) -> None:
        statement = self.relation.bound.statement
        assert isinstance(statement, Statement)
        if columns is None:
            words, help = f"{cause.words}, and rows come and go by it", f"{cause.help}; this cannot be declared"
        else:
            words, help = cause.words, self._declare(cause.help, "declare", columns, rounds=cause.rounds)
        related = asked_for(statement.text, statement.origin)
        self.report.error("D604", words, _place(statement, cause), help=help, related=related)

    def _declare(self, mend: str, declare: str, columns: list[str], *, rounds: bool = False) -> str:
        """Return the help to mend what varies or to declare it, which a column of the key cannot be."""
        if of_key := [column for column in columns if column in self.key]:
            return f"{mend}; `{of_key[0]}` is of the key, which may not vary"
        floats = {c.name for c in self.relation.columns if rounds and c.type.startswith("float")}
        declared = ", ".join(f'{c}: "0.000001"' if c in floats else f"{c}: any" for c in columns)
        return f"{mend}; or {declare} `varies: {{{declared}}}`"


def _place(statement: Statement, cause: Unsettled) -> Span:
    """Return where a cause stands; what is called without an argument has no place in the tree."""
    found = statement.span(cause.node)
    return statement.call_span(called(cause.node)) if found == statement.origin and called(cause.node) else found
