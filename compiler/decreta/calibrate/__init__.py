"""Turn knobs by what came of them: one epoch of calibration, a pure function of what was seen and of the lock before.

A knob is tried one rung further, and kept there only by two agreeing votes; a trial that came to nothing goes back, and
after two of those the knob is left alone. The numbers stand in rule files.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

from msgspec.structs import replace

from decreta.calibrate.judge import Bounds, judge
from decreta_runtime.contract.calibration import (
    CALIBRATION_FORMAT,
    CalibrationLock,
    Gone,
    KnobState,
    Metric,
    Proof,
    Rung,
    Sample,
    Seen,
    Vote,
)


class Knob(NamedTuple):
    """A threshold that may be turned, as its rule file declares it."""

    name: str
    unit: str
    ladder: tuple[Rung, ...]
    declared: Rung
    objective: Metric
    guards: tuple[Metric, ...]
    samples: int
    """Batches of the objective that an epoch must have."""
    dead_band: float
    cool_down: int
    lasts: int
    """Epochs that an override lives, unless it is verified."""
    features: frozenset[str] = frozenset()
    """What decisions that read it rely on of the engine."""

    @property
    def metrics(self) -> frozenset[Metric]:
        """What its trial needs for itself: two knobs that share one are never tried at once."""
        return frozenset((self.objective, *self.guards))

    def next_to(self, rung: Rung, step: int) -> Rung | None:
        """Return the rung one further, None at the end of the ladder."""
        at = self.ladder.index(rung) + step
        return self.ladder[at] if 0 <= at < len(self.ladder) else None


class Owner(NamedTuple):
    """Whose lock it is: a pack in an environment, as it stands."""

    pack: str
    environment: str
    version: str


def advance(
    lock: CalibrationLock | None, seen: Seen, knobs: Mapping[str, Knob], bounds: Bounds, owner: Owner
) -> CalibrationLock | None:
    """Return the lock after one more epoch; the same lock if the ledger has nothing new."""
    if seen.until_us <= (lock.until_us if lock else 0):
        return lock
    old = lock or CalibrationLock(
        format=CALIBRATION_FORMAT, pack=owner.pack, environment=owner.environment, epoch=0, pack_version=owner.version,
        until_us=0, engine=seen.engine, features=seen.features, samples={}, knobs={},
    )  # fmt: skip
    epoch = old.epoch + 1
    samples = old.samples | {str(epoch): seen.sample}
    turn = _Epoch(epoch, seen, samples, bounds, seen.features)
    states = {}
    for name, knob in sorted(knobs.items()):
        state = _carried(old, knob, owner.version, epoch)
        states[name] = turn.step(knob, state)
    _start_trials(turn, knobs, states)
    engine = _trusted(old, seen, bounds.votes)
    return replace(
        old,
        epoch=epoch,
        pack_version=owner.version,
        until_us=seen.until_us,
        samples=_needed(samples, states),
        knobs=states,
        **engine,
    )


def _carried(lock: CalibrationLock, knob: Knob, pack_version: str, epoch: int) -> KnobState:
    """Return a knob's state as the last epoch left it: anew where a person has changed what it began from."""
    state = lock.knobs.get(knob.name)
    known = state is not None and {state.value, state.declared, state.trial or state.value} <= set(knob.ladder)
    if state is None or not known or state.declared != knob.declared:
        return KnobState(declared=knob.declared, value=knob.declared, why="not seen yet")
    if lock.pack_version != pack_version:
        return _expired(state, knob, epoch, f"the pack is at {pack_version}, it was proven at {lock.pack_version}")
    return state


def _expired(state: KnobState, knob: Knob, epoch: int, why: str) -> KnobState:
    """Return a state without its override and trial; what it has learnt of reversals it keeps."""
    gone = state.gone if state.value == state.declared else Gone(value=state.value, epoch=epoch, why=why)
    ended = f"expired: {why}" if state.value != state.declared or state.trial is not None else f"begins anew: {why}"
    return replace(
        state, value=state.declared, trial=None, back=False, before=None, anchor=None, votes=(), tried={}, proof=None,
        kept=None, expires=None, features={}, rests_until=epoch + knob.cool_down, gone=gone, why=ended,
    )  # fmt: skip


