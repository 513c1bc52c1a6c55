"""Write a dataset exactly once: all of it, some groups or new rows, in one commit that carries the run's identity.

What is written over a part of a table builds on the version that the last complete run names. A commit after that is of
an attempt that came to nothing, or of others: it is undone first, so that no row of it is built upon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    rows: Iterable[pa.RecordBatch],
    columns: tuple[Column, ...],
    key: str,
    value: WriteValue,
    identity: RunIdentity,
    part: Part | None = None,
    *,
    ordered: bool = False,
) -> Written:
    """Replace the table at `path`, or a part of it, by `rows`; return what was written.

    `rows` are sorted as `value` says before they come here; `ordered` gathers them, so that they keep their order to
    the last row. If they raise, nothing is committed. Raises WriteConflict if another writer was faster,
    LakeUnusable if the place cannot be written, SchemaMismatch and CheckViolated if rows are not as the contract says.
    """
    schema = schema_of(columns)
    counted = size = 0
    broken: list[DecretaError] = []

    def stream() -> Iterator[pa.RecordBatch]:
        nonlocal counted, size
        # A lazy result handed over as it is can hang the writer (`engine-facts` 13); a generator cannot.
        try:
            exact = exactly(rows, schema, name)
            for batch in one_batch(schema, exact) if ordered else exact:
                counted += batch.num_rows
                size += batch.nbytes
                yield batch
        except Exception as error:
            # The writer would turn it into words of its own.
            broken.append(error if isinstance(error, DecretaError) else StatementFailed(name, error))
            raise

    table, undone = open_table(path), None
    if part is not None and table is not None:
        table, undone = _on_base(name, path, table, part.base)
    version = 0 if table is None else table.version() + 1  # without retries it is this one or none
    reader = pa.RecordBatchReader.from_batches(schema, stream())
    try:
        with writing(f"`{name}` at {path}"):
            _commit(str(path) if table is None else table, reader, value, identity.commit(name, key), part)
    except CommitFailedError as error:
        if (ours := already_written(name, path, identity)) is not None:
            return Written(ours, counted, size)
        words = str(error).split("\n")[0]
        raise WriteConflict(f"`{name}` was changed by another writer: {words}", help="run again") from None
    except Exception:
        if broken:
            raise broken[0] from None
        raise
    return Written(Pinned(name, path, version, _reopened(path, version)), counted, size, undone)


def _on_base(name: str, path: Location, table: DeltaTable, base: Pinned) -> tuple[DeltaTable, int | None]:
    """Return a handle whose snapshot has exactly the files of `base`, and the version undone for it, if one was."""
    if table.version() == base.version or _files(table) == _files(base.table):
        return table, None
    undone = table.version()
    try:
        with writing(f"`{name}` at {path}"):
            table.restore(
                base.version,
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=_HOOKS,
            )
    except CommitFailedError as error:
        words = str(error).split("\n")[0]
        raise WriteConflict(f"`{name}` was changed by another writer: {words}", help="run again") from None
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
