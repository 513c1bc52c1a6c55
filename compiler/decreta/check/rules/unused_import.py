"""A library that is imported and not used."""

from __future__ import annotations

from decreta.diagnostics import Report
from decreta.model.program import Bound, Checked


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Warn of every import that no `use` and no `extends` refers to."""
    resolved = program.resolved
    used = {r.application.template.name for r in resolved.relations.values() if r.application}
    used |= {obj.doc.data["extends"] for obj in resolved.objects.values() if obj.doc.data.get("extends")}
    libraries = {f"{name.partition('/')[0]}@{name.rpartition('@')[2]}" for name in used}
    for i, reference in enumerate(resolved.header.spec.imports):
        if reference not in libraries:
            place = resolved.header.place("imports", i)
            report.warning("D601", f"nothing uses `{reference}`", place, help="remove the import")
