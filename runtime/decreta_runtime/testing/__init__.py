"""What generated tests call: contracts, examples, keys and checks of one object or relation, on tiny tables in memory.

Rows are made from the contracts of the inputs: not null where a column is not nullable, one of its values where they
are listed, of its length where that is fixed, unique in its key. Where a test needs many, their seed is fixed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from datafusion import SessionContext

from decreta_runtime.arrow import exactly, schema_of
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import RUN_WORKLOAD, Check, Column, Key, Locality
from decreta_runtime.functions import call_table_function, scalar_functions
from decreta_runtime.load import LoadedPack, load
from decreta_runtime.session import build_session
from decreta_runtime.tally import Tally
from decreta_runtime.testing.rows import (
    Pools,
    Row,
    broken,
    multiset,
    plain_row,
    random_table,
    register,
    register_empty,
    typed,
    within_checks,
)

_DATABASES = 40
"""Random databases that a search for a counter-model tries."""


class _Test:
    def __init__(self, file: str, name: str, pools: Pools | None = None, loaded: LoadedPack | None = None) -> None:
        self._folder, self.name, self.pools = Path(file).resolve().parents[1], name, pools or {}
        self._loaded = loaded

    @property
    def pack(self) -> LoadedPack:
        """The verified pack that the test belongs to."""
        if self._loaded is None:
            self._loaded = load(self._folder, Tally())
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
        good = [plain_row(self.columns_of(self.name), i) for i in range(3)]
        assert not self._violations(check, good), f"`{check.name}` refuses rows that keep it"
        bad = broken(self.columns_of(self.name), self.key_of(self.name), kind, good)
        assert bad, f"there is no way to break `{check.name}`"
        for rows in bad:
            assert self._violations(check, rows), f"`{check.name}` passes {rows[-1]}"

    def _violations(self, check: Check, rows: Sequence[Row]) -> int:
        context = self.session()
        register(context, self.name, self.columns_of(self.name), rows)
        return int(context.sql(check.sql).count())


class ObjectTest(_Test):
    """Tests of one object."""

    def contract(self) -> None:
        """Show that the engine types the object's columns as its contract does."""
        context = self.session()
        register_empty(context, self.name, self.columns_of(self.name))
        _same_contract(context.table(self.name).schema(), self.columns_of(self.name), nullability=True)


