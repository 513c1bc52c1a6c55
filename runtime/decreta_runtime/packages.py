"""What a lake has of a package: the run that it is of, and the tables of others that it names, at their versions."""

from __future__ import annotations

import shutil
from pathlib import Path

from decreta_runtime.contract.errors import InputInvalid, LakeUnusable
from decreta_runtime.contract.package import KeptPackage, PackageIndex, TableInput
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.kept import put_kept
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.load import digest_of
from decreta_runtime.locations import located
from decreta_runtime.package import Package, table_files
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
        for path, version in named(lake, run):
            if (table := open_table(path, version)) is None:
                raise LakeUnusable(f"the table at {path} is gone", help="keep a package before its tables go")
            Pinned(path.name, path, version, table).require_files()
        kept = KeptPackage(fingerprint=package.fingerprint, run=run)
        put_kept(lake, kept)
    return kept


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
    packed = index.tables[name]
    pinned = _pinned(lake, index, name, packed)
    digests = {}
    for at in table_files(pinned):
        place = folder / at
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(str(pinned.path)) / at, place)
        digests[at] = digest_of(place.read_bytes())
    if changed := packed.differing(digests):
        words = f"the table `{name}` at {pinned.path} is not what the package names: {changed[0]}"
        raise InputInvalid(words, help=f"restore it, or say where a copy is: --source {name}=PATH")
    return folder


def _pinned(lake: Lake, index: PackageIndex, name: str, packed: TableInput) -> Pinned:
    lake.check_readable()
    help = f"say where a copy is: --source {name}=PATH; `decreta packages keep` keeps what packages need"
    runs = [run for run in runs_of_pack(lake, index.pack) if _identity(run, name) == packed.table_id]
    if not runs:
        raise InputInvalid(f"no run in the lake at {lake.root} has read the package's table `{name}`", help=help)
    _, _, place = runs[-1].sources[name].partition("@")
    path = located(place, lake.root)
    try:
        table = open_table(path, packed.version)
        if table is None or str(table.metadata().id) != packed.table_id:
            raise LakeUnusable(f"there is {'none' if table is None else 'another'} now")
        pinned = Pinned(name, path, packed.version, table)
        pinned.require_files()
    except LakeUnusable as error:
        words = f"version {packed.version} of the table `{name}` at {path} is gone: {error.message}"
        raise InputInvalid(words, help=help) from None
    return pinned
