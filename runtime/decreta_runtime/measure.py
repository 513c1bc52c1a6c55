"""Measure a compiled pack: run it into an empty lake, ask its shapes their examples, and count what that came to.

For tools that compare policies: nothing acts by what is measured. Counters come from the ledger and the executed plans.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.contract.records import Kind, RunRecord
from decreta_runtime.integrity import complete_runs
from decreta_runtime.lake import Lake, writing
from decreta_runtime.locations import located
from decreta_runtime.pack import Pack
from decreta_runtime.record import noted
from decreta_runtime.rowdigest import quick_digest

Sources = Mapping[str, Sequence[str]]
"""Source or bound table → its places."""
_FIGURES = ("rows", "bytes", "files", "rows_read", "bytes_scanned")
_STATS = ("bytes_scanned", "bytes_eligible", "index_bytes", "files_read", "row_groups_read", "rows_scanned")
_DONE: tuple[Kind, ...] = ("index", "maintenance", "refresh", "scan", "step", "write")
_LEDGER = f"""SELECT kind, subject, {", ".join(_FIGURES)}, detail
FROM ledger WHERE kind IN ({", ".join(f"'{kind}'" for kind in _DONE)})"""
_LOG = "_delta_log"
_DIGITS = 6
"""Places of floats that count: the last ones of a sum depend on the order in which it was made."""


class Measured(Struct, frozen=True, kw_only=True):
    """What one run, and asking each shape once, came to."""

    counters: dict[str, int]
    """`kind/subject/figure` → bytes, rows or files; what was not counted is absent."""
    digests: dict[str, str]
    """Stored dataset, and `query/shape` → digest of its rows, in whatever order they came."""
    seconds: dict[str, float]
    """`run`, and `query/shape` → seconds."""


def measure(
    folder: Path, environment: str, sources: Sources, *, digests: bool = True, tables_from: str | None = None
) -> Measured:
    """Measure the pack in `folder` under its policy of `environment`. Raises DecretaError.

    Tables of others that `sources` does not name are where the environment says; a relative place starts at the lake
    `tables_from`, or at the environment's own, and never at the empty one. None of them is touched: each stands in as
    a clone of links, so that maintenance is measured as well, and each measurement begins with the same files.
    """
    with (
        tempfile.TemporaryDirectory(prefix="decreta-measure-") as temporary,
        Pack(folder, lake=str(Path(temporary) / "lake"), env=environment) as it,
    ):
        sources = _cloned(it, {**_bound(it, tables_from), **sources}, Path(temporary) / "tables")
        start = time.perf_counter()
        it.run(sources)
        seconds, found = {"run": time.perf_counter() - start}, dict[str, str]()
        it.maintain(sources)
        counters = _counted(it)
        for name, entry in sorted(it.manifest.queries.items()):
            if entry.parameters.keys() != entry.example.keys():
                continue
            values = {p: value_of(entry.parameters[p], value) for p, value in entry.example.items()}
            answer = it.answer(name, values)
            seconds[f"query/{name}"] = answer.stats.seconds
            figures = {figure: getattr(answer.stats, figure) for figure in _STATS}
            figures["bytes_read"] = _first(answer.stats.bytes_scanned, answer.stats.bytes_eligible)
            figures["rows"] = answer.rows.num_rows
            counters |= {f"query/{name}/{figure}": n for figure, n in figures.items() if n is not None}
            if digests:
                found[f"query/{name}"] = _rounded_digest(answer.rows)
        if digests:
            for name in it.manifest.datasets():
                found[name] = _rounded_digest(it.sql(f'SELECT * FROM "{name}"').rows)
    return Measured(counters=counters, digests=found, seconds=seconds)


def _bound(it: Pack, tables_from: str | None) -> dict[str, list[str]]:
    start = located(tables_from or it.policy.lake().value, Path.cwd())
    tables = {name: entry.table for name, entry in it.manifest.objects.items() if entry.table is not None}
    return {name: [str(located(it.policy.table(table).value.uri, start))] for name, table in tables.items()}


def _cloned(it: Pack, sources: Sources, folder: Path) -> dict[str, Sequence[str]]:
    """Return the sources with a clone of each table of others on this machine: its log, and links to its files.

    In an object store nothing is maintained, and a table is read where it is. Raises LakeUnusable.
    """
    found = dict(sources)
    for name, entry in it.manifest.objects.items():
        table = None if entry.table is None else located(sources[name][-1], Path.cwd())
        if isinstance(table, Path) and (table / _LOG).is_dir():
            with writing(f"a clone of `{name}` in the system's temporary folder"):
                shutil.copytree(
                    table, folder / name, ignore=shutil.ignore_patterns(_LOG, "_decreta"), copy_function=os.symlink
                )
                shutil.copytree(table / _LOG, folder / name / _LOG)
            found[name] = [str(folder / name)]
    return found


def _counted(it: Pack) -> dict[str, int]:
    return _summed(it.ledger(_LEDGER).to_pylist())


def _summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        figures = {figure: row[figure] for figure in _FIGURES}
        figures["bytes_read"] = _first(row["bytes_scanned"], _whole(row["detail"]))
        for figure, count in figures.items():
            if count is not None:
                name = f"{row['kind']}/{row['subject']}/{figure}"
                found[name] = found.get(name, 0) + count
    return found


def _whole(detail: str | None) -> int | None:
    """Return the bytes of all that a statement reads: what reads through delta-rs, which count nothing, come to."""
    ladder = json.loads(detail or "{}").get("ladder")
    return sum(read["bytes_eligible"] for read in ladder.values()) if ladder else None


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def value_of(kind: str, value: Any) -> Any:
    """Return a value of a shape's example as its parameter's type."""
    if kind == "date":
        return date.fromisoformat(value)
    return Decimal(value) if kind.startswith("decimal") else value


def _rounded_digest(rows: pa.Table) -> str:
    """Return a digest of rows that depends neither on their order nor on the last digits of floats."""
    for at, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            rows = rows.set_column(at, field, pc.add(pc.round(rows[at], ndigits=_DIGITS), pa.scalar(0.0, field.type)))
    return quick_digest(rows)


class Recorded(Struct, frozen=True, kw_only=True):
    """One complete run as a lake keeps it."""

    record: RunRecord
    measured: Measured
    """Counters and seconds of what it did; digests are not kept."""
    sessions: dict[str, str]
    """Workload class → the entry of the policy that its session was built by."""


def recorded(lake: str, pack: str, run_seq: int | None) -> Recorded:
    """Return a complete run of a lake, the last one if none is named. Raises InputInvalid, LakeUnusable."""
    place = Lake(lake)
    place.check_readable()
    runs = complete_runs(place, pack)
    found = [run for run in runs if run_seq in (None, run.run_seq)]
    if not found:
        known = ", ".join(str(run.run_seq) for run in runs[-5:]) or "none"
        words = f"the lake at {lake} has no complete run {'' if run_seq is None else run_seq} of `{pack}`"
        raise InputInvalid(" ".join(words.split()), help=f"the newest it has: {known}")
    record, seconds = found[-1], dict[str, float]()
    rows = [row for row in noted(place, pack, *_DONE) if row["attempt"] == record.attempt]
    for row in rows:
        name = f"{row['kind']}/{row['subject']}"
        if row["seconds"] is not None:
            seconds[name] = round(seconds.get(name, 0.0) + row["seconds"], 6)
    measured = Measured(counters=_summed(rows), digests={}, seconds=seconds)
    sessions = {row["subject"]: row["pointer"] for row in rows if row["action"] == "session"}
    return Recorded(record=record, measured=measured, sessions=sessions)
