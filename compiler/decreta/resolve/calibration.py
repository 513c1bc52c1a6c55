"""Read the calibration locks of a pack: written by `decreta calibrate`, reviewed and merged by people."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from decreta.diagnostics import Report, did_you_mean
from decreta.model.files import PackFiles
from decreta_runtime.contract.calibration import CALIBRATION_FORMAT, CalibrationLock, inconsistent

_FOLDER, _ENDING = "locks/", "calibration.json"
_ANEW = "delete it: `decreta calibrate` begins anew"


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
            lock = msgspec.json.decode(text.text, type=CalibrationLock)
        except msgspec.DecodeError as error:
            report.error("D203", f"no calibration lock: {error}", nowhere, help=_ANEW)
            continue
        if lock.format != CALIBRATION_FORMAT:
            words = f"the lock has format {lock.format}, this decreta reads {CALIBRATION_FORMAT}"
            report.error("D203", words, nowhere, help=_ANEW)
        elif (wrong := inconsistent(lock)) is not None:
            report.error("D203", f"no calibration lock: {wrong}", nowhere, help=_ANEW)
        found[name] = lock
    return found
