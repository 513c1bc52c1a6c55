"""Say beside each action of a domain in `warn` what its decision would have changed; nothing here takes effect.

Figures are what the very run has measured, or follow from that by the decision's own values. What cannot be known
without doing it is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from deltalake import DeltaTable

from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import (
    CacheValue,
    Choice,
    Guard,
    IndexValue,
    MaintenanceValue,
    Policy,
    RefreshValue,
    ScanValue,
    SessionValue,
    WriteValue,
)
from decreta_runtime.contract.records import Pair, ShadowDetail, Would
from decreta_runtime.guards import ask
from decreta_runtime.place import Placed
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned, Scanned, reads_files

V = TypeVar("V")
Outcomes = Mapping[Guard, bool | None]
Figures = dict[str, Pair]


def note_scan(
    ledger: Ledger, choice: Choice[ScanValue], scanned: Scanned, contract: Sequence[Column], policy: Policy
) -> None:
    """Note what the decision to read a table would have opened, and held in memory, of the snapshot just registered."""
    if choice.shadow is None:
        return
    outcomes = ask(choice.shadow, scanned.pinned.table, contract, policy)
    stands = _standing(choice.shadow, outcomes)
    same = (stands.path, stands.columns) == (choice.value.path, choice.value.columns)
    held = 0 if reads_files(stands.path) else scanned.held if same else None
    figures = {
        "files": _pair(scanned.files, scanned.files),
        "file_bytes": _pair(scanned.bytes, scanned.bytes),
        "memory_bytes": _pair(scanned.held, held),
    }
    _note(ledger, "scan", scanned.pinned.name, choice, outcomes, figures)


def note_cache(ledger: Ledger, name: str, choice: Choice[CacheValue], placed: Placed | None, policy: Policy) -> None:
    """Note where the decision would have kept a view's rows; of one that is kept nowhere nobody knows how many."""
    if choice.shadow is None:
        return
    outcomes = _with_budget(choice.shadow, placed, policy)
    figures = _kept(placed, _standing(choice.shadow, outcomes).placement)
    _note(ledger, "cache", name, choice, outcomes, figures)


def note_write(
    ledger: Ledger, choice: Choice[WriteValue], pinned: Pinned, rows: int, staged: Placed | None, policy: Policy
) -> None:
    """Note what files the decision would have made of the rows just written, and where they would have waited."""
    if choice.shadow is None:
        return
    outcomes = _with_budget(choice.shadow, staged, policy)
    was, stands = choice.value, _standing(choice.shadow, outcomes)
    written, files = pinned.bytes, len(pinned.files)
    as_many = stands.target_file_bytes == was.target_file_bytes
    would = files if as_many else _ceil(written, stands.target_file_bytes)
    figures = {
        "files": _pair(files, would),
        "row_groups": _pair(_groups(rows, files, was), _groups(rows, would, stands)),
        "file_bytes": _pair(written, written if _encoding(was) == _encoding(stands) else None),
    }
    if staged is not None:
        figures |= _kept(staged, stands.staging)
    _note(ledger, "write", pinned.name, choice, outcomes, figures)


def note_maintenance(
    ledger: Ledger, table: str, choice: Choice[MaintenanceValue], outcomes: Outcomes, rewrites: int, would: int
) -> None:
    """Note the bytes that the decision would have rewritten, of the version that the baseline has just looked at."""
    if choice.shadow is not None:
        stands = _standing(choice.shadow, outcomes)
        figures = {"rewritten_bytes": _pair(rewrites, would if stands is choice.shadow.value else 0)}
        _note(ledger, "maintenance", table, choice, outcomes, figures)


def note_refresh(
    ledger: Ledger,
    name: str,
    choice: Choice[RefreshValue],
    table: DeltaTable | None,
    contract: Sequence[Column],
    alike: bool,
    policy: Policy,
) -> None:
    """Note how the decision would have brought an object or relation up to date."""
    if choice.shadow is not None:
        _note(ledger, "refresh", name, choice, ask(choice.shadow, table, contract, policy, alike), {})


