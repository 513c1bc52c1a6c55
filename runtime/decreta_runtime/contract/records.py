"""What a run leaves behind: the run record and the rows of the ledger. Unknown is null, never zero."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Kind = Literal[
    "step",
    "scan",
    "write",
    "refresh",
    "index",
    "decision",
    "guard",
    "check",
    "query",
    "shadow",
    "maintenance",
    "cache",
    "replay",
]

Done = Literal["written", "kept", "carried", "looked"]
"""What a run did to bring an object or relation up to date: wrote it or a part of it, took it over from an earlier
attempt or from the last run, or looked at what others have written."""

DECIDED: frozenset[Kind] = frozenset(
    ("scan", "write", "refresh", "index", "decision", "guard", "check", "maintenance", "cache")
)
"""Kinds of actions that always follow from an entry of the policy; steps and queries may stand without."""

REPLAYED_EQUAL = "equal"
"""The action of a row of kind `replay` that gave the same; any other is the kind of the first difference."""


class RunRecord(Struct, frozen=True, kw_only=True):
    """One complete run: the row of `_decreta/runs`, committed last, that makes the tables it names visible."""

    pack: str
    run_seq: int
    run_key: str
    attempt: str
    """Random id of the process attempt that completed the run; rows of the ledger carry it too."""
    environment: str
    manifest_digest: str
    policy_digest: str
    started_us: int
    """Microseconds since the epoch, UTC."""
    finished_us: int
    versions: dict[str, int]
    """Dataset -> the Delta version that belongs to this run."""
    quarantine: dict[str, int] = {}
    """Dataset -> the version of the table `<dataset>__quarantine` with the rows that its checks took out."""
    sources: dict[str, str]
    """Source -> fingerprint over all of its units; table of others -> `ID@PLACE`, its own id and where it was bound."""
    stale: dict[str, str] = {}
    """Dataset that this run has not computed -> what has changed beneath it since; a later run computes it whole."""
    pack_loads: int
    bindings: int
    sessions: int


class LedgerRow(Struct, frozen=True, kw_only=True):
    """One action of a run or query, with the policy entry that caused it."""

    pack: str
    attempt: str
    run_seq: int | None
    at_us: int
    kind: Kind
    subject: str
    action: str
    pointer: str | None
    """JSON pointer into the policy whose digest stands in `policy_digest`; null where nothing was decided."""
    policy_digest: str
    seconds: float | None = None
    rows: int | None = None
    bytes: int | None = None
    files: int | None = None
    files_total: int | None = None
    table_version: int | None = None
    detail: str | None = None
    """Canonical JSON with what only this kind of row has."""
    rows_read: int | None = None
    """Rows that a relation's statement read of its inputs; null if a read left no counters."""
    bytes_scanned: int | None = None
    """Bytes that it read from their files; null likewise."""
    memory_bytes: int | None = None
    """Bytes of a relation's rows as Arrow arrays, wherever they were put."""
    files_with_statistics: int | None = None
    """Of a scan: files whose rows the log counts; a file without is never skipped."""


class Pair(Struct, frozen=True, kw_only=True):
    """What is so under the baseline, and what would be under the decision; null where it cannot be known."""

    baseline: Any
    decision: Any


class Would(Struct, frozen=True, kw_only=True):
    """What a decision in `warn` would have changed."""

    changes: dict[str, Pair]
    """Field of the policy's value -> the two values, where they differ; of a session also each `settings.NAME`."""
    figures: dict[str, Pair]
    """Files, rows or bytes, as measured in the very run or as they follow from that."""


class ShadowDetail(Struct, frozen=True, kw_only=True):
    """The `detail` of a row of kind `shadow`: a decision that is not obeyed yet, beside an action of the baseline."""

    domain: str
    choice_id: str
    decision: dict[str, Any]
    baseline: dict[str, Any]
    agree: bool
    """Whether the two are equal."""
    guards: dict[str, bool | None]
    """What the guards said that the decision would have stood under; null of one that nothing met."""
    stands: Literal["value", "otherwise"]
    """Which of its values the decision would have come to."""
    would: Would


