"""Execution packages: one run written into a file that is the same each time, and read again with every byte checked.

A package is an archive whose index names the digest of each member; its fingerprint is a digest over the index's five
parts: whoever asks for a fingerprint gets that very code and data, or an error. Nothing in it is executed before that,
and nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from msgspec import structs

from decreta_runtime import archive
from decreta_runtime.archive import ANEW, DATA, INDEX, ROOM, Archive, brief, escaped, plain, suspecting
from decreta_runtime.contract.errors import DigestMismatch, InputInvalid, PackageInvalid
from decreta_runtime.contract.manifest import ANY, RUN_WORKLOAD
from decreta_runtime.contract.package import PACKAGE_FORMAT, PackageIndex, Parts, PlanPrints, Rows, TableInput
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.digests import data_files, log_files, part_of
from decreta_runtime.digests import digest_of as digest_of_file
from decreta_runtime.load import digest_of
from decreta_runtime.locations import Location
from decreta_runtime.pack import Pack
from decreta_runtime.pin import tables_of
from decreta_runtime.record import runs_of_pack
from decreta_runtime.rowdigest import loose_values, rows_digest
from decreta_runtime.scan import Pinned
from decreta_runtime.sources import files_of, split_root

Values = dict[str, list[float | None]]
"""Column → its values, in an order that follows from the rows."""
_ENGINES = ("datafusion", "deltalake", "pyarrow")
"""What rows may depend on, beside Python, whose syntax a pack's own code may read."""


@dataclass(frozen=True)
class Package:
    """A package whose every member is the one that its index names."""

    index: PackageIndex
    members: Mapping[str, bytes]
    """All but the inputs."""
    whole: Archive
    """The file that it was read from, which the inputs are taken from."""

    @property
    def parts(self) -> Parts:
        """The digests of its five parts."""
        return parts_of(self.index)

    @property
    def fingerprint(self) -> str:
        """The digest that names it."""
        return fingerprint_of(self.index)

    def unpack(self, prefix: str, folder: Path) -> Path:
        """Write the members below `prefix` into a folder, and return it. Raises PackageInvalid."""
        for name, data in self.members.items():
            if name.startswith(prefix):
                path = folder / plain(name.removeprefix(prefix))
                with suspecting(f"the member `{brief(name)}` of the package cannot be unpacked", help=ROOM):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("xb") as target:
                        target.write(data)
        return folder

    def inputs(self, folder: Path, known: Collection[str] = ()) -> dict[str, list[str]]:
        """Write the inputs whose data it holds into a folder, but for those `known`, and return their places.

        Raises PackageInvalid if one is not as it was written.
        """
        for member, digest in self.index.members.items():
            name = member.removeprefix(DATA).partition("/")[0]
            if member.startswith(DATA) and name not in known:
                self.whole.unpack(member, folder / plain(member.removeprefix(DATA)), digest)
        return {name: list(self._places(name, folder)) for name in self.index.roots if name not in known}

    def _places(self, name: str, folder: Path) -> Iterable[str]:
        for root in self.index.roots[name]:
            path = folder / name / plain(root)
            yield str(path) if name in self.index.tables else f"{root.partition('/')[0]}:{path}"


def parts_of(index: PackageIndex) -> Parts:
    """Return the digests of the five parts of a package."""
    apart = ("pack/policy/", DATA, "results/")
    code = {name: digest for name, digest in index.members.items() if not name.startswith(apart)}
    inputs = [index.sources, msgspec.to_builtins(index.tables), msgspec.to_builtins(index.roots)]
    data = {name: digest for name, digest in index.members.items() if name.startswith((DATA, "results/"))}
    results = [msgspec.to_builtins(index.results), index.varies]
    return Parts(
        semantic_manifest=_digest([index.format, index.pack, index.version, index.manifest_digest, code]),
        execution_policy=_digest([index.environment, index.policy_digest]),
        runtime_capability=_digest(index.engine),
        plan_bundle=_digest([msgspec.to_builtins(index.plans), *inputs, data, *results]),
        session_config=_digest([index.workload, index.settings]),
    )


def fingerprint_of(index: PackageIndex) -> str:
    """Return the digest that names a package."""
    return _digest(msgspec.to_builtins(parts_of(index)))


