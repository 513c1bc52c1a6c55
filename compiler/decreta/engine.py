"""The one module that asks DataFusion: it types statements over empty tables and evaluates rules over facts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pyarrow as pa
from datafusion import LogicalPlan, ScalarUDF, SessionConfig, SessionContext, udf

from decreta.plans import Meeting, Meetings
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import Column

_BRANCHES = re.compile(r"\b(CASE|UNION|INTERSECT|EXCEPT)\b", re.IGNORECASE)
"""What the planner types by its first branch until the optimizer has coerced the others."""


class PlannedColumn(NamedTuple):
    """One output column as the planner types it; `type` is None outside the closed table."""

    name: str
    type: str | None
    arrow: str
    nullable: bool


class PlanRefused(Exception):
    """The planner's own words, first line."""


class Engine:
    """A planner over the empty tables registered so far. Holds no data and touches no disk."""

    def __init__(self) -> None:
        config = SessionConfig().with_target_partitions(1).with_information_schema(True)
        # The session's zone decides what TIMESTAMP WITH TIME ZONE means (`engine-facts` 2a); the runtime sets the same.
        self._types: dict[str, pa.DataType] = {}
        self._config = config.set("datafusion.execution.time_zone", "UTC")
        self._context = SessionContext(self._config)
        self._columns: dict[str, pa.Schema] = {}
        self._functions: list[ScalarUDF] = []

    def register(self, name: str, columns: Iterable[Column]) -> None:
        """Make an empty table of that name and contract."""
        schema = pa.schema([pa.field(c.name, self._arrow(c.type), c.nullable) for c in columns])
        self._columns[name] = schema
        self._context.register_record_batches(name, [[pa.RecordBatch.from_pylist([], schema=schema)]])

    def kinds(self, name: str) -> dict[str, str]:
        """Return the spec types of a table's columns; none of a table that is not registered."""
        found = ((field.name, types.from_arrow(str(field.type))) for field in self._columns.get(name, ()))
        return {column: kind for column, kind in found if kind is not None}

    @contextmanager
    def table(self, name: str, columns: Iterable[Column]) -> Iterator[None]:
        """Have an empty table of that name for the length of a `with`."""
        self.register(name, columns)
        try:
            yield
        finally:
            self._context.deregister_table(name)

    def has_function(self, name: str) -> bool:
        """Say whether the engine has a function of that name already."""
        try:
            self._context.udf(name)
        except KeyError:
            return False
        return True

    def functions(self) -> set[str]:
        """Return the names of the engine's own functions."""
        context = SessionContext(SessionConfig().with_information_schema(True))
        found = context.sql("SELECT DISTINCT routine_name FROM information_schema.routines").to_pydict()
        return set(found["routine_name"])

    def declare_function(self, name: str, arguments: Sequence[str], returns: str, volatility: str) -> None:
        """Make a scalar function of that signature known; its body is never called."""

        def never(*_: Any) -> Any:
            raise AssertionError(name)

        *inputs, output = [self._arrow(t) for t in (*arguments, returns)]
        self._functions.append(udf(never, inputs, output, volatility, name))
        self._context.register_udf(self._functions[-1])

    def _arrow(self, spec: str) -> pa.DataType:
        """Return the Arrow type that the engine gives a column of a spec type."""
        if spec not in self._types:
            names = types.names_of(spec)
            assert names is not None, spec
            self._types[spec] = self._context.sql(f"SELECT CAST(NULL AS {names.sql}) AS c").schema().field(0).type
        return self._types[spec]

    def plan(self, sql: str) -> list[PlannedColumn]:
        """Return the typed output columns of `sql`. Raises PlanRefused."""
        try:
            schema = self._context.sql(sql).schema()
        except Exception as error:  # noqa: BLE001 - the binding raises bare Exception; its words are the finding
            raise PlanRefused(_words(error)) from None
        arrows = [str(field.type) for field in schema]
        if _BRANCHES.search(sql):
            with suppress(PlanRefused):  # the optimizer knows no type of a parameter
                arrows = self.coerced(sql)
        return [PlannedColumn(f.name, types.from_arrow(a), a, f.nullable) for f, a in zip(schema, arrows, strict=True)]

    def coerced(self, sql: str) -> list[str]:
        """Return the Arrow types of what `sql` gives when it runs; as it is read, only first branches tell them.

        Raises PlanRefused.
        """
        try:
            optimized = self._context.sql(sql).optimized_logical_plan()
            return [str(field.type) for field in self._context.create_dataframe_from_logical_plan(optimized).schema()]
        except Exception as error:  # noqa: BLE001 - as above
            raise PlanRefused(_words(error)) from None

    def scans(self, sql: str, views: Mapping[str, str]) -> list[tuple[str, str | None]]:
        """Return each table that the optimized plan of `sql` scans, with the filter that stands right above the scan.

        `views` are made of their statements, in order. Raises PlanRefused.
        """
        lines = self._optimized(sql, views).display_indent().split("\n")
        found = []
        for before, line in zip(["", *lines], lines, strict=False):
            if match := re.match(r"\s*TableScan: (\S+)", line):
                above = re.match(r"\s*Filter: (.*)", before)
                found.append((match[1].strip('"'), above[1] if above else None))
        return found

    def meetings(self, sql: str, views: Mapping[str, str]) -> tuple[list[str], list[Meeting]]:
        """Return the tables that the optimized plan of `sql` scans, and which scans meet a row of another.

        Raises PlanRefused.
        """
        tables = [table for table, _ in self.scans(sql, views)]
        return tables, Meetings(self._optimized(sql, views)).found

    def _optimized(self, sql: str, views: Mapping[str, str]) -> LogicalPlan:
        context = SessionContext(self._config)
        try:
            for name, columns in self._columns.items():
                if name not in views:
                    context.register_record_batches(name, [[pa.RecordBatch.from_pylist([], schema=columns)]])
            for function in self._functions:
                context.register_udf(function)
            for name, statement in views.items():
                context.register_table(name, context.sql(statement).into_view())
            return context.sql(sql).optimized_logical_plan()
        except Exception as error:  # noqa: BLE001 - as above
            raise PlanRefused(_words(error)) from None

    def evaluate(
        self, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], expressions: Sequence[str]
    ) -> list[list[bool | None]]:
        """Return for each of `rows` the truth of each expression; None where a fact is unknown.

        `kinds` gives the spec type of each column. Raises PlanRefused.
        """
        if not rows or not expressions:
            return [[] for _ in rows]
        arrow = {
            "bool": pa.bool_(),
            "int64": pa.int64(),
            "decimal": pa.decimal128(18, 2),
            "string": pa.string(),
            "list<string>": pa.list_(pa.string()),
        }
        schema = pa.schema([(name, arrow[kind]) for name, kind in kinds.items()] + [("__row", pa.int64())])
        batch = pa.RecordBatch.from_pylist([{**row, "__row": i} for i, row in enumerate(rows)], schema=schema)
        self._context.register_record_batches("__facts", [[batch]])
        outputs = ", ".join(f"({expression}) AS p{i}" for i, expression in enumerate(expressions))
        try:
            table = self._context.sql(f"SELECT {outputs} FROM __facts ORDER BY __row").to_pydict()
        except Exception as error:  # noqa: BLE001 - as above
            raise PlanRefused(_words(error)) from None
        finally:
            self._context.deregister_table("__facts")
        return [list(truths) for truths in zip(*table.values(), strict=True)]


def _words(error: Exception) -> str:
    words = str(error).strip().split("\n")[0]
    for prefix in ("DataFusion error: ", "Error during planning: ", "Schema error: ", "SQL error: "):
        words = words.removeprefix(prefix)
    return words.rstrip(".")
