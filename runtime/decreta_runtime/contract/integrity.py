"""What verifying a lake has found, as `verify --json` prints it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

FindingKind = Literal[
    "changed",
    "digests_changed",
    "key",
    "missing",
    "removed_twice",
    "row_count",
    "run_record",
    "unreadable",
    "unrecorded",
]
"""Other bytes than were written; a list of digests that is not as it was; a key with doubles or nulls; a file that the
log names and nobody has; a file that two commits took away, whose rows may stand there twice; other rows than were
counted; runs that do not follow each other; what cannot be opened; a file that nobody took a digest of."""


class Origin(Struct, frozen=True, kw_only=True):
    """Where the rows of a table come from."""

    kind: Literal["source", "statement", "function", "checks", "bound", "index", "lake"]
    made_by: str
    """The source and its stream, the builder's file, the function, or who else writes it, in words."""
    inputs: tuple[str, ...] = ()
    """The tables and views, or the places of a source, that the rows are made from."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as the last complete run left it."""

    kind: FindingKind
    table: str
    """The dataset, `<dataset>__quarantine`, `dataset.index`, `runs` or `ledger`."""
    file: str | None
    """The file, relative to the lake where it lies in it; None of a table as a whole."""
    words: str
    origin: Origin
    rebuild: str
    """What a person does to have it right again."""


class Verification(Struct, frozen=True, kw_only=True):
    """What was looked at, and what was found."""

    pack: str
    run_seq: int
    data: bool
    """Whether every byte of the data files was compared, and not the log, counts, keys and indexes alone."""
    tables: int
    files: int
    """Files whose bytes were compared with their digests."""
    findings: tuple[Finding, ...]
