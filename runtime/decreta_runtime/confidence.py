"""Tell from the ledger what came of each decision: whether it cost less than its baseline, and so was right.

An observation is what one action would have cost by the baseline and did cost by the decision, or the other way about,
in figures of which less is better. Nothing weighs one figure against another: a decision that costs less in one and
more in another is `mixed`. Counters alone are looked at, never clocks. `docs/report.md` says what tells and what not.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from decreta_runtime.contract.policy import DOMAINS, RECORDS, Choice, Decision, Policy
from decreta_runtime.contract.records import MaintenanceDetail, ShadowDetail
from decreta_runtime.guards import OUTCOMES
from decreta_runtime.lake import Lake
from decreta_runtime.record import lookups_under, noted_under

Told = Literal["shadow", "guard", "maintenance", "look_up", "refresh"]
Verdict = Literal["as_baseline", "right", "wrong", "ties", "mixed", "unknown"]
Costs = Mapping[str, tuple[int, int]]
"""Figure → what the baseline and the decision come to."""
Row = Mapping[str, Any]

_SHADOWS = msgspec.json.Decoder(ShadowDetail)
_MAINTENANCE = msgspec.json.Decoder(MaintenanceDetail)
_COSTS = frozenset({"file_bytes", "memory_bytes", "spill_bytes", "rewritten_bytes"})
"""Figures of shadows that are costs; of files and row groups neither few nor many are better by themselves."""


class Observation(NamedTuple):
    """What one action tells of the decision at a pointer."""

    pointer: str
    told: Told
    costs: Costs


class Judged(NamedTuple):
    """One decision, and what came of it."""

    domain: str
    subject: str
    choice: Choice[Decision]
    verdict: Verdict
    observed: tuple[Observation, ...]


def judged(pack: str, policy: Policy, lake: Lake) -> list[Judged]:
    """Return every decision of a policy with what the lake's ledger tells of it, under this very policy."""
    found: defaultdict[str, list[Observation]] = defaultdict(list)
    for each in _observed(pack, policy, lake):
        found[each.pointer].append(each)
    return [
        Judged(domain, subject, choice, _verdict(choice.value, found[choice.pointer]), tuple(found[choice.pointer]))
        for domain in DOMAINS
        for subject, choice in policy.decisions(domain).items()
    ]


def _verdict(decision: Decision, observed: Sequence[Observation]) -> Verdict:
    if decision.value == decision.baseline:
        return "as_baseline"
    differences: defaultdict[str, list[int]] = defaultdict(list)
    for each in observed:
        for figure, (baseline, decided) in each.costs.items():
            differences[figure].append(decided - baseline)
    signs = {_sign(found) for found in differences.values()}
    if not signs:
        return "unknown"
    if {-1, 1} <= signs:
        return "mixed"
    return "right" if -1 in signs else "wrong" if 1 in signs else "ties"


def _sign(differences: Sequence[int]) -> int:
    """Return -1 if some differences are below zero, 1 if above, 0 if their mean is within its own standard error."""
    mean = statistics.fmean(differences)
    noise = statistics.stdev(differences) / math.sqrt(len(differences)) if differences[1:] else 0
    return 0 if abs(mean) <= noise else -1 if mean < 0 else 1


def _observed(pack: str, policy: Policy, lake: Lake) -> Iterator[Observation]:
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in noted_under(lake, pack, policy.digest, "shadow", "guard", "maintenance", "scan", "refresh"):
        rows[row["kind"]].append(row)
    yield from filter(None, map(_by_shadow, rows["shadow"]))
    yield from _by_guards(rows["guard"])
    obeyed = {c.pointer for d in DOMAINS for c in policy.decisions(d).values() if c.value.mode == "enforce"}
    yield from _by_maintenance([row for row in rows["maintenance"] if row["pointer"] in obeyed], rows["scan"])
    yield from _by_refresh(policy, [row for row in rows["refresh"] if row["pointer"] in obeyed], rows["maintenance"])
    yield from _by_look_ups(pack, policy, lake)


def _by_shadow(row: Row) -> Observation | None:
    figures = _SHADOWS.decode(row["detail"]).would.figures
    known = {n: p for n, p in figures.items() if n in _COSTS and None not in (p.baseline, p.decision)}
    costs = {name: (pair.baseline, pair.decision) for name, pair in known.items()}
    return Observation(row["pointer"], "shadow", costs) if costs else None


