"""Decide from a table as it is and its compiled contract what a change of schema comes to, by a table of cases.

Every run computes a dataset's rows anew and replaces them in one commit, so a new schema never casts an old row. What
is asked is whether those who read the table may find it changed: the contract's `on_schema_change` says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable

from decreta_runtime.contract import types
from decreta_runtime.contract.errors import SchemaChangeRefused
from decreta_runtime.contract.manifest import Column, Key
from decreta_runtime.contract.policy import Choice, SchemaChangeValue
from decreta_runtime.history import said_by
from decreta_runtime.locations import Location

KEY_PROPERTY = "decreta.key"
"""Where a commit says the key of the table that it wrote."""

Kind = Literal[
    "added_nullable",
    "added_required",
    "removed",
    "renamed",
    "widened",
    "narrowed",
    "relaxed",
    "tightened",
    "reordered",
    "key_changed",
]
Action = Literal["keep", "add", "rebuild", "refuse"]

CASES: dict[str, dict[Kind, Action]] = {
    "refuse": {
        "added_nullable": "refuse",
        "added_required": "refuse",
        "removed": "refuse",
        "renamed": "refuse",
        "widened": "refuse",
        "narrowed": "refuse",
        "relaxed": "refuse",
        "tightened": "refuse",
        "reordered": "keep",
        "key_changed": "refuse",
    },
    "add_nullable": {
        "added_nullable": "add",
        "added_required": "refuse",
        "removed": "refuse",
        "renamed": "refuse",
        "widened": "refuse",
        "narrowed": "refuse",
        "relaxed": "refuse",
        "tightened": "refuse",
        "reordered": "keep",
        "key_changed": "refuse",
    },
    "rebuild": {
        "added_nullable": "rebuild",
        "added_required": "rebuild",
        "removed": "rebuild",
        "renamed": "rebuild",
        "widened": "rebuild",
        "narrowed": "rebuild",
        "relaxed": "rebuild",
        "tightened": "rebuild",
        "reordered": "keep",
        "key_changed": "rebuild",
    },
}
"""Mode → kind of change → what is done. `keep` writes in the order that the table has; `add` keeps it too.

Columns of Delta tables are found by name, and the writer leaves an order as it is, so an order alone changes nothing.
"""

_WIDER = {
    "int8": ("int16", "int32", "int64"),
    "int16": ("int32", "int64"),
    "int32": ("int64",),
    "float32": ("float64",),
}


class Change(NamedTuple):
    """One difference between a table and its contract."""

    kind: Kind
    words: str


class Evolution(NamedTuple):
    """What is done about all differences, and the columns in the order in which the table will have them."""

    action: Action
    changes: tuple[Change, ...]
    columns: tuple[Column, ...]


def evolution(
    path: Location,
    table: DeltaTable | None,
    columns: tuple[Column, ...],
    key: Key | None,
    choice: Choice[SchemaChangeValue],
) -> Evolution:
    """Return what a write of `columns` over a version of the table at `path` comes to under the contract's mode.

    Raises LakeUnusable if the version's commit cannot be read.
    """
    if table is None:
        return Evolution("keep", (), columns)
    found = pa.schema(table.schema().to_arrow())
    changes = (*_columns(found, columns), *_key(path, table.version(), key))
    cases = CASES[choice.value.mode]
    actions = [cases[change.kind] for change in changes]
    action: Action = next((a for a in ("refuse", "rebuild", "add") if a in actions), "keep")
    ordered = columns if action == "rebuild" else _in_order(found, columns)
    return Evolution(action, changes, ordered)


def require_evolution(name: str, found: Evolution, choice: Choice[SchemaChangeValue]) -> None:
    """Raise SchemaChangeRefused if the contract does not allow the change."""
    if found.action == "refuse":
        refused = [c.words for c in found.changes if CASES[choice.value.mode][c.kind] == "refuse"]
        raise SchemaChangeRefused(name, choice.value.mode, refused)


def _columns(found: pa.Schema, columns: Sequence[Column]) -> list[Change]:
    changes = []
    by_name = {column.name: column for column in columns}
    renamed = {c.renamed_from for c in columns if c.renamed_from in found.names and c.name not in found.names}
    for column in columns:
        if column.name in found.names:
            changes += _same_name(found.field(column.name), column)
        elif column.renamed_from in renamed:
            changes.append(Change("renamed", f"`{column.renamed_from}` is now `{column.name}`"))
        else:
            kind: Kind = "added_nullable" if column.nullable else "added_required"
            changes.append(Change(kind, f"`{column.name}` is new" + ("" if column.nullable else " and never null")))
    for old in found.names:
        if old not in by_name and old not in renamed:
            changes.append(Change("removed", f"`{old}` is gone"))
    before = [n for n in found.names if n in by_name]
    if before != [c.name for c in columns if c.name in found.names]:
        changes.append(Change("reordered", "the columns are in another order"))
    return changes


def _same_name(field: pa.Field, column: Column) -> list[Change]:
    changes = []
    old = types.from_arrow(str(field.type)) or str(field.type)
    if old != column.type:
        kind: Kind = "widened" if _is_wider(old, column.type) else "narrowed"
        changes.append(Change(kind, f"`{column.name}` was {old} and is {column.type}"))
    if field.nullable != column.nullable:
        words = "may be null now" if column.nullable else "is never null now"
        changes.append(Change("relaxed" if column.nullable else "tightened", f"`{column.name}` {words}"))
    return changes


def _is_wider(old: str, new: str) -> bool:
    if old.startswith("decimal(") and new.startswith("decimal("):
        (p, s), (q, t) = ((int(n) for n in text[8:-1].split(",")) for text in (old, new))
        return t >= s and q - t >= p - s
    return new in _WIDER.get(old, ())


def _key(path: Location, version: int, key: Key | None) -> list[Change]:
    """Compare the key with the one that the table was written under; a table that does not say has not changed."""
    written = said_by(path, version).get(KEY_PROPERTY)
    if written is None or written == key_text(key):
        return []
    return [Change("key_changed", f"the key was {written} and is {key_text(key)}")]


def key_text(key: Key | None) -> str:
    """Return a key as commits carry it."""
    return json.dumps(list(key.columns) if key else [])


def _in_order(found: pa.Schema, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    place = {name: i for i, name in enumerate(found.names)}
    return tuple(sorted(columns, key=lambda c: place.get(c.name, len(place))))
