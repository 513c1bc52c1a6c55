"""A column of a relation that is neither stored nor exported, and that nobody reads."""

from __future__ import annotations

from decreta.diagnostics import Report
from decreta.model.program import Bound, BoundRelation, Checked
from decreta.source import Span


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Warn of columns that are computed for nobody; a star takes what there is, and says nothing of need."""
    read: dict[str, set[str]] = {}
    needs = [r.required for r in program.relations.values()] + [q.datasets for q in program.queries.values()]
    for required in needs:
        for name, columns in required.items():
            read.setdefault(name, set()).update(columns)
    checks = [c for r in program.relations.values() for c in r.checks]
    checks += [c for o in program.objects.values() for c in o.checks]
    for name, relation in program.relations.items():
        written = relation.bound.relation
        if written.stored or written.written.spec.export or written.round is not None or written.body is None:
            continue
        kept = {*read.get(name, ()), *(relation.key.columns if relation.key else ())}
        if name not in read:
            report.warning(
                "D603", f"nobody reads `{name}`", written.written.place("relation"), help="store or export it"
            )
            continue
        checked = " ".join(c.sql for c in checks if f'"{name}"' in c.sql)
        for column in relation.columns:
            if column.name not in kept and f'"{column.name}"' not in checked:
                place = _place(relation.bound, column.name)
                words = f"nobody reads `{column.name}` of `{name}`"
                report.warning("D603", words, place, help="leave it out of the statement")


def _place(bound: BoundRelation, name: str) -> Span:
    """Return where an output column is written in its statement, or the whole relation if a star brings it."""
    statement = bound.statement
    for select in statement.tree.selects if statement is not None else []:
        if statement is not None and select.alias_or_name == name:
            return statement.span(select)
    return bound.relation.written.place()
