"""What look-ups by query shapes have cost, what limits them, and what would help: told, never acted by."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from decreta_runtime.contract.records import Ladder

PROFILE_FORMAT = 1


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that keeps a shape from reading less of a dataset."""

    kind: Literal[
        "delta_path",
        "no_condition",
        "switched_off",
        "statistics_missing",
        "statistics_wide",
        "files_overlap",
        "row_groups_overlap",
        "rows_unsorted",
        "index_unused",
        "index_behind",
    ]
    column: str | None
    says: str


class Advice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An edit that would help, with what a look-up would read instead, at the median; unknown is null."""

    edit: str
    """The spec and its field."""
    says: str
    files_now: int | None
    files_then: int | None
    bytes_now: int | None
    bytes_then: int | None
    """An estimate, from average rows of equal width: see `docs/profile.md`."""


class TableProfile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a shape reads one dataset."""

    dataset: str
    ladder: Ladder
    """The newest look-up's, each figure the lower median of those that are known."""
    limits: tuple[Limit, ...]
    advice: tuple[Advice, ...]
    """What would spare the most bytes first."""


class ShapeProfile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the look-ups of one shape have cost."""

    shape: str
    workload: str
    count: int
    seconds: float
    """Of all its look-ups."""
    p50_seconds: float
    p95_seconds: float
    """The lower median, and the least time that 95 of 100 look-ups stay within."""
    bytes_read: int | None
    bytes_eligible: int
    """Of one look-up, the lower median."""
    pruning_effectiveness_score: str | None
    tables: tuple[TableProfile, ...]


class Profile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `decreta profile` prints: the shapes of a pack that were asked under one policy, the costliest first."""

    format: int
    pack: str
    environment: str
    policy_digest: str
    lookups: int
    shapes: tuple[ShapeProfile, ...]