def note_index(ledger: Ledger, subject: str, choice: Choice[IndexValue], pinned: Pinned) -> None:
    """Note how many files of a table the decision would have kept an index of; its guard is met by readers alone."""
    if choice.shadow is None:
        return
    files = len(pinned.files)
    was, would = (files if value.build else 0 for value in (choice.value, choice.shadow.value))
    _note(ledger, "index", subject, choice, {}, {"files": _pair(was, would)})


def note_session(ledger: Ledger, workload: str, choice: Choice[SessionValue], policy: Policy) -> None:
    """Note the settings that the decision would have given the session just built."""
    if choice.shadow is not None:
        _note(ledger, "session", workload, choice, ask(choice.shadow, None, (), policy), {})


def _note(ledger: Ledger, domain: str, subject: str, choice: Choice[V], outcomes: Outcomes, figures: Figures) -> None:
    shadow = choice.shadow
    assert shadow is not None and shadow.choice_id is not None  # the policy knows each decision by one
    stands = _standing(shadow, outcomes)
    agree = shadow.value == choice.value
    detail = ShadowDetail(
        domain=domain,
        choice_id=shadow.choice_id,
        decision=msgspec.to_builtins(shadow.value),
        baseline=msgspec.to_builtins(choice.value),
        agree=agree,
        guards={guard: outcomes.get(guard) for guard in shadow.requires},
        stands="value" if stands is shadow.value else "otherwise",
        would=Would(changes=_changes(choice.value, stands), figures=figures),
    )
    action = "agrees" if agree else "differs"
    ledger.add("shadow", subject, action, shadow.pointer, detail=msgspec.to_builtins(detail))


def _standing(shadow: Choice[V], outcomes: Outcomes) -> V:
    """Return what the decision would have come to under its guards."""
    failed = False in outcomes.values()
    return shadow.otherwise if failed and shadow.otherwise is not None else shadow.value


def _with_budget(shadow: Choice[V], placed: Placed | None, policy: Policy) -> Outcomes:
    outcomes: dict[Guard, bool | None] = {**ask(shadow, None, (), policy)}
    if "within_memory_budget" in shadow.requires:
        outcomes["within_memory_budget"] = None if placed is None else placed.would_fit
    return outcomes


def _changes(was: Any, stands: Any) -> dict[str, Pair]:
    before, after = _flat(was), _flat(stands)
    names = sorted({*before, *after})
    return {n: _pair(before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)}


def _flat(value: Any) -> dict[str, Any]:
    """Return a value's fields, engine settings each by its own name and without the reason."""
    fields: dict[str, Any] = msgspec.to_builtins(value)
    settings = fields.pop("settings", {})
    return fields | {f"settings.{name}": setting["value"] for name, setting in settings.items()}


def _kept(placed: Placed | None, placement: str) -> Figures:
    """Return rows and bytes by place: as they were kept, and as they would have been."""
    if placed is None:
        unknown = None if placement != "none" else 0
        return {
            "rows": _pair(0, unknown),
            "memory_bytes": _pair(0, 0 if placement == "spill" else unknown),
            "spill_bytes": _pair(0, 0 if placement == "memory" else unknown),
        }
    in_files = placed.bytes if placed.placement == "spill" else None
    return {
        "rows": _pair(placed.rows, 0 if placement == "none" else placed.rows),
        "memory_bytes": _pair(
            placed.held if placed.placement == "memory" else 0, placed.held if placement == "memory" else 0
        ),
        "spill_bytes": _pair(in_files or 0, in_files if placement == "spill" else 0),
    }


def _groups(rows: int, files: int, value: WriteValue) -> int:
    """Return the row groups of files that share `rows` evenly."""
    return files * _ceil(_ceil(rows, files), value.row_group_rows) if files else 0


def _encoding(value: WriteValue) -> tuple[Any, ...]:
    """Return all that the bytes of the same rows depend on."""
    return (
        value.target_file_bytes,
        value.sort,
        value.row_group_rows,
        value.compression,
        value.bloom_columns,
        value.bloom_fpp,
    )


def _ceil(whole: int, part: int) -> int:
    return -(-whole // part)


def _pair(baseline: Any, decision: Any) -> Pair:
    return Pair(baseline=baseline, decision=decision)
