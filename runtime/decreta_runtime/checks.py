"""Run the checks of a dataset over the version just written; a violated one refuses the run."""

from __future__ import annotations

import time

from datafusion import SessionContext

from decreta_runtime.contract.errors import CheckViolated, StatementFailed
from decreta_runtime.contract.manifest import Check
from decreta_runtime.contract.policy import Policy
from decreta_runtime.record import Ledger

_SAMPLE = 5
"""Violating rows that a message shows: enough to see what they have in common."""


def run_check(context: SessionContext, subject: str, check: Check, policy: Policy, ledger: Ledger) -> None:
    """Run one check. Raises CheckViolated with the count and sample rows; the run then leaves no record."""
    choice = policy.validation(subject, check.name)
    start = time.perf_counter()
    try:
        found = context.sql(check.sql).to_arrow_table()
    except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
        raise StatementFailed(f"{subject}.{check.name}", error) from None
    seconds = time.perf_counter() - start
    ledger.add("check", subject, check.name, choice.pointer, rows=found.num_rows, seconds=seconds)
    if not found.num_rows:
        return
    samples = "\n".join(f"  {row}" for row in found.slice(0, _SAMPLE).to_pylist())
    shown = "" if found.num_rows <= _SAMPLE else f" (the first {_SAMPLE})"
    raise CheckViolated(
        f"check `{check.name}` of `{subject}` ({check.summary}) is violated, rows: {found.num_rows}{shown}\n{samples}",
        help="mend the source or the spec and run again; readers still see the last complete run",
    )
