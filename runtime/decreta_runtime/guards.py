"""Evaluate the guards that decisions name: a closed set of questions about what compilation could not know."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import TypeVar

from deltalake import DeltaTable

from decreta_runtime.contract.policy import Choice, Guard, Policy
from decreta_runtime.record import Ledger

V = TypeVar("V")

_COLUMN_MAPPING = "delta.columnMapping.mode"


def choose(choice: Choice[V], subject: str, table: DeltaTable | None, policy: Policy, ledger: Ledger) -> Choice[V]:
    """Return the choice as it stands, or with what it says to take otherwise when a guard fails.

    `table` is what guards on tables are asked of. `within_memory_budget` is not asked here: it is met while rows are
    placed. Each outcome goes to the ledger.
    """
    failed = []
    for guard in choice.requires:
        if guard == "within_memory_budget":
            continue
        holds = _holds(guard, table, policy)
        ledger.add("guard", subject, f"{guard}: {'holds' if holds else 'fails'}", choice.pointer)
        if not holds:
            failed.append(guard)
    if not failed:
        return choice
    assert choice.otherwise is not None  # Policy refuses a decision with guards and nothing to take otherwise
    return choice._replace(value=choice.otherwise, otherwise=None)


def _holds(guard: Guard, table: DeltaTable | None, policy: Policy) -> bool:
    if guard == "engine_as_probed":
        return policy.engine().value == installed_engine()
    assert table is not None  # verified: only scans stand under guards on tables
    if guard == "no_deletion_vectors":
        features = table.protocol().reader_features or []
        return "deletionVectors" not in features or not table.deletion_vectors().read_all().num_rows
    if guard == "no_column_mapping":
        return table.metadata().configuration.get(_COLUMN_MAPPING, "none") == "none"
    return not table.metadata().partition_columns


@cache
def installed_engine() -> dict[str, str]:
    """Return the versions of the engines that are installed."""
    return {name: version(name) for name in ("datafusion", "deltalake")}
