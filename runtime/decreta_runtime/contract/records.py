"""What a run leaves behind: the run record and the rows of the ledger. Unknown is null, never zero."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["step", "scan", "write", "decision", "guard", "check", "query"]


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
    sources: dict[str, str]
    """Source -> fingerprint over all of its units; table of others -> `ID@PLACE`, its own id and where it was bound."""
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
