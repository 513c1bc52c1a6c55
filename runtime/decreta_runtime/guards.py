"""Evaluate the guards that decisions name: a closed set of questions about what compilation could not know."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import NamedTuple, TypeVar

from deltalake import DeltaTable

from decreta_runtime.contract.policy import Choice, Guard, Policy
from decreta_runtime.record import Ledger

V = TypeVar("V")

_COLUMN_MAPPING = "delta.columnMapping.mode"


class Taken(NamedTuple):
    """The outcome of a table's guards: which of them failed."""

    failed: tuple[Guard, ...]


def choose(choice: Choice[V], subject: str, table: DeltaTable | None, policy: Policy, ledger: Ledger) -> V:
    """Return the decision's value, or what it says to take otherwise when a guard on `table` fails.

    `within_memory_budget` is not asked here: it is met while rows are placed. Each outcome goes to the ledger.
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
        return choice.value
    assert choice.otherwise is not None  # Policy refuses a decision with guards and nothing to take otherwise
    return choice.otherwise


def _holds(guard: Guard, table: DeltaTable | None, policy: Policy) -> bool:
    if guard == "engine_as_probed":
        return policy.engine().value == installed_engine()
    if table is None:
        return True
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