class TableOutcomes(Struct, frozen=True, kw_only=True):
    """What a table is like after a write, by its log and its folder. Unknown is null."""

    version: int
    files: int
    bytes: int
    rows: int | None
    small_files: int
    """Files below the policy's `small_file_bytes`."""
    small_file_share: str | None
    """Their share, a decimal of two places, rounded down; null of a table without files."""
    deleted_rows: int | None
    """Rows that deletion vectors hide."""
    clustering_depth: int | None
    """Most files that overlap at one value of the first column of the policy's sort; null without one."""
    log_length: int
    """Commits since the last checkpoint."""
    expired_log_files: int | None
    """Commits that a checkpoint has taken in and the table's log retention no longer keeps."""
    unreferenced_bytes: int | None
    """Bytes of files in its folder that this version does not have."""
    expired_bytes: int | None
    """Those of them that no version within the policy's retention has."""
    files_added: int | None
    """By this version's commit, as the four below; null if the log no longer has it."""
    files_removed: int | None
    bytes_added: int | None
    written_bytes: int
    """Bytes written to the table over its life, at least: what only rewrites rows is not counted."""
    rewritten_bytes: int
    """Bytes that maintenance has written anew over its life."""


class TriggerOutcome(Struct, frozen=True, kw_only=True):
    """What a trigger's condition came to."""

    action: str
    metric: str
    found: int | str | None
    threshold: int | str
    holds: bool | None
    """Null where the metric is unknown; then the policy says what is done."""
    due: bool


class MaintenanceCost(Struct, frozen=True, kw_only=True):
    """What maintenance rewrites and deletes."""

    files_rewritten: int = 0
    files_written: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    files_deleted: int = 0
    bytes_deleted: int = 0


class Listing(Struct, frozen=True, kw_only=True):
    """Files and their bytes that a look-up of a shape lists, for a value from the middle of the table."""

    files: int
    bytes: int


class MaintenanceDetail(Struct, frozen=True, kw_only=True):
    """The `detail` of a row of kind `maintenance`: one decision for each write, whether or not anything was done."""

    written_version: int
    """The version that the decision is about."""
    before: TableOutcomes
    triggers: dict[str, TriggerOutcome]
    cause: tuple[str, ...]
    """Triggers that were due."""
    done: tuple[str, ...]
    """Actions that were carried out."""
    why: str | None
    """Why something that was due was left undone, or less of it done; null where nothing was."""
    estimated: MaintenanceCost
    real: MaintenanceCost
    after: TableOutcomes | None
    """Null where nothing was done."""
    shapes: dict[str, tuple[Listing, Listing]]
    """Query shape -> what a look-up lists before and after, of the files that the log's statistics leave."""
    code: str | None = None
    """Of the error that left undone what was due, or of a refusal by a guard; null where there was none."""


class IndexRung(Struct, frozen=True, kw_only=True):
    """What one external index left of the files that a query shape lists."""

    name: str
    files: int | None
    """Files that are left after it; null where it is not there, cannot be read, or says nothing of what is asked."""
    unknown: int | None
    """Those of them that it does not know, which are read for that; null likewise."""
    bytes_read: int | None
    """What asking took of its own files, which are no part of the bytes read elsewhere; 0 where it was in memory, null
    where it is not there or cannot be read."""


class StepRung(Struct, frozen=True, kw_only=True):
    """A look-up of another table that came first, and whose values say which files are wanted."""

    column: str
    """The column that is narrowed by them."""
    given_by: str
    """`dataset.column` that gave them."""
    values: int | None
    """How many; null if they were more than the policy lets narrow."""
    bytes_read: int | None
    """What asking took."""


Switch = Literal["log_pruning", "pushdown", "page_index", "bloom_filters"]
"""What the policy may switch off of a scan."""


