"""What a fix changes in a file's bytes, exactly: the stretch of text, what is written there, and all that stays."""

from __future__ import annotations

import re
from dataclasses import dataclass

from decreta.diagnostics import Fix
from decreta.project import Project
from decreta.source import SourceText, Span

_MARK = "\ufeff"


@dataclass(frozen=True)
class Patch:
    """A fix with its exact place and the file as it would be."""

    span: Span
    old: str
    new: str
    safe: bool
    data: bytes


def patch(fix: Fix, project: Project) -> Patch | None:
    """Return what `fix` changes; None if its words do not stand there just once, or more than they would change."""
    try:
        raw = project.file(fix.span.file).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    text = raw.removeprefix(_MARK).replace("\r\n", "\n")  # as places count
    source = SourceText(fix.span.file, text)
    start = source.offset(fix.span.line, fix.span.column)
    inside = text[start : source.offset(fix.span.end_line, fix.span.end_column)]
    found = _found(fix.old, fix.new, inside)
    if found is None:
        return None
    at, old, new = found
    start += at
    mended = text[:start] + new + text[start + len(old) :]
    if "\r\n" in raw:
        if raw.count("\r\n") != text.count("\n"):
            return None  # of two kinds of line ends, one would change everywhere
        mended = mended.replace("\n", "\r\n")
    data = ((_MARK if raw.startswith(_MARK) else "") + mended).encode()
    return Patch(source.span(start, start + len(old)), old, new, fix.safe, data)


def _found(old: str, new: str, inside: str) -> tuple[int, str, str] | None:
    """Return where `old` stands as a word of its own, once; of dotted names that begin alike only the ends may."""
    if inside == old:
        return 0, old, new
    places = [m.start() for m in re.finditer(rf"(?<!\w){re.escape(old)}(?!\w)", inside)]
    if len(places) == 1:
        return places[0], old, new
    (before, _, old), (same, _, new) = old.partition("."), new.partition(".")
    return _found(old, new, inside) if not places and before == same and old and new else None
