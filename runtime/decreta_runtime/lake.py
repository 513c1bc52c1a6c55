"""Where things lie in a lake, the marker that says who may read it, and the lock that one run of a pack holds."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from datafusion import SessionContext
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from decreta_runtime.access import said_by
from decreta_runtime.contract.errors import DecretaError, InputInvalid, LakeUnusable
from decreta_runtime.contract.policy import RECORDS
from decreta_runtime.locations import (
    Location,
    exists,
    is_local,
    local_folder,
    located,
    make_ready,
    mended,
    put_new,
    read,
    writable,
)
from decreta_runtime.lock import held

FORMAT = 1
"""Of the lake's own tables and folders; a lake of a newer format is refused."""

_STORE = re.compile(r"os error \d+|Generic (LocalFileSystem|S3) error|Object Store error")
"""What the engines' store says of a call of the system that failed."""
_ORNAMENT = re.compile(r"\x1b\[\d+m|↳")


class Lake:
    """A place: `<pack>/<dataset>/` for each dataset, `_decreta/{runs,ledger,index,spill,locks}/` beside."""

    def __init__(self, path: str) -> None:
        """Name the lake at `path`; touch nothing. Raises InputInvalid if it cannot be a lake's place."""
        self.root = located(path, Path.cwd())

    @property
    def own(self) -> Location:
        """The folder of the runtime's own tables."""
        return self.root / "_decreta"

    def dataset(self, pack: str, name: str) -> Location:
        """Return the folder of a dataset's Delta table."""
        return self.root / pack / name

    def index(self, pack: str, dataset: str, index: str) -> Location:
        """Return the folder of an external index of a dataset."""
        return self.own / "index" / pack / dataset / index

    def units(self, pack: str, source: str) -> Location:
        """Return the folder of the listings of a source's units, each named by the fingerprint over them."""
        return self.own / "units" / pack / source

    @property
    def runs(self) -> Location:
        """The table of complete runs."""
        return self.own / "runs"

    @property
    def ledger(self) -> Location:
        """The table of all actions."""
        return self.own / "ledger"

    @property
    def records(self) -> dict[str, Location]:
        """The tables of the lake's own, by the names that the policy has for them."""
        return dict(zip(RECORDS, (self.ledger, self.runs), strict=True))

    def spill(self, pack: str, attempt: str) -> Path:
        """Return the folder for what an attempt spills."""
        return self._spills / pack / attempt

    @cached_property
    def _spills(self) -> Path:
        # Rows of one run alone: beside a lake that is a folder, else on this machine for as long as this object lives.
        return local_folder(self.own / "spill", self)

    def bound(self, name: str, uri: str) -> tuple[Location, DeltaTable]:
        """Return the place and a fresh handle of a table of others; a relative `uri` starts at the lake.

        Raises InputInvalid if there is no table, LakeUnusable if it cannot be read.
        """
        path = located(uri, self.root)
        table = open_table(path)
        if table is None:
            words = f"`{name}` is bound to {path}, where there is no Delta table"
            raise InputInvalid(words, help=f"bind it: --source {name}=PATH")
        return path, table

    def writable(self) -> bool:
        """Whether the runtime's own folder can be written to, as far as that is known without trying."""
        return writable(self.own)

    def check_readable(self) -> None:
        """Raise LakeUnusable unless a lake of a known format is here."""
        marker = self.own / "format.json"
        data = read(marker)
        if data is None:
            what = "is no lake" if exists(self.root) else "does not exist"
            raise LakeUnusable(f"{self.root} {what}", help="run the pack first: `decreta run PACK --lake DIR`")
        try:
            found = json.loads(data)["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise LakeUnusable(
                f"{marker} cannot be read: {error}", help="restore the file, or use another lake"
            ) from None
        if found != FORMAT:
            raise LakeUnusable(
                f"the lake at {self.root} has format {found}, this runtime reads {FORMAT}",
                help="use the decreta that wrote it, or another lake",
            )

    def prepare(self) -> None:
        """Make this place a lake, or check that it is one. Raises LakeUnusable, InputInvalid."""
        marker = self.own / "format.json"
        with writing(f"the lake at {self.root}"):
            if read(marker) is None:
                if exists(self.runs):
                    raise LakeUnusable(f"{self.root} has runs but no {marker}", help="restore the file from a backup")
                make_ready(self.own)
                put_new(marker, json.dumps({"format": FORMAT}).encode() + b"\n")
            make_ready(self.own / "locks")
        self.check_readable()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn a file of this lake that the system does not open, read or write into LakeUnusable, wherever that is.

        The engines say it in several kinds of errors, bare Exception among them; every other error stays what it is.
        """
        try:
            yield
        except DecretaError:
            raise
        except Exception as error:
            if not self._failed(error):
                raise
            stored = not isinstance(self.root, Path)
            # A store's own answer may quote what it was asked with.
            said = said_by(error) if stored else " ".join(_ORNAMENT.sub(" ", str(error)).split())
            words = f"the lake at {self.root} cannot be read or written: {said}"
            raise LakeUnusable(
                words, help=mended(self.root, "check its place, its permissions and the space left; then run again")
            ) from None

    def _failed(self, error: Exception) -> bool:
        root = self.root
        if isinstance(error, OSError) and isinstance(error.filename, str):
            return isinstance(root, Path) and Path(error.filename).is_relative_to(root)
        place = str(root).lstrip("/") if isinstance(root, Path) else root.bucket
        return _STORE.search(str(error)) is not None and place in str(error)

    @contextmanager
    def locked(self, pack: str) -> Iterator[None]:
        """Hold the pack's lock. Raises WriteConflict if another process holds it."""
        with held(self.own / "locks" / f"{pack}.lock", pack):
            self._clear(pack)  # left by attempts that died
            try:
                yield
            finally:
                self._clear(pack)

    def _clear(self, pack: str) -> None:
        shutil.rmtree(self._spills / pack, ignore_errors=True)


