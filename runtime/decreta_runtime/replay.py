"""Run a package again in a lake of its own, and say what came out otherwise: rows, plans, settings, engines, inputs."""

from __future__ import annotations

import itertools
import math
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from decreta_runtime.archive import ANEW
from decreta_runtime.contract.errors import InputInvalid, PackageInvalid
from decreta_runtime.contract.manifest import ANY
from decreta_runtime.contract.package import Difference, Divergence, PackageIndex, Replayed
from decreta_runtime.contract.records import REPLAYED_EQUAL, RunRecord
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.locations import located
from decreta_runtime.pack import Pack
from decreta_runtime.package import (
    Package,
    Results,
    Values,
    folder_of,
    installed,
    packed_values,
    plans_of,
    results_of,
    table_input,
)
from decreta_runtime.packages import copy_input
from decreta_runtime.record import last_run
from decreta_runtime.scan import Pinned


def replay(package: Package, given: Mapping[str, Sequence[str]], lake: Lake | None = None) -> Replayed:
    """Run a package again and compare. `given` are the places of inputs; else they are its own, else those of `lake`.

    Raises InputInvalid if an input is to be had nowhere, and what a run raises.
    """
    start, index = time.perf_counter(), package.index
    with tempfile.TemporaryDirectory(prefix="decreta-replay-") as scratch:
        folder = package.unpack("pack/", Path(scratch) / "pack")
        places = _places(package, given, lake, Path(scratch) / "inputs")
        with Pack(
            folder, lake=str(Path(scratch) / "lake"), env=index.environment, expect=index.manifest_digest
        ) as pack:
            _require_fit(pack, index)
            tables, decided = list(_of_tables(index, places)), pack.decided(index.workload)
            settings = list(_of_settings(index, pack.settings(index.workload)))
            pack.run(places, workload=index.workload)
            record = last_run(pack.lake, pack.manifest.pack)
            assert record is not None
            inputs = [*_of_sources(index, record), *tables]
            plans, rows = list(_of_plans(pack, index)), list(_of_rows(pack, package, results_of(pack, record)))
    engines = list(_of_engines(index))
    found = [*inputs, *engines, *settings, *plans, *rows]
    # What the policy leaves to the engine follows from the machine, its cores for one, where the engine is the same.
    told = [setting for setting in settings if setting.subject in decided]
    kind = _kind(inputs, engines, told, plans) if rows else None
    first = rows[0] if rows else found[0] if found else None
    seconds = round(time.perf_counter() - start, 6)
    return Replayed(
        fingerprint=package.fingerprint,
        equal=not rows,
        kind=kind,
        first=first,
        differences=tuple(found),
        seconds=seconds,
    )


def _require_fit(pack: Pack, index: PackageIndex) -> None:
    """Refuse an index that says of its pack what that does not say itself. Raises PackageInvalid."""
    manifest = pack.manifest
    bound = {name for name, entry in manifest.objects.items() if entry.table is not None}
    read, datasets = {*pack.adapters()}, {*manifest.objects, *manifest.order}
    varies = {name: entry.varies for name in index.results if (entry := manifest.relations.get(name)) and entry.varies}
    for what, said, fits in (
        ("name", index.pack, index.pack == manifest.pack),
        ("version", index.version, index.version == manifest.version),
        ("policy", index.policy_digest, index.policy_digest == pack.policy.digest),
        ("sources", ", ".join(index.sources), index.sources.keys() == read),
        ("tables of others", ", ".join(index.tables), index.tables.keys() <= bound),
        ("inputs inside", ", ".join(index.roots), index.roots.keys() <= read | bound),
        ("results", ", ".join(index.results), index.results.keys() <= datasets),
        ("columns that vary", str(index.varies), index.varies == varies and _are_shares(varies)),
    ):
        if not fits:
            words = f"the package's index says of its pack what the pack itself does not say, as its {what}: {said}"
            raise PackageInvalid(words, help=ANEW)


