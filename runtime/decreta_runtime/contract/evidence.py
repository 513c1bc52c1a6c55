"""What was seen of a lake: observations as the runtime measures them, and the lock that the compiler reads.

Plain data. Observations hold counts, never judgements: which file is small, or how much a number of runs is worth, is
said by thresholds and confidences in rule files when observations are merged and when facts are gathered.
"""

from __future__ import annotations

from msgspec import Struct

EVIDENCE_FORMAT = 1
"""Of observations and evidence locks."""


class ColumnObservation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column of a table, from the Delta log alone. Unknown is null."""

    files_with_statistics: int
    """Files of the snapshot whose entry has a null count of the column."""
    age: int | None
    """Versions since the last commit that added a file with statistics of the column; null if none is in the log."""
    nulls: int | None
    """Null values in the files that have statistics."""
    rows: int | None
    """Rows of the files that have statistics."""
    distinct: int | None
    """An upper bound of the distinct values: no more than the rows, nor than a whole number's or date's range."""
    depth: int | None
    """Of a column that the layout sorts by first: the most files whose ranges hold one value."""


class DatasetObservation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Delta table at one version."""

    version: int
    files: int
    bytes: int
    rows: int | None
    """By the files' statistics; null if a file has none."""
    files_with_rows: int
    sizes: dict[str, int]
    """Power of two → files whose size in bytes lies in [2^n, 2^(n+1))."""
    deleted_rows: int | None
    """Rows that deletion vectors hide; null if that cannot be told."""
    deletion_vectors: bool
    column_mapping: bool
    partition_columns: tuple[str, ...]
    features: tuple[str, ...]
    """Reader and writer features that the table's protocol names, or its versions imply by name."""
    writes_since_compaction: int | None
    """Data-changing commits since the last one that compacted, or since the table began; null past the log's start."""
    columns: dict[str, ColumnObservation]


class ViewObservation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the complete runs of the ledger say of a relation: medians over the newest of them."""

    run_seq: int
    """The newest run that counts."""
    runs: int
    rows: int | None
    bytes: int | None
    milliseconds: int | None
    bytes_scanned: int | None
    rows_read: int | None
    """Rows of its inputs, so that output and input can be set in relation."""


class Observations(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `decreta-run observe` writes."""

    format: int
    pack: str
    environment: str
    engine: dict[str, str]
    datasets: dict[str, DatasetObservation]
    views: dict[str, ViewObservation]


class Seen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fact of the lock. It is written anew only when its value leaves its power-of-two band."""

    value: bool | int | str | tuple[str, ...]
    """Shares are decimals of two places, as text."""
    version: int
    """The table version, or for outcomes the `run_seq`, at which the value was written."""
    share: str | None = None
    """Share of the files that the value rests on."""
    runs: int | None = None
    """Runs that the value rests on, counted as far as they raise its confidence."""


class DatasetEvidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the lock knows of a dataset: facts of the table, and of its columns."""

    facts: dict[str, Seen]
    columns: dict[str, dict[str, Seen]]


class EvidenceLock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `locks/<env>.evidence.json`, written by `decreta observe`, read by people and by the compiler."""

    format: int
    datasets: dict[str, DatasetEvidence]
    views: dict[str, dict[str, Seen]]
