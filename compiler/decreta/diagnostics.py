"""A mistake as a value: a code, a place with its end, words, help, and the other places that belong to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from decreta.codes import CODES
from decreta.source import Span

Severity = Literal["error", "warning"]
MAX_ALSO = 4
"""More places than these tell nothing new of one cause."""


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that explains a mistake."""

    span: Span
    message: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A patch of the text: `new` for the one `old` that stands inside `span`."""

    span: Span
    old: str
    new: str
    safe: bool
    """Whether nothing else can have been meant; else a person decides."""


class Hint(str):
    """Help that names the name which is nearest to what was written."""

    word: str
    near: str
    sure: bool
    """Whether it is a slip of the fingers away, and no other name is about as near."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake. Messages are lower case without a final stop, with the user's words in backticks."""

    code: str
    message: str
    span: Span
    help: str = ""
    related: tuple[Related, ...] = ()
    severity: Severity = "error"
    fix: Fix | None = None
    cause: str = ""
    """What names the one thing that is wrong, where it shows in several places."""

    @property
    def key(self) -> tuple[Span, str, str]:
        """What makes it the same mistake: place, code and message."""
        return self.span, self.code, self.message

    def as_json(self) -> dict[str, Any]:
        """Return the plain form that `--format json` prints."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "help": self.help,
            **self.span.as_json(),
            "related": [{**r.span.as_json(), "message": r.message} for r in self.related],
        }


class Report:
    """Collects the diagnostics of a stage; one place, one code and one message are reported once."""

    def __init__(self) -> None:
        self._found: dict[tuple[Span, str, str], Diagnostic] = {}
        self._causes: dict[tuple[str, str], tuple[Span, str, str]] = {}
        self.stages = 0
        """How many stages have begun: a mistake of a later one tells that those before found nothing."""

    def error(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        help: str = "",
        related: Iterable[Related] = (),
        fix: Fix | None = None,
        cause: str = "",
    ) -> None:
        """Record a mistake; `code` must stand in the table of codes.

        A hint as `help` is a fix by itself: each slip is a mistake of its own. Else what has one cause is told once.
        """
        if isinstance(help, Hint):
            fix, cause = fix or Fix(span, help.word, help.near, help.sure), ""
        elsewhere = tuple(r for r in related if r.span != span)
        self._add(Diagnostic(code, message, span, help, elsewhere, fix=fix, cause=cause))

    def warning(self, code: str, message: str, span: Span, *, help: str = "", related: Iterable[Related] = ()) -> None:
        """Record what is probably a mistake and stops nothing."""
        self._add(Diagnostic(code, message, span, help, tuple(related), "warning"))

    def _add(self, found: Diagnostic) -> None:
        assert found.code in CODES, found.code
        first = self._causes.setdefault((found.code, found.cause), found.key) if found.cause else found.key
        if first == found.key:
            self._found.setdefault(first, found)
        elif found.span not in {r.span for r in self._found[first].related}:
            known = self._found[first]
            also = Related(found.span, "also here")
            if sum(r.message == also.message for r in known.related) < MAX_ALSO:
                self._found[first] = replace(known, related=(*known.related, also))

    def extend(self, other: Report) -> None:
        """Take over all that `other` has recorded."""
        for diagnostic in other._found.values():
            self._add(diagnostic)

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
        hint = Hint(f"did you mean `{near[0]}`?")
        hint.word, hint.near, hint.sure = word, near[0], _surely(word, near[0], names)
        return hint
    if not names:
        return ""
    shown = ", ".join(f"`{name}`" for name in names[:8])
    return f"there are {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _surely(word: str, near: str, names: Iterable[str]) -> bool:
    """Whether `word` is `near` mistyped: one slip away, or two in a long word, and every other name two further."""
    slips = _slips(word, near)
    return (
        len(word) > 2
        and slips <= (2 if len(word) > 7 else 1)
        and all(_slips(word, other) > slips + 1 for other in names if other != near)
    )


def _slips(a: str, b: str) -> int:
    """Return how many letters were left out, put in, changed or swapped with their neighbour between two words."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
