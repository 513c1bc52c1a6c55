"""The one module that binds a pack's names to versions of Delta tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from decreta_runtime.contract.errors import InputInvalid, LakeUnusable
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.scan import Pinned
from decreta_runtime.tally import Tally


class Binding:
    """Names of a pack and the table versions they stand for. Made once for a run or an open pack."""

    def __init__(self, tables: dict[str, Pinned]) -> None:
        self._tables = tables

    def __getitem__(self, name: str) -> Pinned:
        """Return the pinned table of a name. Raises KeyError."""
        return self._tables[name]

    def put(self, pinned: Pinned) -> None:
        """Add the version that this run has written."""
        self._tables[pinned.name] = pinned

    def versions(self) -> dict[str, int]:
        """Return the version of each table, by name."""
        return {name: pinned.version for name, pinned in sorted(self._tables.items())}


def bind_inputs(manifest: Manifest, policy: Policy, lake: Lake, given: Mapping[str, str], tally: Tally) -> Binding:
    """Return the binding that a run starts with: the tables of others, at their newest versions.

    `given` are places named by the caller. Raises InputInvalid, LakeUnusable.
    """
    tally.once("binding")
    tables = {}
    for name, entry in manifest.objects.items():
        if entry.table is not None:
            tables[name] = _newest(name, given.get(name) or policy.table(entry.table).value.uri, lake)
    return Binding(tables)


def bind_run(manifest: Manifest, lake: Lake, run: RunRecord | None, policy: Policy, tally: Tally) -> Binding:
    """Return the binding of a reader: the versions that the last complete run names. Raises LakeUnusable."""
    tally.once("binding")
    if run is None:
        raise LakeUnusable(
            f"the lake at {lake.root} has no complete run of `{manifest.pack}`",
            help="run the pack first: `decreta run`",
        )
    tables = {}
    for name in manifest.datasets():
        if name not in run.versions:
            raise LakeUnusable(f"the last run has no table `{name}`", help="the pack has changed since: run it again")
        entry = manifest.objects.get(name)
        bound = run.sources.get(name) if entry is not None and entry.table is not None else None
        path = Path(bound) if bound else lake.dataset(manifest.pack, name)
        tables[name] = pin(name, path, run.versions[name])
    return Binding(tables)


def pin(name: str, path: Path, version: int) -> Pinned:
    """Return one version of the table at `path`. Raises LakeUnusable if it is gone."""
    table = open_table(path, version)
    if table is None:
        raise LakeUnusable(f"the table `{name}` at {path} is gone", help="restore it, or run the pack again")
    return Pinned(name, path, version, table)


def _newest(name: str, uri: str, lake: Lake) -> Pinned:
    path = Path(uri.removeprefix("file://"))
    path = path if path.is_absolute() else lake.root / path
    table = open_table(path)
    if table is None:
        raise InputInvalid(
            f"`{name}` is bound to {path}, where there is no Delta table", help=f"bind it: --source {name}=PATH"
        )
    return Pinned(name, path, table.version(), table)
