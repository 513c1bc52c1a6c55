"""Merge what was observed of a lake into the evidence lock of an environment, as quietly as its review allows.

Tables grow with every run. A value is written anew only when it leaves its power-of-two band, so that a lock changes
when something has changed that a decision may see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from decreta.bind import bind
from decreta.diagnostics import Report
from decreta.facts import DATASET_FACTS, VIEW_FACTS
from decreta.model.facts import FactInfo
from decreta.model.program import Bound
from decreta.project import Project
from decreta.read import read_pack
from decreta.resolve import resolve
from decreta_runtime.contract.evidence import (
    EVIDENCE_FORMAT,
    ColumnObservation,
    DatasetEvidence,
    DatasetObservation,
    EvidenceLock,
    Observations,
    Seen,
    ViewObservation,
)

Value = bool | int | str | tuple[str, ...]
Facts = dict[str, Seen]


class Scope(NamedTuple):
    """What of a pack a lock tells: its datasets with the columns of their sort, and its views; and what counts."""

    sorts: Mapping[str, tuple[str, ...]]
    views: frozenset[str]
    small_file_bytes: int
    runs: int
    """As many runs of an outcome as make a difference."""


class Change(NamedTuple):
    """A fact that a merge has changed; None is unknown. A path is `datasets/orders/columns/o_orderkey/distinct`."""

    path: str
    old: Seen | None
    new: Seen | None


def open_lock(project: Project, pack: str, env: str, report: Report) -> tuple[Scope, EvidenceLock | None] | None:
    """Return what the lock of an environment may tell and what it tells; None after reporting mistakes in the specs."""
    library = read_pack(project.library(), "specs/std", report)
    files = read_pack(project.specs / pack, f"specs/{pack}", report)
    resolved = None if report.failed else resolve(files, library, report)
    bound = None if resolved is None else bind(resolved, report)
    if resolved is None or bound is None:
        return None
    rules = resolved.rules
    scope = Scope(_sorts(bound), frozenset(bound.relations), rules.number("facts.small_file_bytes"), rules.worth.runs)
    return scope, resolved.evidence.get(env)


def _sorts(bound: Bound) -> dict[str, tuple[str, ...]]:
    found = {name: obj.sort for name, obj in bound.resolved.objects.items()}
    for name, relation in bound.relations.items():
        if relation.relation.stored:
            layout = relation.relation.written.spec.layout
            found[name] = tuple(layout.sort) if layout else ()
    return found


def merge(lock: EvidenceLock | None, seen: Observations, scope: Scope) -> EvidenceLock:
    """Return the lock with what was seen. What the pack no longer has, or nobody sees any more, drops out."""
    old = lock or EvidenceLock(format=EVIDENCE_FORMAT, datasets={}, views={})
    datasets = {
        name: _dataset(old.datasets.get(name), found, scope.sorts[name], scope)
        for name, found in seen.datasets.items()
        if name in scope.sorts
    }
    views = {
        name: _kept(old.views.get(name, {}), _outcomes(found, scope), VIEW_FACTS)
        for name, found in seen.views.items()
        if name in scope.views
    }
    return EvidenceLock(format=EVIDENCE_FORMAT, datasets=datasets, views=views)


def encoded(lock: EvidenceLock) -> bytes:
    """Return a lock as its file holds it."""
    return msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=2) + b"\n"


def changes(old: EvidenceLock | None, new: EvidenceLock) -> list[Change]:
    """Return the facts in which two locks differ, by path."""
    before, after = dict(_flat(old)) if old else {}, dict(_flat(new))
    paths = sorted({*before, *after})
    return [Change(p, before.get(p), after.get(p)) for p in paths if before.get(p) != after.get(p)]


def _flat(lock: EvidenceLock) -> Iterator[tuple[str, Seen]]:
    for name, dataset in lock.datasets.items():
        yield from ((f"datasets/{name}/{fact}", seen) for fact, seen in dataset.facts.items())
        for column, facts in dataset.columns.items():
            yield from ((f"datasets/{name}/columns/{column}/{fact}", seen) for fact, seen in facts.items())
    for name, facts in lock.views.items():
        yield from ((f"views/{name}/{fact}", seen) for fact, seen in facts.items())


def _dataset(
    old: DatasetEvidence | None, seen: DatasetObservation, sort: tuple[str, ...], scope: Scope
) -> DatasetEvidence:
    facts, columns = (old.facts, old.columns) if old else ({}, {})
    found = {name: _column(column, seen, name in sort) for name, column in seen.columns.items()}
    return DatasetEvidence(
        facts=_kept(facts, _table(seen, scope), DATASET_FACTS),
        columns={name: _kept(columns.get(name, {}), new, DATASET_FACTS) for name, new in found.items()},
    )


def _table(seen: DatasetObservation, scope: Scope) -> Facts:
    # Bands of sizes are powers of two, and so is the threshold: a band is small as a whole or not at all.
    small = sum(n for power, n in seen.sizes.items() if 2 << int(power) <= scope.small_file_bytes)
    said: dict[str, Value | None] = {
        "bytes": seen.bytes,
        "column_mapping": seen.column_mapping,
        "deleted_rows": seen.deleted_rows,
        "deletion_vectors": seen.deletion_vectors,
        "features": seen.features,
        "files": seen.files,
        "partition_columns": seen.partition_columns,
        "partitioned": bool(seen.partition_columns),
        "partitions": seen.partitions,
        "small_file_share": _decimal(small, seen.files),
        "writes_since_compaction": seen.writes_since_compaction,
    }
    return _known(said, seen.version) | _known(
        {"rows": seen.rows}, seen.version, _part(seen.files_with_rows, seen.files)
    )


def _column(column: ColumnObservation, table: DatasetObservation, sorted_by: bool) -> Facts:
    """Return the facts of a column; those that rest on some of the files alone say on how many."""
    said: dict[str, Value | None] = {
        "clustering_depth": column.depth if sorted_by else None,
        "statistics_age": column.age,
        "statistics_coverage": _decimal(column.files_with_statistics, table.files),
    }
    partly: dict[str, Value | None] = {"distinct": column.distinct, "null_share": _decimal(column.nulls, column.rows)}
    share = _part(column.files_with_statistics, table.files)
    return _known(said, table.version) | _known(partly, table.version, share)


def _outcomes(seen: ViewObservation, scope: Scope) -> Facts:
    said: dict[str, Value | None] = {
        "bytes": seen.bytes,
        "bytes_scanned": seen.bytes_scanned,
        "milliseconds": seen.milliseconds,
        "output_ratio": _decimal(seen.rows, seen.rows_read),
        "rows": seen.rows,
    }
    return _known(said, seen.run_seq, runs=min(seen.runs, scope.runs) or None)


def _known(said: Mapping[str, Value | None], version: int, share: str | None = None, runs: int | None = None) -> Facts:
    known = {name: value for name, value in said.items() if value is not None}
    return {name: Seen(value=value, version=version, share=share, runs=runs) for name, value in known.items()}


def _part(some: int, all_: int) -> str | None:
    """Return the share of files that say something, None if all do."""
    return _decimal(some, all_) if some < all_ else None


def _decimal(part: int | None, whole: int | None) -> str | None:
    """Return a quotient to two places, rounded down; None if it is unknown or has no meaning."""
    if part is None or not whole:
        return None
    ones, hundredths = divmod(100 * part // whole, 100)
    return f"{ones}.{hundredths:02}"


def _kept(old: Facts, new: Facts, table: Mapping[str, FactInfo]) -> Facts:
    """Return new facts, those that lie in the band of the old one as that was written."""
    return {name: _settled(old.get(name), seen, table[name]) for name, seen in new.items()}


def _settled(old: Seen | None, new: Seen, info: FactInfo) -> Seen:
    if old is None or _band(old.value, info) != _band(new.value, info):
        return new
    share = old.share if _band_of_share(old.share) == _band_of_share(new.share) else new.share
    return Seen(value=old.value, version=old.version, share=share, runs=new.runs)


def _band(value: Value, info: FactInfo) -> object:
    """Return what two values have in common that no decision should tell apart."""
    if isinstance(value, str) and info.type == "decimal":
        return _band_of_share(value) if info.unit == "share" else _hundredths(value).bit_length()
    if isinstance(value, int) and not isinstance(value, bool):
        return value.bit_length()
    return value


def _band_of_share(share: str | None) -> tuple[int, int]:
    """Return the bands of a share in percent and of what it leaves: both ends matter."""
    percent = 100 if share is None else _hundredths(share)
    return percent.bit_length(), (100 - percent).bit_length()


def _hundredths(decimal: str) -> int:
    return int(decimal.replace(".", ""))