class _Epoch(NamedTuple):
    """One epoch: what is new, and the samples that it can be held against."""

    number: int
    seen: Seen
    samples: Mapping[str, Sample]
    bounds: Bounds
    features: Mapping[str, bool]

    @property
    def sample(self) -> Sample:
        return self.seen.sample

    def step(self, knob: Knob, state: KnobState) -> KnobState:
        """Return a knob's state after this epoch, before a new trial begins."""
        if any(self.features.get(name) != was for name, was in state.features.items()):
            return _expired(state, knob, self.number, "the engine was probed otherwise in what it relies on")
        if state.trial is None:
            return self._verified(knob, state)
        if state.back:
            return self._back(knob, state)
        if self.sample.values.get(knob.name) != state.trial:
            return replace(state, why=f"{state.trial} is proposed and was not in force")
        vote = self._vote(knob, state, state.before)
        if vote.verdict == "unseen" and not vote.veto:
            return replace(state, why=f"no vote: {vote.why}")
        return self._counted(knob, replace(state, votes=(*state.votes, vote)), vote)

    def _vote(self, knob: Knob, state: KnobState, against: int | None) -> Vote:
        before = self.samples[str(against)]
        anchor = self.samples.get(str(state.anchor))
        vote = judge(knob, before, self.seen, self.number, self.bounds)
        if anchor is None or vote.veto or state.anchor == against:
            return vote
        # Steps that are each bearable for a class may not add up to more.
        whole = judge(knob, anchor, self.seen, self.number, self.bounds)
        return replace(vote, veto=whole.veto, why=f"since {state.declared}: {whole.why}") if whole.veto else vote

    def _counted(self, knob: Knob, state: KnobState, vote: Vote) -> KnobState:
        counts = [v.verdict for v in state.votes]
        if vote.veto:
            return self._reversed(knob, state, vote.why)
        if counts.count("better") >= self.bounds.votes:
            return self._kept(knob, state)
        if counts.count("worse") >= self.bounds.votes:
            return self._reversed(knob, state, "two votes against it")
        if set(counts) == {"same"}:
            assert state.trial is not None
            further = knob.next_to(state.trial, state.direction)
            if further is None:
                return self._reversed(knob, state, "nothing is gained up to the end of the ladder")
            return replace(
                state, trial=further, votes=(), why=f"{state.trial} is as {state.value} is: one rung further"
            )
        if len(counts) >= self.bounds.patience:
            return self._reversed(knob, state, "no two votes agree")
        return replace(state, why=f"{vote.verdict}: {vote.why}")

    def _kept(self, knob: Knob, state: KnobState) -> KnobState:
        before = self.samples[str(state.before)]
        assert state.trial is not None
        votes = tuple(v for v in state.votes if v.verdict == "better")[-self.bounds.votes :]
        runs = tuple(sorted({run for vote in votes for run in vote.runs}))
        proof = Proof(before=state.value, after=state.trial, runs_before=before.runs, runs_after=runs, votes=votes)
        features = {name: self.features[name] for name in sorted(knob.features) if name in self.features}
        return replace(
            state, value=state.trial, trial=None, before=None, votes=(), proof=proof, kept=self.number,
            tried={str(state.value): self.number + knob.lasts}, expires=self.number + knob.lasts, features=features,
            gone=None, why=f"kept: {votes[-1].why}",
        )  # fmt: skip

    def _reversed(self, knob: Knob, state: KnobState, why: str) -> KnobState:
        """Return the state with its trial given up: it goes back a rung an epoch, and rests once it is there."""
        neighbour = knob.next_to(state.value, state.direction)
        reversals = state.reversals + 1
        state = replace(
            state,
            back=True,
            votes=(),
            tried=state.tried | {str(neighbour): self.number + knob.lasts},
            direction=-state.direction,
            reversals=reversals,
            frozen=reversals >= self.bounds.reversals,
            why=f"given up: {why}",
        )
        return self._back(knob, state)

    def _back(self, knob: Knob, state: KnobState) -> KnobState:
        assert state.trial is not None
        step = 1 if knob.ladder.index(state.value) > knob.ladder.index(state.trial) else -1
        nearer = knob.next_to(state.trial, step)
        if nearer == state.value:
            return replace(state, trial=None, back=False, before=None, rests_until=self.number + knob.cool_down)
        return replace(state, trial=nearer)

    def _verified(self, knob: Knob, state: KnobState) -> KnobState:
        """Return the state with its override's life made longer if it still gives what it was kept for."""
        if state.expires is None or state.kept is None or state.value == state.declared:
            return state
        if self.sample.values.get(knob.name) == state.value and state.kept != self.number:
            vote = judge(knob, self.samples[str(state.kept)], self.seen, self.number, self.bounds)
            if not vote.veto and vote.verdict in ("same", "better"):
                return replace(state, expires=self.number + knob.lasts, why="verified: it gives what it was kept for")
            state = replace(state, why=f"not verified: {vote.why}")
        if state.expires is not None and self.number >= state.expires:
            return _expired(state, knob, self.number, state.why or "nothing was seen of it")
        return state


