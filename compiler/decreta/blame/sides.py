"""Read the sides of a comparison: git revisions, folders with specs, compiled packs, packages, runs of a ledger."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from decreta.blame.decisions import PackMixer, packs_between
from decreta.blame.mixes import Mixer, between
from decreta.project import Project, find_project
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.load import load
from decreta_runtime.measure import Recorded, Sources, recorded
from decreta_runtime.package import Package, read_package
from decreta_runtime.tally import Tally

_HELP = "name a git revision, a folder with `specs/`, a compiled pack's folder, a package, or LAKE:PACK@RUN"
_RUN = re.compile(r"(?P<lake>.+):(?P<pack>[a-z][a-z0-9_]*)@(?P<run>\d+|last)")
_ENVIRONMENT = "local"
_PACKED = "pack/"
"""Where a package holds its compiled pack."""
Files = Mapping[str, bytes]
_Made = TypeVar("_Made", bound=Mixer)


@dataclass(frozen=True)
class Side:
    """One side as it was asked for: specs, a compiled pack, a packaged run with its pack, or a run of a lake."""

    name: str
    """`A` or `B`, as messages call it."""
    asked: str
    files: Files
    """Empty of a lake's run: a ledger does not keep them."""
    compiled: bool = False
    package: Package | None = None
    run: Recorded | None = None

    def packs(self) -> list[str]:
        """Return the packs that it holds. Raises InputInvalid if a compiled one does not say."""
        if not self.compiled:
            return packs_of(self.files)
        try:
            return [str(json.loads(self.files["manifest.json"])["pack"])]
        except (ValueError, KeyError, TypeError):
            words = f"{self.asked} has no manifest of a pack"
            raise InputInvalid(words, help="compile it anew: `decreta generate`") from None


def read_side(name: str, asked: str, expected: Collection[str] = ()) -> Side:
    """Return a side; if any are `expected`, a package must have one of these fingerprints.

    Raises InputInvalid, PackageInvalid, DigestMismatch, IncompatibleEngine, LakeUnusable.
    """
    path = Path(asked)
    if not asked:
        raise InputInvalid(f"{name} is empty", help=_HELP)
    if path.is_file():
        package = read_package(path)
        if expected and package.fingerprint not in expected:
            read_package(path, next(iter(expected)))
        files = {n.removeprefix(_PACKED): data for n, data in package.members.items() if n.startswith(_PACKED)}
        return Side(name, asked, files, compiled=True, package=package)
    if (path / "manifest.json").is_file():
        seal = {name: (path / name).read_bytes() for name in ("manifest.json", "manifest.sha256")}
        return Side(name, asked, {**load(path, Tally()).files, **seal}, compiled=True)
    if (match := _RUN.fullmatch(asked)) is not None:
        number = None if match["run"] == "last" else int(match["run"])
        return Side(name, asked, {}, run=recorded(match["lake"], match["pack"], number))
    return Side(name, asked, spec_files(asked, find_project(Path.cwd())))


@dataclass(frozen=True)
class Asked:
    """What else was asked of a comparison."""

    pack: str | None
    environment: str | None
    """None for that of the packages, or `local`."""
    sources: tuple[Sources, Sources]
    """Where A's inputs are, and B's."""
    lake: str | None
    """Where relative places of tables of others start."""


@dataclass(frozen=True)
class Sides:
    """Two sides of one pack that can be run, and where what they read is."""

    a: Side
    b: Side
    pack: str
    environment: str
    asked: Asked
    folder: Path
    """Where mixes are laid out, and the data of packages."""
    progress: Callable[[str], None]

    @property
    def compiled(self) -> bool:
        """Whether a side is without specs, so that single decisions are mixed, and not edits."""
        return self.a.compiled or self.b.compiled

    @cached_property
    def packs(self) -> tuple[Files, Files]:
        """Both sides compiled. Raises InputInvalid if one has mistakes, or no policy for the environment."""
        found = []
        for side in (self.a, self.b):
            files = side.files if side.compiled else self._compiled(side)
            if f"policy/{self.environment}.json" not in files:
                raise InputInvalid(f"{side.name} has no environment `{self.environment}`", help="name another by --env")
            found.append(files)
        return found[0], found[1]

    @cached_property
    def sources(self) -> tuple[Sources, Sources]:
        """Where each side's inputs are: as asked, else as its package holds them, else where the other side's are.

        Raises InputInvalid if two packaged runs read different data, and that of one is nowhere.
        """
        apart, found = _apart(self.a, self.b), (dict[str, Sequence[str]](), dict[str, Sequence[str]]())
        held = [
            side.package.inputs(self.folder / f"inputs-{side.name}", given) if side.package else {}
            for side, given in zip((self.a, self.b), self.asked.sources, strict=True)
        ]
        for name in sorted(apart.union(*self.asked.sources, *held)):
            places = [given.get(name) or its.get(name) for given, its in zip(self.asked.sources, held, strict=True)]
            if name in apart and None in places:
                words = f"A and B read different data of `{name}`, and {'AB'[places.index(None)]}'s is not at hand"
                raise InputInvalid(
                    words, help=f"package it --with-data, or name it: --source or --source-b {name}=PLACE"
                )
            if name not in apart.union(*self.asked.sources):
                places = [places[0] or places[1]] * 2
            for side, place, other in zip(found, places, reversed(places), strict=True):
                side[name] = place or other or ()
        return found

    def specs(self) -> tuple[Files, Files]:
        """Return the spec files that the pack is compiled from."""
        return of_pack(self.a.files, self.pack), of_pack(self.b.files, self.pack)

    def mixer(self) -> Mixer:
        """Return what mixes the sides, each as it was given."""
        if self.compiled:
            return self.pack_mixer()
        mixer = self._ready(between(self.specs(), self.sources, self.pack, self.environment, self.folder))
        if not mixer.edits:
            return self.pack_mixer()  # what is written otherwise is no edit; if it acts all the same, that is told
        ends = (frozenset[int](), frozenset(range(len(mixer.edits))))
        mixer.compiled |= {end: dict(files) for end, files in zip(ends, self.packs, strict=True)}
        return mixer

    def pack_mixer(self) -> PackMixer:
        """Return what mixes the decisions of both sides, compiled."""
        return self._ready(packs_between(*self.packs, self.sources, self.environment, self.folder))

    def _compiled(self, side: Side) -> Files:
        files = of_pack(side.files, self.pack)
        alone = self._ready(between((files, files), ({}, {}), self.pack, self.environment, self.folder))
        alone.asked = side.name
        found = alone.generated(frozenset())
        if found is None:
            raise InputInvalid(
                f"{side.name} does not compile", help="see what was said above; `decreta check` tells all of it"
            )
        return found

    def _ready(self, mixer: _Made) -> _Made:
        mixer.progress, mixer.lake = self.progress, self.asked.lake
        return mixer


