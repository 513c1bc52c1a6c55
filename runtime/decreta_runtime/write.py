"""Write a dataset exactly once: the whole table in one commit that carries the run's identity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from datafusion import DataFrame
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from decreta_runtime.arrow import exactly, schema_of
from decreta_runtime.contract.errors import DecretaError, LakeUnusable, StatementFailed, WriteConflict
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import WriteValue
from decreta_runtime.lake import open_table
from decreta_runtime.scan import Pinned

_RUN_KEY = "decreta.run_key"


class RunIdentity(NamedTuple):
    """What makes two attempts the same run: its place in the pack's sequence, and the hash of all it depends on."""

    pack: str
    run_seq: int
    run_key: str

    def application(self, dataset: str) -> str:
        """Return the id of the application transaction that a dataset's commits carry."""
        return f"decreta/{self.pack}/{dataset}"


def already_written(name: str, path: Path, identity: RunIdentity) -> Pinned | None:
    """Return the version that an earlier attempt at this very run has committed, None if there is none.

    The engine records application transactions but does not enforce them, so the writer looks first.
    """
    table = open_table(path)
    if table is None or table.transaction_version(identity.application(name)) != identity.run_seq:
        return None
    for commit in table.history(limit=1):
        if commit.get(_RUN_KEY) == identity.run_key:
            return Pinned(name, path, table.version(), table)
    return None


def write(
    name: str, path: Path, rows: DataFrame, columns: tuple[Column, ...], value: WriteValue, identity: RunIdentity
) -> tuple[Pinned, int]:
    """Replace the table at `path` by `rows`; return the version written and the number of rows.

    `rows` are sorted as `value` says before they come here. Raises WriteConflict if another writer was faster,
    LakeUnusable if the place cannot be written, SchemaMismatch and CheckViolated if rows are not as the contract says.
    """
    schema = schema_of(columns)
    counted = 0
    broken: list[DecretaError] = []

    def stream() -> Iterator[pa.RecordBatch]:
        nonlocal counted
        # A lazy result handed over as it is can hang the writer (`engine-facts` 13); a generator cannot.
        try:
            for batch in exactly((b.to_pyarrow() for b in rows.execute_stream()), schema, name):
                counted += batch.num_rows
                yield batch
        except Exception as error:
            # The writer would turn it into words of its own.
            broken.append(error if isinstance(error, DecretaError) else StatementFailed(name, error))
            raise

    table = open_table(path)
    reader = pa.RecordBatchReader.from_batches(schema, stream())
    try:
        _commit(path if table is None else table, name, reader, value, identity)
    except CommitFailedError as error:
        words = str(error).split("\n")[0]
        raise WriteConflict(f"`{name}` was changed by another writer: {words}", help="run again") from None
    except Exception as error:
        if broken:
            raise broken[0] from None
        if not isinstance(error, OSError | DeltaError):
            raise
        words = str(error).split("\n")[0]
        raise LakeUnusable(
            f"`{name}` cannot be written at {path}: {words}", help="check space and permissions"
        ) from None
    written = open_table(path)
    assert written is not None
    return Pinned(name, path, written.version(), written), counted


def _commit(
    target: Path | DeltaTable, name: str, reader: pa.RecordBatchReader, value: WriteValue, identity: RunIdentity
) -> None:
    write_deltalake(
        str(target) if isinstance(target, Path) else target,
        reader,
        mode="overwrite",
        schema_mode="overwrite",
        target_file_size=value.target_file_bytes,
        writer_properties=WriterProperties(
            compression=value.compression.upper(),  # type: ignore[arg-type]
            max_row_group_size=value.row_group_rows,
        ),
        # No retry: an overwrite from a stale handle would keep what was committed meanwhile and double rows.
        commit_properties=CommitProperties(
            custom_metadata={_RUN_KEY: identity.run_key, "decreta.run_seq": str(identity.run_seq)},
            app_transactions=[Transaction(identity.application(name), identity.run_seq)],
            max_commit_retries=0,
        ),
    )
