"""Read what a ledger tells of one policy since a moment, for calibration to judge. Nothing is judged here."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from datafusion import SessionContext

from decreta_runtime.contract.calibration import Figure, Figures, Sample, Seen, Timed
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.contract.policy import DOMAINS, Policy
from decreta_runtime.contract.records import Ladder, MaintenanceDetail, QueryDetail, RunRecord
from decreta_runtime.lake import Lake, open_table, register_by_delta
from decreta_runtime.record import noted, runs_of_pack
from decreta_runtime.rewrite import content

_Batches = dict[str, dict[str, dict[str, dict[str, list[int]]]]]
"""Metric → workload class → subject → batch → each count of it."""
ALL = "all"
"""The class of what belongs to none: tables as they are stored."""


def seen(
    manifest: Manifest, policy: Policy, lake: Lake, context: SessionContext, since_us: int, features: Mapping[str, bool]
) -> Seen:
    """Return what rows after `since_us` tell of this policy, with the rows of its newest run as a digest.

    `features` are those of the environment's engine as it was probed. Raises LakeUnusable.
    """
    lake.check_readable()
    runs = [run for run in runs_of_pack(lake, manifest.pack) if run.environment == policy.environment]
    mine = [run for run in runs if run.policy_digest == policy.digest]
    rows = noted(lake, manifest.pack, "step", "write", "scan", "query", "maintenance")
    complete = {run.attempt for run in runs}
    rows = [r for r in rows if r["kind"] == "query" or r["attempt"] in complete or r["run_seq"] is None]
    new = [r for r in rows if r["policy_digest"] == policy.digest and _us(r) > since_us]
    new_runs = [run for run in mine if run.finished_us > since_us]
    last = max([0, *(_us(r) for r in new), *(run.finished_us for run in new_runs)])
    newest = mine[-1] if mine else None
    sample = Sample(
        policy_digest=policy.digest,
        values=policy.numbers(),
        inputs=_hash([newest.sources, manifest.datasets() and _bound(newest, manifest)]) if newest else "",
        rest=_rest(manifest, policy),
        digests=_digests(manifest, lake, newest, context) if last else {},
        runs=tuple(run.run_seq for run in new_runs),
        figures=_figures(new),
    )
    return Seen(
        until_us=last, sample=sample, timeline=_timeline(rows), engine=policy.engine().value, features=dict(features)
    )


def _us(row: Mapping[str, Any]) -> int:
    at: datetime = row["at"]
    return round(at.timestamp() * 1_000_000)


def _hash(part: Any) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(part, sort_keys=True, default=str).encode()).hexdigest()


def _bound(run: RunRecord, manifest: Manifest) -> dict[str, int]:
    """Return the versions of tables of others that a run read."""
    return {n: run.versions[n] for n, e in manifest.objects.items() if e.table is not None and n in run.versions}


def _rest(manifest: Manifest, policy: Policy) -> str:
    """Fingerprint the statements, the engine, and each decision whose rules read no threshold."""
    decisions = {f"{d}/{n}": c.value for d in DOMAINS for n, c in policy.decisions(d).items()}
    texts = policy.rule_inputs()
    plain = {
        name: decision.value
        for name, decision in decisions.items()
        if not any(texts.get(rule) for rule in (decision.rule, *decision.passed_over))
    }
    files = {path: digest for path, digest in manifest.files.items() if not path.startswith(("policy/", "tests/"))}
    return _hash([files, policy.engine().value, plain])


def _digests(manifest: Manifest, lake: Lake, run: RunRecord | None, context: SessionContext) -> dict[str, str]:
    """Return a digest of the rows of each dataset of the pack's own at the versions of a run."""
    found: dict[str, str] = {}
    for name in manifest.datasets() if run is not None else ():
        entry = manifest.objects.get(name)
        if run is None or name not in run.versions or (entry is not None and entry.table is not None):
            continue
        table = open_table(lake.dataset(manifest.pack, name), run.versions[name])
        if table is not None:
            register_by_delta(context, f"__digest_{name}", table)
            found[name] = _hash(list(content(context, f"__digest_{name}", manifest.columns_of(name))))
            context.deregister_table(f"__digest_{name}")
    return found


