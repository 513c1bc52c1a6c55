"""Key figures of a policy and the runs under it, counted and never judged. Unknown is null, never zero."""

from __future__ import annotations

from msgspec import Struct

KPI_FORMAT = 2


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


class PruningPoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the look-ups over one complete run came to."""

    run_seq: int
    policy_digest: str
    """The policy of the run; look-ups may have had another."""
    queries: int
    known: int
    bytes_avoided: int
    bytes_avoidable: int
    score: str | None


class PruningTrend(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the score of one workload class went from run to run, under whatever policies of the environment."""

    points: tuple[PruningPoint, ...]
    """Runs that were looked up in, the first one first."""
    change: str | None
    """The last known score less the one before: below zero it fell; null before there are two."""


class Replays(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replays of execution packages, and what they came to."""

    count: int
    """Those that gave the same."""
    of: int
    share: str | None
    """A decimal of four places, rounded down; null of nothing."""
    by_outcome: dict[str, int]
    """`equal`, or the kind of the first difference → replays."""


class GuardCounts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a guard was asked, and how often it failed."""

    asked: int
    failed: int
    """Each time what the decision names `otherwise` was taken."""


class Fallbacks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where something else stands than a rule would have chosen."""

    by_reason: dict[str, int]
    """Reason → decisions of the policy whose baseline stands for it."""
    by_guard: dict[str, GuardCounts]
    """Guard → what runs and look-ups met under the policy."""


class Outcomes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of some decisions, each counted once: in `as_baseline` or in one of the five after it."""

    decisions: int
    as_baseline: int
    """Their value is the baseline's: nothing to be right about."""
    right: int
    """They cost less than the baseline in some figure and more in none."""
    wrong: int
    """They cost more in some and less in none, or a guard kept them from standing."""
    ties: int
    """No figure differs beyond its own noise."""
    mixed: int
    """They cost less in one figure and more in another."""
    unknown: int
    """Nothing in the ledger tells."""
    coverage: str | None
    """Share of those unlike the baseline whose outcome is known: two places, rounded down; null of none."""
    right_share: str | None
    """Right of right and wrong: what the confidence should have been; two places, rounded down."""


class Confidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether confidence was right: what came of decisions, by what they were worth beforehand."""

    by_band: dict[str, Outcomes]
    """By tenths, as `decisions.by_confidence`."""
    by_domain: dict[str, Outcomes]
    whole: Outcomes
    by_evidence: dict[str, int]
    """What told → observations: `shadow`, `guard`, `maintenance`, `look_up`, `refresh`."""
    brier_score: str | None
    """Mean square of confidence less outcome, over right (1) and wrong (0): four places, 0 is best; null of none."""
    brier_score_constant: str | None
    """That of whoever says the share of right ones each time: confidence tells something only below it."""


class Overrides(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds that calibration has set beside the specs."""

    alive: int
    expired: int


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
    pruning_effectiveness_trend: dict[str, PruningTrend] | None
    """By workload class; null where no query shape was asked after a complete run."""
    artifact_replay_success_rate: Replays | None
    """Null where nothing was replayed."""
    fallbacks: Fallbacks
    confidence: Confidence
    overrides: Overrides | None
    """Of the environment's calibration lock; null where the pack's specs are not to be seen."""
    derivation_points: tuple[DerivationPoint, ...]
    decisions: DecisionCounts
