"""What a run leaves behind: the run record and the rows of the ledger. Unknown is null, never zero."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Kind = Literal[
    "step", "scan", "write", "refresh", "index", "decision", "guard", "check", "query", "shadow", "maintenance"
]

Done = Literal["written", "kept", "carried", "looked"]
"""What a run did to bring an object or relation up to date: wrote it or a part of it, took it over from an earlier
attempt or from the last run, or looked at what others have written."""

DECIDED: frozenset[Kind] = frozenset(("scan", "write", "refresh", "index", "decision", "guard", "check", "maintenance"))
"""Kinds of actions that always follow from an entry of the policy; steps and queries may stand without."""


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
