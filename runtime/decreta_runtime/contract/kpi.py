"""Key figures of a policy and the runs under it, counted and never judged. Unknown is null, never zero."""

from __future__ import annotations

from msgspec import Struct

KPI_FORMAT = 1


class Share(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many of all decisions."""

    count: int
    of: int
    declared: int
    """Of `count`, those that a person made."""
    share: str | None
    """A decimal of two places, rounded down; null of nothing."""


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many of some."""

    count: int
    of: int
    share: str | None
    """A decimal of two places, rounded down; null of nothing."""


class DecisionCounts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many decisions a policy has, each counted once in every table."""

    by_domain: dict[str, int]
    by_origin: dict[str, int]
    by_mode: dict[str, int]
    by_confidence: dict[str, int]
    """By tenths: `0.8` counts what is worth 0.80 to 0.89."""
    by_fallback_reason: dict[str, int]
    """`none` counts those that fell back for no reason."""


class DerivationPoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the runtime did without an entry of its policy."""

    kind: str
    subject: str
    action: str
    pointer: str | None
    count: int


class Pruning(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well the look-ups of one workload class read nothing but what they needed."""

    queries: int
    """Look-ups by query shapes under this policy."""
    known: int
    """Of these, those with a scan whose counters tell what could be avoided."""
    bytes_avoided: int
    bytes_avoidable: int
    """What the columns read take in all files of their snapshots, less what a perfect index would have read."""
    score: str | None
    """Avoided of avoidable: a decimal of four places, rounded down; null where nothing is known."""


class Kpi(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `decreta kpi` prints: figures of runs stand under the names of the design, null before the first run."""

    format: int
    pack: str
    environment: str
    policy_digest: str
    runs: int
    """Complete runs under this very policy."""
    actions: int
    """Rows of the ledger under it, look-ups between runs among them."""
    compile_context_fallback_callsites: int | None
    """Package loads beyond one a run."""
    dataset_bindings_fallback_callsites: int | None
    """Bindings beyond one a run."""
    runtime_policy_derivation_points: int | None
    """Actions whose pointer does not resolve in the policy, and decided ones that have none."""
    inference_decisions_with_confidence: Share
    """Decisions that show a confidence with its evidence, or the person who made them."""
    writes_using_outcome_based_maintenance: Part
    """Writes of datasets and of their rows set aside whose outcome was measured and met the policy's triggers."""
    pruning_effectiveness_score: dict[str, Pruning] | None
    """By workload class; null where no query shape was asked."""
    derivation_points: tuple[DerivationPoint, ...]
    decisions: DecisionCounts
