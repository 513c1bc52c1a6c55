"""Where things lie in a lake, the marker that says who may read it, and the lock that one run of a pack holds."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from filelock import FileLock, Timeout

from decreta_runtime.contract.errors import DecretaError, InputInvalid, LakeUnusable, WriteConflict

FORMAT = 1
"""Of the lake's own tables and folders; a lake of a newer format is refused."""

_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\[\]\\^|]|%[0-9A-Fa-f]{2}")
"""What delta-rs 1.6 cannot have in a path: it panics over some of these and decodes others into another place."""

_STORE = re.compile(r"os error \d+|Generic LocalFileSystem error|Object Store error")
"""What the engines' store says of a call of the system that failed."""
_ORNAMENT = re.compile(r"\x1b\[\d+m|↳")


class Lake:
    """A folder: `<pack>/<dataset>/` for each dataset, `_decreta/{runs,ledger,index,spill,locks}/` beside."""

    def __init__(self, path: str) -> None:
        """Name the lake at `path`; touch nothing. Raises InputInvalid if it cannot be a lake's place."""
        self.root = local_path(path, Path.cwd())

    @property
    def own(self) -> Path:
        """The folder of the runtime's own tables."""
        return self.root / "_decreta"

    def dataset(self, pack: str, name: str) -> Path:
        """Return the folder of a dataset's Delta table."""
        return self.root / pack / name

    def index(self, pack: str, dataset: str, index: str) -> Path:
        """Return the folder of an external index of a dataset."""
        return self.own / "index" / pack / dataset / index

    def units(self, pack: str, source: str) -> Path:
        """Return the folder of the listings of a source's units, each named by the fingerprint over them."""
        return self.own / "units" / pack / source

    @property
    def runs(self) -> Path:
        """The table of complete runs."""
        return self.own / "runs"

    @property
    def ledger(self) -> Path:
        """The table of all actions."""
        return self.own / "ledger"

    def spill(self, pack: str, attempt: str) -> Path:
        """Return the folder for what an attempt spills."""
        return self.own / "spill" / pack / attempt

    def bound(self, name: str, uri: str) -> tuple[Path, DeltaTable]:
        """Return the place and a fresh handle of a table of others; a relative `uri` starts at the lake.

        Raises InputInvalid if there is no table, LakeUnusable if it cannot be read.
        """
        path = local_path(uri, self.root)
        table = open_table(path)
        if table is None:
            words = f"`{name}` is bound to {path}, where there is no Delta table"
            raise InputInvalid(words, help=f"bind it: --source {name}=PATH")
        return path, table

    def writable(self) -> bool:
        """Whether the runtime's own folder can be written to."""
        return os.access(self.own, os.W_OK)

    def check_readable(self) -> None:
        """Raise LakeUnusable unless a lake of a known format is here."""
        marker = self.own / "format.json"
        try:
            found = json.loads(marker.read_bytes())["format"]
        except (FileNotFoundError, NotADirectoryError):
            what = "is no lake" if self.root.exists() else "does not exist"
            raise LakeUnusable(
                f"{self.root} {what}", help="run the pack first: `decreta run PACK --lake DIR`"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LakeUnusable(
                f"{marker} cannot be read: {error}", help="restore the file, or use another lake"
            ) from None
        if found != FORMAT:
            raise LakeUnusable(
                f"the lake at {self.root} has format {found}, this runtime reads {FORMAT}",
                help="use the decreta that wrote it, or another lake",
            )

    def prepare(self) -> None:
        """Make this folder a lake, or check that it is one. Raises LakeUnusable."""
        marker = self.own / "format.json"
        with writing(f"the lake at {self.root}"):
            if not marker.exists():
                if self.runs.exists():
                    raise LakeUnusable(f"{self.root} has runs but no {marker}", help="restore the file from a backup")
                self.own.mkdir(parents=True, exist_ok=True)
                fresh = marker.with_name(f"format.{os.getpid()}")
                fresh.write_text(json.dumps({"format": FORMAT}) + "\n")
                fresh.replace(marker)
            (self.own / "locks").mkdir(exist_ok=True)
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
            said = " ".join(_ORNAMENT.sub(" ", str(error)).split())
            words = f"the lake at {self.root} cannot be read or written: {said}"
            raise LakeUnusable(
                words, help="check its place, its permissions and the space left; then run again"
            ) from None

    def _failed(self, error: Exception) -> bool:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            return Path(error.filename).is_relative_to(self.root)
        return _STORE.search(str(error)) is not None and str(self.root).lstrip("/") in str(error)

    @contextmanager
    def locked(self, pack: str) -> Iterator[None]:
        """Hold the pack's lock. The system frees it when the holder dies. Raises WriteConflict if another holds it."""
        path = self.own / "locks" / f"{pack}.lock"
        holder = path.with_suffix(".pid")
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = holder.read_text().strip() if holder.exists() else "unknown"
            raise WriteConflict(
                f"another run of `{pack}` holds this lake (process {who})", help="wait for it to end, then run again"
            ) from None
        except OSError as error:
            words = f"the lock {path} cannot be taken: {error.strerror}"
            raise LakeUnusable(words, help="check its place, its permissions and the space left") from None
        try:
            with writing(f"the lake at {self.root}"):
                holder.write_text(f"{os.getpid()}\n")
            shutil.rmtree(self.own / "spill" / pack, ignore_errors=True)  # left by attempts that died
            yield
        finally:
            shutil.rmtree(self.own / "spill" / pack, ignore_errors=True)
            lock.release()


def local_path(uri: str, start: Path) -> Path:
    """Return the folder that a path or `file://` URI names, from `start` if it is relative, links followed.

    Links are followed here because the engines disagree on what `link/..` is. Raises InputInvalid.
    """
    if "://" in uri and not uri.startswith("file://"):
        raise InputInvalid(
            f"{uri} is not a folder on this machine", help="lakes and tables are folders in this version"
        )
    path = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
    try:
        whole = (start / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputInvalid(f"{uri!r} is no path: {error}", help="name another folder") from None
    if found := _UNUSABLE.search(str(whole)):
        words = f"the Delta engine cannot work below a folder with {found[0]!r} in its name: {str(whole)!r}"
        raise InputInvalid(words, help="move or rename the folder, or name another")
    return whole


def open_table(path: Path | str, version: int | None = None) -> DeltaTable | None:
    """Return a fresh handle of the Delta table at `path`, None if there is none. Raises LakeUnusable."""
    try:
        return DeltaTable(str(path), version=version)
    except TableNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - a broken log surfaces as several kinds
        raise LakeUnusable(
            f"the table at {path} cannot be read: {_words(error)}",
            help="restore its log from a backup, or use another lake",
        ) from None


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn what the system or the engine says about a write that fails into LakeUnusable; a lost race stays one."""
    try:
        yield
    except (DecretaError, CommitFailedError):
        raise
    except (OSError, DeltaError) as error:
        words = f"{what} cannot be written: {_words(error)}"
        raise LakeUnusable(words, help="check its place, its permissions and the space left") from None


def _words(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return strerror or str(error).strip().split("\n")[0]
