"""The second engine: DuckDB runs every relation's statement on the same small tables as DataFusion.

It finds faults of dialect and engine, not wrong specs, so it is reported apart from the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp

from decreta.sql import DataFusion
from decreta_runtime.contract import types
from decreta_runtime.load import LoadedPack
from decreta_runtime.testing import RelationTest
from decreta_runtime.testing.rows import Pools, Row, multiset

_DATABASES = 32


@dataclass
class Comparison:
    """How many relations agree, which differ, and which DuckDB was not asked about, with the reason."""

    engine: str
    agree: int = 0
    differs: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)


def compare(folder: Path) -> Comparison:
    """Run each relation of a generated pack in both engines."""
    import duckdb  # an extra of tests

    result = Comparison(f"DuckDB {duckdb.__version__}")
    pack = RelationTest(str(folder / "tests" / "test.py"), "").pack
    for name, entry in pack.manifest.relations.items():
        sql = getattr(pack.module(entry.file.removesuffix(".py").replace("/", ".")), "SQL", None)
        reason = "it is computed by a table function" if sql is None else _passed_over(pack.manifest.functions, sql)
        if sql is None or reason:
            result.passed_over[name] = reason
            continue
        test = RelationTest(str(folder / "tests" / "test.py"), name, _pools(pack, folder, name), pack)
        statement = sqlglot.transpile(sql, read=DataFusion, write="duckdb")[0]
        numbered = "ROW_NUMBER" in sql
        given = [g for g in test.databases(_DATABASES) if not numbered or _untied(test, g)]
        if not any(any(tables.values()) for tables in given):
            result.passed_over[name] = "ROW_NUMBER may number ties in any order, and every table tried has some"
            continue
        try:
            differs = next((g for g in given if not _agree(duckdb.connect(), statement, test, g)), None)
        except duckdb.Error as error:
            result.passed_over[name] = f"DuckDB says: {str(error).splitlines()[0]}"
            continue
        if differs is None:
            result.agree += 1
        else:
            result.differs[name] = str(differs)
    return result


def _pools(pack: LoadedPack, folder: Path, name: str) -> Pools:
    """Return the boundary values of a relation's statement, from the verified bytes of its generated test."""
    path = f"tests/test_{name}.py"
    module = {"__name__": f"tests.test_{name}", "__file__": str(folder / path)}
    exec(compile(pack.files[path], path, "exec"), module)
    test: Any = module["TEST"]
    return test.pools  # type: ignore[no-any-return]


def _untied(test: RelationTest, given: Mapping[str, list[Row]]) -> bool:
    """Whether the rows do not depend on the order of the input, in which an engine meets what a window finds equal."""
    shuffles: list[Callable[[list[Row]], list[Row]]] = [
        lambda r: r[::-1],
        lambda r: r[len(r) // 2 :] + r[: len(r) // 2],
    ]
    rows = multiset(test.rows(given))
    return all(multiset(test.rows({n: shuffle(r) for n, r in given.items()})) == rows for shuffle in shuffles)


def _agree(connection: Any, statement: str, test: RelationTest, given: Mapping[str, list[Row]]) -> bool:
    return bool(_rounded(test.rows(given)) == _rounded(_rows(connection, statement, test, given)))


def _passed_over(functions: Mapping[str, Any], sql: str) -> str:
    tree = sqlglot.parse_one(sql, dialect=DataFusion)
    if own := {f.name for f in tree.find_all(exp.Anonymous)} & functions.keys():
        return f"it calls the pack's function `{min(own)}`"
    return ""


def _rows(connection: Any, sql: str, test: RelationTest, given: Mapping[str, list[Row]]) -> list[Row]:
    for name, rows in given.items():
        columns = test.columns_of(name)
        listed = ", ".join(f'"{c.name}" {_duckdb(c.type)}' for c in columns)
        connection.execute(f'CREATE TABLE "{name}" ({listed})')
        for row in rows:
            marks = ", ".join("?" for _ in columns)
            connection.execute(f'INSERT INTO "{name}" VALUES ({marks})', [row[c.name] for c in columns])
    cursor = connection.execute(sql)
    names = [column.name for column in test.columns_of(test.name)]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _duckdb(spec: str) -> str:
    names = types.names_of(spec)
    assert names is not None, spec
    return names.duckdb


def _rounded(rows: list[Row]) -> Any:
    """Count rows with numbers as decimals of six places: engines differ in what a sum or a quotient is typed as."""
    return multiset([{name: _number(value) for name, value in row.items()} for row in rows])


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value.hex() if isinstance(value, bytes | bytearray) else value
    return format(Decimal(str(value)).quantize(Decimal("0.000001")), "f")
