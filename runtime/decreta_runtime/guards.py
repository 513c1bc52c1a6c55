"""Evaluate the guards that decisions name: a closed set of questions about what compilation could not know."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import TypeVar, get_args

import pyarrow as pa
from deltalake import DeltaTable

from decreta_runtime.arrow import differences
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import Choice, Guard, Policy
from decreta_runtime.locations import is_local
from decreta_runtime.record import Ledger
from decreta_runtime.scan import hides_nan

V = TypeVar("V")

_COLUMN_MAPPING = "delta.columnMapping.mode"
_PLAIN = frozenset({"columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})
"""Reader features that leave files as a scan of them reads them, and the two that guards of their own ask about."""

_REWRITABLE = (_PLAIN - {"v2Checkpoint"}) | {
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "generatedColumns",
    "identityColumns",
    "invariants",
}
"""Features that say nothing of a file by its name: its rows may stand in another one. No row is changed by that."""


def choose(
    choice: Choice[V],
    subject: str,
    table: DeltaTable | None,
    policy: Policy,
    ledger: Ledger,
    columns: Sequence[Column] = (),
    alike: bool = False,
) -> Choice[V]:
    """Return the choice as it stands, or with what it says to take otherwise when a guard fails.

    `table` and the `columns` of its contract are what guards on tables are asked of; `alike` says whether the last
    complete run was of this very pack and policy. `within_memory_budget` is not asked here: it is met while rows are
    placed. Each outcome goes to the ledger.
    """
    outcomes = ask(choice, table, columns, policy, alike)
    for guard, holds in outcomes.items():
        ledger.add("guard", subject, words_of(guard, holds), choice.pointer)
    if all(outcomes.values()):
        return choice
    assert choice.otherwise is not None  # Policy refuses a decision with guards and nothing to take otherwise
    return choice._replace(value=choice.otherwise, otherwise=None)


def ask(
    choice: Choice[V], table: DeltaTable | None, columns: Sequence[Column], policy: Policy, alike: bool = False
) -> dict[Guard, bool]:
    """Return whether the guards of a choice hold, those apart that are met while rows are placed."""
    asked = [guard for guard in choice.requires if guard != "within_memory_budget"]
    return {guard: _holds(guard, table, columns, policy, alike) for guard in asked}


def words_of(guard: Guard, holds: bool) -> str:
    """Return the outcome of a guard as the ledger says it."""
    return f"{guard}: {'holds' if holds else 'fails'}"


OUTCOMES: dict[str, tuple[Guard, bool]] = {
    words_of(guard, holds): (guard, holds) for guard in get_args(Guard) for holds in (True, False)
}
"""What the ledger says → the guard and whether it held."""


def _holds(guard: Guard, table: DeltaTable | None, columns: Sequence[Column], policy: Policy, alike: bool) -> bool:
    if guard == "compiled_as_last_run":
        return alike
    if guard == "engine_as_probed":
        return policy.engine().value == installed_engine()
    assert table is not None  # verified: only scans and maintenance stand under guards on tables
    if guard == "no_deletion_vectors":
        features = table.protocol().reader_features or []
        return "deletionVectors" not in features or not table.deletion_vectors().read_all().num_rows
    if guard == "no_column_mapping":
        return table.metadata().configuration.get(_COLUMN_MAPPING, "none") == "none"
    if guard == "plain_protocol":
        return _PLAIN.issuperset(table.protocol().reader_features or [])
    if guard == "safe_to_rewrite":
        protocol = table.protocol()
        return _REWRITABLE.issuperset({*(protocol.reader_features or ()), *(protocol.writer_features or ())})
    if guard == "no_hidden_nan":
        return not hides_nan(table, columns)
    if guard == "local_files":
        return is_local(table.table_uri)
    if guard == "schema_as_compiled":
        return _as_compiled(table, columns)
    return not table.metadata().partition_columns


def _as_compiled(table: DeltaTable, columns: Sequence[Column]) -> bool:
    """Whether a table has the contract's columns and types and no others. Order and nullability are not asked.

    Columns are found by name, and a null where the contract has none is what checks look for.
    """
    found = pa.schema(table.schema().to_arrow())
    return set(found.names) == {column.name for column in columns} and not differences(found, columns)


@cache
def installed_engine() -> dict[str, str]:
    """Return the versions of the engines that are installed."""
    return {name: version(name) for name in ("datafusion", "deltalake")}
