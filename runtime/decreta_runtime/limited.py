"""Call something in a process of its own that is ended when its time is up: an engine call may hang for ever."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from decreta_runtime.contract.errors import DecretaError, LakeUnusable, TimeLimitReached
from decreta_runtime.sources import detached


def within(seconds: int, function: Callable[..., Any], *args: Any) -> Any:
    """Return what a module's function gives in a spawned process. Raises TimeLimitReached, and what it raises.

    The process ends with this one, however that ends.
    """
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(its, function, args), daemon=True)
    with detached():
        child.start()
    its.close()
    try:
        if not mine.poll(seconds):
            words = f"the Delta engine has not come back in {seconds} s and was ended"
            raise TimeLimitReached(
                words, help="look at the table's storage, or raise the threshold maintenance.time_limit_seconds"
            )
        found = mine.recv()
    except EOFError:
        words = "the process that maintained the table died"
        raise LakeUnusable(words, help="run again; is there enough memory?") from None
    finally:
        with contextlib.suppress(OSError):
            child.kill()
        child.join()
        mine.close()
    if isinstance(found, _Failed):
        raise found.error
    return found


class _Failed:
    """An error on its way to the process that asked."""

    def __init__(self, error: DecretaError) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        # Errors take their words by keyword, which their own way of being sent does not keep.
        return _failed, (type(self.error), self.error.message, self.error.help)


def _failed(kind: type[DecretaError], message: str, help: str) -> _Failed:
    return _Failed(kind(message, help=help))


def _work(answer: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    try:
        found = function(*args)
    except DecretaError as error:
        found = _Failed(error)
    except Exception as error:  # noqa: BLE001 - engines raise several kinds
        words = str(error).strip().split("\n")[0] or type(error).__name__
        found = _Failed(LakeUnusable(f"the Delta engine says: {words}", help="nothing was changed; run again"))
    answer.send(found)
    answer.close()
