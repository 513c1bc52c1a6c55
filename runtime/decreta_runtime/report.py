"""Gather all that a page about a pack shows: key figures, decisions, runs, maintenance, lineage. Nothing is judged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from decreta_runtime.confidence import Judged, judged
from decreta_runtime.contract.kpi import Overrides
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import MaintenanceDetail
from decreta_runtime.contract.report import (
    REPORT_FORMAT,
    LineageNode,
    Report,
    ReportedDecision,
    ReportedGuard,
    ReportedMaintenance,
    ReportedRun,
    RunPart,
)
from decreta_runtime.guards import OUTCOMES
from decreta_runtime.kpi import key_figures
from decreta_runtime.pack import Pack
from decreta_runtime.profile import profile
from decreta_runtime.record import noted, noted_under, runs_of
from decreta_runtime.rollout import rollout_report

Row = Mapping[str, Any]
_EPOCH = datetime.fromtimestamp(0, UTC)
_MAINTENANCE = msgspec.json.Decoder(MaintenanceDetail)


def report(pack: Pack, overrides: Overrides | None = None) -> Report:
    """Return what there is to show of a pack and its lake. Raises LakeUnusable."""
    manifest, policy, lake = pack.manifest, pack.policy, pack.lake
    lake.check_readable()
    told = judged(manifest.pack, policy, lake)
    runs = runs_of(lake, manifest.pack, policy.environment)[::-1]
    done = noted(lake, manifest.pack, "step", "write", "maintenance")
    return Report(
        format=REPORT_FORMAT,
        pack=manifest.pack,
        version=manifest.version,
        environment=policy.environment,
        engine=policy.engine().value,
        policy_digest=policy.digest,
        manifest_digest=pack.digest,
        kpi=key_figures(manifest.pack, policy, lake, overrides, told),
        rollout=rollout_report(manifest, policy, lake),
        profile=profile(pack),
        decisions=tuple(_decision(each, policy) for each in told),
        guards=tuple(_guards(noted_under(lake, manifest.pack, policy.digest, "guard"))),
        maintenance=tuple(_maintained(noted_under(lake, manifest.pack, policy.digest, "maintenance"))),
        runs=tuple(_runs(runs, done)),
        lineage=tuple(_lineage(manifest)),
    )


def _decision(each: Judged, policy: Policy) -> ReportedDecision:
    decision = each.choice.value
    return ReportedDecision(
        domain=each.domain,
        subject=each.subject,
        pointer=each.choice.pointer,
        mode=decision.mode,
        origin=decision.origin,
        rule=decision.rule,
        because=policy.because(decision.rule),
        confidence=decision.confidence_score,
        fallback_reason=decision.fallback_reason,
        value=decision.value,
        baseline=decision.baseline,
        requires=decision.requires,
        evidence=decision.evidence_sources,
        outcome=each.verdict,
        observed=dict(sorted(Counter(observation.told for observation in each.observed).items())),
    )


def _guards(rows: Iterable[Row]) -> Iterator[ReportedGuard]:
    """Yield each guard of each subject, those that failed most first."""
    met: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["action"] in OUTCOMES:
            met[(OUTCOMES[row["action"]][0], row["subject"], row["pointer"] or "")].append(row)
    failed = {key: [row["at"] for row in found if not OUTCOMES[row["action"]][1]] for key, found in met.items()}
    for key in sorted(met, key=lambda key: (-len(failed[key]), key)):
        guard, subject, pointer = key
        yield ReportedGuard(
            guard=guard,
            subject=subject,
            pointer=pointer,
            asked=len(met[key]),
            failed=len(failed[key]),
            last_failed=_iso(max(failed[key])) if failed[key] else None,
        )


def _maintained(rows: Iterable[Row]) -> Iterator[ReportedMaintenance]:
    for row in rows:
        detail = _MAINTENANCE.decode(row["detail"])
        if detail.done or detail.cause:
            yield ReportedMaintenance(
                run_seq=row["run_seq"],
                at=_iso(row["at"]),
                dataset=row["subject"],
                cause=detail.cause,
                done=detail.done,
                why=detail.why,
                files_before=detail.before.files,
                files_after=None if detail.after is None else detail.after.files,
                bytes_written=detail.real.bytes_written,
                seconds=row["seconds"],
            )


def _runs(runs: Iterable[Row], done: Iterable[Row]) -> Iterator[ReportedRun]:
    by_attempt: defaultdict[str, list[Row]] = defaultdict(list)
    for row in done:
        by_attempt[row["attempt"]].append(row)
    for run in runs:
        rows = by_attempt[run["attempt"]]
        computed = [row for row in rows if row["kind"] != "maintenance" and row["seconds"] is not None]
        maintained = [_MAINTENANCE.decode(row["detail"]) for row in rows if row["kind"] == "maintenance"]
        written = [row for row in computed if row["kind"] == "write"]
        yield ReportedRun(
            run_seq=run["run_seq"],
            started=_iso(_EPOCH + timedelta(microseconds=run["started_us"])),
            seconds=timedelta(microseconds=run["finished_us"] - run["started_us"]).total_seconds(),
            policy_digest=run["policy_digest"],
            manifest_digest=run["manifest_digest"],
            rows=_sum(row["rows"] for row in written) or 0,
            bytes_written=_sum(row["bytes"] for row in written) or 0,
            bytes_scanned=_sum(row["bytes_scanned"] for row in computed),
            maintained=len(maintained),
            rewritten=sum(detail.real.bytes_written for detail in maintained),
            parts=_parts(computed),
        )


def _parts(rows: Sequence[Row]) -> dict[str, RunPart]:
    """Return what each object and relation took; the rows are those of the last thing done of it."""
    by_subject: defaultdict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["at"]):
        by_subject[row["subject"]].append(row)
    return {
        subject: RunPart(
            seconds=sum(row["seconds"] for row in found),
            rows=found[-1]["rows"],
            bytes_written=_sum(row["bytes"] for row in found if row["kind"] == "write"),
            bytes_scanned=_sum(row["bytes_scanned"] for row in found),
        )
        for subject, found in by_subject.items()
    }


def _lineage(manifest: Manifest) -> Iterator[LineageNode]:
    for name, entry in manifest.objects.items():
        yield LineageNode(name=name, kind="object", stored=True, summary=entry.summary, inputs=())
    for name in manifest.order:
        relation = manifest.relations[name]
        inputs, summary = relation.inputs, relation.summary
        yield LineageNode(name=name, kind="relation", stored=relation.stored, summary=summary, inputs=inputs)
    for name, query in manifest.queries.items():
        reads = (*query.datasets, *query.views)
        yield LineageNode(name=name, kind="query", stored=False, summary=query.summary, inputs=reads)


def _sum(figures: Iterable[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
