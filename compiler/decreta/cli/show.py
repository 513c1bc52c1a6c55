"""How diagnostics look: text with the source line and a caret, or JSON. Text goes to stderr, JSON to stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from decreta.diagnostics import Diagnostic
from decreta.project import Project
from decreta.source import Span


def print_diagnostics(found: Sequence[Diagnostic], project: Project, form: str) -> None:
    """Print diagnostics in the form asked for."""
    if form == "json":
        print(json.dumps([d.as_json() for d in found], indent=2, ensure_ascii=False))
        return
    color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    for diagnostic in found:
        print(_text(diagnostic, project, color), file=sys.stderr)
    if found:
        errors = sum(d.severity == "error" for d in found)
        print(f"{errors} error{'s' if errors != 1 else ''}; `decreta explain CODE` tells more", file=sys.stderr)


def _text(d: Diagnostic, project: Project, color: bool) -> str:
    head = f"{d.severity}[{d.code}]"
    if color:
        head = f"\x1b[1;31m{head}\x1b[0m"
    lines = [f"{d.span}: {head}: {d.message}", *_excerpt(d.span, project)]
    for related in d.related:
        lines += [f"  {related.span}: {related.message}", *_excerpt(related.span, project)]
    if d.help:
        lines.append(f"  help: {d.help}")
    return "\n".join(lines)


def _excerpt(span: Span, project: Project) -> list[str]:
    path = project.root / span.file
    if span.file.startswith("specs/std/"):
        path = project.library() / span.file.removeprefix("specs/std/")
    try:
        line = path.read_text(encoding="utf-8-sig").split("\n")[span.line - 1]
    except (OSError, ValueError, IndexError):
        return []
    if not line.strip() or len(line) > 400:
        return []
    stop = span.end_column if span.end_line == span.line else len(line) + 1
    width = max(1, min(stop, len(line) + 1) - span.column)
    gutter = f"{span.line:>5} | "
    return [gutter + line, " " * (len(gutter) - 2) + "| " + " " * (span.column - 1) + "^" * width]
