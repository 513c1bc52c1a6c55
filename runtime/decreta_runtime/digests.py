"""Digests of a lake's files: a list a table under `_decreta/digests/`, in the form that `sha256sum -c` reads.

A data file and a commit never change once they are written, so one digest, taken right after the write, says for as
long as the file is there whether it still holds what was written. A list is replaced in one step and carries a digest
of itself. It is no part of a commit: one that is lost or broken makes no table unreadable.

Of a lake in an object store none are taken: each file would be asked back as soon as it is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.lake import Lake, open_table, writing
from decreta_runtime.locations import Location

_LOG = "_delta_log"
_NEWEST_CHECKPOINT = f"{_LOG}/_last_checkpoint"
"""The one file of a log that is written over."""
_COMMIT = re.compile(r"(\d{20})\.(json|checkpoint\..*parquet)")
_HEAD = re.compile(r"# digests of (?P<table>.+), table (?P<id>\S*), version (?P<version>\d+)")
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<path>.+)")
_OWN = "# sha256 of the lines above: "


@dataclass(frozen=True)
class Digests:
    """What is known of the files of one table."""

    table: str
    """Its folder, relative to the lake."""
    table_id: str
    version: int
    """The newest version that any of it was taken at."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File, relative to the table's folder → SHA-256 of its bytes."""

    def encoded(self) -> bytes:
        """Return the list as its file holds it."""
        lines = [f"# digests of {self.table}, table {self.table_id}, version {self.version}"]
        lines += [f"{digest}  {self.table}/{path}" for path, digest in sorted(self.files.items())]
        body = "".join(line + "\n" for line in lines)
        return (body + f"{_OWN}{hashlib.sha256(body.encode()).hexdigest()}\n").encode()


def place(lake: Lake, pack: str, table: Path) -> Path:
    """Return where the list of a table stands that `pack` writes: tables of the lake itself have one a pack."""
    root, own = lake.root, lake.own
    assert isinstance(root, Path) and isinstance(own, Path)  # so is the table, which lies below
    relative = table.relative_to(root)
    return own / "digests" / pack / relative.with_name(relative.name + ".sha256")


def read(lake: Lake, pack: str, table: Location) -> Digests | None:
    """Return what is known of a table's files, None if nothing is. Raises LakeUnusable if the list has changed."""
    if not isinstance(table, Path):
        return None
    path = place(lake, pack, table)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LakeUnusable(f"the digests {path} cannot be read: {error.strerror}", help=_ANEW) from None
    found = _decoded(data)
    if found is None or found.encoded() != data:
        raise LakeUnusable(f"the digests {path} are not as they were written", help=_ANEW)
    return found


_ANEW = "remove the file; the next run takes digests anew, of the files as they are then"


def record(lake: Lake, pack: str, path: Location, table: DeltaTable, committed: int | None = None) -> int:
    """Take the digest of each file of a table that has none yet; return how many were taken.

    `committed` is the oldest version that was committed since the last call, if one was: what the list says of it is of
    a log that somebody has taken back. Raises LakeUnusable.
    """
    if not isinstance(path, Path):
        return 0
    known = _known(lake, pack, path, table)
    if committed is not None:
        known = {name: digest for name, digest in known.items() if (at := _version(name)) is None or at < committed}
    wanted = {*data_files(table), *log_files(path)}
    files = {name: digest for name, digest in known.items() if name in wanted or os.path.exists(path / name)}  # noqa: PTH110
    taken = 0
    for name in sorted(wanted - files.keys()):
        if (digest := digest_of(path / name)) is not None:
            files[name], taken = digest, taken + 1
    root = lake.root
    assert isinstance(root, Path)  # the table lies below
    relative = path.relative_to(root).as_posix()
    fresh = Digests(relative, str(table.metadata().id), table.version(), files)
    _replace(place(lake, pack, path), fresh.encoded())
    return taken


