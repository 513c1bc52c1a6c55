"""Write a dataset exactly once: all of it, some groups or new rows, in one commit that carries the run's identity.

What is written over a part of a table builds on the version that the last complete run names. A commit after that is of
an attempt that came to nothing, or of others: it is undone first, so that no row of it is built upon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
from deltalake import (
    BloomFilterProperties,
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError

from decreta_runtime.arrow import exactly, one_batch, schema_of
from decreta_runtime.contract.errors import DecretaError, StatementFailed, WriteConflict
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import MaintenanceValue, WriteValue
from decreta_runtime.evolve import KEY_PROPERTY
from decreta_runtime.lake import open_table, writing
from decreta_runtime.locations import Location, missing
from decreta_runtime.scan import Pinned

_RUN_KEY = "decreta.run_key"
_HOOKS = PostCommitHookProperties(cleanup_expired_logs=False)
"""The engine would drop old commits whoever has a version pinned; maintenance does that, and looks first."""


class RunIdentity(NamedTuple):
    """What makes two attempts the same run: its place in the pack's sequence, and the hash of all it depends on."""

    pack: str
    run_seq: int
    run_key: str

    def application(self, dataset: str) -> str:
        """Return the id of the application transaction that a dataset's commits carry."""
        return f"decreta/{self.pack}/{dataset}"

    def commit(self, dataset: str, key: str) -> CommitProperties:
        """Return what a dataset's commit carries, the text of the dataset's key with it."""
        return CommitProperties(
            custom_metadata={
                _RUN_KEY: self.run_key,
                "decreta.run_seq": str(self.run_seq),
                "decreta.pack": self.pack,
                KEY_PROPERTY: key,
            },
            app_transactions=[Transaction(self.application(dataset), self.run_seq)],
            # No retry: an overwrite from a stale handle would keep what was committed meanwhile and double rows.
            max_commit_retries=0,
        )


class Part(NamedTuple):
    """What of a table is written over: the rows for which `predicate` holds, none of them if it is None."""

    base: Pinned
    """The version that the last complete run names."""
    predicate: str | None


class Written(NamedTuple):
    """A version that was written, with the rows that went into it and their bytes as Arrow arrays."""

    pinned: Pinned
    rows: int
    memory_bytes: int
    undone: int | None = None
    """The version that was undone before: of an attempt that no run's record names."""
    conflicts: int = 0
    """How often another writer was faster before it was committed."""


def already_written(name: str, path: Location, identity: RunIdentity) -> Pinned | None:
    """Return the version that an earlier attempt at this very run has committed whole, None if there is none.

    The engine records application transactions but does not enforce them, so the writer looks first.
    """
    table = open_table(path)
    if table is None or table.transaction_version(identity.application(name)) != identity.run_seq:
        return None
    for commit in table.history(limit=1):
        if commit.get(_RUN_KEY) == identity.run_key:
            pinned = Pinned(name, path, table.version(), table)
            return pinned if missing(path, pinned.files) is None else None
    return None


def write(
    name: str,
    path: Location,
    rows: Callable[[], Iterable[pa.RecordBatch]],
    columns: tuple[Column, ...],
    key: str,
    value: WriteValue,
    identity: RunIdentity,
    part: Part | None = None,
    *,
    ordered: bool = False,
) -> Written:
    """Replace the table at `path`, or a part of it, by `rows`; return what was written.

    `rows` gives them once for each try, sorted as `value` says; `ordered` gathers them, so that they keep their order
    to the last row. If they raise, nothing is committed. Where another writer was faster, the table is looked at again,
    after a wait that grows with each try, as often as `value` says. Raises WriteConflict after that, LakeUnusable if
    the place cannot be written, SchemaMismatch and CheckViolated if rows are not as the contract says.
    """
    conflicts = 0
    while True:
        stream = _Stream(name, rows(), schema_of(columns), ordered)
        try:
            done = _try(name, path, stream, identity.commit(name, key), value, part)
            return Written(done.pinned, stream.rows, stream.bytes, done.undone, conflicts)
        except CommitFailedError as error:
            conflicts, words = conflicts + 1, str(error).split("\n")[0]
        if (ours := already_written(name, path, identity)) is not None:
            return Written(ours, stream.rows, stream.bytes, conflicts=conflicts)
        if conflicts > value.conflict_retries:
            lost = (
                f"`{name}` was changed by another writer each time that it was to be committed ({conflicts}): {words}"
            )
            help = "stop the other writer and run again, or raise the threshold write.conflict_retries"
            raise WriteConflict(lost, help=help)
        time.sleep(conflicts * value.conflict_wait_ms / 1000)