def _start_trials(turn: _Epoch, knobs: Mapping[str, Knob], states: dict[str, KnobState]) -> None:
    """Begin a trial for each knob that may be turned, as long as no other on trial shares its metrics."""
    busy: set[Metric] = {m for name, state in states.items() if state.trial is not None for m in knobs[name].metrics}
    for name, knob in sorted(knobs.items()):
        state = states[name]
        if state.trial is not None or state.frozen or turn.number < state.rests_until:
            continue
        why = _waits(knob, state, turn.sample, busy)
        if why is not None:
            if state.proof is None and state.gone is None and not state.reversals:
                states[name] = replace(state, why=why)
        elif (found := _next(knob, state, turn.number)) is not None:
            direction, trial = found
            anchor = turn.number if state.value == state.declared else state.anchor
            states[name] = replace(
                state,
                trial=trial,
                direction=direction,
                before=turn.number,
                anchor=anchor,
                why=f"{trial} is to be tried",
            )
            busy |= knob.metrics


def _waits(knob: Knob, state: KnobState, sample: Sample, busy: Set[Metric]) -> str | None:
    """Say why no trial can begin; None if one can."""
    if len(knob.ladder) == 1:
        return "no other rung changes a decision"
    if busy & knob.metrics:
        return "another knob that shares a counter is on trial"
    if sample.values.get(knob.name) != state.value:
        return f"{state.value} was not in force"
    return None if _measured(knob, sample) else f"{knob.objective} was seen in fewer than {knob.samples} batches"


def _measured(knob: Knob, sample: Sample) -> bool:
    """Whether an epoch has as many batches of the objective as the knob asks for."""
    figures = [f for keys in sample.figures.get(knob.objective, {}).values() for f in keys.values()]
    return bool(figures) and max(f.batches for f in figures) >= knob.samples


def _next(knob: Knob, state: KnobState, epoch: int) -> tuple[int, Rung] | None:
    """Return the way to go and the rung there, None where both neighbours are known to bring nothing."""
    for direction in (state.direction, -state.direction):
        rung = knob.next_to(state.value, direction)
        if rung is not None and state.tried.get(str(rung), 0) <= epoch:
            return direction, rung
    return None


def _trusted(lock: CalibrationLock, seen: Seen, votes: int) -> dict[str, object]:
    """Return the engine that is trusted: another one only after it has been seen in so many epochs."""
    if seen.engine == lock.engine and seen.features == lock.features:
        return {"adopting": 0}
    if lock.adopting + 1 < votes:
        return {"adopting": lock.adopting + 1}
    return {"engine": seen.engine, "features": seen.features, "adopting": 0}


def _needed(samples: Mapping[str, Sample], states: Mapping[str, KnobState]) -> dict[str, Sample]:
    held = {str(n) for state in states.values() for n in (state.before, state.anchor, state.kept) if n is not None}
    return {name: sample for name, sample in samples.items() if name in held}
