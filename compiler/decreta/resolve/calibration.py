"""Read the calibration locks of a pack: written by `decreta calibrate`, reviewed and merged by people."""

from __future__ import annotations

from collections.abc import Collection

from decreta.diagnostics import Report, did_you_mean
from decreta.model.files import PackFiles
from decreta_runtime.contract.calibration import CalibrationLock, decoded

_FOLDER, _ENDING = "locks/", "calibration.json"
_ANEW = (
    "restore it, or delete it: `decreta calibrate` begins anew; a value of your own belongs in the environment's file"
)


def calibration_locks(files: PackFiles, environments: Collection[str], report: Report) -> dict[str, CalibrationLock]:
    """Return the calibration lock of each environment that has one, after reporting those that cannot be read."""
    found: dict[str, CalibrationLock] = {}
    for path, text in files.texts.items():
        name, _, ending = path.removeprefix(_FOLDER).partition(".")
        if not path.startswith(_FOLDER) or ending != _ENDING:
            continue
        nowhere = text.span(0, 0)
        if name not in environments:
            report.error("D205", f"`{path}` is of no environment", nowhere, help=did_you_mean(name, environments))
            continue
        try:
            lock = decoded(text.text)
        except ValueError as error:
            report.error("D203", str(error), nowhere, help=_ANEW)
            continue
        if (lock.pack, lock.environment) != (files.name, name):
            words = f"the lock is of `{lock.pack}` in `{lock.environment}`"
            report.error("D203", words, nowhere, help=_ANEW)
        found[name] = lock
    return found
