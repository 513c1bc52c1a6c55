"""Mend what is surely a slip: a misspelt name with one near neighbour, a scalar that wants quotes, a key said twice.

A fix is a patch of the text at its place, so that comments stay. It is tried on a copy and proven by compiling that:
what does not leave fewer mistakes, or none of its stage, is never written. The library is never touched.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from decreta.diagnostics import Diagnostic, Report
from decreta.patches import Patch, patch
from decreta.pipeline import compile_pack
from decreta.project import Project


@dataclass(frozen=True)
class Outcome:
    """A fix, and whether it was written; if not, a person decides."""

    diagnostic: Diagnostic
    patch: Patch
    written: bool


def fix_pack(project: Project, pack: str) -> Iterator[Outcome]:
    """Mend the files of a pack, one mistake at a time; yield what was written, and at the end what could be."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Project(Path(folder))
        shutil.copytree(project.specs, trial.specs, ignore_dangling_symlinks=True)
        tried: set[tuple[str, str, str]] = set()
        now = _compiled(trial, pack)
        while found := next(((d, p) for d, p in _patches(now, trial) if p.safe and _name(d) not in tried), None):
            diagnostic, change = found
            ours, theirs = project.file(diagnostic.span.file), trial.file(diagnostic.span.file)
            kept = theirs.read_bytes()
            theirs.write_bytes(change.data)
            then = _compiled(trial, pack)
            if _progress(then) > _progress(now) and ours.read_bytes() == kept:
                ours.write_bytes(change.data)
                now = then
                yield Outcome(diagnostic, change, written=True)
            else:
                tried.add(_name(diagnostic))
                theirs.write_bytes(kept)
        yield from (Outcome(d, p, written=False) for d, p in _patches(now, trial))


def _compiled(project: Project, pack: str) -> Report:
    report = Report()
    compile_pack(project, pack, report)
    return report


def _errors(report: Report) -> list[Diagnostic]:
    return [d for d in report.diagnostics() if d.severity == "error"]


def _progress(report: Report) -> tuple[int, int]:
    """Return what grows as mistakes go: the stages that were reached, then how few are left in the last of them."""
    return report.stages, -len(_errors(report))


def _patches(report: Report, project: Project) -> Iterator[tuple[Diagnostic, Patch]]:
    for diagnostic in _errors(report):
        theirs = diagnostic.span.file.startswith("specs/std/")
        if diagnostic.fix and not theirs and (change := patch(diagnostic.fix, project)):
            yield diagnostic, change


def _name(diagnostic: Diagnostic) -> tuple[str, str, str]:
    """Return what names a mistake whatever line it has come to stand on."""
    return diagnostic.span.file, diagnostic.code, diagnostic.message
