"""The generated manifest of a pack, for verbs that answer from it."""

from __future__ import annotations

from decreta.project import Project
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.load import decode


def read_manifest(project: Project, pack: str) -> Manifest:
    """Return a pack's manifest. Raises InputInvalid if there is none, IncompatibleEngine if it has another form."""
    path = project.generated / pack / "manifest.json"
    if not path.is_file():
        raise InputInvalid(f"{path} does not exist", help=f"run `decreta generate {pack}` first")
    return decode(path.read_bytes(), path.parent)
