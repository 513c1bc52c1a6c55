"""What must not be vacuumed: versions that the last complete runs or kept packages name, and those that readers have.

A reader leaves a small file in the lake that says which versions it reads and until when. It renews it while it asks,
and takes it away when it closes; one that has died is forgotten when its time is up. A lake that cannot be written to
takes no pins: its readers are protected by the retention alone. So are those of a lake in an object store, whose tables
nobody maintains.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from decreta_runtime.contract.manifest import QUARANTINE, Manifest
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.kept import kept_packages
from decreta_runtime.lake import Lake
from decreta_runtime.locations import Location, located
from decreta_runtime.record import last_runs
from decreta_runtime.scan import Pinned


@dataclass
class ReaderPin:
    """A reader's mark in the lake; nothing if the lake cannot be written to, or has no folder."""

    place: Path | None
    versions: dict[str, int]
    seconds: int
    until: float = field(default=0.0, init=False)

    def renew(self) -> None:
        """Say that the versions are being read for some time more, if the half of that has passed."""
        now = time.time()
        if self.place is None or self.until - now > self.seconds >> 1:
            return
        self.until = now + self.seconds
        with contextlib.suppress(OSError):
            self.place.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.place.with_suffix(".new")
            fresh.write_text(json.dumps({"until": self.until, "versions": self.versions}) + "\n")
            fresh.replace(self.place)

    def release(self) -> None:
        """Take the mark away."""
        with contextlib.suppress(OSError):
            if self.place is not None:
                self.place.unlink(missing_ok=True)


def pin(lake: Lake, tables: Iterable[Pinned], seconds: int) -> ReaderPin:
    """Leave a mark for the versions that a reader has open."""
    return _mark(lake, ((table.path, table.version) for table in tables), seconds)


def pin_run(lake: Lake, run: RunRecord, seconds: int) -> ReaderPin:
    """Leave a mark for the versions that a run names; no table is opened for it."""
    return _mark(lake, named(lake, run), seconds)


def _mark(lake: Lake, versions: Iterable[tuple[Location, int]], seconds: int) -> ReaderPin:
    folder = _folder(lake)
    place = None if folder is None else folder / f"{uuid.uuid4().hex}.json"
    mark = ReaderPin(place, {str(path): version for path, version in versions}, seconds)
    mark.renew()
    return mark


@contextlib.contextmanager
def held(lake: Lake, tables: Sequence[Pinned], seconds: int) -> Iterator[None]:
    """Leave such a mark for as long as something is done."""
    mark = pin(lake, tables, seconds) if tables else None
    try:
        yield
    finally:
        if mark is not None:
            mark.release()


def pin_seconds(manifest: Manifest, policy: Policy) -> int:
    """Return how long a reader of a pack's tables keeps them without a word: as long as any of them asks for."""
    return max(policy.maintenance(name).value.pin_seconds for name in manifest.datasets())


def pinned_versions(lake: Lake, table: Location) -> set[int]:
    """Return the versions of a table that runs, kept packages and readers of this lake hold. Raises LakeUnusable."""
    found = {versions[str(table)] for versions in _read(lake) if str(table) in versions}
    runs = [*last_runs(lake), *(kept.run for kept in kept_packages(lake))]
    return found | {version for run in runs for path, version in named(lake, run) if path == table}


def named(lake: Lake, run: RunRecord) -> Iterable[tuple[Location, int]]:
    """Yield the place and version of each table that a run names."""
    for name, version in run.versions.items():
        _, at, place = run.sources.get(name, "").partition("@")
        yield located(place, lake.root) if at else lake.dataset(run.pack, name), version
    for name, version in run.quarantine.items():
        yield lake.dataset(run.pack, name + QUARANTINE), version


def _read(lake: Lake) -> Iterable[dict[str, int]]:
    """Yield what readers have marked, and take away what nobody has renewed in time."""
    folder = _folder(lake)
    for place in () if folder is None else folder.glob("*.json"):
        try:
            found = json.loads(place.read_bytes())
            if time.time() < found["until"]:
                yield found["versions"]
                continue
        except FileNotFoundError:
            continue  # its reader has just closed
        except (OSError, ValueError, KeyError, TypeError):
            pass  # half a mark of a reader that died: marks are put in their place whole
        place.unlink(missing_ok=True)


def _folder(lake: Lake) -> Path | None:
    folder = lake.own / "pins"
    return folder if isinstance(folder, Path) else None