def open_table(path: Location, version: int | None = None) -> DeltaTable | None:
    """Return a fresh handle of the Delta table at `path`, None if there is none. Raises LakeUnusable."""
    try:
        return DeltaTable(str(path), version=version)
    except TableNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - a broken log surfaces as several kinds
        raise LakeUnusable(
            f"the table at {path} cannot be read: {said_by(error)}",
            help=mended(
                path,
                "`decreta verify` says what to do; what is not a dataset has its log restored from a backup",
            ),
        ) from None


def rows_of(table: DeltaTable, columns: Sequence[str] | None = None, predicate: str | None = None) -> pa.Table:
    """Return rows of a table of the lake's own, as delta-rs reads them. Raises LakeUnusable."""
    try:
        return pa.table(table.scan(columns=None if columns is None else list(columns), predicate=predicate))
    except Exception as error:  # noqa: BLE001 - the reader raises several kinds, bare Exception among them
        place = located(table.table_uri, Path("/"))
        raise LakeUnusable(
            f"the table at {place} cannot be read: {said_by(error)}",
            help=mended(place, "restore its files from a backup, or use another lake"),
        ) from None


def register_by_delta(context: SessionContext, name: str, table: DeltaTable, predicate: str | None = None) -> None:
    """Make a table known to a session as delta-rs itself reads it, or at least its rows that satisfy `predicate`.

    Of a table in a store these rows are read at once: the engine hands its stores to no reader of others.
    Raises LakeUnusable.
    """
    if is_local(table.table_uri):
        context.register_table(name, table)
        return
    rows = rows_of(table, predicate=predicate)
    context.register_record_batches(name, [rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]])


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn what the system or the engine says about a write that fails into LakeUnusable; a lost race stays one."""
    try:
        yield
    except (DecretaError, CommitFailedError):
        raise
    except (OSError, DeltaError) as error:
        words = f"{what} cannot be written: {said_by(error)}"
        raise LakeUnusable(words, help="check its place, its permissions and the space left") from None
