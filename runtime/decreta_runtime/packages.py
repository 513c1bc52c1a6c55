"""What a lake has of a package: the run that it is of, and the tables of others that it names, at their versions."""

from __future__ import annotations

import shutil
from pathlib import Path

from decreta_runtime.contract.errors import InputInvalid, LakeUnusable
from decreta_runtime.contract.package import KeptPackage, PackageIndex
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.digests import data_files
from decreta_runtime.kept import kept_logs, put_kept, put_log
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.locations import Location, located
from decreta_runtime.package import Package, folder_of, log_of, table_input
from decreta_runtime.pins import named
from decreta_runtime.record import runs_of_pack
from decreta_runtime.scan import Pinned


def keep(lake: Lake, package: Package) -> KeptPackage:
    """Let a lake keep the versions of all tables that a package's run has read and written.

    Raises InputInvalid if the run is none of this lake, LakeUnusable if one of its tables is no more what it was.
    """
    lake.check_readable()
    with lake.locked(package.index.pack):  # no maintenance of these tables until the file is there
        run = _run_of(lake, package.index)
        read = [_found(lake, package.index, name) for name in package.index.tables]
        for path, version in named(lake, run):
            if path not in {pinned.path for pinned, _ in read}:
                _require_whole(path, version)
        for pinned, log in read:
            if log == pinned.path:
                put_log(lake, pinned.table_id, pinned.version, log, log_of(log, pinned.version))
        kept = KeptPackage(fingerprint=package.fingerprint, run=run)
        put_kept(lake, kept)
    return kept


def _require_whole(path: Location, version: int) -> None:
    if (table := open_table(path, version)) is None:
        raise LakeUnusable(f"the table at {path} is gone", help="keep a package before its tables go")
    Pinned(path.name, path, version, table).require_files()


def _run_of(lake: Lake, index: PackageIndex) -> RunRecord:
    """Return the run of a lake that a package is of: the same in all that the package says of its inputs."""
    tables = {name: (table.table_id, table.version) for name, table in index.tables.items()}
    wanted = (index.run_seq, index.manifest_digest, index.policy_digest, index.sources, tables)
    for run in runs_of_pack(lake, index.pack):
        sources = {name: run.sources.get(name) for name in index.sources}
        read = {name: (_identity(run, name), run.versions.get(name)) for name in tables}
        if (run.run_seq, run.manifest_digest, run.policy_digest, sources, read) == wanted:
            return run
    words = f"the lake at {lake.root} has no run {index.run_seq} of `{index.pack}` with the package's inputs"
    raise InputInvalid(words, help="name the lake that the package was made of")


def _identity(run: RunRecord, name: str) -> str:
    return run.sources.get(name, "").partition("@")[0]


def copy_input(lake: Lake, index: PackageIndex, name: str, folder: Path) -> Path:
    """Copy a table of others into a folder as it was at the package's version, each file checked; return the folder.

    Its log ends there, so that whoever opens the copy has that version. Raises InputInvalid if it is gone, or another.
    """
    packed, (pinned, log) = index.tables[name], _at_hand(lake, index, name)
    for start, names in ((folder_of(name, pinned.path), data_files(pinned.table)), (log, log_of(log, packed.version))):
        for at in names:
            _copy(start, at, folder)
    table = open_table(folder, packed.version)
    assert table is not None  # it has just been opened by the same log
    if changed := packed.differing(table_input(Pinned(name, folder, packed.version, table))):
        words = f"the table `{name}` at {pinned.path} is not what the package names: {changed[0]}"
        raise InputInvalid(words, help=f"restore it, or say where a copy is: --source {name}=PATH")
    return folder


def _copy(start: Path, at: str, folder: Path) -> None:
    place = folder / at
    if not place.is_relative_to(folder) or ".." in place.parts:
        words = f"the table at {start} has a data file outside of its folder: {at!r}"
        raise InputInvalid(words, help="package the run --with-data of a table that holds its own files")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(start / at, place)


def _at_hand(lake: Lake, index: PackageIndex, name: str) -> tuple[Pinned, Path]:
    """Return a table of others at the package's version, and the folder of its log. Raises InputInvalid."""
    lake.check_readable()
    try:
        return _found(lake, index, name)
    except LakeUnusable as error:
        raise InputInvalid(error.message, help=_COPY.format(name)) from None


_COPY = "say where a copy is: --source {}=PATH; `decreta packages keep` keeps what packages need"


def _found(lake: Lake, index: PackageIndex, name: str) -> tuple[Pinned, Path]:
    """The same. Raises LakeUnusable if it is gone, InputInvalid if no run of the lake has read it."""
    packed = index.tables[name]
    runs = [run for run in runs_of_pack(lake, index.pack) if _identity(run, name) == packed.table_id]
    if not runs:
        words = f"no run in the lake at {lake.root} has read the package's table `{name}`"
        raise InputInvalid(words, help=_COPY.format(name))
    path = located(runs[-1].sources[name].partition("@")[-1], lake.root)
    try:
        log = kept_logs(lake, packed.table_id).get(packed.version, path)
        table = open_table(log, packed.version)
        if table is None or str(table.metadata().id) != packed.table_id:
            raise LakeUnusable(f"there is {'none' if table is None else 'another'} now")
        pinned = Pinned(name, path, packed.version, table)
        pinned.require_files()
    except LakeUnusable as error:
        words = f"version {packed.version} of the table `{name}` at {path} is gone: {error.message}"
        raise LakeUnusable(words, help="keep a package before its tables go") from None
    return pinned, log if isinstance(log, Path) else folder_of(name, path)
