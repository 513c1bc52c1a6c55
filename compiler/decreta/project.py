"""Find the project, its packs and the shipped library on disk. Reads no spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from decreta_runtime.contract.errors import InputInvalid

LANGUAGE = "0.3"
_LIBRARY = "std"


@dataclass(frozen=True)
class Project:
    """A folder with `specs/` in it; `generated/` and the private cache `.decreta/` stand beside."""

    root: Path

    @property
    def specs(self) -> Path:
        """Where people write."""
        return self.root / "specs"

    @property
    def generated(self) -> Path:
        """Where the compiler writes."""
        return self.root / "generated"

    @property
    def cache(self) -> Path:
        """Where the compiler remembers what it has seen; safe to delete."""
        return self.root / ".decreta"

    def packs(self) -> list[str]:
        """Return the names of the project's own packs."""
        found = (folder.name for folder in self.specs.iterdir() if folder.is_dir() and folder.name[0] not in "._")
        return sorted(name for name in found if name != _LIBRARY)

    def chosen(self, names: list[str]) -> list[str]:
        """Return `names` if all are packs of the project, all packs if none is given. Raises InputInvalid."""
        packs = self.packs()
        for name in names:
            if name not in packs:
                known = ", ".join(f"`{pack}`" for pack in packs) or "none"
                raise InputInvalid(f"`{name}` is no pack of {self.specs}", help=f"the packs there are {known}")
        if not packs:
            raise InputInvalid(f"there is no pack in {self.specs}", help="create specs/<pack>/pack.toml")
        return names or packs

    def file(self, name: str) -> Path:
        """Return where a file that messages call `name` is on disk."""
        prefix = f"specs/{_LIBRARY}/"
        return self.library() / name.removeprefix(prefix) if name.startswith(prefix) else self.root / name

    def library(self) -> Path:
        """Return the folder of the shipped library: in a checkout of decreta the one in `specs/`, else the wheel's."""
        ours = self.specs / _LIBRARY
        if ours.is_dir():
            return ours
        package = Path(__file__).resolve().parent
        shipped = package / _LIBRARY
        return shipped if shipped.is_dir() else package.parents[1] / "specs" / _LIBRARY


def find_project(start: Path) -> Project:
    """Return the project that `start` lies in: the nearest folder with `specs/` and a pyproject.toml or decreta.toml.

    Raises InputInvalid if there is none.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        marked = (folder / "pyproject.toml").is_file() or (folder / "decreta.toml").is_file()
        if marked and (folder / "specs").is_dir():
            return Project(folder)
    raise InputInvalid(
        f"no decreta project at {start} or above",
        help="a project is a folder with `specs/` and a pyproject.toml or an empty decreta.toml",
    )
