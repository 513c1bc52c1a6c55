"""What generated tests call: contracts, examples, keys and checks of one object or relation, on tiny tables in memory.

Rows are made from the contracts of the inputs: not null where a column is not nullable, one of its values where they
are listed, of its length where that is fixed, unique in its key. Where a test needs many, their seed is fixed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from datafusion import SessionContext

from decreta_runtime.arrow import exactly, schema_of
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import RUN_WORKLOAD, Check, Column, Key
from decreta_runtime.functions import call_table_function, scalar_functions
from decreta_runtime.load import LoadedPack, load
from decreta_runtime.scan import quote
from decreta_runtime.session import build_session
from decreta_runtime.tally import Tally

_DATABASES = 40
"""Random databases that a search for a counter-model tries."""
_ROWS = 6
"""Rows of each of their tables: enough for two groups with ties in each."""
_VALUES = 3
"""Distinct values a column draws from: few, so that rows meet."""

Row = dict[str, Any]


class _Test:
    def __init__(self, file: str, name: str) -> None:
        self._folder, self.name = Path(file).resolve().parents[1], name
        self._loaded: LoadedPack | None = None

    @property
    def pack(self) -> LoadedPack:
        """The verified pack that the test belongs to."""
        if self._loaded is None:
            self._loaded = load(self._folder)
        return self._loaded

    def session(self) -> SessionContext:
        """Return a session as runs have it."""
        environment = next(path for path in self.pack.files if path.startswith("policy/"))
        policy = self.pack.policy(environment.removeprefix("policy/").removesuffix(".json"))
        return build_session(RUN_WORKLOAD, policy.session(RUN_WORKLOAD), Tally(), scalar_functions(self.pack))

    def key_of(self, name: str) -> tuple[str, ...]:
        """Return the key of an object or relation, empty if it has none."""
        manifest = self.pack.manifest
        key: Key | None = manifest.objects[name].key if name in manifest.objects else manifest.relations[name].key
        return key.columns if key else ()

    def columns_of(self, name: str) -> tuple[Column, ...]:
        """Return the contract of an object or relation."""
        return self.pack.manifest.columns_of(name)

    def check(self, kind: str) -> None:
        """Show that the check of a kind passes rows that keep the promise, and finds one row that breaks it."""
        checks = self.pack.manifest.checks()[self.name]
        check = next(c for c in checks if c.kind == kind)
        good = [_plain_row(self.columns_of(self.name), i) for i in range(3)]
        assert not self._violations(check, good), f"`{check.name}` refuses rows that keep it"
        broken = _broken(self.columns_of(self.name), self.key_of(self.name), kind, good)
        assert broken, f"there is no way to break `{check.name}`"
        for rows in broken:
            assert self._violations(check, rows), f"`{check.name}` passes {rows[-1]}"

    def _violations(self, check: Check, rows: Sequence[Row]) -> int:
        context = self.session()
        _register(context, self.name, self.columns_of(self.name), rows)
        return int(context.sql(check.sql).count())


class ObjectTest(_Test):
    """Tests of one object."""

    def contract(self) -> None:
        """Show that the engine types the object's columns as its contract does."""
        context = self.session()
        _register_empty(context, self.name, self.columns_of(self.name))
        _same_contract(context.table(self.name).schema(), self.columns_of(self.name), nullability=True)


class RelationTest(_Test):
    """Tests of one relation, over tables that obey the contracts of its inputs."""

    def contract(self) -> None:
        """Show that the planner gives the columns, types and nullability of the contract."""
        context, entry = self.session(), self.pack.manifest.relations[self.name]
        for name in entry.inputs:
            _register_empty(context, name, self.columns_of(name))
        if entry.call is None:
            schema = self.pack.builder(self.name)(context).schema()
            promised = any(c.kind == "columns" for c in entry.checks) or "WITH RECURSIVE" in self._sql()
            _same_contract(schema, entry.columns, nullability=not promised)
        info = self.pack.module(f"relations.{self.name}").INFO
        assert info.columns == entry.columns
        assert info.inputs == entry.inputs

    def search_for_duplicates(self) -> None:
        """Try random small databases that obey the inputs' contracts; none may give two rows with one key."""
        entry, key = self.pack.manifest.relations[self.name], self.key_of(self.name)
        draw = random.Random(self.name)  # a fixed seed: the same databases on every machine
        for _ in range(_DATABASES):
            context = self.session()
            given = {name: self._random_rows(name, draw) for name in entry.inputs}
            for name, rows in given.items():
                _register(context, name, self.columns_of(name), rows)
            table = self.pack.builder(self.name)(context).to_arrow_table()
            counts = Counter(tuple(row[column] for column in key) for row in table.to_pylist())
            repeated = [values for values, n in counts.items() if n > 1]
            assert not repeated, f"{dict(zip(key, repeated[0], strict=True))} comes twice from {given}"

    def example(self, *, given: Mapping[str, Sequence[Row]], expect: Sequence[Row]) -> None:
        """Show that the rows given yield the rows expected; columns that are not named do not matter."""
        context, entry = self.session(), self.pack.manifest.relations[self.name]
        for name in self._transitive(entry.inputs):
            columns = self.columns_of(name)
            rows = [{**_plain_row(columns, i), **_typed(columns, row)} for i, row in enumerate(given.get(name, ()))]
            if name in given or name in self.pack.manifest.objects:
                _register(context, name, columns, rows)
            else:
                _register(context, name, columns, self._compute(context, name).to_pylist())
        table = self._compute(context, self.name)
        if not expect:
            assert not table.num_rows, f"no rows were expected, there are {table.to_pylist()}"
            return
        named = list(expect[0])
        wanted = [_typed(self.columns_of(self.name), row) for row in expect]
        assert _multiset(table.select(named).to_pylist()) == _multiset(wanted)

    def _sql(self) -> str:
        found: str = self.pack.module(f"relations.{self.name}").SQL
        return found

    def _compute(self, context: SessionContext, name: str) -> pa.Table:
        call = self.pack.manifest.relations[name].call
        if call is None:
            return self.pack.builder(name)(context).to_arrow_table()
        rows = call_table_function(self.pack, name, call, context)
        schema = schema_of(self.columns_of(name))
        return pa.Table.from_batches(exactly(rows, schema, name), schema)

    def _transitive(self, names: Sequence[str]) -> list[str]:
        """Return `names` and all that they are made from, inputs first."""
        found: list[str] = []
        for name in names:
            entry = self.pack.manifest.relations.get(name)
            for inner in [*(self._transitive(entry.inputs) if entry else ()), name]:
                if inner not in found:
                    found.append(inner)
        return found

    def _random_rows(self, name: str, draw: random.Random) -> list[Row]:
        columns, key = self.columns_of(name), self.key_of(name)
        rows = [{c.name: _random_value(c, draw) for c in columns} for _ in range(draw.randrange(_ROWS + 1))]
        unique: dict[tuple[Any, ...], Row] = {}
        for row in rows:
            unique.setdefault(tuple(row[c] for c in key) if key else (len(unique),), row)
        return list(unique.values())