def _are_shares(varies: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether all that is said of how far values may differ can be compared by."""
    shares = {share for columns in varies.values() for share in columns.values()} - {ANY}
    return all(re.fullmatch(r"\d+(\.\d+)?", share) for share in shares)


def _kind(
    inputs: Sequence[Difference],
    engines: Sequence[Difference],
    settings: Sequence[Difference],
    plans: Sequence[Difference],
) -> Divergence:
    """Return why rows differ: the first thing that does, in the order in which one follows from the other."""
    if inputs:
        return "input"
    if engines:
        return "engine"
    if settings:
        return "settings"
    return "builder" if plans else "nondeterminism"


def _places(
    package: Package, given: Mapping[str, Sequence[str]], lake: Lake | None, folder: Path
) -> dict[str, list[str]]:
    """Return where the inputs are: as given, else as the package holds them, else copied from the lake."""
    places = package.inputs(folder, given) | {name: list(found) for name, found in given.items()}
    if lake is not None:
        for name in sorted(package.index.tables.keys() - places.keys()):
            places[name] = [str(copy_input(lake, package.index, name, folder / name))]
    return places


def _of_sources(index: PackageIndex, record: RunRecord) -> Iterator[Difference]:
    """Yield sources that the run found otherwise: it has listed them, and once is enough."""
    for name, packed in index.sources.items():
        if record.sources[name] != packed:
            yield Difference(what="source", subject=name, packed=packed, found=record.sources[name])


def _of_tables(index: PackageIndex, places: Mapping[str, Sequence[str]]) -> Iterator[Difference]:
    for name, packed in index.tables.items():
        if name not in places:
            words = f"the package holds no data of the table `{name}`"
            help = (
                f"say where it is: --source {name}=PATH, or the lake that has it: --lake DIR; or package it --with-data"
            )
            raise InputInvalid(words, help=help)
        path = folder_of(name, located(places[name][-1], Path.cwd()))
        table = open_table(path)
        if table is None:
            raise InputInvalid(
                f"there is no Delta table at {path} for `{name}`", help=f"say where: --source {name}=PATH"
            )
        pinned = Pinned(name, path, table.version(), table)
        if changed := packed.differing(table_input(pinned)):
            yield Difference(
                what="table",
                subject=name,
                packed=f"version {packed.version}",
                found=f"version {pinned.version}, others are: {', '.join(changed[:3])}",
            )


def _of_engines(index: PackageIndex) -> Iterator[Difference]:
    here = installed()
    for name, packed in index.engine.items():
        if here.get(name) != packed:
            yield Difference(what="engine", subject=name, packed=packed, found=here.get(name))


def _of_settings(index: PackageIndex, here: Mapping[str, str | None]) -> Iterator[Difference]:
    for name in sorted(index.settings.keys() | here.keys()):
        if index.settings.get(name) != here.get(name):
            yield Difference(what="setting", subject=name, packed=index.settings.get(name), found=here.get(name))


def _of_plans(pack: Pack, index: PackageIndex) -> Iterator[Difference]:
    here = plans_of(pack)
    for name in pack.manifest.order:
        packed, found = index.plans.get(name), here.get(name)
        if packed != found:
            texts = [None if plan is None else msgspec.json.encode(plan).decode() for plan in (packed, found)]
            yield Difference(what="plan", subject=name, packed=texts[0], found=texts[1])


def _of_rows(pack: Pack, package: Package, here: Results) -> Iterator[Difference]:
    for name in (*pack.manifest.objects, *pack.manifest.order):
        packed, found = package.index.results.get(name), here.rows.get(name)
        if packed != found:
            texts = [None if rows is None else msgspec.json.encode(rows).decode() for rows in (packed, found)]
            yield Difference(what="rows", subject=name, packed=texts[0], found=texts[1])
        elif name in package.index.varies:
            yield from _beyond(name, package, here.values.get(name, {}))


def _beyond(name: str, package: Package, here: Values) -> Iterator[Difference]:
    """Yield the columns of a dataset that differ by more than the package allows, with the first such value."""
    packed = packed_values(package, name)
    for column, tolerance in package.index.varies[name].items():
        if tolerance == ANY:
            continue
        values = itertools.zip_longest(packed.get(column, ()), here.get(column, ()))
        apart = next((pair for pair in values if not _within(*pair, float(tolerance))), None)
        if apart is not None:
            yield Difference(what="rows", subject=f"{name}.{column}", packed=repr(apart[0]), found=repr(apart[1]))


def _within(a: float | None, b: float | None, share: float) -> bool:
    if a is None or b is None:
        return a is b
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=share)


def note(package: Package, lake: str, found: Replayed) -> None:
    """Note what a replay came to in the ledger of a lake. Raises LakeUnusable if it cannot be written."""
    with tempfile.TemporaryDirectory(prefix="decreta-replay-") as scratch:
        folder, index = package.unpack("pack/", Path(scratch)), package.index
        with Pack(folder, lake=lake, env=index.environment, expect=index.manifest_digest) as pack:
            action = REPLAYED_EQUAL if found.kind is None else found.kind
            pack.note_replay(found.fingerprint, action, found.seconds, msgspec.to_builtins(found))
