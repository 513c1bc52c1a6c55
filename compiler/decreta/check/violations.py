"""What a check may do when it is violated: rows are set aside one by one, and only where the pack writes them."""

from __future__ import annotations

from decreta.diagnostics import Report
from decreta.model.program import Written
from decreta.model.spec import CheckSpec, OnViolation
from decreta_runtime.contract.manifest import VIOLATED, Column

_MILDER: dict[OnViolation, frozenset[OnViolation]] = {
    "refuse": frozenset({"refuse", "quarantine", "record"}),
    "quarantine": frozenset({"quarantine", "record"}),
    "record": frozenset({"record"}),
}
"""What a contract does → what it may say under `relaxed`."""


def check_violation(
    name: str,
    check: CheckSpec,
    written: Written[object],
    columns: tuple[Column, ...],
    *,
    single_rows: bool,
    kept: str | None,
    report: Report,
) -> None:
    """Report an `on_violation` or `relaxed` that cannot be obeyed.

    `kept` says why no row of the subject can be taken out, None if the pack writes its table.
    """
    path = ("checks", name)
    if check.relaxed is not None and check.relaxed not in _MILDER[check.on_violation]:
        words = f"`relaxed: {check.relaxed}` is stricter than `on_violation: {check.on_violation}`"
        help = "a relaxed environment asks for less: write the stricter word under `on_violation`"
        report.error("D203", words, written.place(*path, "relaxed"), help=help)
        return
    key = next((k for k in ("on_violation", "relaxed") if getattr(check, k) == "quarantine"), None)
    if key is None:
        return
    place, instead = written.place(*path, key), "use refuse or record"
    if not single_rows:
        report.error("D203", "quarantine takes single rows, and the check is not of single rows", place, help=instead)
    elif kept is not None:
        report.error("D203", f"quarantine takes rows out, and {kept}", place, help=instead)
    elif any(column.name == VIOLATED for column in columns):
        words = f"the rows set aside have a column `{VIOLATED}` of their own, with the names of checks"
        report.error("D206", words, place, help="rename the column, or use refuse or record")
