"""The closed table of column types: how a spec, Arrow, Delta, DataFusion and DuckDB each name one.

Nothing else in decreta knows a type's name in another system. Arrow names are those of `str(pyarrow.DataType)`.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class TypeNames(NamedTuple):
    """One column type under its five names."""

    spec: str
    arrow: str
    delta: str
    sql: str
    duckdb: str


SCALARS: dict[str, TypeNames] = {
    names.spec: names
    for names in (
        TypeNames("bool", "bool", "boolean", "BOOLEAN", "BOOLEAN"),
        TypeNames("int8", "int8", "byte", "TINYINT", "TINYINT"),
        TypeNames("int16", "int16", "short", "SMALLINT", "SMALLINT"),
        TypeNames("int32", "int32", "integer", "INT", "INTEGER"),
        TypeNames("int64", "int64", "long", "BIGINT", "BIGINT"),
        TypeNames("float32", "float", "float", "REAL", "REAL"),
        TypeNames("float64", "double", "double", "DOUBLE", "DOUBLE"),
        TypeNames("string", "string", "string", "VARCHAR", "VARCHAR"),
        TypeNames("binary", "binary", "binary", "BYTEA", "BLOB"),
        TypeNames("date", "date32[day]", "date", "DATE", "DATE"),
        TypeNames("timestamp", "timestamp[us, tz=UTC]", "timestamp", "TIMESTAMP(6) WITH TIME ZONE", "TIMESTAMPTZ"),
        TypeNames("timestamp_local", "timestamp[us]", "timestamp_ntz", "TIMESTAMP(6)", "TIMESTAMP"),
    )
}

_BY_PARTS = ("list", "float", "binary")
"""How the names of types begin whose values compare by parts, or not exactly."""

# The engine's other spellings of the same types: view layouts are how DataFusion reads strings from Parquet.
_ARROW_ALIASES = {
    "string_view": "string",
    "large_string": "string",
    "binary_view": "binary",
    "large_binary": "binary",
}
_BY_ARROW = {names.arrow: names.spec for names in SCALARS.values()} | _ARROW_ALIASES
_BY_DELTA = {names.delta: names.spec for names in SCALARS.values()}
_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")
_LIST = re.compile(r"list<(.+)>")
_ARROW_LIST = re.compile(r"(?:large_)?list(?:_view)?<\w+: (.+?)(?: not null)?>")
_ARROW_DECIMAL = re.compile(r"decimal128\((\d{1,2}), (\d{1,2})\)")

MAX_DECIMAL_PRECISION = 38  # decimal128, the widest that Delta's protocol allows


def names_of(spec: str) -> TypeNames | None:
    """Return the five names of the type that a spec calls `spec`, or None if the table has no such type."""
    if scalar := SCALARS.get(spec):
        return scalar
    if found := _DECIMAL.fullmatch(spec):
        precision, scale = int(found[1]), int(found[2])
        if not 1 <= precision <= MAX_DECIMAL_PRECISION or scale > precision:
            return None
        sql = f"DECIMAL({precision}, {scale})"
        return TypeNames(
            f"decimal({precision},{scale})",
            f"decimal128({precision}, {scale})",
            f"decimal({precision},{scale})",
            sql,
            sql,
        )
    if (found := _LIST.fullmatch(spec)) and (item := names_of(found[1])) and not item.spec.startswith("list<"):
        return TypeNames(
            f"list<{item.spec}>",
            f"list<item: {item.arrow}>",
            f"array<{item.delta}>",
            f"{item.sql}[]",
            f"{item.duckdb}[]",
        )
    return None


def from_arrow(arrow: str) -> str | None:
    """Return the spec's name of the Arrow type printed as `arrow`, or None if it is outside the table."""
    if spec := _BY_ARROW.get(arrow):
        return spec
    if found := _ARROW_DECIMAL.fullmatch(arrow):
        return f"decimal({found[1]},{found[2]})"
    if (found := _ARROW_LIST.fullmatch(arrow)) and (item := from_arrow(found[1])):
        return f"list<{item}>" if names_of(f"list<{item}>") else None
    return None


def is_numeric(spec: str) -> bool:
    """Say whether values of `spec` compare with each other as numbers without a surprise."""
    return spec.startswith(("int", "float", "decimal("))


def has_terms(spec: str) -> bool:
    """Say whether values of `spec` can be looked up in an external index: others compare by parts, or not exactly."""
    return not spec.startswith(_BY_PARTS)


def has_bounds(spec: str) -> bool:
    """Say whether a Delta log can bound values of `spec`: NaN stands in no bound, binaries and lists have none."""
    return not spec.startswith(_BY_PARTS)
