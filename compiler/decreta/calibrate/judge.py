"""One vote: a sample beside the one before it. Counters decide; a clock is asked only where they do not differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from decreta_runtime.contract.calibration import Clock, Figure, Figures, Metric, Sample, Seen, Timed, Verdict, Vote


class Bounds(NamedTuple):
    """The numbers of the rule library that every knob is held by."""

    votes: int
    reversals: int
    class_percent: int
    """By how much a workload class, or a guard, may be worse."""
    clock_runs: int
    """Interleaved pairs without which no clock is asked."""
    deviations: int
    """Standard errors within which a difference is noise."""
    patience: int
    """Votes that a trial may take to agree."""


class Asked(Protocol):
    """What a vote needs to know of a knob."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def objective(self) -> Metric: ...  # noqa: D102
    @property
    def guards(self) -> tuple[Metric, ...]: ...  # noqa: D102
    @property
    def samples(self) -> int: ...  # noqa: D102
    @property
    def dead_band(self) -> float: ...  # noqa: D102


class Ratio(NamedTuple):
    """After over before with its interval; `before` and `after` are sums over the subjects that both have."""

    before: int
    after: int
    value: float
    low: float
    high: float


def judge(knob: Asked, before: Sample, seen: Seen, epoch: int, bounds: Bounds) -> Vote:
    """Return what the newest sample says of its rung beside `before`."""
    after = seen.sample
    whole = _ratio(before.figures, after.figures, knob.objective, None, bounds, knob.samples)
    if (why := _unlike(before, after)) is not None:
        return _void(knob, seen, epoch, why, "unseen" if whole is None else "unclear")
    differ = sorted(n for n in before.digests.keys() & after.digests.keys() if before.digests[n] != after.digests[n])
    if differ:
        return _void(knob, seen, epoch, f"rows of {', '.join(differ)} are not what they were", "unclear", veto=True)
    if not after.digests or before.digests.keys() != after.digests.keys():
        return _void(knob, seen, epoch, "not all rows could be compared", "unseen" if whole is None else "unclear")
    if whole is None:
        return _void(
            knob, seen, epoch, f"fewer than {knob.samples} batches of {knob.objective} on both sides", "unseen"
        )
    classes = dict(_classes(knob, before, after, bounds))
    verdict = _verdict(whole, knob.dead_band)
    by: str = knob.objective
    most = 1 + bounds.class_percent / 100
    hurt = [name for name, ratio in classes.items() if ratio.high > most]
    if verdict == "same" and (clock := _clock(knob, before, seen, bounds)) is not None:
        by, whole, verdict = f"{_clock_of(knob.objective)}_microseconds", clock, _verdict(clock, knob.dead_band)
    why = f"{by} {whole.before:,} -> {whole.after:,}"
    if hurt:
        why = f"{', '.join(hurt)} may be more than {bounds.class_percent} % worse"
    return Vote(
        epoch=epoch,
        verdict=verdict,
        veto=bool(hurt),
        by=by,
        before=whole.before,
        after=whole.after,
        ratio=_said(whole.value),
        low=_said(whole.low),
        high=_said(whole.high),
        classes={name: _said(ratio.value) for name, ratio in classes.items()},
        runs=after.runs,
        why=why,
    )


def _unlike(before: Sample, after: Sample) -> str | None:
    """Say why two samples cannot be compared; None if they can."""
    if before.inputs != after.inputs:
        return "the inputs are not those of the sample before"
    return "decisions have changed that read no knob" if before.rest != after.rest else None


def _void(knob: Asked, seen: Seen, epoch: int, why: str, verdict: Verdict, veto: bool = False) -> Vote:
    return Vote(
        epoch=epoch, verdict=verdict, veto=veto, by=knob.objective, before=0, after=0, ratio="1.0000", low="1.0000",
        high="1.0000", classes={}, runs=seen.sample.runs, why=why,
    )  # fmt: skip


