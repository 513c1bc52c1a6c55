"""What a probe saw one pair of engine versions do: the form of capability files, and what each feature means.

A capability is what was seen, never what a version promises. `make probe` writes the file, people commit it, rules read
it as `capability.<feature>`; nothing is probed in a run.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

Volatility = Literal["immutable", "stable", "volatile"]
"""Whether a function gives the same for the same arguments always, within one statement, or never for sure."""

VOLATILITIES: tuple[Volatility, ...] = ("immutable", "stable", "volatile")
"""The better first."""


class FunctionSeen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A function of the engine."""

    kinds: tuple[Literal["scalar", "aggregate", "window", "table"], ...]
    volatility: Volatility


class CapabilityFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `capabilities/<engines>.json`."""

    engine: dict[str, str]
    """Engine → version."""
    features: dict[str, bool]
    functions: dict[str, FunctionSeen]
    settings: tuple[str, ...]


class Feature(NamedTuple):
    """What it means that a feature was seen, and what relies on it.

    A `rule` may ask for it. A `promise` is what decisions without a condition rest on: an engine without it is not
    served. A `guard` shows that a guard is needed: without it rows would be wrong.
    """

    relied_on_by: Literal["rule", "promise", "guard"]
    summary: str


FEATURES: dict[str, Feature] = {
    "native_scan": Feature(
        "rule", "a native scan of exactly a snapshot's files gives their rows, and skips row groups by statistics"
    ),
    "native_schema_changes": Feature("rule", "a native scan reads null where a file is older than a column"),
    "native_timestamps": Feature("rule", "a native scan keeps type and instant of timestamps with and without zone"),
    "native_nested_types": Feature("rule", "a native scan reads lists as they were written"),
    "native_decimals": Feature("rule", "a native scan keeps type and value of decimals"),
    "native_nan": Feature("rule", "a native scan finds NaN, of which no statistics tell"),
    "linked_scan": Feature(
        "rule",
        "a scan by links gives the rows of a partitioned table, and skips row groups of values that are not asked for",
    ),
    "row_filters": Feature("rule", "with `pushdown` only rows that the predicate wants come out of a native scan"),
    "page_index": Feature("rule", "with `page_index` pages are skipped inside a row group, without it they are not"),
    "bloom_filters": Feature(
        "rule", "`bloom_columns` are written, and with `bloom_filters` alone row groups are skipped by them"
    ),
    "spill_filters": Feature("rule", "with `pushdown` only rows that a reader wants come out of a spill"),
    "own_compaction": Feature(
        "rule",
        "one commit puts rows into other files, each in its partition: application transactions stay, the change feed"
        " has nothing of it, and a second one of the same snapshot is refused",
    ),
    "delta_scan": Feature("promise", "a scan through the Delta reader gives the rows, values and types as written"),
    "delta_reads_deletion_vectors": Feature("promise", "the Delta reader leaves out rows that a vector deletes"),
    "delta_reads_column_mapping": Feature("promise", "the Delta reader finds columns that files name otherwise"),
    "delta_reads_partitions": Feature("promise", "the Delta reader gives partition columns their values"),
    "transactions_recorded": Feature("promise", "a commit is found again by its application transaction and run key"),
    "stale_overwrite_refused": Feature("promise", "an overwrite is refused when another commit came in between"),
    "memory_limit_obeyed": Feature("promise", "a sort of more than `memory_limit` spills, and its rows are right"),
    "one_partition_repeats": Feature(
        "promise", "with one target partition the order of rows and sums of floats are the same each time"
    ),
    "native_sees_deleted_rows": Feature(
        "guard", "a native scan gives rows that a vector deletes: `no_deletion_vectors` is needed"
    ),
    "native_misses_mapped_columns": Feature(
        "guard", "a native scan does not find columns that files name otherwise: `no_column_mapping` is needed"
    ),
    "native_misses_partitions": Feature(
        "guard", "a native scan does not know the values of partition columns: `unpartitioned` is needed"
    ),
}
"""Feature → what a probe of it shows. The probe, the compiler and the reference all read this table."""
