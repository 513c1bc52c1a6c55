"""What was seen of a lake: observations as the runtime measures them, and the lock that the compiler reads.

Plain data. Observations hold counts, never judgements: which file is small, or how much a number of runs is worth, is
said by thresholds and confidences in rule files when observations are merged and when facts are gathered.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

EVIDENCE_FORMAT = 1
"""Of observations and evidence locks."""


class ColumnObservation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column of a table, from the Delta log alone. Unknown is null."""

    files_with_statistics: int
    """Files of the snapshot whose entry has a null count of the column and of rows, or its partition value."""
    age: int | None
    """Versions since the newest of these files was added; null if there is none, or the log no longer says when."""
    nulls: int | None
    """Null values in the files that have statistics; null if none has."""
    rows: int | None
    """Rows of the files that have statistics; null if none has."""
    distinct: int | None
    """An upper bound of the distinct values in the files that have statistics: a whole number's or date's range, or the
    values that are not null if there are fewer; of a key these, whatever its type; else null."""
    depth: int | None
    """The most files whose ranges hold one value; null if a file has no range. A range may be wider than its values:
    texts are cut at 64 characters, times at milliseconds."""


class DatasetObservation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Delta table at one version."""

    version: int
    files: int
    bytes: int
    rows: int | None
    """Rows of the files that say so, less those that deletion vectors hide; null if none says, or that is unknown."""
    files_with_rows: int
    sizes: dict[str, int]
    """Power of two → files whose size in bytes lies in [2^n, 2^(n+1))."""
    deleted_rows: int | None
    """Rows that deletion vectors hide; null if a vector cannot be read."""
    deletion_vectors: bool
    """Whether vectors hide rows, or may."""
    column_mapping: bool
    partition_columns: tuple[str, ...]
    partitions: int | None = None
    """Distinct tuples of values of these columns, 0 if there are none; null if whoever observed it did not count."""
    features: tuple[str, ...]
    """Reader and writer features that the table's protocol names, or its versions imply by name."""
    writes_since_compaction: int | None
    """Data-changing commits since the last one that only rewrote files, or since the oldest file that is left was
    added, that commit included: what lies before has left nothing to compact. Null past the log's start."""
    columns: dict[str, ColumnObservation]


class ViewObservation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the complete runs of the ledger say of a relation: medians over the newest of them."""

    run_seq: int
    """The newest run that counts."""
    runs: int
    """How many complete runs computed it, of those that were looked at."""
    rows: int | None
    bytes: int | None
    """Of its rows as Arrow arrays in memory, wherever they were put."""
    milliseconds: int | None
    """What computing and writing it took."""
    bytes_scanned: int | None
    """Bytes read from the files of its inputs; null if a read left no counters."""
    rows_read: int | None
    """Rows of its inputs that came out of their scans, so that output and input can be set in relation."""


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
    share: Annotated[str, Meta(pattern=r"^(0\.[0-9]{2}|1\.00)$")] | None = None
    """Share of the files that the value rests on."""
    runs: Annotated[int, Meta(ge=1)] | None = None
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
