"""Find where each stretch of a YAML scalar stands in its file: reading drops indents, folds lines, undoes escapes."""

from __future__ import annotations

import re
from collections.abc import Iterator

Stretch = tuple[int, int]
"""A position in the text, and the one in the file from which the two run alike."""

_FOLD = re.compile(r"[ \t]*\n[ \t\n]*")
_SPACE = re.compile(r"\s*")
_ESCAPE = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)


def literal(written: str, text: str, start: int) -> Iterator[Stretch]:
    """Yield the stretches of a `|` block: each of its lines, without the indent."""
    at, found = 0, start + written.index("\n") + 1 if "\n" in written else start
    lines = written.split("\n")[1:]
    for line, kept in zip(lines, text.split("\n"), strict=False):
        yield at, found + max(0, len(line) - len(kept))
        at, found = at + len(kept) + 1, found + len(line) + 1


def folded(written: str, text: str, start: int, style: str | None) -> Iterator[Stretch]:
    """Yield the stretches of a scalar whose lines are joined: plain, in quotes, or a `>` block.

    `written` stands at `start` without its quotes, or from below the `>`.
    """
    i, at = 0, 0
    if style == ">":
        i, at = _skipped(written, 0), _skipped(text, 0)
    yield at, start + i
    while i < len(written) and at < len(text):
        if style == '"' and (escape := _ESCAPE.match(written, i)):
            i, at = escape.end(), at + 1
            if escape[0] == "\\\n":  # the line goes on in the next; only empty lines between are kept
                i, at = _skipped(written, i), at - 1
                at += len(text[at:]) - len(text[at:].lstrip("\n"))
        elif style == "'" and written.startswith("''", i):
            i, at = i + 2, at + 1
        elif fold := _FOLD.match(written, i):
            i, at = fold.end(), _skipped(text, at)
        else:
            i, at = i + 1, at + 1
            continue
        yield at, start + i


def _skipped(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
