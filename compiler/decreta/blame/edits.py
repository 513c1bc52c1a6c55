"""What two sets of spec files differ in, edit by edit, and the files with some of the edits made.

An edit is a key whose value differs, a stretch of lines of a text, or the order of the keys of a mapping. Entries of
lists that have a name (`id`, `name`, or domain and subject) are compared by that, so that a rule put in between moves
no other.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any, NamedTuple

from decreta.diagnostics import Report
from decreta.read.toml import read_toml
from decreta.read.yaml import read_yaml
from decreta.source import Document, Embedded, Path, SourceText, Span

Files = Mapping[str, bytes]
"""Name as messages have it, such as `specs/shop/pack.toml` → content."""
ABSENT = None
"""The value of what is not written: no spec gives a key the value null."""


class Lines(NamedTuple):
    """A stretch of lines of A's text, and what stands there in B's."""

    start: int
    stop: int
    new: tuple[str, ...]


@dataclass(frozen=True)
class Edit:
    """One difference between two sides, with its place: in B, or in A of what B no longer has."""

    file: str
    path: Path
    before: Any
    after: Any
    place: Span
    lines: Lines | None = None
    """Of a stretch of a text."""
    order: bool = False
    """Whether these are the keys that both sides have, in the order of each."""

    @property
    def key(self) -> str:
        """The way to it in words: `threshold.cache.min_consumers.value`; empty of a file that is text."""
        return ".".join(map(str, self.path)) + (" (order)" if self.order else "")


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
            found[name] = _made(name, a[name], b[name], [all_edits[i] for i in made])
    return found


def _of_file(name: str, a: bytes | None, b: bytes | None) -> Iterator[Edit]:
    if a is None or b is None:
        text, other = (None if data is None else _text(data) for data in (a, b))
        yield Edit(name, (), text, other, SourceText(name, "").span(0, 0))
        return
    before, after = (_read(name, data) for data in (a, b))
    if before is None or after is None:
        yield from _of_text(name, (), _text(a), _text(b), SourceText(name, _text(b)))
    else:
        yield from _differ((before, after), _named(before.data), _named(after.data), ())


def _differ(sides: tuple[Document, Document], a: Any, b: Any, path: Path) -> Iterator[Edit]:
    if _same(a, b):
        return
    if len(path) == 1 and (a is ABSENT or b is ABSENT):  # a section that came or went is told entry by entry
        given = b if a is ABSENT else a
        a, b = (type(given)() if isinstance(given, dict) and side is ABSENT else side for side in (a, b))
    document = sides[b is not ABSENT]
    way = _way(document.data, path)
    alike = isinstance(a, dict) and isinstance(b, dict) and isinstance(a, Named) == isinstance(b, Named)
    if alike and not _observed(a, b):
        for key in dict.fromkeys((*a, *b)):
            yield from _differ(sides, a.get(key, ABSENT), b.get(key, ABSENT), (*path, key))
        old, new = [key for key in a if key in b], [key for key in b if key in a]
        if old != new and path:  # the order of a file's own keys means nothing
            moved = next(key for key, was in zip(new, old, strict=True) if key != was)
            yield Edit(document.name, path, old, new, document.key(*_way(document.data, (*path, moved))), order=True)
    elif way in document.texts and isinstance(a, str) and "\n" in a.strip() + b.strip():
        yield from _of_text(document.name, path, a, b, document.embedded(*way))
    else:
        yield Edit(document.name, path, a, b, document.key(*way))


def _same(a: Any, b: Any) -> bool:
    """Whether two values are written alike: in the same order, and of the same types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _of_text(name: str, path: Path, a: str, b: str, there: SourceText | Embedded) -> Iterator[Edit]:
    """Yield the stretches of lines in which two texts differ, each with its place where B's stands."""
    x, y = a.split("\n"), b.split("\n")
    for kind, start, stop, at, end in SequenceMatcher(None, x, y, autojunk=False).get_opcodes():
        if kind != "equal":
            old, new = x[start:stop], y[at:end]
            first = min(sum(len(line) + 1 for line in y[:at]), len(b))
            place = there.span(first, first + len(new[0]) if new else first)
            before, after = ("\n".join(lines) if lines else ABSENT for lines in (old, new))
            yield Edit(name, path, before, after, place, lines=Lines(start, stop, tuple(new)))


def _observed(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether this is one fact of a lock: its value and when it was seen belong together."""
    return "value" in a and "value" in b and "ladder" not in a and isinstance(a.get("version", a.get("runs")), int)


def _made(name: str, a: bytes, b: bytes, made: Sequence[Edit]) -> bytes:
    """Return a file of A's with some edits made; both sides have it."""
    if all(not edit.path for edit in made):
        return _with_lines(_text(a), made).encode()
    before, after = _read(name, a), _read(name, b)
    assert before is not None and after is not None  # else it is text, and edits have no path
    tree, theirs = copy.deepcopy(_named(before.data)), _named(after.data)
    for path in dict.fromkeys(edit.path for edit in made if edit.lines is not None):
        text = _with_lines(_at(tree, path), [edit for edit in made if edit.path == path])
        _set(tree, path, text, theirs)
    for edit in [edit for edit in made if edit.order]:  # before others put new keys in between
        _reorder(_at(tree, edit.path), edit.after)
    for edit in [edit for edit in made if edit.lines is None and not edit.order]:
        _set(tree, edit.path, edit.after, theirs)
    return _written(name, _listed(tree)).encode()


def _with_lines(text: str, made: Sequence[Edit]) -> str:
    lines = text.split("\n")
    for edit in sorted(made, key=lambda edit: edit.lines or (), reverse=True):
        assert edit.lines is not None
        lines[edit.lines.start : edit.lines.stop] = edit.lines.new
    return "\n".join(lines)


def _at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _set(tree: Any, path: Path, value: Any, theirs: Any) -> None:
    """Give the value at a path, with what is missing on the way to it, in the places that B's tree has for them."""
    *way, last = path
    for key in way:
        above, theirs = theirs, theirs.get(key) if isinstance(theirs, dict) else None
        if key not in tree:
            _insert(tree, key, Named() if isinstance(theirs, Named) else {}, above)
        tree = tree[key]
    if value is ABSENT:
        tree.pop(last, None)
    elif last in tree:
        tree[last] = value
    else:
        _insert(tree, last, value, theirs)


def _insert(tree: dict[Any, Any], key: Any, value: Any, theirs: Any) -> None:
    """Put an entry behind those that stand before it in B's tree: columns, among others, mean something by order."""
    names = list(theirs) if isinstance(theirs, dict) else []
    before = names[: names.index(key)] if key in names else names
    entries = list(tree.items())
    at = max((i for i, (name, _) in enumerate(entries) if name in before), default=-1) + 1
    entries.insert(at, (key, value))
    tree.clear()
    tree.update(entries)


def _reorder(tree: dict[Any, Any], order: Sequence[Any]) -> None:
    """Bring those keys into an order, and leave all others where they are."""
    moving = iter([key for key in order if key in tree])
    entries = {key: tree[key] for key in [next(moving) if name in order else name for name in tree]}
    tree.clear()
    tree.update(entries)


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