class Ladder(Struct, frozen=True, kw_only=True):
    """How a statement came down from all of a dataset to the rows that it took, rung by rung. Unknown is null.

    Rungs below `files_listed` are counters of the engine, summed over the scans of the dataset in the statement; its
    pruning counters are rounded to three digits above 9,999. Reads through delta-rs leave none.
    """

    path: Literal["native", "linked", "delta"]
    switched_off: tuple[Switch, ...]
    """What the policy has switched off of the scan."""
    scans: int
    """How often the statement reads the dataset."""
    asked: tuple[str, ...]
    """Columns that the conditions of a query shape name, where each of its scans has some."""
    filtered: bool | None
    """Whether a condition reached every scan: of the statement itself, or of a join while it ran."""
    unbounded: dict[str, int]
    """Column asked → files of the snapshot in whose log entry nothing bounds it."""
    fresh: bool | None
    """Whether the log's statistics are of the rows as they are. False where deletion vectors hide rows that they still
    count and bound; null where a vector cannot be read."""
    files: int
    """Files of the snapshot."""
    files_log: int | None
    """Files that are left by the log's statistics; null where they were not asked."""
    indexes: tuple[IndexRung, ...]
    """The external indexes that the policy has the shape use, in the order they were asked."""
    steps: tuple[StepRung, ...]
    """Look-ups of other tables that came first."""
    files_steps: int | None
    """Files that are left by the log's statistics for the values that these gave; null where none did."""
    step_indexes: tuple[IndexRung, ...]
    """External indexes that were asked for these values."""
    files_listed: int
    """Files that the scan was given."""
    files_opened: int | None
    """Files whose row groups were looked at: those that their own statistics as a whole leave."""
    files_matched: int | None
    """Files that rows were taken from."""
    row_groups: int | None
    """Row groups of the files opened; null where there was none."""
    row_groups_statistics: int | None
    """Row groups that are left by the statistics in the footers."""
    row_groups_bloom: int | None
    """Row groups that are left by bloom filters too; null where they were not asked."""
    pages: int | None
    """Pages of the row groups that are left, of the columns that the filter names; null without a page index."""
    pages_kept: int | None
    rows: int | None
    """Rows of the snapshot, by the log."""
    rows_read: int | None
    """Rows that went into the scan's filter, which may be none at all."""
    rows_out: int | None
    """Rows that came out of the scan."""
    bytes_eligible: int
    """Bytes of the snapshot's files, once for each scan."""
    bytes_columns: int | None
    """Of these the bytes of the columns that the shape reads, by their share of the largest file."""
    bytes_read: int | None
    """Bytes of data, page indexes and bloom filters that were read. Footers do not count."""
    bytes_perfect: int | None
    """What a perfect index would have read: of each file that gave rows, the average bytes of so many rows in the
    columns that the shape reads, and of one page at least; of one row group where the page index was not asked."""
    bytes_clustered: int | None
    """The same if all rows taken stood together: what a perfect order of rows would leave to read."""

    def avoidable(self) -> int | None:
        """Return the bytes that a perfect index would have spared; null where no condition leaves any out."""
        if self.bytes_columns is None or self.bytes_perfect is None:
            return None
        return max(0, self.bytes_columns - self.bytes_perfect)

    def avoided(self) -> int | None:
        """Return how many of these were spared, from none to all of them."""
        avoidable, read = self.avoidable(), [self.bytes_read, *(step.bytes_read for step in self.steps)]
        if avoidable is None or self.bytes_columns is None or None in read:
            return None
        return min(avoidable, max(0, self.bytes_columns - sum(bytes_ or 0 for bytes_ in read)))


class ComputeDetail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The `detail` of a row of kind `step` or `write` that a statement computed."""

    workload: str
    """The workload class of the run's session."""
    ladder: dict[str, Ladder]
    """Dataset → how it was read."""
    given: int | None = None
    """Of a dataset with a quarantine: rows that the statement gave."""
    quarantined: int | None = None
    """Those of them that its checks took out."""
    files_rewritten: int | None = None
    """Of a write over a part of a table: files that it took away."""
    files_added: int | None = None
    """Those that it put in their place."""
    undone: int | None = None
    """The version that was undone before: of an attempt that no run's record names."""
    conflicts: int | None = None
    """How often another writer was faster before the commit."""


class QueryDetail(Struct, frozen=True, kw_only=True):
    """The `detail` of a row of kind `query`."""

    workload: str
    shape: bool
    """Whether the subject is a query shape of the pack, and no statement that somebody typed."""
    ladder: dict[str, Ladder]
    """Dataset → how it was read."""
    footer_seconds: float | None = None
    """Time that its scans waited for footers, all files together; next to none where the session still had them."""


class CacheDetail(Struct, frozen=True, kw_only=True):
    """The `detail` of a row of kind `cache`: one of the caches of a session, when it was built."""

    limit: str
    """Bytes that it may grow to, as the engine writes them."""
    entries: int | None
    """Null: the engine does not tell."""
    hits: int | None
    """Null likewise; the ready query `caches` compares first and later reads instead."""
