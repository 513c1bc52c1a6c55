"""Read TOML into plain data with places: values by `tomllib`, places by the grammar of tree-sitter."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from decreta.diagnostics import Related, Report
from decreta.read.yaml import refuse_nul
from decreta.source import Document, Embedded, Extent, Path, SourceText, Span

_KEYS = ("bare_key", "quoted_key", "dotted_key")


def read_toml(source: SourceText, report: Report) -> Document | None:
    """Return the document in `source`, or None after reporting why there is none."""
    try:
        data = tomllib.loads(source.text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        if twice := _Places(source).twice:
            paths = {path for path, _, _ in twice}
            for path, again, first in (t for t in twice if t[0][:-1] not in paths):
                related = [Related(source.span(*first), "first written here")]
                report.error("D105", f"`{path[-1]}` is written twice", source.span(*again), related=related)
        else:
            report.error("D103", f"not TOML: {error}", _place_of(error, source))
        return None
    except RecursionError:
        report.error("D103", "not TOML: nested too deeply", source.span(0, 0))
        return None
    if not data:
        report.error("D102", "the file is empty", source.span(0, 0), help="write the settings, or delete the file")
        return None
    places = _Places(source)
    document = Document(source, data, places.values, places.keys, places.texts)
    for path in _holding_nul(data, ()):
        refuse_nul(document.place(*path), report)
    return document


def _holding_nul(data: Any, path: Path) -> Iterator[Path]:
    """Yield the paths of texts, or of keys, that hold a NUL by an escape."""
    if isinstance(data, dict):
        yield from ((*path, key) for key in data if "\0" in key)
    elif isinstance(data, str) and "\0" in data:
        yield path
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        yield from _holding_nul(value, (*path, key))


def _place_of(error: tomllib.TOMLDecodeError, source: SourceText) -> Span:
    # Python 3.11's tomllib tells the place in its message alone: "… (at line 3, column 7)".
    words = str(error).rstrip(")").replace(",", "").split()
    if "line" in words and "column" in words:
        offset = source.offset(int(words[words.index("line") + 1]), int(words[words.index("column") + 1]))
        return source.span(offset, offset + 1)
    return source.span(len(source.text), len(source.text))


class _Places:
    """Walks the grammar's tree beside the data's structure, and notes what is written twice, if it is no valid TOML."""

    def __init__(self, source: SourceText) -> None:
        self.source, self.bytes = source, source.text.encode()
        self.values: dict[Path, Extent] = {(): (0, len(source.text))}
        self.keys: dict[Path, Extent] = {}
        self.texts: dict[Path, Embedded] = {}
        self.twice: list[tuple[Path, Extent, Extent]] = []
        self._arrays: dict[Path, int] = {}
        self._written: dict[Path, Extent] = {}
        tree = Parser(Language(tree_sitter_toml.language())).parse(self.bytes)
        for node in tree.root_node.named_children:
            if node.type == "pair":
                self._pair(node, ())
            elif node.type in ("table", "table_array_element"):
                self._table(node)

    def _table(self, node: Node) -> None:
        key = next(child for child in node.named_children if child.type in _KEYS)
        path = self._through_arrays(self._parts(key))
        if node.type == "table_array_element":
            self.keys.setdefault(path, self._extent(key))
            path = (*path, self._arrays.setdefault(path, 0))
            self._arrays[path[:-1]] += 1
        for i in range(1, len(path)):
            self.keys.setdefault(path[:i], self._extent(key))
            self.values.setdefault(path[:i], self._extent(key))
        self._once(path, key)
        pairs = [child for child in node.named_children if child.type == "pair"]
        self.keys[path] = self._extent(key)
        self.values[path] = self.keys[path][0], self._char(pairs[-1].end_byte) if pairs else self.keys[path][1]
        for pair in pairs:
            self._pair(pair, path)

    def _once(self, path: Path, key: Node) -> None:
        first = self._written.setdefault(path, self._extent(key))
        if first != self._extent(key):
            self.twice.append((path, self._extent(key), first))

    def _through_arrays(self, parts: tuple[str, ...]) -> Path:
        path: Path = ()
        for i, part in enumerate(parts):
            path = (*path, part)
            if path in self._arrays and i < len(parts) - 1:
                path = (*path, self._arrays[path] - 1)
        return path

    def _pair(self, node: Node, path: Path) -> None:
        key, value = node.named_children[0], node.named_children[1]
        parts = self._parts(key)
        for i in range(1, len(parts) + 1):
            self.keys.setdefault((*path, *parts[:i]), self._extent(key))
            self.values.setdefault((*path, *parts[:i]), self._extent(key))
        self._once((*path, *parts), key)
        self._value(value, (*path, *parts))

    def _value(self, node: Node, path: Path) -> None:
        self.values[path] = self._extent(node)
        if node.type == "inline_table":
            for child in node.named_children:
                if child.type == "pair":
                    self._pair(child, path)
        elif node.type == "array":
            items = [child for child in node.named_children if child.type != "comment"]
            for i, child in enumerate(items):
                self._value(child, (*path, i))
        elif node.type == "string":
            quote = 3 if self.bytes[node.start_byte : node.start_byte + 3] in (b'"""', b"'''") else 1
            start = self._char(node.start_byte) + quote
            if quote == 3 and self.source.text[start] == "\n":
                start += 1  # the language drops it
            text = self.source.text[start : self._char(node.end_byte) - quote]
            breaks = (start + i + 1 for i, char in enumerate(text) if char == "\n")
            self.texts[path] = Embedded(self.source, text, (start, *breaks))

    def _parts(self, key: Node) -> tuple[str, ...]:
        if key.type == "dotted_key":
            return tuple(part for child in key.named_children for part in self._parts(child))
        text = self.bytes[key.start_byte : key.end_byte].decode()
        return (next(iter(tomllib.loads(f"{text} = 0"))),) if key.type == "quoted_key" else (text,)

    def _extent(self, node: Node) -> Extent:
        return self._char(node.start_byte), self._char(node.end_byte)

    def _char(self, offset: int) -> int:
        return offset if len(self.bytes) == len(self.source.text) else len(self.bytes[:offset].decode())
