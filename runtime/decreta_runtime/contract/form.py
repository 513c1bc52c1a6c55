"""Find where data does not have the form that its type asks for, so that an error can name the place."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec
from msgspec import Struct


def astray(part: Any, kind: Any) -> tuple[str, ...]:
    """Return the way to the first entry of plain data that is missing, of another form than `kind`, or unknown.

    Empty if it is the whole, or if nothing is wrong.
    """
    if not isinstance(part, dict):
        return ()
    types, asked = _entries(part, kind)
    for name in asked:
        if name not in part:
            return (name,)
    for name, inner in part.items():
        if name not in types:
            return (name,)
        if not _is(inner, types[name]):
            return (name, *astray(inner, types[name]))
    return ()


def _entries(part: dict[str, Any], kind: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the types of what may stand in a struct or a map, and what must."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        fields = msgspec.structs.fields(kind)
        return {field.name: field.type for field in fields}, tuple(field.name for field in fields if field.required)
    inner = get_args(kind)[1] if get_origin(kind) is dict else Any
    return dict.fromkeys(part, inner), ()


def _is(part: Any, kind: Any) -> bool:
    try:
        msgspec.convert(part, kind)
    except msgspec.ValidationError:
        return False
    return True
