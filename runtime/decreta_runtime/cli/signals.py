"""Leave at once on Ctrl-C and SIGTERM, whatever the engine is doing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from decreta_runtime.contract.errors import EXIT_INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_on_signals() -> None:
    """End this program with its workers, status 130, within a moment of Ctrl-C or SIGTERM.

    Python runs its handlers between two instructions of the main thread, and a call into the engine can last minutes.
    So the interpreter's C handler also writes to a pipe at once, and a thread that waits there ends the program.
    Nothing needs tidying: locks are freed by the system, what was committed without a run record is invisible, and the
    next run removes what it finds of this one.
    """
    for number in _SIGNALS:
        signal.signal(number, _leave)
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(told,), daemon=True).start()


def _wait(told: int) -> None:
    while received := os.read(told, 1):
        if received[0] in _SIGNALS:
            _leave()


def _leave(_signal: int = 0, _frame: FrameType | None = None) -> NoReturn:
    for worker in _children():
        with contextlib.suppress(OSError):
            os.kill(worker, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.write(2, b"\ninterrupted\n")
    os._exit(EXIT_INTERRUPTED)


def _children() -> set[int]:
    """Return the processes that this one has started, those included that are only just starting.

    Python's tracker of shared resources is left to tidy up after us.
    """
    found = set()
    with contextlib.suppress(OSError, ValueError):  # systems without /proc have no workers that outlive us for long
        for listed in Path("/proc/self/task").glob("*/children"):
            found |= {int(pid) for pid in listed.read_text().split()}
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    return found - {getattr(tracker, "_pid", None)}
