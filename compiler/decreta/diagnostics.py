"""A mistake as a value: a code, a place with its end, words, help, and the other places that belong to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from decreta.codes import CODES
from decreta.source import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that explains a mistake."""

    span: Span
    message: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake. Messages are lower case without a final stop, with the user's words in backticks."""

    code: str
    message: str
    span: Span
    help: str = ""
    related: tuple[Related, ...] = ()
    severity: Severity = "error"

    def as_json(self) -> dict[str, Any]:
        """Return the plain form that `--format json` prints."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "help": self.help,
            **_place(self.span),
            "related": [{**_place(r.span), "message": r.message} for r in self.related],
        }


class Report:
    """Collects the diagnostics of a stage; one place, one code and one message are reported once."""

    def __init__(self) -> None:
        self._found: dict[tuple[Span, str, str], Diagnostic] = {}

    def error(self, code: str, message: str, span: Span, *, help: str = "", related: Iterable[Related] = ()) -> None:
        """Record a mistake; `code` must stand in the table of codes."""
        self._add(Diagnostic(code, message, span, help, tuple(related)))

    def warning(self, code: str, message: str, span: Span, *, help: str = "", related: Iterable[Related] = ()) -> None:
        """Record what is probably a mistake and stops nothing."""
        self._add(Diagnostic(code, message, span, help, tuple(related), "warning"))

    def _add(self, found: Diagnostic) -> None:
        assert found.code in CODES, found.code
        self._found.setdefault((found.span, found.code, found.message), found)

    def extend(self, other: Report) -> None:
        """Take over all that `other` has recorded."""
        for key, diagnostic in other._found.items():
            self._found.setdefault(key, diagnostic)

    @property
    def failed(self) -> bool:
        """Whether any error was recorded."""
        return any(d.severity == "error" for d in self._found.values())

    def diagnostics(self) -> list[Diagnostic]:
        """Return what was recorded, by place."""
        return sorted(self._found.values(), key=lambda d: (d.span, d.code, d.message))


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return help that names the nearest of `candidates`, or lists a few of them, or nothing if there are none."""
    names = sorted(set(candidates))
    if near := difflib.get_close_matches(word, names, n=1, cutoff=0.6):
        return f"did you mean `{near[0]}`?"
    if not names:
        return ""
    shown = ", ".join(f"`{name}`" for name in names[:8])
    return f"there are {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _place(span: Span) -> dict[str, Any]:
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }
