"""Put the rows of some data files into others, in one commit that every reader of Delta takes for no change.

What is removed and what is added are read and digested before anything is committed; the commit is refused if any other
came in between, and what it made of the table is held against what it should be. Called in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
import pyarrow as pa
from datafusion import SessionContext
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from decreta_runtime.arrow import exactly, schema_of
from decreta_runtime.contract.errors import ContentDiffers, LakeUnusable, WriteConflict
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import Choice, MaintenanceValue, SessionValue
from decreta_runtime.lake import open_table, writing
from decreta_runtime.lease import OWN, Lease
from decreta_runtime.locations import sql_place
from decreta_runtime.outcomes import COUNTED_AT, REWRITTEN, WRITTEN, Written
from decreta_runtime.parts import Part, parts_of
from decreta_runtime.scan import Pinned, quote, sql_type
from decreta_runtime.session import build_session
from decreta_runtime.tally import Tally
from decreta_runtime.write import writer_properties

TOKEN = "decreta/maintenance"
"""Application transaction of the lease's token: a maintainer with an older one is refused."""
_SCRATCH = "rewrite-"
"""A folder of the runtime's own in the table's, where files wait for their commit."""
_STATISTICS = ("delta.dataSkippingNumIndexedCols", "delta.dataSkippingStatsColumns")
"""Properties of a table that say which columns have statistics."""


@dataclass(frozen=True)
class Rewrite:
    """What to rewrite, and how."""

    name: str
    path: Path
    version: int
    parts: tuple[tuple[Part, tuple[str, ...]], ...]
    """Files as the log names them, partition by partition."""
    columns: tuple[Column, ...]
    """Those that the files have: a partition's values stand in the log."""
    value: MaintenanceValue
    workload: str
    profile: Choice[SessionValue]
    lease: Lease
    total: Written
    """Bytes over the table's life up to `version`."""
    said: dict[str, str]
    """What the commit before says of the run that wrote the rows; they are still its."""

    @property
    def files(self) -> dict[str, Part]:
        """The files with their partitions."""
        return {file: part for part, files in self.parts for file in files}


@dataclass(frozen=True)
class Compared:
    """Files of a table, as the log names them, whose rows are to be those of others."""

    name: str
    path: Path
    removed: tuple[str, ...]
    added: tuple[str, ...]
    columns: tuple[Column, ...]
    workload: str
    profile: Choice[SessionValue]


class Rewritten(NamedTuple):
    """A version in which rows lie in other files."""

    version: int
    files: int
    bytes: int


class Content(NamedTuple):
    """What rows are, in whatever order and files: their number, and sum and exclusive or of their hashes."""

    rows: int
    total: int
    mixed: int


class _Added(msgspec.Struct, rename="camel"):
    path: str
    size: int
    partition_values: dict[str, str | None]
    modification_time: int
    stats: str


class _Line(msgspec.Struct):
    add: _Added | None = None


_LINES = msgspec.json.Decoder(_Line)


def rewrite(job: Rewrite) -> Rewritten:
    """Rewrite the files of a job. Raises WriteConflict, ContentDiffers, LakeUnusable; then the table is as it was."""
    pinned = _at(job, job.version)
    if pinned.table.version() != job.version or _newest(job.path) != job.version:
        raise WriteConflict(f"`{job.name}` was changed by another writer", help="maintain again")
    context = _session(job)
    scratch = job.path / OWN / f"{_SCRATCH}{job.lease.token}"
    moved: list[Path] = []
    try:
        added = [
            add for i in range(len(job.parts)) for add in _part(context, job, pinned.table, i, scratch / str(i), moved)
        ]
        done = _commit(job, pinned, added)
        moved.clear()
        return done
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _discard(job, moved)


def _part(
    context: SessionContext, job: Rewrite, table: DeltaTable, i: int, scratch: Path, moved: list[Path]
) -> Iterator[_Added]:
    """Put the rows of one partition into other files beside the old ones; note each in `moved` and yield it."""
    part, files = job.parts[i]
    old = _declare(context, "removed", job, [_local(job.path, name) for name in files])
    _write(context, job, table, scratch)
    added = list(_added(scratch))
    new = _declare(context, "added", job, [_local(scratch, add.path) for add in added])
    require_same(job.name, old, new)
    context.deregister_table("removed")
    context.deregister_table("added")
    folder, slash, _ = files[0].rpartition("/")
    beside = folder + slash if not Path(unquote(folder)).is_absolute() and ":" not in folder else ""
    for add in added:
        meant = msgspec.structs.replace(add, path=beside + add.path, partition_values=dict(part))
        moved.append(_local(job.path, meant.path))
        _local(scratch, add.path).replace(moved[-1])
        yield meant


def _discard(job: Rewrite, moved: Sequence[Path]) -> None:
    """Delete files that wait in a table's folder for a commit that never came.

    What failed may have failed after the commit: the log is asked, and in doubt they stay until a vacuum finds them.
    """
    if not moved:
        return
    try:
        table = open_table(job.path)
    except LakeUnusable:
        return
    committed = set() if table is None else set(Pinned(job.name, job.path, table.version(), table).files)
    for path in moved:
        if str(path) not in committed:
            with contextlib.suppress(OSError):
                path.unlink()


def same_rows(asked: Compared) -> bool:
    """Whether the rows of some files are those of others, in whatever order. Raises LakeUnusable."""
    context = _session(asked)
    old, new = (
        _declare(context, table, asked, [_local(asked.path, name) for name in files])
        for table, files in (("removed", asked.removed), ("added", asked.added))
    )
    return old == new


def _session(job: Rewrite | Compared) -> SessionContext:
    context = build_session(job.workload, job.profile, Tally(), ())
    context.enable_spark_functions()
    # By statistics the engine takes one value for a column of a file, and reads no NaN beside it: none are collected.
    context.sql("SET datafusion.execution.collect_statistics = false")
    return context


def tidy(table: Path) -> None:
    """Remove what rewrites have left that died; called under the lease."""
    for left in (table / OWN).glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


def require_same(name: str, old: Content, new: Content) -> None:
    """Raise ContentDiffers unless both have the same rows."""
    if old != new:
        words = f"the rewritten files of `{name}` have {new.rows:,} rows where {old.rows:,} were, or others"
        raise ContentDiffers(words, help="nothing of it was committed; the rows are as they were")


def _at(job: Rewrite, version: int) -> Pinned:
    table = open_table(job.path, version)
    if table is None:
        raise LakeUnusable(f"the table `{job.name}` at {job.path} is gone", help="restore it")
    return Pinned(job.name, job.path, version, table)


def _newest(path: Path) -> int | None:
    table = open_table(path)
    return None if table is None else int(table.version())


def _local(folder: Path, name: str) -> Path:
    return folder / unquote(name)


def _declare(context: SessionContext, table: str, job: Rewrite | Compared, files: Sequence[Path]) -> Content:
    """Make files a table and return its content; without files there is no table."""
    if not files:
        return Content(0, 0, 0)
    for path in files:
        if not path.exists():
            raise LakeUnusable(f"the file {path} of `{job.name}` is gone", help="restore it from a backup")
    declared = ", ".join(f"{quote(c.name)} {sql_type(c)}" for c in job.columns)
    locations = ", ".join(sql_place(str(path)) for path in files)
    context.sql(f"CREATE EXTERNAL TABLE {table} ({declared}) STORED AS PARQUET LOCATION ({locations})")
    return content(context, table, job.columns)


def content(context: SessionContext, table: str, columns: Sequence[Column]) -> Content:
    """Return what the rows of a table are.

    A hash passes nulls over, so each says beside its value whether it is null.
    """
    parts = [quote(c.name) for c in columns]
    parts += [f"{quote(c.name)} IS NULL" for c in columns]
    hashes = f"SELECT xxhash64({', '.join(parts)}) AS h FROM {table}"
    sums = "count(*) AS n, sum(CAST(h AS DECIMAL(38, 0))) AS total, bit_xor(h) AS mixed"
    (found,) = context.sql(f"SELECT {sums} FROM ({hashes})").to_pylist()
    return Content(found["n"], int(found["total"] or 0), int(found["mixed"] or 0))


def _write(context: SessionContext, job: Rewrite, table: DeltaTable, scratch: Path) -> None:
    """Write the rows in order into a table of their own, whose log then has the new files' statistics."""
    schema = schema_of(job.columns)
    order = f" ORDER BY {', '.join(map(quote, job.value.sort))}" if job.value.sort else ""
    frame = context.sql(f"SELECT {', '.join(quote(c.name) for c in job.columns)} FROM removed{order}")
    batches: Iterator[pa.RecordBatch] = (batch.to_pyarrow() for batch in frame.execute_stream())
    shutil.rmtree(scratch, ignore_errors=True)
    with writing(f"`{job.name}` at {job.path}"):
        write_deltalake(
            str(scratch),
            pa.RecordBatchReader.from_batches(schema, exactly(batches, schema, job.name)),
            target_file_size=job.value.target_file_bytes,
            writer_properties=writer_properties(job.value),
            configuration=_statistics(table),
        )


def _statistics(table: DeltaTable) -> dict[str, str]:
    """Return what a table says of its statistics, as far as it is of columns that files have."""
    about = table.metadata()
    found = {name: about.configuration[name] for name in _STATISTICS if name in about.configuration}
    if (listed := found.get(_STATISTICS[1])) is not None:
        names = [name.strip() for name in listed.split(",")]
        found[_STATISTICS[1]] = ",".join(name for name in names if name.strip("`") not in about.partition_columns)
    return found


