"""Where tables and lakes lie: in a folder of this machine, or in an object store at `s3://BUCKET/KEY`.

The one module that tells the two apart; a folder is a `Path`, so what works on folders alone stays as it is. How a
store is asked, its clients take from the environment by themselves (`access.py`): no credential passes through here.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote as percent_encode
from urllib.parse import unquote

from datafusion import SessionContext
from datafusion.object_store import AmazonS3

from decreta_runtime.access import (
    HELP,
    environment,
    keep_logs_quiet,
    require_exclusive_commits,
    require_settings,
    said_by,
    says_yes,
)
from decreta_runtime.contract.errors import InputInvalid, LakeUnusable

if TYPE_CHECKING:
    from obstore.store import S3Store

_SCHEME = "s3://"
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\[\]\\^|]|%[0-9A-Fa-f]{2}")
"""What delta-rs 1.6 cannot have in a path: it panics over some of these and decodes others into another place."""
_IN_A_KEY = re.compile(r"[\x00-\x1f\x7f\[\]\\^|?#%*]")
"""The same in an object store, where a place is a URL to begin with."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PLAIN = re.compile(r"[\w/.=-]*", re.ASCII)
_PAGE = 1000
"""Objects that a store tells at once."""


class Stored(NamedTuple):
    """A place in an object store, or an object there. `key` has no slash at either end."""

    bucket: str
    key: str

    def __truediv__(self, more: str) -> Stored:
        """Return a place below this one."""
        return Stored(self.bucket, f"{self.key}/{more}".lstrip("/"))

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.split("/")[-1]


Location = Path | Stored


def located(uri: str, start: Location) -> Location:
    """Return the place that a path, `file://` or `s3://` URI names, from `start` if it is relative, links followed.

    Links are followed here because the engines disagree on what `link/..` is. Raises InputInvalid.
    """
    if uri.startswith(_SCHEME):
        return _stored(uri)
    if "://" in uri and not uri.startswith("file://"):
        scheme = uri.partition("://")[0]
        words = f"a place of scheme `{scheme}` is neither a folder on this machine nor in an S3 object store"
        raise InputInvalid(words, help="name a folder or s3://BUCKET/PATH")
    if isinstance(start, Stored) and not uri.startswith(("file://", "/")):
        return _stored(f"{_SCHEME}{start.bucket}/{posixpath.normpath(f'{start.key}/{uri}')}")
    path = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
    try:
        whole = (start / path if isinstance(start, Path) else Path(path)).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputInvalid(f"{uri!r} is no path: {error}", help="name another folder") from None
    if found := _UNUSABLE.search(str(whole)):
        words = f"the Delta engine cannot work below a folder with {found[0]!r} in its name: {str(whole)!r}"
        raise InputInvalid(words, help="move or rename the folder, or name another")
    return whole


def _stored(uri: str) -> Stored:
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if "@" in bucket:
        words = "a place in an object store is named with credentials in it, which would be kept where it is written"
        help = "name it s3://BUCKET/PATH, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
        raise InputInvalid(words, help=help)
    if not _BUCKET.fullmatch(bucket):
        raise InputInvalid(f"{bucket!r} cannot be a bucket's name", help="name a place as s3://BUCKET/PATH")
    key = key.rstrip("/")
    if found := _IN_A_KEY.search(key):
        words = f"the Delta engine cannot work below a place with {found[0]!r} in its name: {uri!r}"
        raise InputInvalid(words, help="name another place")
    if {"", ".", ".."} & set(key.split("/")):
        raise InputInvalid(f"{uri!r} names no place in a bucket", help="name it s3://BUCKET/PATH, without `..` or `//`")
    require_settings()
    return Stored(bucket, key)


def is_local(uri: str) -> bool:
    """Whether a table's URI, as delta-rs tells it, is of a folder on this machine."""
    return uri.startswith("file://")


def sql_place(path: str) -> str:
    """Return a file or folder as a URL in SQL: in a path `*`, `?` and `[` are patterns, and one of none is no table."""
    if path.startswith(_SCHEME):
        return f"'{_SCHEME}{percent_encode(path.removeprefix(_SCHEME), safe='/')}'"
    return f"'file://{percent_encode(path, safe='/')}'"


def shown(location: Location) -> str:
    """Return a place as the engine's plans and its `input_file_name()` begin with it, without scheme and bucket."""
    return (location.key if isinstance(location, Stored) else str(location)).strip("/") + "/"


def named(location: Location, path: str) -> str:
    """Return a file of a place, as the engine writes it in its metrics, by its whole name."""
    return f"{_SCHEME}{location.bucket}/{path}" if isinstance(location, Stored) else f"/{path.lstrip('/')}"


def planned(location: Location, path: str) -> str:
    """Return a file of a place as the engine's plans write it: of a store without the bucket."""
    return path.removeprefix(f"{_SCHEME}{location.bucket}/" if isinstance(location, Stored) else "/")


def told(location: Location, path: str) -> str:
    """Return a file of a place, as `input_file_name()` tells it, in the way that `shown` writes the place."""
    if isinstance(location, Stored):
        return planned(location, path)
    return unquote(path.removeprefix("file://")).lstrip("/")


def open_in(context: SessionContext, location: Location) -> None:
    """Let a session read the files of a place."""
    if isinstance(location, Stored):
        keep_logs_quiet()
        context.register_object_store(_SCHEME, _engine_store(location.bucket, environment()), None)


def missing(location: Location, files: Sequence[str]) -> str | None:
    """Return one of the `files` of a table at `location` that is not there, None if all are. Raises LakeUnusable."""
    if isinstance(location, Path):
        # `os.path`, as this is asked for each file of each look-up.
        return next((path for path in files if not os.path.exists(path)), None)  # noqa: PTH110
    wanted = {path: planned(location, path) for path in files}
    found = _listed(location, set(wanted.values())) if wanted else set()
    return next((path for path, key in wanted.items() if key not in found), None)


