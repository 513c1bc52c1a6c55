"""What has changed since the last complete run, name by name, and both sides of it: rows as they were and as they are.

A change is a place where rows may differ, never too small. What differs in it as a reader sees it, in the columns that
the reader takes, is asked of the engine when a reader wants to know; so a change ends where nobody sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from datafusion import DataFrame

from decreta_runtime.contract.errors import StatementFailed
from decreta_runtime.contract.manifest import Groups
from decreta_runtime.execute import Execution
from decreta_runtime.scan import Pinned, quote

BEFORE = "__before"
"""What a name is followed by in the name of the table of its rows as the last complete run left them."""
_SIGN = "?sign"
"""The column that counts a row that came up and one that went down; no column of a spec has a name like this."""


class Some(NamedTuple):
    """Rows that may differ: those of the tables `gone` and `come` for which `where` holds."""

    where: str | None
    gone: str | None
    come: str | None
    forced: bool = False
    """Whether they are to be taken for changed without a look."""


Change = tuple[Some, ...] | None
"""All places where rows may differ: none of them if nothing has changed; None if everything may have."""


@dataclass
class Changes:
    """The changes of one run, and the tables of its session in which they are looked for."""

    execution: Execution
    before: Mapping[str, Pinned]
    """Datasets as the last complete run left them, those of which nothing is to be built on left out."""
    of: dict[str, Change] = field(default_factory=dict)
    _inline: set[str] = field(default_factory=set)
    _whole: set[str] = field(default_factory=set)
    _earlier: dict[str, str] = field(default_factory=dict)
    _visible: dict[str, str] = field(default_factory=dict)

    def replaced(self, name: str, column: str, values: Sequence[Any], *, forced: bool = False) -> None:
        """Note that only rows with these values of a column differ."""
        self.of[name] = (Some(within(column, values), name + BEFORE, name, forced),)

    # -- what a reader sees

    def touches(self, reader: str, name: str) -> bool:
        """Whether anything differs in what a relation reads of one of its inputs."""
        change = self.of[name]
        if not change:
            return change is None
        return any(some.forced or self._rows(self._differing(reader, name, some, "1") + " LIMIT 1") for some in change)

    def values(self, reader: str, name: str, column: str) -> set[Any]:
        """Return the values of a column of an input in the rows that differ as a relation reads them."""
        found: set[Any] = set()
        for some in self.of[name] or ():
            asked = quote(column)
            sql = self._either(name, some, asked) if some.forced else self._differing(reader, name, some, asked, column)
            found |= {row[0] for row in self._rows(sql)}
        return found

    def _differing(self, reader: str, name: str, some: Some, asked: str, column: str | None = None) -> str:
        """Return a SELECT of `asked` over the rows that came or went, in the columns that a relation reads."""
        manifest = self.execution.pack.manifest
        required = {*manifest.relations[reader].required[name], *([] if column is None else [column])}
        where = some.where
        if name in manifest.objects and column != manifest.objects[name].changes.column:
            where = self._seen_by_others(name, some)
        columns = sorted(required) or [manifest.columns_of(name)[0].name]
        return self._apart(name, some._replace(where=where), asked, columns)

    def _seen_by_others(self, name: str, some: Some) -> str | None:
        """Return where rows may differ for readers in other groups: where the visible column of a group is another."""
        promised = self.execution.pack.manifest.objects[name].changes
        if promised.visible is None or promised.column is None:
            return some.where
        if name not in self._visible:
            columns = sorted({promised.column, promised.visible})
            rows = self._rows(self._apart(name, some, quote(promised.column), columns))
            self._visible[name] = within(promised.column, [row[0] for row in rows])
        return self._visible[name]

    def _apart(self, name: str, some: Some, asked: str, columns: Sequence[str]) -> str:
        listed, sides = ", ".join(map(quote, columns)), []
        for table, sign in ((some.come, "1"), (some.gone, "-1")):
            if table is not None:
                self.ready(name, table)
                where = "" if some.where is None else f" WHERE {some.where}"
                sides.append(f"SELECT {listed}, {sign} AS {quote(_SIGN)} FROM {quote(table)}{where}")
        both = " UNION ALL ".join(sides)
        counted = f"SELECT {listed} FROM ({both}) GROUP BY {listed} HAVING sum({quote(_SIGN)}) <> 0"
        return f"SELECT DISTINCT {asked} FROM ({counted})"

    def _either(self, name: str, some: Some, asked: str) -> str:
        sides = []
        for table in (some.come, some.gone):
            if table is not None:
                self.ready(name, table)
                where = "" if some.where is None else f" WHERE {some.where}"
                sides.append(f"SELECT {asked} FROM {quote(table)}{where}")
        return f"SELECT DISTINCT * FROM ({' UNION ALL '.join(sides)})"

    def of_all(self, name: str, some: Some, column: str) -> set[Any]:
        """Return the values of a column in the rows that differ in any of the columns that the session has of them."""
        self.ready(name, table := some.come or some.gone or name)
        columns = self.execution.context.table(table).schema().names
        return {row[0] for row in self._rows(self._apart(name, some, quote(column), columns))}

    def newest(self, name: str, column: str) -> Any:
        """Return the greatest value of a column as the last complete run left it."""
        self.ready(name, name + BEFORE)
        (row,) = self._rows(f"SELECT max({quote(column)}) FROM {quote(name + BEFORE)}")
        return row[0]

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            table = self.execution.context.sql(sql).to_arrow_table()
        except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
            raise StatementFailed("what has changed", error) from None
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    # -- both sides

    def ready(self, name: str, table: str) -> None:
        """Make sure that a table of either side can be read."""
        if table == name:
            self.inline(name)
        elif table == name + BEFORE:
            self.earlier(name)

    def inline(self, name: str) -> None:
        """Make a view readable as part of its readers' plans, whatever else it is: some groups of it cost little."""
        entry = self.execution.pack.manifest.relations.get(name)
        if entry is None or entry.stored or name in self._inline | self._whole:
            return
        if entry.call is not None:
            self.whole(name)
            return
        for given in entry.inputs:
            self.inline(given)
        frame = self.execution.pack.builder(name)(self.execution.context)
        self.execution.context.register_table(name, frame.into_view())
        self._inline.add(name)

    def whole(self, name: str) -> None:
        """Make a view readable as a whole: computed once and kept, where the policy says so."""
        entry = self.execution.pack.manifest.relations.get(name)
        if entry is None or entry.stored or name in self._whole:
            return
        for given in entry.inputs:
            self.whole(given)
        if name in self._inline:
            self.execution.context.deregister_table(name)
        self.execution.view(name)
        self._whole.add(name)

    def earlier(self, name: str) -> str:
        """Return the name of the table with the rows of a name as the last complete run left them."""
        if name in self._earlier:
            return self._earlier[name]
        manifest = self.execution.pack.manifest
        self._earlier[name] = found = name if self.of.get(name) == () else name + BEFORE
        if found == name:
            self.inline(name)
        elif name in manifest.datasets():
            base = self.before[name]
            pinned = Pinned(found, base.path, base.version, base.table, base.place)
            self.execution.scan(pinned, manifest.read_by_run(name), name)
        else:
            entry = manifest.relations[name]
            sides = {given: self.earlier(given) for given in entry.inputs}
            other = {given: f"SELECT * FROM {quote(side)}" for given, side in sides.items() if side != given}
            with self._instead(other):
                frame = self.execution.pack.builder(name)(self.execution.context)
            self.execution.context.register_table(found, frame.into_view())
        return found

    def restricted(self, name: str, groups: Groups, values: Sequence[Any]) -> DataFrame:
        """Return a relation's statement over its inputs restricted to some groups, what it reads whole left whole."""
        for given in groups.inputs:
            self.inline(given)
        for given in groups.whole:
            self.whole(given)
        narrow = {x: f"SELECT * FROM {quote(x)} WHERE {within(c, values)}" for x, c in groups.inputs.items()}
        with self._instead(narrow):
            frame: DataFrame = self.execution.pack.builder(name)(self.execution.context)
        return frame

    def forget(self, name: str) -> None:
        """Forget the rows of a view: nobody reads them any more, or they are made readable again."""
        self.execution.places.drop(name)
        self._inline.discard(name)
        self._whole.discard(name)

    @contextmanager
    def _instead(self, tables: Mapping[str, str]) -> Iterator[None]:
        """Let names stand for other rows while a statement is planned; a plan holds what it has found."""
        context = self.execution.context
        views = {name: context.sql(sql).into_view() for name, sql in tables.items()}
        schema = context.catalog().schema()
        own = {name: schema.table(name) for name in tables if name in schema.names()}
        for name, view in views.items():
            context.deregister_table(name)
            context.register_table(name, view)
        try:
            yield
        finally:
            for name in views:
                context.deregister_table(name)
                if name in own:
                    context.register_table(name, own[name])


def within(column: str, values: Sequence[Any]) -> str:
    """Return the predicate that a column has one of some values, as the engine and the Delta log both read it."""
    if not values:
        return "false"
    return f"{quote(column)} IN ({', '.join(_literal(value) for value in sorted(values))})"


def between(column: str, first: date, last: date) -> str:
    """Return the predicate that a column of dates lies between two, both among them."""
    return f"{quote(column)} BETWEEN {_literal(first)} AND {_literal(last)}"


def _literal(value: Any) -> str:
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
