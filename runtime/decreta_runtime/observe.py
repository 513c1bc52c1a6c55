"""See what a lake is like: its tables through their Delta logs alone, its relations through the ledger.

Counts and medians, never a judgement: what is small, old or enough is said by thresholds when they are merged.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from decreta_runtime.contract.evidence import (
    EVIDENCE_FORMAT,
    ColumnObservation,
    DatasetObservation,
    Observations,
    ViewObservation,
)
from decreta_runtime.contract.manifest import Column, Key, Manifest
from decreta_runtime.guards import installed_engine
from decreta_runtime.history import history
from decreta_runtime.lake import Lake
from decreta_runtime.pin import Binding
from decreta_runtime.record import computed_in, runs_of
from decreta_runtime.scan import Pinned

_MAPPED = frozenset({"name", "id"})
_READER_FEATURES = {2: ("columnMapping",)}
_WRITER_FEATURES = {
    2: ("appendOnly", "invariants"),
    3: ("checkConstraints",),
    4: ("changeDataFeed", "generatedColumns"),
    5: ("columnMapping",),
    6: ("identityColumns",),
}
"""Protocol version → the features that it brings in, where a protocol does not name them."""
_TICK = timedelta(milliseconds=1)
"""Bounds of times are cut to milliseconds downwards (`engine-facts` 9)."""


def observe(manifest: Manifest, environment: str, lake: Lake, binding: Binding, runs: int) -> Observations:
    """Return what is seen of the tables in `binding`, and of relations in the newest `runs` complete runs."""
    return Observations(
        format=EVIDENCE_FORMAT,
        pack=manifest.pack,
        environment=environment,
        engine=installed_engine(),
        datasets={
            pinned.name: observe_table(pinned, manifest.columns_of(pinned.name), manifest.key_of(pinned.name))
            for pinned in binding.tables()
        },
        views=_views(manifest, lake, environment, runs),
    )


def observe_table(pinned: Pinned, columns: Sequence[Column], key: Key | None) -> DatasetObservation:
    """Return what the log says of one version of a table and of its contract's columns. Raises LakeUnusable."""
    table, files, sizes = pinned.table, pinned.actions.num_rows, pinned.actions["size_bytes"].to_pylist()
    records = _listed(pinned.actions, "num_records")
    said = [count for count in records if count is not None]
    hidden = hidden_rows(table)
    physical = _physical(table)
    found = {c.name: _Statistics.of(pinned.actions, c.name, physical.get(c.name, c.name)) for c in columns}
    seen = [physical.get(name, name) for name, column in found.items() if column.files]
    past = history(pinned.path, pinned.version, pinned.actions["path"].to_pylist(), seen)
    newest = min(past.ages.values(), default=None)
    partitioned_by = tuple(table.metadata().partition_columns)
    alone = key.columns if key is not None else ()
    return DatasetObservation(
        version=pinned.version,
        files=files,
        bytes=sum(sizes),
        rows=None if hidden is None or (files and not said) else sum(said) - hidden,
        files_with_rows=len(said),
        sizes={str(power): n for power, n in sorted(_powers(sizes).items())},
        deleted_rows=hidden,
        deletion_vectors=hidden is None or bool(hidden),
        column_mapping=table.metadata().configuration.get("delta.columnMapping.mode") in _MAPPED,
        partition_columns=partitioned_by,
        partitions=_tuples(pinned.actions) if partitioned_by else 0,
        features=_features(table),
        writes_since_compaction=past.writes,
        columns={
            name: column.observation(
                # Every entry of the log says its partition.
                newest if name in partitioned_by else past.ages.get(physical.get(name, name)),
                key=alone == (name,),
            )
            for name, column in found.items()
        },
    )


def clustering_depth(pinned: Pinned, column: str) -> int | None:
    """Return the most files whose ranges of a column hold one value; None if the range of one is unknown."""
    return _Statistics.of(pinned.actions, column, _physical(pinned.table).get(column, column))._depth()


def _tuples(actions: pa.Table) -> int:
    """Return how many tuples of partition values there are."""
    names = [name for name in actions.column_names if name.startswith("partition.")]
    return int(actions.group_by(names).aggregate([]).num_rows)


