"""Archives of packages: members in the order of their names, without times or owners, sealed by a digest of the whole.

They come from anybody. What is in one is looked up before it is unpacked, a member is held against its digest before
it is used, and whatever a hostile one makes zip or a decoder raise is one error.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import quote, unquote_to_bytes

from decreta_runtime.contract.errors import DecretaError, InputInvalid, PackageInvalid
from decreta_runtime.load import digest_of

INDEX = "index.json"
DATA = "data/"
"""Below it are inputs: members that are read one by one, into files."""
_FOLDERS = ("pack/", "locks/", "results/", DATA)
_MEMBERS = 200_000
"""Members that a package may have at most: a run of a large source tree has some ten thousand."""
_BYTES = 16 << 30
"""Bytes that they may have at most when unpacked."""
_HELD = 512 << 20
"""Bytes that those may have that are held in memory: all but inputs."""
_INDEXED = 64 << 20
"""Bytes that the index may have: it is read before anything is known of the package."""
_SEAL = len(digest_of(b""))
"""Bytes at the end of a package: the digest of all before them."""
_END = 22 + _SEAL
"""Bytes of the last record of the archive, whose comment is the seal."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time that every member has: zip knows none before."""
_CHUNK = 1 << 20
ANEW = "take another copy of the file, or make the package anew"
ROOM = f"is there room where temporary files lie? Else {ANEW}"


@contextmanager
def suspecting(what: str, help: str = ANEW) -> Iterator[None]:
    """Turn whatever a file of others makes its readers raise into PackageInvalid: nobody can list all of it."""
    try:
        yield
    except DecretaError:
        raise
    except Exception as error:  # noqa: BLE001 - zip, its compressors, decoders and the system raise many kinds
        said = getattr(error, "strerror", None) or f"{type(error).__name__} {error}".rstrip()
        raise PackageInvalid(f"{what}: {said}", help=help) from None


def escaped(path: str) -> str:
    """Return the name of the member for a path: what systems or encodings take for something else is escaped."""
    return quote(os.fsencode(path))


def plain(name: str) -> str:
    """Return the path that a member's name, or a part of it, stands for."""
    return os.fsdecode(unquote_to_bytes(name))


def brief(name: str) -> str:
    """Return a name as messages have it: hostile ones may be long."""
    return name if len(name) <= 100 else f"{name[:60]}…{name[-30:]}"


def archived(members: Mapping[str, bytes]) -> bytes:
    """Return the file of a package: the same bytes for the same members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            info.external_attr = (stat.S_IFREG | stat.S_IRUSR | stat.S_IWUSR) << 16
            archive.writestr(info, members[name])
        archive.comment = bytes(_SEAL)
    return sealed(stream.getvalue())


def sealed(data: bytes) -> bytes:
    """Return an archive with the digest of its bytes in the place of its comment: no bit is without a meaning."""
    return data[:-_SEAL] + digest_of(data[:-_SEAL]).encode()


class Archive(Mapping[str, bytes]):
    """The members of a package's file by name, each read when it is asked for, its index apart."""

    def __init__(self, file: Path | bytes) -> None:
        """Open a file and look at what is in it. Raises InputInvalid if there is none, PackageInvalid."""
        self.where = "the package" if isinstance(file, bytes) else str(file)
        if isinstance(file, Path) and not file.is_file():
            words = f"{file} is no file" if file.exists() else f"there is no file {file}"
            raise InputInvalid(words, help="make a package with `decreta package`")
        with suspecting(f"{self.where} is no execution package, or not as it was written"):
            with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
                _require_sealed(stream, self.where)
            self._zip = zipfile.ZipFile(io.BytesIO(file) if isinstance(file, bytes) else file)
            entries = self._zip.infolist()
            _require_sound(self.where, entries)
            self._entries = {entry.filename: entry for entry in entries if entry.filename != INDEX}
            self.index = self._zip.read(INDEX) if len(entries) > len(self._entries) else None

    def __getitem__(self, name: str) -> bytes:
        """Return the bytes of a member. Raises KeyError, PackageInvalid."""
        entry = self._entries[name]
        with suspecting(f"the member `{brief(name)}` of {self.where} cannot be read"):
            return self._zip.read(entry)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def unpack(self, name: str, place: Path, wanted: str) -> None:
        """Write a member into a file that is not there yet, a part at a time, and hold it against its digest.

        Raises PackageInvalid.
        """
        found = hashlib.sha256()
        with suspecting(f"the member `{brief(name)}` of {self.where} cannot be unpacked", help=ROOM):
            place.parent.mkdir(parents=True, exist_ok=True)
            with self._zip.open(self._entries[name]) as source, place.open("xb") as target:
                while part := source.read(_CHUNK):
                    found.update(part)
                    target.write(part)
        self.require(name, f"sha256:{found.hexdigest()}", wanted)

    def require(self, name: str, found: str | None, wanted: str | None) -> None:
        """Raise PackageInvalid unless a member has the digest that the index names."""
        if found is None or wanted is None or not hmac.compare_digest(found.encode(), wanted.encode(errors="replace")):
            raise PackageInvalid(f"the member `{brief(name)}` of {self.where} is not as it was written", help=ANEW)