def make_package(
    pack: Pack, given: Mapping[str, Sequence[str]], run_seq: int | None = None, *, with_data: bool = False
) -> bytes:
    """Return the package of a complete run, the last one if none is named; `given` are the places of its inputs.

    Raises InputInvalid if there is no such run, if it is of another manifest or policy, or if its inputs are no more
    what they were; LakeUnusable if its tables are gone.
    """
    record = _run_of(pack, run_seq)
    sources, data, roots = _sources(pack, record, pack.places(given), with_data)
    tables, more = _tables(pack, record, with_data)
    data |= more
    roots |= dict.fromkeys(tables if with_data else (), ("main",))
    members = {f"pack/{escaped(path)}": body for path, body in pack.files().items()} | data
    results = results_of(pack, record)
    members |= {_values_member(name): json.dumps(found).encode() for name, found in results.values.items()}
    members |= {f"locks/{escaped(path.name)}": path.read_bytes() for path in _locks(pack)}
    index = PackageIndex(
        format=PACKAGE_FORMAT,
        pack=record.pack,
        version=pack.manifest.version,
        environment=record.environment,
        workload=RUN_WORKLOAD,
        run_seq=record.run_seq,
        manifest_digest=record.manifest_digest,
        policy_digest=record.policy_digest,
        engine=installed(),
        settings=pack.settings(RUN_WORKLOAD),
        sources=sources,
        tables=tables,
        roots=roots,
        plans=plans_of(pack),
        results=results.rows,
        varies={name: dict(pack.manifest.relations[name].varies) for name in results.values},
        members={name: digest_of(members[name]) for name in sorted(members)},
    )
    made = archived(index, members)
    _require_inputs(pack, record, _opened(made))
    return made


def _require_inputs(pack: Pack, record: RunRecord, package: Package) -> None:
    """Refuse a package whose sources, once unpacked, are not what the run read: it would never replay to the same."""
    with tempfile.TemporaryDirectory(prefix="decreta-package-") as scratch:
        places, adapters = package.inputs(Path(scratch), package.index.tables), pack.adapters()
        for name, found in places.items():
            if pack.units(name, adapters[name], found).fingerprint != record.sources[name]:
                words = f"what is packed of the source `{name}` is not what run {record.run_seq} read of it"
                raise InputInvalid(words + ", as its adapter finds other units in a copy of its files", help=_WITHOUT)


def installed() -> dict[str, str]:
    """Return the versions of the engines that run here, and of Python."""
    return {"python": platform.python_version(), **{name: version(name) for name in _ENGINES}}


def plans_of(pack: Pack) -> dict[str, PlanPrints]:
    """Return digests of the plans of each relation's statement over the last complete run."""
    return {
        name: PlanPrints(logical=digest_of(logical.encode()), optimized=digest_of(optimized.encode()))
        for name, (logical, optimized) in pack.plans().items()
    }


class Results(NamedTuple):
    """What a run has written."""

    rows: dict[str, Rows]
    """Dataset → the digest of its rows without the columns that vary."""
    values: dict[str, Values]
    """Dataset in which something varies → the values of the columns that may differ by a share."""


def results_of(pack: Pack, record: RunRecord) -> Results:
    """Return what each dataset holds that a run has written. Raises LakeUnusable."""
    found = Results({}, {})
    for pinned in tables_of(pack.manifest, pack.lake, record):
        if pinned.place is None and not _bound(pack, pinned.name):
            pinned.require_files()
            rows = pa.table(pinned.table.scan())
            entry = pack.manifest.relations.get(pinned.name)
            varies = {} if entry is None else entry.varies
            exact = rows.select([name for name in rows.column_names if name not in varies])
            # Without a column a table has no rows, and they count even if all that is in them varies.
            digest = rows_digest(exact.to_batches(), exact.schema)
            found.rows[pinned.name] = structs.replace(digest, count=rows.num_rows)
            if varies:
                measured = rows.drop_columns([name for name, tolerance in varies.items() if tolerance == ANY])
                found.values[pinned.name] = loose_values(measured, [n for n in varies if n in measured.column_names])
    return found


def packed_values(package: Package, name: str) -> Values:
    """Return the values of a dataset's varying columns as a package has them. Raises PackageInvalid."""
    with suspecting(f"the package's values of `{name}` cannot be read"):
        return msgspec.convert(json.loads(package.members[_values_member(name)]), type=Values)


def _values_member(name: str) -> str:
    return f"results/{name}.json"


