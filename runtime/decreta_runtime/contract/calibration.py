"""What calibration sees of a ledger, and the lock in which it keeps what it tries, keeps and gives up. Plain data.

Figures are whole numbers, so that the same ledger gives the same bytes on any machine.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

CALIBRATION_FORMAT = 1
"""Of `locks/<env>.calibration.json`."""

Metric = Literal[
    "lookup_bytes",
    "lookup_rows",
    "lookup_files",
    "run_bytes_read",
    "run_bytes_written",
    "stored_bytes",
    "stored_files",
    "maintenance_bytes",
]
"""Counters that a knob may be turned by, or held by: less of each is better."""
Clock = Literal["lookup", "run"]
Verdict = Literal["better", "worse", "same", "unclear", "unseen"]
"""`unseen`: there is nothing to judge yet, and the trial waits; any other is a vote."""
Rung = int | str


class Figure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One counter of one subject over the batches of an epoch: the runs, or the openings of a pack, that met it."""

    batches: int
    mean: int
    deviation: int
    """Standard deviation between batches: what is not the knob's doing."""


Figures = dict[str, dict[str, dict[str, Figure]]]
"""Metric → workload class → query shape, relation or dataset → its figure."""


class Sample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the ledger tells of one policy since the epoch before."""

    policy_digest: str
    values: dict[str, Rung]
    """Knob → the rung that stood in the policy; a knob that no decision read is not there."""
    inputs: str
    """Fingerprint of what the runs read: samples of unlike inputs are not compared."""
    rest: str
    """Fingerprint of all decisions that read no knob, of the engine and of the other inputs; likewise."""
    digests: dict[str, str]
    """Dataset → digest of the rows of the newest run, whatever their order and files."""
    runs: tuple[int, ...]
    """The `run_seq` of each complete run."""
    figures: Figures


class Timed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one run, or one opening of a pack, took in all, in the order of time."""

    policy_digest: str
    clock: Clock
    microseconds: int


class Seen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that calibration is given of a lake: the runtime reads it and judges nothing."""

    until_us: int
    """The time of the newest row that was looked at; 0 if nothing is new."""
    sample: Sample
    timeline: tuple[Timed, ...]
    engine: dict[str, str]
    features: dict[str, bool]
    """What was probed of that engine."""


class Vote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one epoch says of a rung on trial beside the rung before: ratios below 1 are gains."""

    epoch: int
    verdict: Verdict
    veto: bool
    """Whether it ends the trial alone: a class or a guard is worse than it may be, or rows differ."""
    by: str
    """The counter that decided, or the clock."""
    before: int
    after: int
    ratio: str
    low: str
    high: str
    classes: dict[str, str]
    """Workload class → its own ratio."""
    runs: tuple[int, ...]
    """The runs of that epoch, which it rests on."""
    why: str


class Proof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an override is kept: the votes that agreed, and the runs that they rest on."""

    before: Rung
    after: Rung
    runs_before: tuple[int, ...]
    runs_after: tuple[int, ...]
    votes: tuple[Vote, ...]


class Gone(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An override that has expired."""

    value: Rung
    epoch: int
    why: str