def record_all(lake: Lake, manifest: Manifest, tables: Iterable[tuple[Location, DeltaTable]]) -> None:
    """Take the digest of each file that has none: of `tables` that a pack writes, and of its indexes.

    Raises LakeUnusable.
    """
    for path, table in tables:
        record(lake, manifest.pack, path, table)
    for dataset in manifest.datasets():
        for name in manifest.indexes_of(dataset):
            place = lake.index(manifest.pack, dataset, name)
            with contextlib.suppress(LakeUnusable):  # an index that cannot be read holds no run up
                if (index := open_table(place)) is not None:
                    record(lake, manifest.pack, place, index)


def intact(lake: Lake, pack: str, path: Location, table: DeltaTable) -> bool:
    """Whether every data file of a table's version that has a digest still holds what was written."""
    return _changed(lake, pack, path, table, data_files(table)) is None


def require_unchanged(lake: Lake, pack: str, path: Location, table: DeltaTable, names: Iterable[str]) -> None:
    """Raise LakeUnusable if one of some data files no longer holds what was written.

    Its rows are about to be copied into others, and nobody could tell them from what was written then.
    """
    if (name := _changed(lake, pack, path, table, names)) is not None:
        words = f"the file {path / name} is not as it was written, and its rows would be written into others"
        help = "move the file out of the lake and run again: its table is written anew; `verify --data` finds all such"
        raise LakeUnusable(words, help=help)


def _changed(lake: Lake, pack: str, path: Location, table: DeltaTable, names: Iterable[str]) -> str | None:
    """Return one of some data files that has a digest and does not hold what that says, None if there is none."""
    root = lake.root
    if not isinstance(path, Path) or not isinstance(root, Path) or not path.is_relative_to(root):
        return None
    known = _known(lake, pack, path, table)
    return next((name for name in sorted(names) if known.get(name) not in (None, digest_of(path / name))), None)


def data_files(table: DeltaTable) -> list[str]:
    """Return the data files of a table's version, relative to its folder, as the system names them."""
    return [unquote(name) for name in pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()]


def log_files(path: Path) -> list[str]:
    """Return the files of a table's log that its versions are made from, relative to its folder."""
    names = (entry.name for entry in os.scandir(path / _LOG))
    return [f"{_LOG}/{n}" for n in names if _COMMIT.fullmatch(n) or f"{_LOG}/{n}" == _NEWEST_CHECKPOINT]


def part_of(version: int, name: str) -> bool:
    """Whether a file of a log is one that this version may be read from."""
    at = _version(name)
    return at is None or at <= version


def digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a file's bytes, None if it has gone. Raises LakeUnusable if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LakeUnusable(
            f"the file {path} cannot be read: {error.strerror}", help="check its place and its permissions"
        ) from None


def _known(lake: Lake, pack: str, path: Path, table: DeltaTable) -> dict[str, str]:
    """Return the digests that still hold: none of another table that stood here, none of what is written over."""
    try:
        found = read(lake, pack, path)
    except LakeUnusable:
        return {}
    if found is None or found.table_id != str(table.metadata().id):
        return {}
    return {name: digest for name, digest in found.files.items() if name != _NEWEST_CHECKPOINT}


def _version(name: str) -> int | None:
    """Return the version of a file of the log, None of any other file."""
    found = _COMMIT.fullmatch(name.removeprefix(f"{_LOG}/"))
    return int(found[1]) if found else None


def _decoded(data: bytes) -> Digests | None:
    try:
        head, *lines, _ = data.decode().splitlines()
    except ValueError:
        return None
    if (said := _HEAD.fullmatch(head)) is None:
        return None
    found = [_LINE.fullmatch(line) for line in lines]
    files = {m["path"].removeprefix(said["table"] + "/"): m["digest"] for m in found if m is not None}
    return Digests(said["table"], said["id"], int(said["version"]), files)


def _replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file in one step; nothing is written if it holds that already."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with writing(f"the digests {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_bytes(data)
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
