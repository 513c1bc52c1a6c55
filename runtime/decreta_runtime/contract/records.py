"""What a run leaves behind: the run record and the rows of the ledger. Unknown is null, never zero."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Kind = Literal["step", "scan", "write", "refresh", "index", "decision", "guard", "check", "query", "shadow"]

Done = Literal["written", "kept", "carried", "looked"]
"""What a run did to bring an object or relation up to date: wrote it or a part of it, took it over from an earlier
attempt or from the last run, or looked at what others have written."""

DECIDED: frozenset[Kind] = frozenset(("scan", "write", "refresh", "index", "decision", "guard", "check"))
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
