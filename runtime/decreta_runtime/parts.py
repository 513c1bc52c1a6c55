"""Which partition each data file of a snapshot is of, in the words of the Delta log."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date
from typing import Any

from decreta_runtime.scan import Pinned

Part = tuple[tuple[str, str | None], ...]
"""The value of each partition column as the log writes it; nothing for a table without partitions."""


def parts_of(pinned: Pinned) -> dict[str, Part] | str:
    """Return the part of each file, as the log names it; or in words why the values of a column cannot be written."""
    names = pinned.actions["path"].to_pylist()
    columns = {name: values.to_pylist() for name, values in pinned.partitions.items()}
    for name, values in columns.items():
        if not all(map(_writable, values)):
            return (
                f"the partition column `{name}` has values that are not written again: empty texts, or of another type"
            )
    rows = zip(*columns.values(), strict=True) if columns else ((),) * len(names)
    return {
        name: tuple((column, _text(value)) for column, value in zip(columns, row, strict=True))
        for name, row in zip(names, rows, strict=True)
    }


def together(parts: dict[str, Part], files: Collection[str]) -> Iterator[tuple[Part, tuple[str, ...]]]:
    """Yield files part by part, in the order that they are given."""
    found: dict[Part, list[str]] = {}
    for file in files:
        found.setdefault(parts[file], []).append(file)
    yield from ((part, tuple(names)) for part, names in found.items())


def _writable(value: Any) -> bool:
    # A moment is a date too, and is written in several ways; the empty text is read as null by some.
    return value is None or (value != "" and type(value) in (str, int, bool, date))


def _text(value: Any) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