def _same_contract(schema: pa.Schema, columns: Sequence[Column], *, nullability: bool) -> None:
    found = [(f.name, types.from_arrow(str(f.type)), f.nullable if nullability else None) for f in schema]
    wanted = [(c.name, c.type, c.nullable if nullability else None) for c in columns]
    if nullability:  # a contract may promise less than the statement keeps
        found = [(n, t, w[2] if w[2] else x) for (n, t, x), w in zip(found, wanted, strict=True)]
    assert found == wanted


def _register(context: SessionContext, name: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    # Not-null is left out as scans leave it out: a check must be able to find a null.
    schema = pa.schema([field.with_nullable(True) for field in schema_of(columns)])
    context.register_record_batches(name, [[pa.RecordBatch.from_pylist(list(rows), schema=schema)]])


def _register_empty(context: SessionContext, name: str, columns: Sequence[Column]) -> None:
    listed = []
    for column in columns:
        names = types.names_of(column.type)
        assert names is not None
        listed.append(f"{quote(column.name)} {names.sql}{'' if column.nullable else ' NOT NULL'}")
    context.sql(f"CREATE TABLE {quote(name)} ({', '.join(listed)})")


def _plain_row(columns: Sequence[Column], i: int) -> Row:
    """Return a row that keeps every promise of a contract; rows of different `i` differ in every column they can."""
    return {column.name: None if column.nullable else _value(column, i) for column in columns}


def _value(column: Column, i: int) -> Any:
    kind = column.type
    if column.values:
        return column.values[i % len(column.values)]
    if kind == "string":
        return f"text{i}"
    if kind == "binary":
        return bytes([i % 256]) * (column.length or 1)
    if kind == "bool":
        return i % 2 == 1
    if kind.startswith("int"):
        return i
    if kind.startswith("float"):
        return float(i)
    if kind.startswith("decimal"):
        return Decimal(i)
    if kind == "date":
        return date.fromordinal(738_000 + i)
    if kind == "timestamp":
        return datetime.fromtimestamp(1_700_000_000 + i, UTC)
    if kind == "timestamp_local":
        return datetime.fromtimestamp(1_700_000_000 + i, UTC).replace(tzinfo=None)
    return [_value(Column(name=column.name, type=kind[5:-1]), i)]


def _random_value(column: Column, draw: random.Random) -> Any:
    if column.nullable and not draw.randrange(4):
        return None
    return _value(column, draw.randrange(_VALUES))


def _typed(columns: Sequence[Column], row: Row) -> Row:
    """Return a row as written in a spec with its values in the types of the contract."""
    kinds = {column.name: column.type for column in columns}
    return {name: _from_text(kinds[name], value) for name, value in row.items()}


def _from_text(kind: str, value: Any) -> Any:
    if not isinstance(value, str):
        return Decimal(str(value)) if kind.startswith("decimal") and value is not None else value
    if kind.startswith("decimal"):
        return Decimal(value)
    if kind == "date":
        return date.fromisoformat(value)
    if kind.startswith("timestamp"):
        return datetime.fromisoformat(value)
    return bytes.fromhex(value) if kind == "binary" else value


def _multiset(rows: Sequence[Row]) -> Counter[str]:
    return Counter(repr(sorted(row.items())) for row in rows)


def _broken(columns: Sequence[Column], key: tuple[str, ...], kind: str, good: Sequence[Row]) -> list[list[Row]]:
    """Return tables that break a promise, each in one way."""
    last = dict(good[-1])
    if kind == "key":
        return [[*good, {**last, **{name: good[0][name] for name in key}}]]
    found = []
    for column in columns:
        if not column.nullable:
            found.append([*good, {**last, column.name: None}])
        if column.values:
            found.append([*good, {**last, column.name: "none of the values"}])
        if column.length is not None:
            found.append([*good, {**last, column.name: b"x" * (column.length + 1)}])
    return found
