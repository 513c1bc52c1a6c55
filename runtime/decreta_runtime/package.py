"""Execution packages: one run written into a file that is the same each time, and read again with every byte checked.

A package is a zip of stored and deflated members in order of their names, without times or owners. Its index names the
digest of each member, and its fingerprint is a digest over the index's five parts: whoever asks for a fingerprint gets
that very code and data, or an error. Nothing in it is executed before that, and nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import platform
import stat
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from msgspec import structs

from decreta_runtime.contract.errors import DigestMismatch, InputInvalid, PackageInvalid
from decreta_runtime.contract.manifest import ANY, RUN_WORKLOAD
from decreta_runtime.contract.package import PACKAGE_FORMAT, PackageIndex, Parts, PlanPrints, Rows, TableInput
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.digests import data_files, log_files, part_of
from decreta_runtime.load import digest_of
from decreta_runtime.pack import Pack
from decreta_runtime.pin import tables_of
from decreta_runtime.record import runs_of_pack
from decreta_runtime.rowdigest import loose_values, rows_digest
from decreta_runtime.scan import Pinned
from decreta_runtime.sources import split_root

_INDEX = "index.json"
_MEMBERS = 200_000
"""Members that a package may have at most: a run of a large source tree has some ten thousand."""
_BYTES = 16 << 30
"""Bytes that they may have at most when unpacked."""
_SEAL = len(digest_of(b""))
"""Bytes at the end of a package: the digest of all before them."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time that every member has: zip knows none before."""
Values = dict[str, list[float | None]]
"""Column → its values, in an order that follows from the rows."""
_ENGINES = ("datafusion", "deltalake", "pyarrow")
"""What rows may depend on, beside Python, whose syntax a pack's own code may read."""


@dataclass(frozen=True)
class Package:
    """A package whose every byte is the one that its index names."""

    index: PackageIndex
    members: Mapping[str, bytes]

    @property
    def parts(self) -> Parts:
        """The digests of its five parts."""
        return parts_of(self.index)

    @property
    def fingerprint(self) -> str:
        """The digest that names it."""
        return fingerprint_of(self.index)

    def unpack(self, prefix: str, folder: Path) -> Path:
        """Write the members below `prefix` into a folder, and return it."""
        for name, data in self.members.items():
            if name.startswith(prefix):
                path = folder / name.removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return folder

    def inputs(self, folder: Path, known: Collection[str] = ()) -> dict[str, list[str]]:
        """Write the inputs whose data it holds into a folder, but for those `known`, and return their places."""
        places = {}
        for name, roots in self.index.roots.items():
            if name in known:
                continue
            for root in roots:
                self.unpack(f"data/{name}/{root}/", folder / name / root)
            bound = name in self.index.tables
            places[name] = [str(folder / name / root) if bound else f"{root}:{folder / name / root}" for root in roots]
        return places


def parts_of(index: PackageIndex) -> Parts:
    """Return the digests of the five parts of a package."""
    apart = ("pack/policy/", "data/", "results/")
    code = {name: digest for name, digest in index.members.items() if not name.startswith(apart)}
    inputs = [index.sources, msgspec.to_builtins(index.tables), msgspec.to_builtins(index.roots)]
    data = {name: digest for name, digest in index.members.items() if name.startswith(("data/", "results/"))}
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
    places = pack.places(given)
    sources, data, roots = _sources(pack, record, places, with_data)
    tables, more = _tables(pack, record, with_data)
    roots |= dict.fromkeys(more, ("main",))
    members = {f"pack/{path}": body for path, body in pack.files().items()} | data
    for name, files in more.items():
        members |= {f"data/{name}/main/{path}": body for path, body in files.items()}
    results = results_of(pack, record)
    members |= {_values_member(name): json.dumps(found).encode() for name, found in results.values.items()}
    members |= {f"locks/{path.name}": path.read_bytes() for path in _locks(pack)}
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
    return archived(index, members)


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
    try:
        return msgspec.convert(json.loads(package.members[_values_member(name)]), type=Values)
    except (KeyError, ValueError) as error:
        words = f"the package's values of `{name}` cannot be read: {type(error).__name__} {error}"
        raise PackageInvalid(words, help=_ANEW) from None


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
    """Return the fingerprint of each source; with data its files and roots too, checked against the run's."""
    sources, data, roots = {}, dict[str, bytes](), dict[str, tuple[str, ...]]()
    for name, adapter in pack.adapters().items():
        sources[name] = record.sources[name]
        if not with_data:
            continue
        at = list(places.get(name) or pack.policy.source(name).value.roots)
        found = pack.units(name, adapter, at)
        if found != record.sources[name]:
            words = f"the source `{name}` at {', '.join(at)} is not what run {record.run_seq} read"
            raise InputInvalid(words, help="put it back, name its place by --source, or package without data")
        named = [split_root(place) for place in at]
        roots[name] = tuple(root for root, _ in named)
        for root, path in named:
            data |= {f"data/{name}/{root}/{at}": body for at, body in _files(Path(path)).items()}
    return sources, data, roots