def _figures(rows: list[dict[str, Any]]) -> Figures:
    found: _Batches = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list))))
    for row in rows:
        for metric, workload, count in _counts(row):
            if count is not None:
                found[metric][workload][row["subject"]][row["attempt"]].append(int(count))
    return {
        metric: {
            workload: {subject: _figure(metric, batches) for subject, batches in sorted(subjects.items())}
            for workload, subjects in sorted(workloads.items())
        }
        for metric, workloads in sorted(found.items())
    }


def _figure(metric: str, batches: Mapping[str, list[int]]) -> Figure:
    each = [sum(b) / len(b) if metric.startswith(("lookup", "stored")) else float(sum(b)) for b in batches.values()]
    deviation = statistics.stdev(each) if len(each) > 1 else 0.0
    return Figure(batches=len(each), mean=round(statistics.fmean(each)), deviation=round(deviation))


def _counts(row: Mapping[str, Any]) -> list[tuple[str, str, int | None]]:
    """Return the counters that one row of the ledger bears on: metric, workload class, count."""
    kind, detail = row["kind"], row["detail"]
    if kind == "query" and detail is not None:
        query = msgspec.json.decode(detail, type=QueryDetail)
        if not query.shape:
            return []
        ladders = list(query.ladder.values())
        return [
            ("lookup_bytes", query.workload, _sum(bytes_of(each) for each in ladders)),
            ("lookup_rows", query.workload, _sum(_or(each.rows_read, each.rows) for each in ladders)),
            ("lookup_files", query.workload, _sum(_or(each.files_opened, each.files) for each in ladders)),
        ]
    if kind == "scan":
        return [("stored_bytes", ALL, row["bytes"]), ("stored_files", ALL, row["files"])] if row["bytes"] else []
    if kind == "maintenance" and detail is not None:
        real = msgspec.json.decode(detail, type=MaintenanceDetail).real
        return [("maintenance_bytes", ALL, real.bytes_written)]
    workload = json.loads(detail).get("workload", ALL) if detail is not None else ALL
    if kind == "write":
        return [("run_bytes_written", workload, row["bytes"]), ("run_bytes_read", workload, row["bytes_scanned"])]
    if kind == "step" and row["action"] in ("memory", "spill"):
        spilt = row["bytes"] if row["action"] == "spill" else 0
        return [("run_bytes_written", workload, spilt), ("run_bytes_read", workload, row["bytes_scanned"])]
    return []


def _or(counted: int | None, whole: int | None) -> int | None:
    """Return a counter; what leaves none, as delta-rs does, has read the whole."""
    return whole if counted is None else counted


def bytes_of(ladder: Ladder) -> int:
    """Return the bytes that a look-up has read for one table; what leaves no counter has read what could be read."""
    read = ladder.bytes_eligible if ladder.bytes_read is None else ladder.bytes_read
    steps = sum(step.bytes_read or 0 for step in ladder.steps)
    return read + steps + sum(rung.bytes_read or 0 for rung in (*ladder.indexes, *ladder.step_indexes))


def _sum(counts: Any) -> int | None:
    known = list(counts)
    return None if None in known else sum(known)


def _timeline(rows: list[dict[str, Any]]) -> tuple[Timed, ...]:
    """Return what each run, and each opening of a pack, took in all, in the order of time."""
    taken: dict[tuple[str, str, str], float] = {}
    for row in sorted(rows, key=lambda r: r["at"]):
        clock = "lookup" if row["kind"] == "query" else "run"
        if row["seconds"] is not None:
            key = (row["attempt"], row["policy_digest"], clock)
            taken[key] = taken.get(key, 0.0) + row["seconds"]
    return tuple(
        Timed(policy_digest=digest, clock=clock, microseconds=round(1e6 * seconds))  # type: ignore[arg-type]
        for (_, digest, clock), seconds in taken.items()
    )
