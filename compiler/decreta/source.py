"""Places: where in a file something is written, kept through every stage so that a mistake can point at it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]
"""The way to a value inside a document: mapping keys and list positions."""
Extent = tuple[int, int]
"""The characters [start, stop) of a file: what a place is before somebody asks for its line."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of one file. Lines and columns count characters from 1; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def as_json(self) -> dict[str, str | int]:
        """Return the plain form that programs read."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "end_line": self.end_line,
            "end_column": self.end_column,
        }


@dataclass(frozen=True)
class SourceText:
    """The text of one file under its name: POSIX and relative to the project, or `std/…` for the shipped library."""

    name: str
    text: str
    _starts: list[int] = field(default_factory=list, compare=False, repr=False)

    def span(self, start: int, stop: int) -> Span:
        """Return the span of the characters [start, stop)."""
        (line, column), (end_line, end_column) = self._position(start), self._position(max(start, stop))
        return Span(self.name, line, column, end_line, end_column)

    def offset(self, line: int, column: int) -> int:
        """Return the character offset of a 1-based line and column."""
        self._index()
        return self._starts[min(line, len(self._starts)) - 1] + column - 1

    def _position(self, offset: int) -> tuple[int, int]:
        self._index()
        offset = min(offset, len(self.text))
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def _index(self) -> None:
        if not self._starts:
            self._starts.append(0)
            self._starts.extend(i + 1 for i, char in enumerate(self.text) if char == "\n")


@dataclass(frozen=True, slots=True)
class Embedded:
    """Text that stands inside a file, such as SQL in a block scalar, with the way back to its place there."""

    source: SourceText
    text: str
    offsets: tuple[int, ...]
    """For each stretch of `text`, the offset in `source` of its first character."""
    starts: tuple[int, ...] = ()
    """Where in `text` each stretch begins; none are given where each line is one."""

    def span(self, start: int, stop: int) -> Span:
        """Return the place in the file of the characters [start, stop) of `text`."""
        return self.source.span(self._offset(start), self._offset(stop))

    def whole(self) -> Span:
        """Return the place of the text's first line up to its last character."""
        return self.span(0, len(self.text.rstrip()))

    def _offset(self, offset: int) -> int:
        if self.starts:
            i = max(0, bisect_right(self.starts, offset) - 1)
            return self.offsets[i] + offset - self.starts[i]
        before = self.text[:offset]
        line = before.count("\n")
        column = offset - (before.rfind("\n") + 1)
        return self.offsets[min(line, len(self.offsets) - 1)] + column


@dataclass(frozen=True)
class Document:
    """One spec file as plain data, with the place of every key and value in it."""

    source: SourceText
    data: Any
    values: dict[Path, Extent]
    keys: dict[Path, Extent]
    texts: dict[Path, Embedded]

    @property
    def name(self) -> str:
        """The file's name in messages."""
        return self.source.name

    def place(self, *path: str | int) -> Span:
        """Return the place of the value at `path`, or of the nearest thing around it that is written."""
        return self._nearest(path)

    def key(self, *path: str | int) -> Span:
        """Return the place of the key at `path`, or of the nearest thing around it that is written."""
        return self.source.span(*self.keys[path]) if path in self.keys else self._nearest(path)

    def entry(self, *path: str | int) -> Span:
        """Return the place of the key at `path` with all that it holds."""
        if path in self.keys and path in self.values:
            return self.source.span(self.keys[path][0], self.values[path][1])
        return self._nearest(path)

    def embedded(self, *path: str | int) -> Embedded:
        """Return the text at `path` with its places. Raises KeyError if no string stands there."""
        return self.texts[path]

    def _nearest(self, path: Sequence[str | int]) -> Span:
        path = tuple(path)
        while path and path not in self.values:
            if path in self.keys:
                return self.source.span(*self.keys[path])
            path = path[:-1]
        return self.source.span(*self.values.get(path, (0, 0)))