class _Statistics(NamedTuple):
    """What the entries of a table's files say of one column, file by file; None where one says nothing."""

    rows: list[int | None]
    nulls: list[int | None]
    low: list[Any]
    high: list[Any]

    @classmethod
    def of(cls, actions: pa.Table, name: str, physical: str) -> _Statistics:
        rows = _listed(actions, "num_records")
        partition = next((f"partition.{n}" for n in (name, physical) if f"partition.{n}" in actions.column_names), None)
        if partition is None:
            nulls = _listed(actions, f"null_count.{physical}")
            return cls(rows, nulls, _listed(actions, f"min.{physical}"), _listed(actions, f"max.{physical}"))
        values = actions[partition].to_pylist()
        nulls = [count if value is None else 0 for value, count in zip(values, rows, strict=True)]
        return cls(rows, nulls, values, values)

    @property
    def files(self) -> int:
        """How many files say how many of the column's values are null."""
        return sum(1 for _ in self._said())

    def observation(self, age: int | None, *, key: bool) -> ColumnObservation:
        said = list(self._said())
        rows, nulls = sum(n for n, *_ in said), sum(k for _, k, *_ in said)
        return ColumnObservation(
            files_with_statistics=len(said),
            age=age,
            nulls=nulls if said else None,
            rows=rows if said else None,
            distinct=_distinct(rows - nulls, [(low, high) for n, k, low, high in said if n != k], key)
            if said
            else None,
            depth=self._depth(),
        )

    def _said(self) -> Iterator[tuple[int, int, Any, Any]]:
        for rows, nulls, low, high in zip(*self, strict=True):
            if rows is not None and nulls is not None:
                yield rows, nulls, low, high

    def _depth(self) -> int | None:
        """Return the most files whose ranges hold one value; None if the range of one is unknown."""
        ranges = [(low, high) for n, k, low, high in self._said() if n != k]
        if self.files < len(self.rows) or any(None in both for both in ranges):
            return None
        return depth(ranges)


def depth(ranges: Sequence[tuple[Any, Any]]) -> int:
    """Return the most of some ranges that hold one value: the clustering depth of what they bound."""
    starts, ends = sorted(low for low, _ in ranges), sorted(_past(high) for _, high in ranges)
    deepest = over = 0
    for opened, start in enumerate(starts):
        while ends[over] < start:
            over += 1
        deepest = max(deepest, opened + 1 - over)
    return deepest


def _past(high: Any) -> Any:
    return high + _TICK if isinstance(high, datetime) else high


def _distinct(values: int, ranges: Sequence[tuple[Any, Any]], key: bool) -> int | None:
    """Return the most distinct values that so many values within these ranges can have; None if nothing bounds them."""
    if not ranges:
        return 0
    if any(None in both for both in ranges):
        return values if key else None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    width: int | None = None
    if isinstance(low, int):
        width = high - low + 1
    elif isinstance(low, date) and not isinstance(low, datetime):
        width = (high - low).days + 1
    if width is None:
        return values if key else None
    return min(values, width)


def _listed(actions: pa.Table, name: str) -> list[Any]:
    """Return a column of the log's entries; nothing for each of them if none has it."""
    return actions[name].to_pylist() if name in actions.column_names else [None] * actions.num_rows


def _powers(sizes: Iterable[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for size in sizes:
        power = max(size.bit_length() - 1, 0)
        found[power] = found.get(power, 0) + 1
    return found


def _physical(table: DeltaTable) -> dict[str, str]:
    """Return what files call a column, for those that they call otherwise than the table."""
    names = {field.name: field.metadata.get("delta.columnMapping.physicalName") for field in table.schema().fields}
    return {name: str(physical) for name, physical in names.items() if physical is not None}


def hidden_rows(table: DeltaTable) -> int | None:
    """Return how many rows deletion vectors hide; None if one cannot be read."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return 0
    try:
        vectors = pa.table(table.deletion_vectors().read_all())
    except Exception:  # noqa: BLE001 - the reader raises several kinds
        return None
    kept = pc.list_flatten(vectors["selection_vector"])
    return len(kept) - (pc.sum(kept).as_py() or 0)


def _features(table: DeltaTable) -> tuple[str, ...]:
    protocol = table.protocol()
    named = {*(protocol.reader_features or ()), *(protocol.writer_features or ())}
    if protocol.reader_features is None:
        named |= _implied(_READER_FEATURES, protocol.min_reader_version)
    if protocol.writer_features is None:
        named |= _implied(_WRITER_FEATURES, protocol.min_writer_version)
    return tuple(sorted(named))


def _implied(table: Mapping[int, tuple[str, ...]], version: int) -> set[str]:
    return {feature for brought, features in table.items() if brought <= version for feature in features}


def _views(manifest: Manifest, lake: Lake, environment: str, runs: int) -> dict[str, ViewObservation]:
    """Return the medians of what the newest complete runs say of each relation that they computed."""
    newest = runs_of(lake, manifest.pack, environment)[:runs]
    found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for row in computed_in(lake, manifest.pack, newest):
        if row["subject"] in manifest.relations:
            found.setdefault(row["subject"], {}).setdefault(row["run_seq"], []).append(row)
    return {name: _medians(rows) for name, rows in sorted(found.items())}


def _medians(runs: Mapping[int, Sequence[Mapping[str, Any]]]) -> ViewObservation:
    # Rows of a function's result are gathered first and written then: two actions, whose times add up.
    seconds = {seq: sum(row["seconds"] or 0.0 for row in rows) for seq, rows in runs.items()}

    def median(name: str) -> int | None:
        known = [row[name] for rows in runs.values() for row in rows[-1:] if row.get(name) is not None]
        return statistics.median_low(known) if known else None

    return ViewObservation(
        run_seq=max(runs),
        runs=len(runs),
        rows=median("rows"),
        bytes=median("memory_bytes"),
        milliseconds=round(1000 * statistics.median_low(seconds.values())),
        bytes_scanned=median("bytes_scanned"),
        rows_read=median("rows_read"),
    )
