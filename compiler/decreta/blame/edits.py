"""What two sets of spec files differ in, edit by edit, and the files with some of the edits made.

An edit is a key whose value differs, or a whole file where it is text. Entries of lists that have a name (`id`,
`name`, or domain and subject) are compared by that, so that a rule put in between moves no other.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from decreta.diagnostics import Report
from decreta.read.toml import read_toml
from decreta.read.yaml import read_yaml
from decreta.source import Document, Path, SourceText, Span

Files = Mapping[str, bytes]
"""Name as messages have it, such as `specs/shop/pack.toml` → content."""
ABSENT = None
"""The value of what is not written: no spec gives a key the value null."""


@dataclass(frozen=True)
class Edit:
    """One difference between two sides, with its place: in B, or in A of what B no longer has."""

    file: str
    path: Path
    before: Any
    after: Any
    place: Span

    @property
    def key(self) -> str:
        """The way to it in words: `threshold.cache.min_consumers.value`; empty of a whole file."""
        return ".".join(map(str, self.path))


class Named(dict[str, Any]):
    """A list of entries, each under its name."""


def edits(a: Files, b: Files) -> list[Edit]:
    """Return all that makes B of A, in the order of files and of their lines."""
    found: list[Edit] = []
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            found += _of_file(name, a.get(name), b.get(name))
    return found


def mixed(a: Files, b: Files, all_edits: Sequence[Edit], taken: frozenset[int]) -> dict[str, bytes]:
    """Return A's files with those of the edits made that `taken` numbers."""
    found = dict(a)
    by_file: dict[str, list[int]] = {}
    for i, edit in enumerate(all_edits):
        by_file.setdefault(edit.file, []).append(i)
    for name, numbers in by_file.items():
        made = [i for i in numbers if i in taken]
        if len(made) == len(numbers):
            if name in b:
                found[name] = b[name]
            else:
                found.pop(name, None)
        elif made:
            found[name] = _made(name, a[name], [all_edits[i] for i in made])
    return found


def _of_file(name: str, a: bytes | None, b: bytes | None) -> Iterator[Edit]:
    before, after = (None if data is None else _read(name, data) for data in (a, b))
    if before is None or after is None:
        whole = SourceText(name, "").span(0, 0)
        yield Edit(name, (), None if a is None else _text(a), None if b is None else _text(b), whole)
        return
    changes = _differ(_named(before.data), _named(after.data), ())
    for path, old, new in changes:
        document = before if new is ABSENT else after
        yield Edit(name, path, old, new, document.key(*_way(document.data, path)))


def _differ(a: Any, b: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    if a == b and type(a) is type(b):
        return
    if len(path) == 1 and (a is ABSENT or b is ABSENT):  # a section that came or went is told entry by entry
        given = b if a is ABSENT else a
        a, b = (type(given)() if isinstance(given, dict) and side is ABSENT else side for side in (a, b))
    alike = isinstance(a, dict) and isinstance(b, dict) and isinstance(a, Named) == isinstance(b, Named)
    if not alike or _observed(a, b):
        yield path, a, b
        return
    for key in dict.fromkeys((*a, *b)):
        yield from _differ(a.get(key, ABSENT), b.get(key, ABSENT), (*path, key))


def _observed(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether this is one fact of a lock: its value and when it was seen belong together."""
    return "value" in a and "value" in b and "ladder" not in a and isinstance(a.get("version", a.get("runs")), int)


def _made(name: str, data: bytes, made: Sequence[Edit]) -> bytes:
    document = _read(name, data)
    assert document is not None  # a whole file is one edit, and those are not mixed
    tree = copy.deepcopy(_named(document.data))
    for edit in made:
        _set(tree, edit.path, edit.after)
    return _written(name, _listed(tree)).encode()


def _set(tree: Any, path: Path, value: Any) -> None:
    *way, last = path
    for key in way:
        tree = tree.setdefault(key, {})
    if value is ABSENT:
        tree.pop(last, None)
    else:
        tree[last] = value


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(inner) for key, inner in value.items()}
    if isinstance(value, list):
        names = [_name(item) for item in value]
        if value and None not in names and len(set(names)) == len(names):
            return Named({str(name): _named(item) for name, item in zip(names, value, strict=True)})
        return [_named(item) for item in value]
    return value


def _name(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    if "domain" in item and "subject" in item:
        return f"{item['domain']}/{item['subject']}"
    return next((item[key] for key in ("id", "name") if isinstance(item.get(key), str)), None)


def _listed(value: Any) -> Any:
    if isinstance(value, Named):
        return [_listed(item) for item in value.values()]
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list) else value


def _way(data: Any, path: Path) -> Path:
    """Return a path by names as one by positions, as far as it is written."""
    found: list[str | int] = []
    for key in path:
        if isinstance(data, list):
            at = next((i for i, item in enumerate(data) if _name(item) == key), None)
            if at is None:
                break
            found.append(at)
            data = data[at]
        else:
            found.append(key)
            data = data.get(key) if isinstance(data, dict) else None
    return tuple(found)


@lru_cache(maxsize=64)
def _read(name: str, data: bytes) -> Document | None:
    """Return a file as data with places; None of what is text to us, or cannot be read."""
    text, report = _text(data), Report()
    if name.endswith((".yaml", ".json")):
        found = read_yaml(SourceText(name, text), report)
    elif name.endswith(".toml"):
        found = read_toml(SourceText(name, text), report)
    else:
        return None
    return found if found is not None and isinstance(found.data, dict) and not report.failed else None


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


def _written(name: str, value: Any) -> str:
    """Return data as a file: JSON is YAML too, and TOML's inline tables are near it."""
    if name.endswith(".toml"):
        return "".join(f"{json.dumps(key)} = {_toml(inner)}\n" for key, inner in value.items())
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
