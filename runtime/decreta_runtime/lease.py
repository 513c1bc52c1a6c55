"""One maintainer a table: a lease beside its data, with a token that only grows and a term after which it is void.

It lies in the table's own folder, so that it holds for every lake that binds the table. It keeps maintainers out of
each other's way; that two which both believe to hold it do no harm is the commit's doing: it carries the token as an
application transaction and is refused if any commit came in between.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from decreta_runtime.contract.errors import LakeUnusable, WriteConflict
from decreta_runtime.lake import writing

OWN = "_decreta"
"""Folder of a table that is the runtime's own; readers of Delta pass over it, as over all that begins so."""


@dataclass(frozen=True)
class Lease:
    """What a maintainer holds."""

    place: Path
    token: int

    def holds(self) -> bool:
        """Whether nobody has taken the lease over since."""
        return _state(self.place)[0] == self.token


@contextlib.contextmanager
def leased(table: Path, seconds: int, after: int = 0) -> Iterator[Lease]:
    """Hold the lease of the table in a folder, for `seconds` unless it is given back before.

    Its token is greater than `after`, the one that the table's log has seen: a table that was put back from a copy may
    have come without its lease. One whose holder has died is free at once: the system gives up its lock. Raises
    WriteConflict if another holds it, LakeUnusable if the folder cannot be written.
    """
    place = table / OWN / "lease.json"
    with writing(f"the lease {place}"):
        place.parent.mkdir(exist_ok=True)
        lease, alive = _take(place, seconds, after)
    try:
        yield lease
    finally:
        alive.release()


def _take(place: Path, seconds: int, after: int) -> tuple[Lease, FileLock]:
    # The first lock is held while the lease is taken, the second, of the token alone, for as long as it is held.
    with FileLock(place.with_suffix(".lock")):
        token, until = _state(place)
        now = time.time()
        before = _alive(place, token)
        try:
            before.acquire(timeout=0)
            before.release()
        except Timeout:
            if now < until:
                words = f"another maintainer holds the lease {place} (token {token})"
                raise WriteConflict(words, help="wait for it to end, then maintain again") from None
        taken = Lease(place, max(token, after) + 1)
        mine = _alive(place, taken.token)
        mine.acquire(timeout=0)
        fresh = place.with_suffix(".new")
        fresh.write_text(json.dumps({"token": taken.token, "until": now + seconds}) + "\n")
        fresh.replace(place)
        Path(before.lock_file).unlink(missing_ok=True)
        return taken, mine


def _alive(place: Path, token: int) -> FileLock:
    return FileLock(place.with_name(f"{place.stem}.{token}.lock"))


def _state(place: Path) -> tuple[int, float]:
    """Return the token given last and when its term ends; no token before the first."""
    try:
        found = json.loads(place.read_bytes())
        return int(found["token"]), float(found["until"])
    except FileNotFoundError:
        return 0, 0.0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeUnusable(f"the lease {place} cannot be read: {error}", help="remove the file") from None