class _Stream:
    """The rows of one try on their way into the writer, counted, and what was wrong with them."""

    def __init__(self, name: str, rows: Iterable[pa.RecordBatch], schema: pa.Schema, ordered: bool) -> None:
        self.name, self.schema = name, schema
        self.rows = self.bytes = 0
        self.broken: DecretaError | None = None
        exact = exactly(rows, schema, name)
        self._batches = one_batch(schema, exact) if ordered else exact

    def reader(self) -> pa.RecordBatchReader:
        # A lazy result handed over as it is can hang the writer (`engine-facts` 13); a generator cannot.
        return pa.RecordBatchReader.from_batches(self.schema, self._counted())

    def _counted(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                self.rows += batch.num_rows
                self.bytes += batch.nbytes
                yield batch
        except Exception as error:
            # The writer would turn it into words of its own.
            self.broken = error if isinstance(error, DecretaError) else StatementFailed(self.name, error)
            raise


class _Tried(NamedTuple):
    pinned: Pinned
    undone: int | None


def _try(
    name: str, path: Location, stream: _Stream, properties: CommitProperties, value: WriteValue, part: Part | None
) -> _Tried:
    """Commit rows to the table as it is now. Raises CommitFailedError if it is another by then, and DecretaError."""
    table, undone = open_table(path), None
    try:
        with writing(f"`{name}` at {path}"):
            if part is not None and table is not None:
                table, undone = _on_base(name, path, table, part.base)
            version = 0 if table is None else table.version() + 1  # without retries it is this one or none
            _commit(str(path) if table is None else table, stream.reader(), value, properties, part)
    except CommitFailedError:
        raise
    except Exception:
        if stream.broken is not None:
            raise stream.broken from None
        raise
    return _Tried(Pinned(name, path, version, _reopened(path, version)), undone)


def _on_base(name: str, path: Location, table: DeltaTable, base: Pinned) -> tuple[DeltaTable, int | None]:
    """Return a handle whose snapshot has exactly the files of `base`, and the version undone for it, if one was.

    Raises CommitFailedError if another writer was faster.
    """
    if table.version() == base.version or _files(table) == _files(base.table):
        return table, None
    undone = table.version()
    table.restore(
        base.version,
        commit_properties=CommitProperties(max_commit_retries=0),
        post_commithook_properties=_HOOKS,
    )
    restored = _reopened(path, undone + 1)
    if _files(restored) != _files(base.table):
        raise WriteConflict(f"`{name}` cannot be brought back to version {base.version}", help="run again")
    return restored, undone


def _files(table: DeltaTable) -> frozenset[str]:
    return frozenset(table.file_uris())


def _reopened(path: Location, version: int) -> DeltaTable:
    table = open_table(path, version)
    assert table is not None  # it has just been committed
    return table


def _commit(
    target: str | DeltaTable,
    reader: pa.RecordBatchReader,
    value: WriteValue,
    properties: CommitProperties,
    part: Part | None,
) -> None:
    write_deltalake(  # type: ignore[call-overload]
        target,
        reader,
        mode="append" if part is not None and part.predicate is None else "overwrite",
        schema_mode="overwrite" if part is None else None,
        predicate=None if part is None else part.predicate,
        target_file_size=value.target_file_bytes,
        writer_properties=writer_properties(value),
        commit_properties=properties,
        post_commithook_properties=_HOOKS,
    )


def writer_properties(value: WriteValue | MaintenanceValue) -> WriterProperties:
    """Return how files are written."""
    # No row group has more distinct values than rows; the writer's own guess is a million, and a megabyte each.
    filters = BloomFilterProperties(True, fpp=float(value.bloom_fpp), ndv=value.row_group_rows)
    bloom = ColumnProperties(bloom_filter_properties=filters)
    return WriterProperties(
        compression=value.compression.upper(),  # type: ignore[arg-type]
        max_row_group_size=value.row_group_rows,
        column_properties=dict.fromkeys(value.bloom_columns, bloom),
    )
