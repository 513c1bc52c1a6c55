"""The packages that a lake keeps: of each a small file that names its run, whose versions are then never vacuumed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from decreta_runtime.contract.errors import InputInvalid, LakeUnusable
from decreta_runtime.contract.package import KeptPackage
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
        except (OSError, msgspec.DecodeError) as error:
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
    return kept[fingerprint]


def _folder(lake: Lake) -> Path:
    folder = lake.own / "packages"
    if not isinstance(folder, Path):
        words = f"the lake at {lake.root} lies in an object store, whose tables decreta does not vacuum"
        raise InputInvalid(words, help="keep its versions by the store's own means")
    return folder


def _name(fingerprint: str) -> str:
    return fingerprint.removeprefix("sha256:") + ".json"
