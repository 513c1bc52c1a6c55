"""Run the checks of a dataset over the version just written; a violated one refuses the run."""

from __future__ import annotations

import time
from typing import Any

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
    count, samples = 0, list[Any]()
    try:
        for batch in context.sql(check.sql).execute_stream():
            rows = batch.to_pyarrow()
            count += rows.num_rows
            samples += rows.slice(0, _SAMPLE - len(samples)).to_pylist()
    except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
        raise StatementFailed(f"{subject}.{check.name}", error) from None
    seconds = time.perf_counter() - start
    ledger.add("check", subject, check.name, choice.pointer, rows=count, seconds=seconds)
    if not count:
        return
    shown = "" if count <= _SAMPLE else f" (the first {_SAMPLE})"
    listed = "\n".join(f"  {row}" for row in samples)
    raise CheckViolated(
        f"check `{check.name}` of `{subject}` ({check.summary}) is violated, rows: {count}{shown}\n{listed}",
        help="mend the source or the spec and run again; readers still see the last complete run",
    )