class KnobState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One knob as calibration has it. `value` is kept, `trial` is tried; both are rungs of its ladder."""

    declared: Rung
    """What rule files say: an override is any other value."""
    value: Rung
    trial: Rung | None = None
    back: bool = False
    """Whether the trial is over, and on its way back to `value`, a rung an epoch."""
    direction: Literal[-1, 1] = 1
    before: int | None = None
    """Epoch of the sample that the trial is held against."""
    anchor: int | None = None
    """Epoch of the sample at the declared rung: no class may be much worse than that either."""
    votes: tuple[Vote, ...] = ()
    tried: dict[str, int] = {}
    """Rung → the epoch up to which it is known to bring nothing from `value`."""
    reversals: int = 0
    rests_until: int = 0
    frozen: bool = False
    proof: Proof | None = None
    kept: int | None = None
    """Epoch of the sample that showed what the override gives: what it is verified by."""
    expires: int | None = None
    """The epoch at which the override ends, unless it is verified before."""
    features: dict[str, bool] = {}
    """What was probed of the engine that decisions which read the knob rely on."""
    gone: Gone | None = None
    why: str = ""
    """What the last epoch came to."""


class CalibrationLock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `locks/<env>.calibration.json`, written by `decreta calibrate`, read by people and by the compiler."""

    format: int
    pack: str
    environment: str
    epoch: int
    pack_version: str
    """Overrides hold for this version of the pack."""
    until_us: int
    """Rows of the ledger up to here have been taken in."""
    engine: dict[str, str]
    """The engine that is trusted, and what was probed of it."""
    features: dict[str, bool]
    adopting: int = 0
    """Epochs that another engine has been seen in."""
    samples: dict[str, Sample]
    """Epoch → its sample, as long as something is held against it."""
    knobs: dict[str, KnobState]
    seal: str = ""
    """Digest of all the rest: what was edited by hand, or merged line by line, is no proof of anything."""


class Overrides(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How overrides stand, for figures and pages: knob → its value."""

    alive: dict[str, Rung]
    """Kept, with a proof that has not expired."""
    on_trial: dict[str, Rung]
    expired: dict[str, Rung]
    frozen: tuple[str, ...]


def encoded(lock: CalibrationLock) -> bytes:
    """Return a lock as its file holds it, sealed."""
    return _plain(replace(lock, seal=_seal(lock)))


def decoded(data: bytes | str) -> CalibrationLock:
    """Return the lock that a file holds. Raises ValueError with what is wrong with it."""
    try:
        lock = msgspec.json.decode(data, type=CalibrationLock)
        form = lock.format
    except msgspec.ValidationError as error:
        try:
            form = msgspec.json.decode(data, type=_Formed).format
        except (msgspec.DecodeError, RecursionError):
            form = CALIBRATION_FORMAT
        if form == CALIBRATION_FORMAT:
            raise ValueError(f"no calibration lock: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no calibration lock: {error}") from None
    if form != CALIBRATION_FORMAT:
        raise ValueError(f"the lock has format {form}, this decreta reads {CALIBRATION_FORMAT}")
    if lock.seal != _seal(lock):
        raise ValueError("the lock is not as `decreta calibrate` wrote it: its seal does not fit")
    return lock


class _Formed(Struct):
    format: int


def _plain(lock: CalibrationLock) -> bytes:
    return msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=2) + b"\n"


def _seal(lock: CalibrationLock) -> str:
    return "sha256:" + hashlib.sha256(_plain(replace(lock, seal=""))).hexdigest()


def in_force(lock: CalibrationLock, name: str, pack_version: str, features: dict[str, bool]) -> Rung | None:
    """Return the override of a knob that a compiler obeys; None where the declared value stands.

    It ends with the version of the pack, and where the engine was probed otherwise in what its decisions rely on.
    """
    state = lock.knobs.get(name)
    if state is None or lock.pack_version != pack_version:
        return None
    if any(features.get(feature) != seen for feature, seen in state.features.items()):
        return None
    value = state.value if state.trial is None else state.trial
    return None if value == state.declared else value


def overrides(lock: CalibrationLock | None, pack_version: str) -> Overrides:
    """Return which overrides live and which have expired; all of another version of the pack have."""
    knobs = {} if lock is None else lock.knobs
    current = lock is not None and lock.pack_version == pack_version
    held = {n: s.value for n, s in knobs.items() if s.value != s.declared}
    gone = {n: s.gone.value for n, s in knobs.items() if s.gone is not None and n not in held}
    return Overrides(
        alive=held if current else {},
        on_trial={n: s.trial for n, s in knobs.items() if current and s.trial is not None},
        expired=gone if current else gone | held,
        frozen=tuple(sorted(n for n, s in knobs.items() if s.frozen)),
    )
