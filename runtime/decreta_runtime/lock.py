"""The lock that one run of a pack holds in a lake: of the system in a folder, an object in a store.

The system frees a lock of its own when the holder dies. An object stays, so it says who holds it: a holder that can be
seen from here to have died is succeeded, any other is named to a person. What a run commits does not rest on this lock
(tables are replaced without a retry, a run is recorded once): it spares runs that would be refused in the end.
"""

from __future__ import annotations

import json
import os
import platform
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from decreta_runtime.contract.errors import LakeUnusable, WriteConflict
from decreta_runtime.locations import Location, Stored, put_new, read, remove, swap

_STARTED = re.compile(r".*\)(?: \S+){19} (\d+)", re.DOTALL)
"""The 22nd field of `/proc/<process>/stat`, the second of which is a name in brackets."""
_WAIT = "wait for it to end, then run again"
_MEND = "check its place, its permissions and the space left"


@contextmanager
def held(place: Location, pack: str) -> Iterator[None]:
    """Hold the lock at `place`. Raises WriteConflict if another process has it, LakeUnusable if none can."""
    with _file(place, pack) if isinstance(place, Path) else _object(place, pack):
        yield


@contextmanager
def _file(path: Path, pack: str) -> Iterator[None]:
    holder = path.with_suffix(".pid")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = (holder.read_text().strip() if holder.exists() else "") or "unknown"
        words = f"another process runs or maintains `{pack}` in this lake (process {who})"
        raise WriteConflict(words, help=_WAIT) from None
    except OSError as error:
        raise LakeUnusable(f"the lock {path} cannot be taken: {error.strerror}", help=_MEND) from None
    try:
        try:
            holder.write_text(f"{os.getpid()}\n")
        except OSError as error:
            raise LakeUnusable(f"{holder} cannot be written: {error.strerror}", help=_MEND) from None
        yield
    finally:
        lock.release()


@contextmanager
def _object(place: Stored, pack: str) -> Iterator[None]:
    mine = json.dumps({"pack": pack, "run": uuid.uuid4().hex, **_self()}).encode()
    if not put_new(place, mine) and (found := read(place)) != mine and not _succeed(place, found, mine):
        words = f"another process runs or maintains `{pack}` in this lake ({_named(found)})"
        raise WriteConflict(words, help=f"{_WAIT}; if that process has died, delete {place} first")
    try:
        if put_new(place, mine):
            words = f"the object store of {place} writes over what it was asked to write only if there is nothing"
            raise LakeUnusable(words, help="keep the lake in a store that obeys `If-None-Match`, or in a folder")
        yield
    finally:
        if read(place) == mine:
            remove(place)


def _succeed(place: Stored, found: bytes | None, mine: bytes) -> bool:
    """Take the lock over if it has gone meanwhile, or if its holder has died; say whether it was taken."""
    if found is None:
        return put_new(place, mine)
    holder, here = _decoded(found), _self()
    return holder.get("machine") == here["machine"] and not _alive(holder) and swap(place, found, mine)


def _self() -> dict[str, Any]:
    """Return what tells this process from others: its machine since it started, with its space of numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine = f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        machine = uuid.uuid4().hex  # nobody can see from elsewhere whether it lives
    return {"host": platform.node(), "machine": machine, "process": os.getpid(), "born": _born(os.getpid())}


def _alive(holder: dict[str, Any]) -> bool:
    """Whether the process that a lock names still runs: its number may have been given to another since."""
    return holder.get("born") is None or _born(holder.get("process", 0)) == holder["born"]


def _born(process: int) -> str | None:
    """Return when a process started, in the system's ticks; None if there is none."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    found = _STARTED.match(stat)
    return found[1] if found else None


def _named(found: bytes | None) -> str:
    holder = _decoded(found or b"")
    return f"process {holder.get('process', 'unknown')} on {holder.get('host', 'an unknown machine')}"


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
