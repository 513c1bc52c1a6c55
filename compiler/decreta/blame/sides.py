"""Read a side of a comparison: a git revision, a folder with specs, a run of a lake's ledger."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from decreta.project import Project
from decreta_runtime.contract.errors import InputInvalid

_HELP = "name a git revision, a folder with `specs/`, a compiled pack's folder, or LAKE:PACK@RUN"


def spec_files(asked: str, project: Project) -> dict[str, bytes]:
    """Return the spec files of a side, all packs and the library. Raises InputInvalid."""
    folder = Path(asked)
    files = _on_disk(folder) if folder.is_dir() else _committed(asked, project)
    if not any(name.startswith("specs/std/") for name in files):
        library = project.library()
        files |= {f"specs/std/{p.relative_to(library).as_posix()}": p.read_bytes() for p in _found(library)}
    return files


def of_pack(files: dict[str, bytes], pack: str) -> dict[str, bytes]:
    """Return those of the files that a pack is compiled from."""
    return {name: data for name, data in files.items() if name.startswith((f"specs/{pack}/", "specs/std/"))}


def packs_of(files: dict[str, bytes]) -> list[str]:
    """Return the packs that spec files are of."""
    found = {name.split("/")[1] for name in files if name.endswith("/pack.toml") and name.count("/") == 2}
    return sorted(found - {"std"})


def _on_disk(folder: Path) -> dict[str, bytes]:
    specs = folder if folder.name == "specs" else folder / "specs"
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
        members = [member for member in archive.getmembers() if member.isfile()]
        contents = {member.name: archive.extractfile(member) for member in members}
        files = {name: opened.read() for name, opened in contents.items() if opened is not None}
    return {name: data for name, data in files.items() if not _passed(tuple(name.split("/")))}
