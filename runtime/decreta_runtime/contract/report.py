"""All that a page about a pack and its lake shows, as data. Unknown is null, never zero."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from decreta_runtime.contract.kpi import Kpi
from decreta_runtime.contract.policy import Evidence
from decreta_runtime.contract.profile import Profile
from decreta_runtime.contract.rollout import RolloutReport

REPORT_FORMAT = 1


class ReportedDecision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One decision of the policy, why it is so, and what came of it."""

    domain: str
    subject: str
    pointer: str
    mode: str
    origin: str
    rule: str
    because: str | None
    """The rule's own words; null of what a person declared."""
    confidence: str
    fallback_reason: str | None
    value: dict[str, Any]
    baseline: dict[str, Any]
    requires: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    outcome: Literal["as_baseline", "right", "wrong", "ties", "mixed", "unknown"]
    """As `kpi` counts it."""
    observed: dict[str, int]
    """What told of it → observations."""


class ReportedGuard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One guard of one subject, as it was met under the policy."""

    guard: str
    subject: str
    pointer: str
    asked: int
    failed: int
    """Each time `otherwise` was taken."""
    last_failed: str | None
    """UTC, as ISO 8601 has it."""


class ReportedMaintenance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One decision about a table after a write that had something done, or due and left undone."""

    run_seq: int | None
    at: str
    dataset: str
    cause: tuple[str, ...]
    done: tuple[str, ...]
    why: str | None
    files_before: int
    files_after: int | None
    bytes_written: int
    """By rewrites."""
    seconds: float | None


class RunPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one object or relation took in one run."""

    seconds: float | None
    rows: int | None
    bytes_written: int | None
    bytes_scanned: int | None


class ReportedRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One complete run."""

    run_seq: int
    started: str
    seconds: float
    policy_digest: str
    manifest_digest: str
    rows: int
    """Rows written."""
    bytes_written: int
    bytes_scanned: int | None
    """By the statements that left counters; null if none did."""
    maintained: int
    """Tables that were looked at after a write."""
    rewritten: int
    """Bytes that maintenance wrote."""
    parts: dict[str, RunPart]


class LineageNode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object, relation or query shape, and what it is made from."""

    name: str
    kind: Literal["object", "relation", "query"]
    stored: bool
    """Whether it is a Delta table."""
    summary: str
    inputs: tuple[str, ...]


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `decreta report --json` prints, and the page is made from."""

    format: int
    pack: str
    version: str
    environment: str
    engine: dict[str, str]
    policy_digest: str
    manifest_digest: str
    kpi: Kpi
    rollout: RolloutReport
    profile: Profile
    decisions: tuple[ReportedDecision, ...]
    guards: tuple[ReportedGuard, ...]
    maintenance: tuple[ReportedMaintenance, ...]
    """Under this policy, the first one first."""
    runs: tuple[ReportedRun, ...]
    """Complete ones of the environment under whatever policy, the first one first."""
    lineage: tuple[LineageNode, ...]
    """Each after its inputs."""