def _require_sealed(stream: IO[bytes], where: str) -> None:
    """Refuse a file that does not end with the digest of all before, right behind the last record of its archive."""
    rest, found = max(0, stream.seek(0, os.SEEK_END) - _SEAL), hashlib.sha256()
    stream.seek(0)
    while rest and (part := stream.read(min(_CHUNK, rest))):
        found.update(part)
        rest -= len(part)
    seal = stream.read()
    if rest or not hmac.compare_digest(f"sha256:{found.hexdigest()}".encode(), seal):
        raise PackageInvalid(f"{where} is no execution package, or not as it was written", help=ANEW)
    stream.seek(-_END, os.SEEK_END)
    if not stream.read(_END).startswith(b"PK\x05\x06"):
        raise PackageInvalid(f"{where} has bytes behind its archive", help=ANEW)


def _require_sound(where: str, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive whose members would leave their folder, stand twice, or are too many or too large."""
    names = [entry.filename for entry in entries]
    wrong = next((name for name in names if _escapes(name)), None)
    if wrong is not None:
        raise PackageInvalid(f"the member `{brief(wrong)}` of {where} would leave its folder", help=ANEW)
    once = {name if name.startswith(DATA) else name.casefold() for name in names}
    if len(once) < len(names):
        raise PackageInvalid(f"{where} has two members of one name", help=ANEW)
    if any(stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG) for entry in entries):
        raise PackageInvalid(f"{where} has members that are no files", help=ANEW)
    strange = next((entry.filename for entry in entries if _is_strange(entry)), None)
    if strange is not None:
        raise PackageInvalid(f"the member `{brief(strange)}` of {where} is none that packages have", help=ANEW)
    if entries and min(entry.header_offset for entry in entries):
        raise PackageInvalid(f"{where} has bytes before its archive", help=ANEW)
    _require_small(where, entries)


def _require_small(where: str, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive by the sizes that it declares: no more than these is ever read of a member."""
    indexed = sum(entry.file_size for entry in entries if entry.filename == INDEX)
    held = sum(entry.file_size for entry in entries if not entry.filename.startswith(DATA)) - indexed
    if indexed > _INDEXED or held > _HELD:
        words = f"{where} would take more than {_INDEXED:,} bytes of memory for its index or {_HELD:,} for all else"
        raise PackageInvalid(words + " but inputs", help="package a run whose varying columns have fewer rows")
    if len(entries) > _MEMBERS or sum(entry.file_size for entry in entries) > _BYTES:
        words = f"{where} would unpack to more than {_MEMBERS:,} files or {_BYTES:,} bytes"
        raise PackageInvalid(words, help="package a run of smaller inputs, or without data")


def _escapes(name: str) -> bool:
    path = PurePosixPath(name)
    odd = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
    return odd or not path.parts or name != path.as_posix()


def _is_strange(entry: zipfile.ZipInfo) -> bool:
    """Whether a member stands where no package has one, or is named or packed in another way."""
    name = entry.filename
    known = name == INDEX or (name.startswith(_FOLDERS) and escaped(plain(name)) == name)
    return not known or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
