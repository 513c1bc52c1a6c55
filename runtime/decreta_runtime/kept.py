"""The packages that a lake keeps: of each a small file that names its run, whose versions are then never vacuumed.

Data files are held by that; the log of a table of others is its owner's, whose writers clean it as they please. So the
part of it that a kept version is read from is kept in the lake too, by the table's own id and the version.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from decreta_runtime.contract.errors import InputInvalid, LakeUnusable
from decreta_runtime.contract.package import KeptPackage
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.lake import Lake, writing
from decreta_runtime.locations import put_new


def put_kept(lake: Lake, kept: KeptPackage) -> None:
    """Write down that a lake keeps a package. Raises InputInvalid of one in an object store, LakeUnusable."""
    place = _folder(lake) / _name(kept.fingerprint)
    with writing(f"the lake at {lake.root}"):
        place.parent.mkdir(parents=True, exist_ok=True)
        put_new(place, msgspec.json.format(msgspec.json.encode(kept)) + b"\n")


def kept_packages(lake: Lake) -> list[KeptPackage]:
    """Return the packages that a lake keeps, the oldest run first.

    Raises LakeUnusable if one cannot be read: nobody knows what may be vacuumed then.
    """
    folder, found = lake.own / "packages", []
    for path in folder.glob("*.json") if isinstance(folder, Path) else ():
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=KeptPackage))
        except FileNotFoundError:
            continue  # it has just been dropped
        except (OSError, msgspec.DecodeError, RecursionError) as error:
            words = f"{path}, which names what a kept package needs, cannot be read: {error}"
            raise LakeUnusable(words, help="restore the file, or remove it and keep the package anew") from None
    return sorted(found, key=lambda kept: (kept.run.pack, kept.run.run_seq, kept.fingerprint))


def drop(lake: Lake, fingerprint: str) -> KeptPackage:
    """Let go of a package: what nothing else names may be vacuumed. Raises InputInvalid if the lake keeps none such."""
    kept = {found.fingerprint: found for found in kept_packages(lake)}
    if fingerprint not in kept:
        known = ", ".join(kept) or "it keeps none"
        raise InputInvalid(f"the lake at {lake.root} keeps no package {fingerprint}", help=f"known: {known}")
    with writing(f"the lake at {lake.root}"):
        (_folder(lake) / _name(fingerprint)).unlink(missing_ok=True)
        needed = {_log(lake, *read) for other in kept_packages(lake) for read in tables_read(other.run)}
        for folder in _folder(lake).glob("logs/*/*"):
            if folder not in needed:
                shutil.rmtree(folder, ignore_errors=True)
    return kept[fingerprint]


def tables_read(run: RunRecord) -> Iterator[tuple[str, int]]:
    """Yield the id and version of each table of others that a run has read."""
    for name, version in run.versions.items():
        identity, at, _ = run.sources.get(name, "").partition("@")
        if at:
            yield identity, version


def put_log(lake: Lake, table_id: str, version: int, table: Path, files: Sequence[str]) -> None:
    """Keep the part of a table's log that a version is read from. Raises LakeUnusable."""
    place = _log(lake, table_id, version)
    fresh = place.with_name(f"{place.name}.new")
    with writing(f"the lake at {lake.root}"):
        shutil.rmtree(fresh, ignore_errors=True)
        for name in files:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(table / name, fresh / name)
        fresh.rename(place)  # whole, or not at all


def kept_logs(lake: Lake, table_id: str) -> dict[int, Path]:
    """Return the versions of a table whose logs are kept, and the folder of each: it has no more than the log."""
    folder = lake.own / "packages"
    if not isinstance(folder, Path):
        return {}
    return {int(found.name): found for found in _log(lake, table_id, 0).parent.glob("*") if found.name.isdecimal()}


def _log(lake: Lake, table_id: str, version: int) -> Path:
    # An id is whatever its owner wrote.
    return _folder(lake) / "logs" / hashlib.sha256(table_id.encode()).hexdigest()[:32] / str(version)


def _folder(lake: Lake) -> Path:
    folder = lake.own / "packages"
    if not isinstance(folder, Path):
        words = f"the lake at {lake.root} lies in an object store, whose tables decreta does not vacuum"
        raise InputInvalid(words, help="keep its versions by the store's own means")
    return folder


def _name(fingerprint: str) -> str:
    return fingerprint.removeprefix("sha256:") + ".json"
