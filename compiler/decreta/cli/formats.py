"""How diagnostics look: text with the source line and a caret, JSON, GitHub annotations, SARIF 2.1.0.

Text goes to stderr, where people look; what programs read goes to stdout.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import decreta
from decreta.codes import CODES
from decreta.diagnostics import Diagnostic
from decreta.patches import patch
from decreta.project import Project
from decreta.source import Span

_CREDENTIALS = re.compile(r"(?<=://)[^/\s\"'@]*(?=@)")
"""What stands before the host in a URL: it is not repeated where more people read than in the file."""
FORMATS = ("text", "json", "github", "sarif")


def print_diagnostics(found: Sequence[Diagnostic], project: Project, form: str) -> None:
    """Print diagnostics in the form asked for."""
    if form == "json":
        print(json.dumps([_json(d, project) for d in found], indent=2, ensure_ascii=False))
    elif form == "sarif":
        print(json.dumps(_sarif(found, project), indent=2, ensure_ascii=False))
    elif form == "github":
        for diagnostic in found:
            print(_github(diagnostic))
    else:
        _print_text(found, project)


def _print_text(found: Sequence[Diagnostic], project: Project) -> None:
    color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    for diagnostic in found:
        print(_text(diagnostic, project, color), file=sys.stderr)
    if found:
        errors = sum(d.severity == "error" for d in found)
        warnings = len(found) - errors
        counts = [f"{n} {word}{'s' if n != 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
        print(f"{', '.join(counts)}; `decreta explain CODE` tells more", file=sys.stderr)


def _text(d: Diagnostic, project: Project, color: bool) -> str:
    head = f"{d.severity}[{d.code}]"
    if color:
        head = f"\x1b[1;{31 if d.severity == 'error' else 33}m{head}\x1b[0m"
    lines = [f"{d.span}: {head}: {d.message}", *_excerpt(d.span, project)]
    for related in d.related:
        lines += [f"  {related.span}: {related.message}", *_excerpt(related.span, project)]
    if d.help:
        lines.append(f"  help: {d.help}")
    return "\n".join(lines)


def _excerpt(span: Span, project: Project) -> list[str]:
    path = project.file(span.file)
    try:
        line = path.read_text(encoding="utf-8-sig").split("\n")[span.line - 1]
    except (OSError, ValueError, IndexError):
        return []
    if not line.strip() or len(line) > 400:
        return []
    stop = span.end_column if span.end_line == span.line else len(line) + 1
    width = max(1, min(stop, len(line) + 1) - span.column)
    line = _CREDENTIALS.sub(lambda found: "*" * len(found[0]), line)
    gutter = f"{span.line:>5} | "
    return [gutter + line, " " * (len(gutter) - 2) + "| " + " " * (span.column - 1) + "^" * width]


def _json(d: Diagnostic, project: Project) -> dict[str, Any]:
    change = patch(d.fix, project) if d.fix else None
    if change is None:
        return {**d.as_json(), "fix": None}
    return {**d.as_json(), "fix": {**change.span.as_json(), "text": change.new, "safe": change.safe}}


def _github(d: Diagnostic) -> str:
    """Return a workflow command: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""
    place = {"file": d.span.file, "line": d.span.line, "col": d.span.column, "endLine": d.span.end_line}
    if d.span.end_line == d.span.line:
        place["endColumn"] = d.span.end_column
    listed = ",".join(f"{name}={_property(str(value))}" for name, value in {**place, "title": d.code}.items())
    message = d.message + (f"\nhelp: {d.help}" if d.help else "")
    return f"::{d.severity} {listed}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _sarif(found: Sequence[Diagnostic], project: Project) -> dict[str, Any]:
    codes = sorted({d.code for d in found})
    rules = [
        {
            "id": code,
            "shortDescription": {"text": CODES[code].title},
            "fullDescription": {"text": CODES[code].why},
            "help": {"text": CODES[code].mend},
        }
        for code in codes
    ]
    run = {
        "tool": {"driver": {"name": "decreta", "version": decreta.__version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(d, codes.index(d.code), project) for d in found],
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _result(d: Diagnostic, rule: int, project: Project) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": d.code,
        "ruleIndex": rule,
        "level": d.severity,
        "message": {"text": d.message + (f" ({d.help})" if d.help else "")},
        "locations": [{"physicalLocation": _location(d.span)}],
    }
    if d.related:
        result["relatedLocations"] = [
            {"id": i, "message": {"text": r.message}, "physicalLocation": _location(r.span)}
            for i, r in enumerate(d.related)
        ]
    if d.fix and d.fix.safe and (change := patch(d.fix, project)):
        location = _location(change.span)
        replaced = {"deletedRegion": location["region"], "insertedContent": {"text": change.new}}
        artifact = {"artifactLocation": location["artifactLocation"], "replacements": [replaced]}
        result["fixes"] = [{"description": {"text": d.help}, "artifactChanges": [artifact]}]
    return result


def _location(span: Span) -> dict[str, Any]:
    region = {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }
    return {"artifactLocation": {"uri": quote(span.file), "uriBaseId": "%SRCROOT%"}, "region": region}