def both(a: Side, b: Side, asked: Asked, folder: Path, progress: Callable[[str], None]) -> Sides:
    """Return two sides as one pair. Raises InputInvalid if they share no pack, or several and none is named."""
    known = [name for name in a.packs() if name in b.packs()]
    chosen = [asked.pack] if asked.pack in known else known if asked.pack is None else []
    if len(chosen) != 1:
        words = f"there are {len(known)} packs to compare"
        if asked.pack is not None:
            words = f"there is no pack `{asked.pack}` in both"
        its = "; ".join(f"{side.name} has {', '.join(side.packs()) or 'none'}" for side in (a, b))
        help = f"name one by --pack: {', '.join(known)}" if known else f"the sides share none: {its}"
        raise InputInvalid(words, help=help)
    return Sides(a, b, chosen[0], asked.environment or _environment(a, b), asked, folder, progress)


def _environment(a: Side, b: Side) -> str:
    found = [side.package.index.environment for side in (a, b) if side.package is not None]
    if len(set(found)) > 1:
        raise InputInvalid(f"A ran in `{found[0]}` and B in `{found[1]}`", help="name the environment by --env")
    return found[0] if found else _ENVIRONMENT


def _apart(a: Side, b: Side) -> set[str]:
    """Return the inputs that two packaged runs are known to have read other data of."""
    if a.package is None or b.package is None:
        return set()
    one, other = ({**side.sources, **side.tables} for side in (a.package.index, b.package.index))
    return {name for name in one.keys() & other.keys() if one[name] != other[name]}


def spec_files(asked: str, project: Project) -> dict[str, bytes]:
    """Return the spec files of a side, all packs and the library. Raises InputInvalid."""
    folder = Path(asked)
    files = _on_disk(folder) if folder.is_dir() else _committed(asked, project)
    if not any(name.startswith("specs/std/") for name in files):
        library = project.library()
        files |= {f"specs/std/{p.relative_to(library).as_posix()}": p.read_bytes() for p in _found(library)}
    return files


def of_pack(files: Files, pack: str) -> dict[str, bytes]:
    """Return those of the files that a pack is compiled from."""
    return {name: data for name, data in files.items() if name.startswith((f"specs/{pack}/", "specs/std/"))}


def packs_of(files: Files) -> list[str]:
    """Return the packs that spec files are of."""
    found = {name.split("/")[1] for name in files if name.endswith("/pack.toml") and name.count("/") == 2}
    return sorted(found - {"std"})


def _on_disk(folder: Path) -> dict[str, bytes]:
    specs = folder if folder.resolve().name == "specs" else folder / "specs"
    if not specs.is_dir():
        raise InputInvalid(f"{folder} has no specs", help=_HELP)
    return {f"specs/{path.relative_to(specs).as_posix()}": path.read_bytes() for path in _found(specs)}


def _found(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and not _passed(p.relative_to(folder).parts)]


def _passed(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "__pycache__")) for part in parts)


def _committed(revision: str, project: Project) -> dict[str, bytes]:
    if revision.startswith("-"):
        raise InputInvalid(f"`{revision}` is neither a folder nor a revision", help=_HELP)
    command = ["git", "-C", str(project.root), "archive", "--format=tar", revision, "specs"]
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError:
        raise InputInvalid(f"`{revision}` is no folder, and there is no git to ask", help=_HELP) from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().split("\n")[0].removeprefix("fatal: ")
        raise InputInvalid(f"`{revision}` is no folder, and git says: {words}", help=_HELP)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        members = [member for member in archive.getmembers() if member.isfile() or member.issym()]
        try:
            contents = {member.name: archive.extractfile(member) for member in members}  # of a link what it leads to
        except KeyError:
            raise InputInvalid(f"a link in `{revision}` leads out of its specs", help=_HELP) from None
        files = {name: opened.read() for name, opened in contents.items() if opened is not None}
    return {name: data for name, data in files.items() if not _passed(tuple(name.split("/")))}