def _by_guards(rows: Sequence[Row]) -> Iterator[Observation]:
    """A guard that always holds tells nothing of a decision; one that fails keeps it from being worth anything.

    Where one has failed, the times that it held count too: a single failure, as of a first run, is noise, and where a
    guard was asked but once nothing is told at all.
    """
    met: defaultdict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row["action"] in OUTCOMES and row["pointer"] is not None:
            met[row["pointer"]].append(OUTCOMES[row["action"]][1])
    for pointer, held in met.items():
        if held[1:] and not all(held):
            yield from (Observation(pointer, "guard", {"guards_failed": (0, int(not holds))}) for holds in held)


def _by_maintenance(rows: Sequence[Row], scans: Sequence[Row]) -> Iterator[Observation]:
    """Compare a table before and after each rewrite, if somebody read it before the next one.

    A rewrite that nobody read before the next has cost what it wrote for nothing; of the last one it is too early to
    tell. Baselines rewrite nothing.
    """
    read: defaultdict[str, list[Any]] = defaultdict(list)
    rewritten: defaultdict[str, list[tuple[Row, MaintenanceDetail]]] = defaultdict(list)
    for scan in scans:
        read[scan["subject"]].append(scan["at"])
    for row in rows:
        detail = _MAINTENANCE.decode(row["detail"])
        if detail.real.bytes_written and detail.after is not None:
            rewritten[row["subject"]].append((row, detail))
    for subject, found in rewritten.items():
        if subject in RECORDS:
            continue  # what reads them leaves no scan
        for (row, detail), until in zip(found, [*found[1:], None], strict=True):
            first = bisect.bisect_right(read[subject], row["at"])
            last = len(read[subject]) if until is None else bisect.bisect_left(read[subject], until[0]["at"])
            if first < last:
                yield Observation(row["pointer"], "maintenance", _relieved(detail))
            elif until is not None:
                yield Observation(row["pointer"], "maintenance", {"bytes_rewritten": (0, detail.real.bytes_written)})


def _relieved(detail: MaintenanceDetail) -> Costs:
    """Return the files of a table before and after, and the bytes that its query shapes list."""
    costs = {} if detail.after is None else {"files": (detail.before.files, detail.after.files)}
    if detail.shapes:
        listed = detail.shapes.values()
        costs["bytes_listed"] = (sum(was.bytes for was, _ in listed), sum(now.bytes for _, now in listed))
    return costs


def _by_refresh(policy: Policy, rows: Sequence[Row], maintained: Sequence[Row]) -> Iterator[Observation]:
    """Compare the rows that a refresh computed with all rows of the table, where the baseline computes it whole."""
    whole = {(m["attempt"], m["subject"]): _MAINTENANCE.decode(m["detail"]).before.rows for m in maintained}
    full = {c.pointer for c in policy.decisions("refresh").values() if c.value.baseline["kind"] == "full"}
    for row in rows:
        total = whole.get((row["attempt"], row["subject"]))
        if row["pointer"] in full and row["rows"] is not None and total is not None:
            yield Observation(row["pointer"], "refresh", {"rows_computed": (total, row["rows"])})


def _by_look_ups(pack: str, policy: Policy, lake: Lake) -> Iterator[Observation]:
    """Compare the bytes that look-ups read with those of their columns in all files, where the baseline reads these."""
    whole = {
        name: choice.pointer
        for name, choice in policy.decisions("scan").items()
        if choice.value.mode == "enforce" and not _prunes(choice.value.baseline)
    }
    for each in lookups_under(lake, pack, policy.digest):
        for name, ladder in each.detail.ladder.items():
            spared, columns = ladder.avoided(), ladder.bytes_columns
            read = [ladder.bytes_read, *(step.bytes_read for step in ladder.steps)]
            if name in whole and spared is not None and columns is not None and ladder.avoidable():
                yield Observation(whole[name], "look_up", {"bytes_read": (columns, sum(b or 0 for b in read))})


def _prunes(value: Mapping[str, Any]) -> bool:
    return bool(value["log_pruning"] or value["pushdown"])
