"""Mend what is surely a slip: a misspelt name that has one near neighbour, a scalar that wants quotes.

A fix is a patch of the text at the place of the mistake, so that comments stay. It is proven by compiling again: what
does not leave fewer mistakes is taken back. The library is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

from decreta.diagnostics import Diagnostic, Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from decreta.source import SourceText

_NEAR = re.compile(r"^did you mean `([^`]+)`\?$")
_QUOTES = re.compile(r'^write (".*") in quotes$')
_WORD = re.compile(r"`([^`]+)`")


def fix_pack(project: Project, pack: str) -> Iterator[str]:
    """Mend the files of a pack, one mistake at a time; yield for each what was written in the place of what."""
    tried: set[tuple[str, str]] = set()
    while True:
        before = _mistakes(project, pack)
        attempt = next((d for d in before if (d.span.file, d.message) not in tried and _edit(d, project)), None)
        if attempt is None:
            return
        tried.add((attempt.span.file, attempt.message))
        path, old, new, text = _edit(attempt, project) or (Path(), "", "", "")
        kept = path.read_bytes()
        path.write_bytes(text.encode())
        if len(_mistakes(project, pack)) < len(before):
            yield f"{attempt.span}: `{old}` becomes `{new}`"
        else:
            path.write_bytes(kept)


def _mistakes(project: Project, pack: str) -> list[Diagnostic]:
    report = Report()
    compile_pack(project, pack, report)
    return [d for d in report.diagnostics() if d.severity == "error"]


def _edit(d: Diagnostic, project: Project) -> tuple[Path, str, str, str] | None:
    """Return the file, the word, its replacement and the file's new text; None if nothing is safe to write."""
    path = project.file(d.span.file)
    if not path.is_relative_to(project.specs) or d.span.file.startswith("specs/std/"):
        return None
    near, quotes = _NEAR.match(d.help), _QUOTES.match(d.help)
    if not (near or quotes):
        return None
    new = near[1] if near else quotes[1] if quotes else ""
    raw = path.read_bytes().decode()
    if "\r" in raw or raw.startswith("\ufeff"):
        return None  # places count characters of the text without them
    source = SourceText(d.span.file, raw)
    start, stop = (source.offset(line, column) for line, column in _ends(d))
    inside = raw[start:stop]
    pair = _written(d.message, new, inside)
    if pair is None:
        return None
    mended = re.sub(_whole(pair[0]), lambda _: pair[1], inside)
    return path, *pair, raw[:start] + mended + raw[stop:]


def _written(message: str, new: str, inside: str) -> tuple[str, str] | None:
    """Return which of the message's words stands at the place of the mistake, and what to write for it.

    A message may name more than what is written there: a folder, or a prefix that both words share.
    """
    words = _WORD.findall(message)
    pairs = [(word, new) for word in words]
    pairs += [(word.rpartition("/")[2], new) for word in words]
    pairs += [(w.partition(".")[2], new.partition(".")[2]) for w in words if w.split(".")[0] == new.split(".")[0]]
    there = [(old, to) for old, to in pairs if old and to and old != to and len(re.findall(_whole(old), inside)) == 1]
    return max(there, key=lambda pair: SequenceMatcher(None, *pair).ratio(), default=None)


def _whole(word: str) -> str:
    return rf"(?<![\w]){re.escape(word)}(?![\w])"


def _ends(d: Diagnostic) -> list[tuple[int, int]]:
    return [(d.span.line, d.span.column), (d.span.end_line, d.span.end_column)]