class RelationTest(_Test):
    """Tests of one relation, over tables that obey the contracts of its inputs."""

    def contract(self) -> None:
        """Show that the planner gives the columns, types and nullability of the contract."""
        context, entry = self.session(), self.pack.manifest.relations[self.name]
        for name in entry.inputs:
            register_empty(context, name, self.columns_of(name))
        if entry.call is None:
            schema = self.pack.builder(self.name)(context).schema()
            promised = any(c.kind == "columns" for c in entry.checks) or "WITH RECURSIVE" in self._sql()
            _same_contract(schema, entry.columns, nullability=not promised)
        info = self.pack.module(f"relations.{self.name}").INFO
        assert info.columns == entry.columns
        assert info.inputs == entry.inputs

    def laws(self, databases: int = _DATABASES) -> None:
        """Try random small databases that obey the inputs' contracts; on each all that was proven holds.

        A proven key has no two rows; a value passed through is one of its input's; rows are the same however the
        inputs are split; the groups of a local relation, computed one by one, unite to the whole.
        """
        entry = self.pack.manifest.relations[self.name]
        for given in self.databases(databases):
            rows = self.rows(given)
            if entry.key and entry.key.known == "proven":
                counts = Counter(tuple(row[column] for column in entry.key.columns) for row in rows)
                repeated = [values for values, n in counts.items() if n > 1]
                assert not repeated, f"{dict(zip(entry.key.columns, repeated[0], strict=True))} twice from {given}"
            if self._ordered():
                assert multiset(rows) == multiset(self.rows(given, split=True)), f"splitting changes rows: {given}"
            if entry.local_to is not None:
                self._is_local(entry.local_to, given, rows)

    def _is_local(self, local: Locality, given: Mapping[str, Sequence[Row]], rows: Sequence[Row]) -> None:
        groups = {row[column] for name, column in local.inputs.items() for row in given[name]}
        united: list[Row] = []
        for group in sorted(groups, key=repr):
            alone = {n: [r for r in given[n] if r[c] == group] for n, c in local.inputs.items()}
            united += (found := self.rows({**given, **alone}))
            assert all(row[local.column] == group for row in found)
        assert multiset(united) == multiset(rows), f"groups of {local.column} are not independent: {given}"

    def _ordered(self) -> bool:
        """Whether the rows are a function of the inputs: a tie of the statement's order, or a sum of floats, is not."""
        entry = self.pack.manifest.relations[self.name]
        return entry.call is None and "ROW_NUMBER" not in self._sql().upper()

    def databases(self, count: int) -> Iterator[dict[str, list[Row]]]:
        """Yield random small databases that obey the contracts, keys and predicates of the inputs, always the same."""
        entry, draw = self.pack.manifest.relations[self.name], random.Random(self.name)
        context, checks = self.session(), self.pack.manifest.checks()
        for i in range(count):
            given: dict[str, list[Row]] = {}
            for name in entry.inputs:
                columns = self.columns_of(name)
                # Every other database keeps to the boundaries: several conditions at once are seldom met by chance.
                pools, one_in = self.pools.get(name, {}), 16 if i % 2 else 2
                rows = [] if i == 0 else random_table(columns, self.key_of(name), draw, pools, one_in)
                register(context, name, columns, rows)
                given[name] = within_checks(context, name, rows, checks.get(name, ()))
                context.deregister_table(name)
            yield given

    def rows(self, given: Mapping[str, Sequence[Row]], *, split: bool = False) -> list[Row]:
        """Return the relation's rows over the tables given, one row a partition if `split`."""
        context = self.session()
        for name, rows in given.items():
            register(context, name, self.columns_of(name), rows, split=split)
        found: list[Row] = self._compute(context, self.name).to_pylist()
        return found

    def example(self, *, given: Mapping[str, Sequence[Row]], expect: Sequence[Row]) -> None:
        """Show that the rows given yield the rows expected; columns that are not named do not matter."""
        context, entry = self.session(), self.pack.manifest.relations[self.name]
        for name in self._transitive(entry.inputs):
            columns = self.columns_of(name)
            rows = [{**plain_row(columns, i), **typed(columns, row)} for i, row in enumerate(given.get(name, ()))]
            if name in given or name in self.pack.manifest.objects:
                register(context, name, columns, rows)
            else:
                register(context, name, columns, self._compute(context, name).to_pylist())
        table = self._compute(context, self.name)
        self._keeps_its_promises(context, table.to_pylist())
        if not expect:
            assert not table.num_rows, f"no rows were expected, there are {table.to_pylist()}"
            return
        named = list(expect[0])
        wanted = [typed(self.columns_of(self.name), row) for row in expect]
        assert multiset(table.select(named).to_pylist()) == multiset(wanted)

    def _keeps_its_promises(self, context: SessionContext, rows: Sequence[Row]) -> None:
        """Show that an example's rows keep the relation's own checks; a share is of the data, not of an example."""
        register(context, self.name, self.columns_of(self.name), rows)
        for check in self.pack.manifest.relations[self.name].checks:
            if check.kind in ("columns", "key", "where"):
                broken_rows = context.sql(check.sql).to_arrow_table().to_pylist()
                assert not broken_rows, f"the rows break `{check.name}`: {broken_rows}"

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


def _same_contract(schema: pa.Schema, columns: Sequence[Column], *, nullability: bool) -> None:
    found = [(f.name, types.from_arrow(str(f.type)), f.nullable if nullability else None) for f in schema]
    wanted = [(c.name, c.type, c.nullable if nullability else None) for c in columns]
    if nullability:  # a contract may promise less than the statement keeps
        found = [(n, t, w[2] if w[2] else x) for (n, t, x), w in zip(found, wanted, strict=True)]
    assert found == wanted