def _listed(location: Stored, keys: set[str]) -> set[str]:
    """Return the objects between the first and the last of `keys`: one listing, of a thousand to a request."""
    import obstore

    first, last = min(keys), max(keys)
    plain = _PLAIN.match(first[:-1])
    offset, found = (plain[0] if plain else "") or None, set[str]()
    with _asking(location):
        # Whatever is listed comes after the offset, so that a few files of many are found by one request.
        for chunk in obstore.list(_store(location.bucket), location.key, offset=offset, chunk_size=_PAGE):
            found.update(str(entry["path"]) for entry in chunk)
            if chunk and str(chunk[-1]["path"]) >= last:
                break
    return found


def read(location: Location) -> bytes | None:
    """Return the bytes of a file, None if there is none. Raises LakeUnusable."""
    if isinstance(location, Path):
        try:
            return location.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LakeUnusable(f"{location} cannot be read: {error.strerror}", help="check its permissions") from None
    import obstore

    try:
        with _asking(location):
            return bytes(obstore.get(_store(location.bucket), location.key).bytes())
    except FileNotFoundError:
        return None


def open_parts(location: Location, size: int) -> Path | io.RawIOBase:
    """Return what a reader of parts of a file can open; `size` are its bytes, which a store then need not tell."""
    return location if isinstance(location, Path) else _Parts(location, size)


class _Parts(io.RawIOBase):
    """An object as a file of which each read is one request. Raises LakeUnusable, FileNotFoundError."""

    def __init__(self, location: Stored, size: int) -> None:
        self._location, self._size, self._at = location, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, into: Any) -> int:
        import obstore

        length = min(len(into), self._size - self._at)
        if length <= 0:
            return 0
        with _asking(self._location):
            part = obstore.get_range(_store(self._location.bucket), self._location.key, start=self._at, length=length)
        into[: len(part)] = bytes(part)
        self._at += len(part)
        return len(part)


def put_new(location: Location, data: bytes) -> bool:
    """Write a file unless there is one; say whether it was written. Of several at once one alone writes an object."""
    if isinstance(location, Path):
        fresh = location.with_name(f"{location.name}.{os.getpid()}")
        fresh.write_bytes(data)
        fresh.replace(location)  # whole, or not at all
        return True
    import obstore
    from obstore.exceptions import AlreadyExistsError

    try:
        with _asking(location):
            obstore.put(_store(location.bucket), location.key, data, mode="create")
    except AlreadyExistsError:
        return False
    return True


def swap(location: Stored, old: bytes, new: bytes) -> bool:
    """Write an object in the place of one that is `old` and stays so until then; say whether it was written."""
    import obstore
    from obstore.exceptions import PreconditionError

    store = _store(location.bucket)
    try:
        with _asking(location):
            found = obstore.get(store, location.key)
            tag = found.meta["e_tag"]
            if tag is None or bytes(found.bytes()) != old:
                return False
            obstore.put(store, location.key, new, mode={"e_tag": tag})
    except (FileNotFoundError, PreconditionError):
        return False
    return True


def remove(location: Location) -> None:
    """Delete a folder or an object and all below it, as far as that can be done."""
    if isinstance(location, Path):
        shutil.rmtree(location, ignore_errors=True)
        return
    import obstore

    store = _store(location.bucket)
    with _asking(location):
        below = [str(entry["path"]) for entry in obstore.list(store, location.key).collect()]
        obstore.delete(store, below or [location.key])


def exists(location: Location) -> bool:
    """Whether there is a folder, or any object below a place. Raises LakeUnusable."""
    if isinstance(location, Path):
        return location.exists()
    import obstore

    with _asking(location):
        return any(chunk for chunk in obstore.list(_store(location.bucket), location.key, chunk_size=1))


def make_ready(location: Location) -> None:
    """Make a folder that is to be written to; of a store, see that the environment lets it be written to safely."""
    if isinstance(location, Path):
        location.mkdir(parents=True, exist_ok=True)
    else:
        require_exclusive_commits()


def writable(location: Location) -> bool:
    """Whether a folder can be written to; of a store that is known by trying alone."""
    return not isinstance(location, Path) or os.access(location, os.W_OK)


def local_folder(location: Location, owner: object) -> Path:
    """Return a folder on this machine for what would lie at `location`: itself, or one that goes with `owner`."""
    if isinstance(location, Path):
        return location
    folder = Path(tempfile.mkdtemp(prefix="decreta-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def _asking(location: Location) -> Iterator[None]:
    """Turn what an object store says, other than of conditions and objects that are not there, into LakeUnusable."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (FileNotFoundError, AlreadyExistsError, PreconditionError):
        raise
    except BaseError as error:
        raise LakeUnusable(f"{location} cannot be reached: {said_by(error)}", help=HELP) from None


def mended(location: Location, help: str) -> str:
    """Return what to do about a place that cannot be read: of a store, look first at how it is asked."""
    return help if isinstance(location, Path) else f"{HELP}; else {help}"


def _store(bucket: str) -> S3Store:
    return _own_store(bucket, environment())


# A store keeps its connections, so each is made once: until the environment says something else.


@cache
def _own_store(bucket: str, environment: int) -> S3Store:
    from obstore.store import S3Store

    return S3Store(bucket)


@cache
def _engine_store(bucket: str, environment: int) -> AmazonS3:
    # What it is not told it takes from the environment, this one setting apart.
    return AmazonS3(bucket_name=bucket, allow_http=says_yes("AWS_ALLOW_HTTP"))