def _files(root: Path) -> dict[str, bytes]:
    if root.is_file():
        return {root.name: root.read_bytes()}
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def _tables(
    pack: Pack, record: RunRecord, with_data: bool
) -> tuple[dict[str, TableInput], dict[str, dict[str, bytes]]]:
    """Return what the run read of the tables of others; with data their files too."""
    tables, data = {}, {}
    for pinned in tables_of(pack.manifest, pack.lake, record):
        if not _bound(pack, pinned.name):
            continue
        names = table_files(pinned)
        assert isinstance(pinned.path, Path)  # a table in an object store has just been refused
        files = {name: (pinned.path / name).read_bytes() for name in names}
        digests = {name: digest_of(body) for name, body in files.items()}
        identity = str(pinned.table.metadata().id)
        tables[pinned.name] = TableInput(table_id=identity, version=pinned.version, files=digests)
        if with_data:
            data[pinned.name] = files
    return tables, data


def table_files(pinned: Pinned) -> list[str]:
    """Return the files that a version of a table is read from, its log's among them, relative to its folder."""
    if not isinstance(pinned.path, Path):
        words = f"the table `{pinned.name}` lies in an object store, and packages hold files of folders"
        raise InputInvalid(words, help="copy the table into a folder, and bind that")
    pinned.require_files()
    log = [name for name in log_files(pinned.path) if part_of(pinned.version, name) and name.endswith(".json")]
    checkpoints = sorted(p.name for p in (pinned.path / "_delta_log").glob("*.checkpoint*.parquet"))
    names = [*data_files(pinned.table), *(n for n in log if not n.endswith("_last_checkpoint"))]
    names += [f"_delta_log/{name}" for name in checkpoints if int(name.partition(".")[0]) <= pinned.version]
    return sorted(names)


def _locks(pack: Pack) -> list[Path]:
    """Return the locks of the pack's specs, where they stand beside it."""
    folder = pack.folder.absolute().parent.parent / "specs" / pack.manifest.pack / "locks"
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def archived(index: PackageIndex, members: Mapping[str, bytes]) -> bytes:
    """Return the file of a package: the same bytes for the same index and members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        everything = {_INDEX: msgspec.json.format(msgspec.json.encode(index, order="sorted")), **members}
        for name in sorted(everything):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            info.external_attr = (stat.S_IFREG | stat.S_IRUSR | stat.S_IWUSR) << 16
            archive.writestr(info, everything[name])
        archive.comment = bytes(_SEAL)
    return sealed(stream.getvalue())


def sealed(data: bytes) -> bytes:
    """Return an archive with the digest of its bytes in the place of its comment: no bit is without a meaning."""
    return data[:-_SEAL] + digest_of(data[:-_SEAL]).encode()


def read_package(path: Path, expect: str | None = None) -> Package:
    """Return the package in a file, every byte of it checked; `expect` is the fingerprint that is asked for.

    Raises PackageInvalid if it is none, or not as it was written, and DigestMismatch if it is another.
    """
    try:
        data = path.read_bytes()
        if not hmac.compare_digest(sealed(data), data):
            raise PackageInvalid(f"{path} is no execution package, or not as it was written", help=_ANEW)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _require_sound(path, entries)
            members = {entry.filename: archive.read(entry) for entry in entries}
        text = members.pop(_INDEX)
        made = msgspec.json.decode(text, type=_Made).format
        if made != PACKAGE_FORMAT:
            words = f"{path} has format {made}, this runtime reads {PACKAGE_FORMAT}"
            raise PackageInvalid(words, help="replay it with the decreta that made it")
        index = msgspec.json.decode(text, type=PackageIndex)
    except FileNotFoundError:
        raise InputInvalid(f"there is no file {path}", help="make a package with `decreta package`") from None
    except KeyError:
        raise PackageInvalid(f"{path} has no index", help=_ANEW) from None
    except (
        zipfile.BadZipFile,
        msgspec.DecodeError,
        NotImplementedError,
        EOFError,
        OSError,
        ValueError,
        *_ZLIB,
    ) as error:
        raise PackageInvalid(f"{path} is no execution package, or not as it was written: {error}", help=_ANEW) from None
    for name in sorted(index.members.keys() | members.keys()):
        found = digest_of(members[name]) if name in members else None
        if found is None or not hmac.compare_digest(found, index.members.get(name, "")):
            raise PackageInvalid(f"the member `{name}` of {path} is not as it was written", help=_ANEW)
    package = Package(index, members)
    if expect is not None and not hmac.compare_digest(package.fingerprint.encode(), expect.encode(errors="replace")):
        words = f"{path} is the package {package.fingerprint}, {expect} was asked for"
        raise DigestMismatch(words, help="take the package that was meant: it holds code that would run")
    return package


class _Made(msgspec.Struct):
    """What an index of any format has."""

    format: int


_ANEW = "take another copy of the file, or make the package anew"
_ZLIB = (zlib.error,)


def _require_sound(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive whose members would leave their folder, stand twice, or are too many or too large."""
    names = [entry.filename for entry in entries]
    wrong = next((name for name in names if _escapes(name)), None)
    if wrong is not None:
        raise PackageInvalid(f"the member `{wrong}` of {path} would leave its folder", help=_ANEW)
    if len({name.casefold() for name in names}) < len(names):
        raise PackageInvalid(f"{path} has two members of one name", help=_ANEW)
    if any(stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG) for entry in entries):
        raise PackageInvalid(f"{path} has members that are no files", help=_ANEW)
    if len(names) > _MEMBERS or sum(entry.file_size for entry in entries) > _BYTES:
        words = f"{path} would unpack to more than {_MEMBERS:,} files or {_BYTES:,} bytes"
        raise PackageInvalid(words, help="package a run of smaller inputs, or without data")


def _escapes(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or name != path.as_posix()


def _digest(part: Any) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
