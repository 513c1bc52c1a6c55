"""What the decisions of a policy have shown in a lake, domain by domain."""

from __future__ import annotations

from msgspec import Struct


class Effect(Struct, frozen=True, kw_only=True):
    """One figure summed over all actions that know it on both sides, and the number of those that do not."""

    baseline: int
    decision: int
    unknown: int


class Criterion(Struct, frozen=True, kw_only=True):
    """One condition of a gate: what it asks for, what was found, and whether that is enough."""

    asked: int | str
    found: int | str | None
    met: bool


class Exempt(Struct, frozen=True, kw_only=True):
    """A subject whose mode differs from its domain's."""

    subject: str
    mode: str
    because: str
    until: str


class DomainReport(Struct, frozen=True, kw_only=True):
    """What the decisions of one domain have shown."""

    domain: str
    modes: dict[str, int]
    """Mode -> decisions in it."""
    decisions: int
    agreeing: int
    """Decisions whose value is the baseline's."""
    agreement: str | None
    """Their share; null of a domain that decides nothing."""
    runs: int
    shadows: int
    """Actions of the baseline that a decision stood beside."""
    changes: dict[str, int]
    """Field or setting -> shadows in which it would have been another."""
    effects: dict[str, Effect]
    failures: int
    failed: dict[str, int]
    """Guard -> times that it failed where a decision stands or would have stood."""
    gate: dict[str, Criterion] | None
    """The criteria of the pack's `[gates]`; null where it has none for the domain."""
    met: bool | None
    exceptions: tuple[Exempt, ...]


class RolloutReport(Struct, frozen=True, kw_only=True):
    """What the decisions of a policy have shown in a lake."""

    pack: str
    environment: str
    policy_digest: str
    complete_runs: int
    """Of this pack and environment, under whatever policy."""
    domains: tuple[DomainReport, ...]