def _classes(knob: Asked, before: Sample, after: Sample, bounds: Bounds) -> Iterator[tuple[str, Ratio]]:
    """Yield the ratio of the objective and of each guard in each workload class."""
    for metric in (knob.objective, *knob.guards):
        for workload in sorted(before.figures.get(metric, {}).keys() & after.figures.get(metric, {}).keys()):
            ratio = _ratio(before.figures, after.figures, metric, workload, bounds, 1)
            if ratio is not None:
                yield f"{workload} {metric}", ratio


def _ratio(
    before: Figures, after: Figures, metric: str, workload: str | None, bounds: Bounds, least: int
) -> Ratio | None:
    """Return how the sum of a counter has changed over the subjects that both samples have."""
    pairs = list(_pairs(before.get(metric, {}), after.get(metric, {}), workload, least))
    if not pairs:
        return None
    a, b = sum(p[0].mean for p in pairs), sum(p[1].mean for p in pairs)
    if a == 0:
        # Nothing was spent before: nothing can be gained, and whatever is spent now is worse.
        return Ratio(a, b, 1.0, 1.0, 1.0) if b == 0 else Ratio(a, b, math.inf, math.inf, math.inf)
    value = b / a
    error = math.hypot(_error(p[0] for p in pairs) / a, _error(p[1] for p in pairs) / b if b else 0.0)
    margin = bounds.deviations * error * value
    return Ratio(a, b, value, value - margin, value + margin)


def _pairs(
    before: dict[str, dict[str, Figure]], after: dict[str, dict[str, Figure]], workload: str | None, least: int
) -> Iterator[tuple[Figure, Figure]]:
    for name in sorted(before.keys() & after.keys()):
        if workload is None or name == workload:
            for key in sorted(before[name].keys() & after[name].keys()):
                a, b = before[name][key], after[name][key]
                if min(a.batches, b.batches) >= least:
                    yield a, b


def _error(figures: Iterable[Figure]) -> float:
    """Return the standard error of the sum of means."""
    return math.sqrt(sum(f.deviation**2 / f.batches for f in figures))


def _verdict(ratio: Ratio, dead_band: float) -> Verdict:
    if abs(ratio.value - 1) <= dead_band:
        return "same"
    if ratio.value < 1 and ratio.high < 1:
        return "better"
    return "worse" if ratio.value > 1 and ratio.low > 1 else "unclear"


def _clock_of(metric: str) -> Clock:
    return "lookup" if metric.startswith("lookup") else "run"


def _clock(knob: Asked, before: Sample, seen: Seen, bounds: Bounds) -> Ratio | None:
    """Return the ratio of times, if runs of both policies stand in turn often enough; None if they do not."""
    sides = (before.policy_digest, seen.sample.policy_digest)
    pairs = interleaved([t for t in seen.timeline if t.clock == _clock_of(knob.objective)], sides)
    if len(pairs) < bounds.clock_runs:
        return None
    logs = [math.log(b / a) for a, b in pairs]
    mean = sum(logs) / len(logs)
    spread = math.sqrt(sum((x - mean) ** 2 for x in logs) / (len(logs) - 1) / len(logs))
    low, high = (math.exp(mean + sign * bounds.deviations * spread) for sign in (-1, 1))
    return Ratio(sum(a for a, _ in pairs), sum(b for _, b in pairs), math.exp(mean), low, high)


def interleaved(timeline: Sequence[Timed], sides: tuple[str, str]) -> list[tuple[int, int]]:
    """Return times under both policies in pairs, each of two neighbours in time: what else went on bore on both."""
    found, waiting = list[tuple[int, int]](), None
    for timed in timeline:
        if timed.policy_digest not in sides or timed.microseconds <= 0:
            continue
        if waiting is not None and waiting.policy_digest != timed.policy_digest:
            pair = (waiting, timed) if waiting.policy_digest == sides[0] else (timed, waiting)
            found.append((pair[0].microseconds, pair[1].microseconds))
            waiting = None
        else:
            waiting = timed
    return found


def _said(value: float) -> str:
    return "inf" if math.isinf(value) else f"{value:.4f}"