def _bound(pack: Pack, name: str) -> bool:
    return name in pack.manifest.objects and pack.manifest.objects[name].table is not None


def _run_of(pack: Pack, run_seq: int | None) -> RunRecord:
    pack.lake.check_readable()
    runs = runs_of_pack(pack.lake, pack.manifest.pack)
    found = runs[-1:] if run_seq is None else [run for run in runs if run.run_seq == run_seq]
    if not found:
        known = f"its runs are {runs[0].run_seq} to {runs[-1].run_seq}" if runs else "run it first: `decreta run`"
        which = "no complete run" if run_seq is None else f"no complete run {run_seq}"
        raise InputInvalid(f"the lake has {which} of `{pack.manifest.pack}`", help=known)
    (record,) = found
    for what, ran, here in (
        ("manifest", record.manifest_digest, pack.digest),
        ("policy", record.policy_digest, pack.policy.digest),
    ):
        if ran != here:
            words = f"run {record.run_seq} ran by another {what} ({ran}) than the pack here has ({here})"
            raise InputInvalid(words, help="package it where that pack is, or run again and package that run")
    return record


def _sources(
    pack: Pack, record: RunRecord, places: Mapping[str, Sequence[str]], with_data: bool
) -> tuple[dict[str, str], dict[str, bytes], dict[str, tuple[str, ...]]]:
    """Return the fingerprint of each source; with data its roots and the members of its files too."""
    sources, data, roots = {}, dict[str, bytes](), dict[str, tuple[str, ...]]()
    for name, adapter in pack.adapters().items():
        sources[name] = record.sources[name]
        if not with_data:
            continue
        at = list(places.get(name) or pack.policy.source(name).value.roots)
        found = pack.units(name, adapter, at)
        if found.fingerprint != record.sources[name]:
            words = f"the source `{name}` at {', '.join(at)} is not what run {record.run_seq} read"
            raise InputInvalid(words, help="put it back, name its place by --source, or package without data")
        files = files_of(found)
        for root, path in map(split_root, at):
            place, bodies = _below(name, Path(path).expanduser().absolute(), files[root])
            whole = f"{root}/{escaped(place)}"
            roots[name] = (*roots.get(name, ()), whole)
            data |= {f"{DATA}{name}/{whole}{escaped(below)}": body for below, body in bodies.items()}
    return sources, data, roots


def _below(name: str, top: Path, files: Iterable[Path]) -> tuple[str, dict[str, bytes]]:
    """Return the last part of a root's path, and the bytes of the files that its units are read from.

    Each file is named by what comes behind that path, with the slash. What is given may be no path but a word that the
    adapter knows a place for, as the name of an installed package: then it is the folder that all files are below.
    """
    wanted = sorted({file.absolute() for file in files})
    top = top if top.exists() else Path(os.path.commonpath([file.parent for file in wanted]))
    outside = next((file for file in wanted if not file.is_relative_to(top)), None)
    if outside is not None:
        words = f"the source `{name}` reads {str(outside)!r}, which is not below its place {str(top)!r}"
        raise InputInvalid(words, help=_WITHOUT)
    try:
        bodies = {"" if file == top else f"/{file.relative_to(top)}": file.read_bytes() for file in wanted}
    except OSError as error:
        words = f"the file {error.filename!r} of the source `{name}` cannot be read: {error.strerror}"
        raise InputInvalid(words, help="let it be read, or package without data") from None
    return top.name if top.name not in ("", "..") else top.resolve().name or "root", bodies


_WITHOUT = "package without data, and keep the source where a replay finds it: --source NAME=[ROOT:]PATH"


def _tables(pack: Pack, record: RunRecord, with_data: bool) -> tuple[dict[str, TableInput], dict[str, bytes]]:
    """Return what the run read of the tables of others; with data the members of their files too."""
    tables, data = {}, {}
    for pinned in tables_of(pack.manifest, pack.lake, record):
        if _bound(pack, pinned.name):
            tables[pinned.name] = table_input(pinned)
            folder = folder_of(pinned.name, pinned.path)
            for name in [*data_files(pinned.table), *log_of(folder, pinned.version)] if with_data else ():
                data[f"{DATA}{pinned.name}/main/{escaped(name)}"] = (folder / name).read_bytes()
    return tables, data


