"""What the last complete run knew of a source: each unit's fingerprint and group, so that only changed ones are read.

A listing is named by the fingerprint over it, which the run's record holds, and written before that record. It is only
a short cut: one that is missing, or not the one that it is called, means that all units are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from decreta_runtime.adapter import Unit
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.lake import Lake, writing
from decreta_runtime.locations import Location, make_ready, put_new, read, remove
from decreta_runtime.sources import SourceUnits


class Known(msgspec.Struct, frozen=True, array_like=True):
    """One unit of a listing."""

    key: str
    fingerprint: str
    group: int | str | None
    streams: tuple[str, ...] | None

    def feeds(self, stream: str) -> bool:
        """Whether it may have rows for a stream."""
        return self.streams is None or stream in self.streams


class Changed(msgspec.Struct, frozen=True):
    """The units of a source that are not as they were."""

    added: tuple[Unit, ...]
    changed: tuple[Unit, ...]
    gone: tuple[Known, ...]
    before: Mapping[str, Known]
    """Every unit as it was, by its key."""

    def within(self, stream: str) -> Changed:
        """Return those of them that may have rows for a stream, then or now."""

        def feeds(unit: Unit) -> bool:
            known = self.before.get(_text(unit.key))
            now = unit.streams is None or stream in unit.streams
            return now or (known is not None and known.feeds(stream))

        added, changed = tuple(filter(feeds, self.added)), tuple(filter(feeds, self.changed))
        return Changed(added, changed, tuple(unit for unit in self.gone if unit.feeds(stream)), self.before)

    def groups(self) -> set[int | str | None]:
        """Return the groups of all of them, as they were and as they are; None of a unit that is no group."""
        was = {self.before[_text(unit.key)].group for unit in self.changed} | {known.group for known in self.gone}
        return was | {unit.group for unit in (*self.added, *self.changed)}


def keep_listing(lake: Lake, pack: str, source: SourceUnits) -> None:
    """Write the listing of a source, over one of the same units: other code may group them otherwise.

    Raises LakeUnusable.
    """
    path = _path(lake, pack, source.name, source.fingerprint)
    # A unit's key may be any bytes of a path, its escapes included.
    known = [Known(_text(u.key), u.fingerprint, u.group, u.streams) for u in source.units]
    with writing(f"the listing of `{source.name}`"):
        body = msgspec.json.encode(known)
        data = _digest(body) + b"\n" + body
        if read(path) != data:
            make_ready(lake.units(pack, source.name))
            remove(path)
            put_new(path, data)


def forget_listings(lake: Lake, pack: str, current: Mapping[str, str], before: Mapping[str, str]) -> None:
    """Remove the listings that no source has any more; `current` is the fingerprint of each, `before` what it was.

    In an object store, where those of attempts that died are not looked for, the one before.
    """
    kept = {_path(lake, pack, name, fingerprint) for name, fingerprint in current.items()}
    folder = lake.units(pack, "")
    if isinstance(folder, Path):
        for path in folder.glob("*/*") if folder.exists() else ():
            if path not in kept:
                path.unlink(missing_ok=True)
        return
    for old in [_path(lake, pack, name, before[name]) for name in current if name in before]:
        if old not in kept:
            remove(old)


def changed_units(lake: Lake, pack: str, source: SourceUnits, fingerprint: str | None) -> Changed | None:
    """Return what differs from the listing with that fingerprint; None if it cannot be read."""
    known = None if fingerprint is None else _listed(_path(lake, pack, source.name, fingerprint))
    if known is None:
        return None
    before, keys = {unit.key: unit for unit in known}, {_text(unit.key) for unit in source.units}
    added = tuple(unit for unit in source.units if _text(unit.key) not in before)
    there = [unit for unit in source.units if _text(unit.key) in before]
    changed = tuple(unit for unit in there if before[_text(unit.key)].fingerprint != unit.fingerprint)
    return Changed(added, changed, tuple(u for u in known if u.key not in keys), before)


def _listed(path: Location) -> list[Known] | None:
    try:
        digest, _, body = (read(path) or b"").partition(b"\n")
        return msgspec.json.decode(body, type=list[Known]) if digest == _digest(body) else None
    except (LakeUnusable, msgspec.DecodeError):
        return None


def _path(lake: Lake, pack: str, name: str, fingerprint: str) -> Location:
    return lake.units(pack, name) / f"{fingerprint.removeprefix('sha256:')}.json"


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _text(key: str) -> str:
    return key.encode(errors="surrogateescape").decode(errors="backslashreplace")
