"""THE order: read → resolve → bind → check → decide → emit. Stages never import each other; only this file knows them.

A stage collects all of its mistakes; the next begins only when there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

from decreta.bind import bind
from decreta.check import check
from decreta.decide import decide
from decreta.diagnostics import Report
from decreta.emit import emit
from decreta.model.program import Checked, Decided
from decreta.project import Project
from decreta.read import read_pack
from decreta.resolve import resolve
from decreta.toolchain import toolchain


@dataclass(frozen=True)
class Compiled:
    """A pack's generated files, path → bytes, and the program they were made from."""

    program: Decided
    files: dict[str, bytes]


def check_pack(project: Project, name: str, report: Report) -> Checked | None:
    """Take one pack as far as nothing has been decided; None if `report` has an error afterwards."""
    library = read_pack(project.library(), "specs/std", report)
    files = read_pack(project.specs / name, f"specs/{name}", report)
    if report.failed:
        return None
    report.stages += 1
    resolved = resolve(files, library, report)
    if resolved is None:
        return None
    report.stages += 1
    bound = bind(resolved, report)
    if bound is None:
        return None
    report.stages += 1
    return check(bound, report)


def compile_pack(project: Project, name: str, report: Report) -> Compiled | None:
    """Compile one pack; None if `report` has an error afterwards. Writes nothing."""
    checked = check_pack(project, name, report)
    if checked is None:
        return None
    report.stages += 1
    decided = decide(checked, report)
    if decided is None:
        return None
    return Compiled(decided, emit(decided, toolchain()))
