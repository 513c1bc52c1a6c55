"""The one module that binds a pack's names to versions of Delta tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.manifest import QUARANTINE, Manifest
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.locations import Location, located
from decreta_runtime.scan import Pinned
from decreta_runtime.tally import Tally


class Binding:
    """Names of a pack and the table versions they stand for. Made once for a run or an open pack."""

    def __init__(
        self,
        tables: dict[str, Pinned],
        quarantine: dict[str, Pinned] | None = None,
        recorded: Mapping[str, Callable[[], Pinned]] | None = None,
    ) -> None:
        """Bind `tables`, and those `recorded`, whose logs are read when they are first asked for."""
        self._tables, self._recorded = tables, recorded or {}
        self.quarantine = quarantine or {}
        """Dataset -> the table of the rows that its checks took out."""

    def __getitem__(self, name: str) -> Pinned:
        """Return the pinned table of a name. Raises KeyError, and LakeUnusable of a recorded one that is gone."""
        if name not in self._tables:
            self._tables[name] = self._recorded[name]()
        return self._tables[name]

    def put(self, pinned: Pinned) -> None:
        """Add the version that this run has written."""
        self._tables[pinned.name] = pinned

    def tables(self) -> tuple[Pinned, ...]:
        """Return all pinned tables by name."""
        return tuple(self[name] for name in sorted({*self._tables, *self._recorded}))

    def versions(self) -> dict[str, int]:
        """Return the version of each table, by name."""
        return {pinned.name: pinned.version for pinned in self.tables()}

    def bound(self) -> dict[str, str]:
        """Return id and place of each table of others: what finds it again and tells it from one made anew there."""
        return {p.name: f"{p.table_id}@{p.place}" for p in self.tables() if p.place is not None}


def bind_inputs(manifest: Manifest, policy: Policy, lake: Lake, given: Mapping[str, str], tally: Tally) -> Binding:
    """Return the binding that a run starts with: the tables of others, at their newest versions.

    `given` are places named by the caller. Raises InputInvalid, LakeUnusable.
    """
    tally.once("binding")
    tables = {}
    for name, entry in manifest.objects.items():
        if entry.table is not None:
            place = given.get(name) or policy.table(entry.table).value.uri
            path, table = lake.bound(name, place)
            tables[name] = Pinned(name, path, table.version(), table, place)
    return Binding(tables)


def bind_run(manifest: Manifest, lake: Lake, run: RunRecord | None, tally: Tally) -> Binding:
    """Return the binding of a reader: the versions that the last complete run names. Raises LakeUnusable.

    A look-up reads one or two tables of a pack: the logs of the others are not read for it.
    """
    tally.once("binding")
    if run is None:
        raise LakeUnusable(
            f"the lake at {lake.root} has no complete run of `{manifest.pack}`",
            help="run the pack first: `decreta run`",
        )
    for name in manifest.datasets():
        _require_recorded(name, run)
    recorded = {name: partial(_recorded, name, manifest, lake, run) for name in manifest.datasets()}
    return Binding({}, quarantine_of(manifest, lake, run), recorded)


def tables_of(manifest: Manifest, lake: Lake, run: RunRecord) -> list[Pinned]:
    """Return the versions that a run names. Raises LakeUnusable if one is not there."""
    return [_recorded(name, manifest, lake, run) for name in manifest.datasets()]


def quarantine_of(
    manifest: Manifest, lake: Lake, run: RunRecord, names: Collection[str] | None = None
) -> dict[str, Pinned]:
    """Return for each dataset, or those named, the rows set aside that a run names, if it names some.

    Raises LakeUnusable.
    """
    found = ((name, _aside(name, manifest, lake, run)) for name in (manifest.datasets() if names is None else names))
    return {name: pinned for name, pinned in found if pinned is not None}


def whole_tables(manifest: Manifest, lake: Lake, run: RunRecord) -> tuple[list[Pinned], list[str]]:
    """Return the versions that a run names, as far as they and their rows set aside can be read; and other names."""
    whole, lost = [], []
    for name in manifest.datasets():
        try:
            pinned, beside = _recorded(name, manifest, lake, run), _aside(name, manifest, lake, run)
            pinned.require_files()
            if beside is not None:
                beside.require_files()
            whole.append(pinned)
        except LakeUnusable:
            lost.append(name)
    return whole, lost


def _recorded(name: str, manifest: Manifest, lake: Lake, run: RunRecord) -> Pinned:
    """Return the version of a table that a run names. Raises LakeUnusable if it is not there, or not that table."""
    _require_recorded(name, run)
    entry = manifest.objects.get(name)
    if entry is None or entry.table is None:
        known, place = "", None
        path: Location = lake.dataset(manifest.pack, name)
    else:
        known, _, place = run.sources.get(name, "").partition("@")
        path = located(place, lake.root)
    table = open_table(path, run.versions[name])
    if table is None:
        raise LakeUnusable(f"the table `{name}` at {path} is gone", help="restore it, or run the pack again")
    pinned = Pinned(name, path, run.versions[name], table, place)
    if known and pinned.table_id != known:
        raise LakeUnusable(
            f"`{name}` at {path} is another table than the one that the last run read", help="run the pack again"
        )
    return pinned


def _require_recorded(name: str, run: RunRecord) -> None:
    if name not in run.versions:
        raise LakeUnusable(f"the last run has no table `{name}`", help="the pack has changed since: run it again")


def _aside(name: str, manifest: Manifest, lake: Lake, run: RunRecord) -> Pinned | None:
    if name not in run.quarantine:
        return None
    beside, version = name + QUARANTINE, run.quarantine[name]
    path = lake.dataset(manifest.pack, beside)
    table = open_table(path, version)
    if table is None:
        raise LakeUnusable(f"the table `{beside}` at {path} is gone", help="restore it, or run the pack again")
    return Pinned(beside, path, version, table)