def _added(scratch: Path) -> Iterator[_Added]:
    lines = _LINES.decode_lines((scratch / "_delta_log" / f"{0:020}.json").read_bytes())
    return (line.add for line in lines if line.add is not None)


def _commit(job: Rewrite, pinned: Pinned, added: Sequence[_Added]) -> Rewritten:
    sizes = dict(zip(pinned.actions["path"].to_pylist(), pinned.actions["size_bytes"].to_pylist(), strict=True))
    now, size = int(time.time() * 1000), sum(add.size for add in added)
    actions: list[Any] = [_add(add) for add in added]
    actions += [_remove(name, now, sizes[name], part) for name, part in job.files.items()]
    marks = {
        TOKEN: job.lease.token,
        WRITTEN: job.total.written,
        REWRITTEN: job.total.rewritten + size,
        COUNTED_AT: job.version,
    }
    before = pinned.table.transaction_version(TOKEN)
    if not job.lease.holds() or (before is not None and before >= job.lease.token):
        raise WriteConflict(f"another maintainer has taken `{job.name}` over", help="maintain again")
    put(pinned, actions, marks, job.said)
    done = _at(job, job.version + 1)
    _require_as_meant(job, pinned, done, {add.path: tuple(add.partition_values.items()) for add in added})
    return Rewritten(done.version, len(added), size)


def _add(add: _Added) -> AddAction:
    return AddAction(unquote(add.path), add.size, add.partition_values, add.modification_time, False, add.stats)


def _remove(name: str, moment: int, size: int, part: Part) -> RemoveAction:
    # The engine encodes names on their way into the log.
    return RemoveAction(unquote(name), False, moment, size, dict(part))


def put(pinned: Pinned, actions: list[Any], marks: dict[str, int], said: dict[str, str]) -> None:
    """Commit to the very version that is pinned. Raises WriteConflict if it is no longer the newest."""
    properties = CommitProperties(
        custom_metadata=said,
        app_transactions=[Transaction(name, version) for name, version in marks.items()],
        # Nothing may come in between: what is removed here could have been removed there, and its rows would double.
        max_commit_retries=0,
    )
    hooks = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
    try:
        with writing(f"`{pinned.name}` at {pinned.path}"):
            pinned.table.create_write_transaction(
                actions,
                "append",
                pinned.table.schema(),
                list(pinned.partitions),
                commit_properties=properties,
                post_commithook_properties=hooks,
            )
    except CommitFailedError as error:
        words = str(error).split("\n")[0]
        raise WriteConflict(f"`{pinned.name}` was changed by another writer: {words}", help="maintain again") from None


def _require_as_meant(job: Rewrite, before: Pinned, after: Pinned, added: dict[str, Part]) -> None:
    """Hold the version against the one before: the same rows, and just the files that were meant. Else restore."""
    was, found = parts_of(before), parts_of(after)
    assert not isinstance(was, str)  # else nothing was picked
    if found == {file: was[file] for file in was.keys() - job.files.keys()} | added and after.rows == before.rows:
        return
    restore(before, added)
    words = f"version {after.version} of `{job.name}` has not the files that it should, and was taken back"
    raise ContentDiffers(words, help="its rows are those of the version before; report this")


def restore(before: Pinned, added: Mapping[str, Part]) -> None:
    """Undo a rewrite: what it added goes, what it removed is back; rows that others wrote meanwhile stay."""
    table, parts = open_table(before.path), parts_of(before)
    assert table is not None and not isinstance(parts, str)  # it has just been committed to, partition by partition
    now = Pinned(before.name, before.path, table.version(), table)
    there = dict(zip(now.actions["path"].to_pylist(), now.actions["size_bytes"].to_pylist(), strict=True))
    moment = int(time.time() * 1000)
    actions: list[Any] = [_remove(n, moment, s, added[n]) for n, s in there.items() if n in added]
    # Bounds are left out: slower, never wrong.
    actions += [
        AddAction(
            unquote(row["path"]), row["size_bytes"], dict(parts[row["path"]]), moment, False, _rows(row["num_records"])
        )
        for row in before.actions.to_pylist()
        if row["path"] not in there
    ]
    put(now, actions, {}, {})


def _rows(count: int | None) -> str:
    return "{}" if count is None else msgspec.json.encode({"numRecords": count}).decode()


def free_disk(paths: Sequence[Path]) -> int:
    """Delete files; return the bytes that this gave back."""
    freed = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            os.unlink(path)  # noqa: PTH108 - the error is the same, and paths are many
            freed += size
    return freed