def folder_of(name: str, path: Location) -> Path:
    """Return the folder of a table. Raises InputInvalid if it lies in an object store."""
    if not isinstance(path, Path):
        words = f"the table `{name}` lies in an object store, at {path}, and packages are of files in folders"
        raise InputInvalid(words, help="copy the table into a folder, and bind that")
    return path


def table_input(pinned: Pinned) -> TableInput:
    """Return what a version of a table holds, whatever became of its log. Raises InputInvalid, LakeUnusable."""
    folder = folder_of(pinned.name, pinned.path)
    pinned.require_files()
    files = {name: f"sha256:{digest_of_file(folder / name)}" for name in data_files(pinned.table)}
    parts = {name: values.to_pylist() for name, values in pinned.partitions.items()}
    rows = sorted(zip(data_files(pinned.table), *([str(v) for v in found] for found in parts.values()), strict=True))
    told = [json.loads(pinned.table.schema().to_json()), sorted(parts), rows]
    return TableInput(
        table_id=pinned.table_id, version=pinned.version, contents=_digest(told), files=dict(sorted(files.items()))
    )


def log_of(folder: Path, version: int) -> list[str]:
    """Return the files of a table's log that a version is read from: commits, and checkpoints where some have gone."""
    parts = sorted(n for n in log_files(folder) if part_of(version, n) and n.endswith((".json", ".parquet")))
    commits = [name for name in parts if name.endswith(".json")]
    return commits if len(commits) == version + 1 else parts


def _locks(pack: Pack) -> list[Path]:
    """Return the locks of the pack's specs, where they stand beside it."""
    folder = pack.folder.absolute().parent.parent / "specs" / pack.manifest.pack / "locks"
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def archived(index: PackageIndex, members: Mapping[str, bytes]) -> bytes:
    """Return the file of a package: the same bytes for the same index and members."""
    text = msgspec.json.format(msgspec.json.encode(index, order="sorted"))
    return archive.archived({INDEX: text, **members})


def read_package(path: Path, expect: str | None = None) -> Package:
    """Return the package in a file; `expect` is the fingerprint that is asked for, before the rest of it is read.

    Raises InputInvalid if there is no file, PackageInvalid if it is no package, or not as it was written, and
    DigestMismatch if it is another.
    """
    return _opened(path, expect)


def _opened(file: Path | bytes, expect: str | None = None) -> Package:
    whole = Archive(file)
    index = _index_of(whole)
    found = fingerprint_of(index)
    if expect is not None and not hmac.compare_digest(found.encode(), expect.encode(errors="replace")):
        words = f"{whole.where} is the package {found}, {expect} was asked for"
        raise DigestMismatch(words, help="take the package that was meant: it holds code that would run")
    for name in sorted(index.members.keys() ^ whole.keys()):
        whole.require(name, None, None)
    members = {name: whole[name] for name in sorted(whole) if not name.startswith(DATA)}
    for name, data in members.items():
        whole.require(name, digest_of(data), index.members[name])
    _require_roots(whole, index)
    return Package(index, members, whole)


def _index_of(whole: Archive) -> PackageIndex:
    if whole.index is None:
        raise PackageInvalid(f"{whole.where} has no index", help=ANEW)
    with suspecting(f"{whole.where} is no execution package, or not as it was written"):
        made = msgspec.json.decode(whole.index, type=_Made).format
        if made != PACKAGE_FORMAT:
            words = f"{whole.where} has format {made}, this runtime reads {PACKAGE_FORMAT}"
            raise PackageInvalid(words, help="replay it with the decreta that made it")
        return msgspec.json.decode(whole.index, type=PackageIndex)


def _require_roots(whole: Archive, index: PackageIndex) -> None:
    """Refuse an index that names roots without data, none for some or one twice, and data of no root."""
    places = [f"{DATA}{name}/{root}" for name, roots in index.roots.items() for root in roots]
    parts = [member.split("/") for member in index.members if member.startswith(DATA)]
    known = set(places)
    found = [known & {"/".join(part[:3]), "/".join(part[:4])} for part in parts]
    if len(set().union(*found)) < len(places) or not all(found) or not all(index.roots.values()):
        words = f"the index of {whole.where} does not name the roots of the inputs that it holds"
        raise PackageInvalid(words, help=ANEW)


class _Made(msgspec.Struct):
    """What an index of any format has."""

    format: int


def _digest(part: Any) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
