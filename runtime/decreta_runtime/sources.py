"""Read a pack's sources: list their units, fingerprint them, and deal their extraction out to worker processes."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import heapq
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from decreta_runtime.adapter import Unit, UnitChanged
from decreta_runtime.contract.errors import DecretaError, InputInvalid, SourceUnreadable, TimeLimitReached
from decreta_runtime.contract.policy import SessionValue
from decreta_runtime.load import LoadedPack, serve


@dataclass(frozen=True)
class SourceUnits:
    """The units of one source and the fingerprint over all of them."""

    name: str
    module: str
    units: tuple[Unit, ...]
    fingerprint: str


def list_units(
    pack: LoadedPack, name: str, adapter: str, roots: Sequence[str], options: Mapping[str, Any]
) -> SourceUnits:
    """List the units of a source under each of its roots (`[ROOT:]PATH`). Raises SourceUnreadable, InputInvalid."""
    if not roots:
        raise InputInvalid(f"the source `{name}` is not bound", help=f"say where it is: --source {name}=PATH")
    module = f"{pack.package}.code.{adapter}"
    units: list[Unit] = []
    seen: set[str] = set()
    for given in roots:
        root, path = split_root(given)
        if root in seen:
            raise InputInvalid(
                f"the source `{name}` has two roots called `{root}`", help="write --source NAME=ROOT:PATH"
            )
        seen.add(root)
        try:
            found = list(import_module(module).units(root, path, options))
        except DecretaError:
            raise
        except Exception as error:  # noqa: BLE001 - a pack's own code may fail in any way
            raise SourceUnreadable(
                f"the source `{name}` cannot be read: {error}", help="name another place or options"
            ) from None
        if not found:
            raise SourceUnreadable(f"the source `{name}` has nothing to read at {path}", help="name a place that has")
        units += found
    units.sort()
    lines = "".join(f"{unit.key}\0{unit.fingerprint}\n" for unit in units)
    text = json.dumps(dict(options), sort_keys=True, default=str) + "\n" + lines
    return SourceUnits(
        name, module, tuple(units), "sha256:" + hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    )


def files_of(source: SourceUnits) -> dict[str, set[Path]]:
    """Return for each root the files that its units are read from, as the adapter's `file_of` has them.

    Raises InputInvalid if it does not say, or if a unit is of no file.
    """
    file_of, found = getattr(import_module(source.module), "file_of", None), dict[str, set[Path]]()
    for unit in source.units:
        try:
            file = None if file_of is None else file_of(unit)
        except Exception as error:
            words = f"the adapter of `{source.name}` failed: {type(error).__name__}: {error}"
            raise SourceUnreadable(words, help="mend the pack's code; DECRETA_TRACEBACK=1 shows where") from error
        if file is None:
            words = f"the adapter of `{source.name}` does not say which file {unit.key!r} is read from"
            help = "package without data, or give the adapter `file_of` (docs/adapters.md) and run again"
            raise InputInvalid(words, help=help)
        found.setdefault(unit.key.partition(":")[0], set()).add(Path(file))
    return found


def split_root(given: str) -> tuple[str, str]:
    """Return ROOT and PATH of `[ROOT:]PATH`; ROOT is `main` when it is not given."""
    root, colon, path = given.partition(":")
    named = colon and root.isidentifier() and not path.startswith("//")  # of a URL it is the scheme
    return (root, path) if named else ("main", given)


def extract(
    pack: LoadedPack,
    source: SourceUnits,
    schemas: Mapping[str, pa.Schema],
    profile: SessionValue,
    progress: Callable[[int, int], None],
) -> Iterator[Mapping[str, pa.RecordBatch]]:
    """Yield the batches of all streams, a chunk of units at a time, in no promised order.

    `progress` is told units done and in all. Raises SourceUnreadable if a unit changed meanwhile, the adapter failed
    or a worker died, and TimeLimitReached if no chunk comes back in the time that the policy gives one.
    """
    workers = profile.source_workers
    chunks = _deal(source.units, workers * profile.source_chunks_per_worker)
    total, done = len(source.units), 0
    try:
        alone = workers == 1 or sum(unit.size for unit in source.units) <= profile.source_alone_bytes
        read = _Read(source.name, source.module, schemas, profile.source_limit_seconds)
        found = _serially(read, chunks) if alone else _in_pool(pack, read, chunks, workers, profile.source_chunks_ahead)
        for count, batches in found:
            yield batches
            done += count
            progress(done, total)
    except BrokenProcessPool:
        words = f"a worker that read `{source.name}` died"
        raise SourceUnreadable(words, help="run again; is there enough memory?") from None


_Extracted = Iterator[tuple[int, Mapping[str, pa.RecordBatch]]]
"""Units done, and their rows by stream."""


_STACK = 8 << 20
"""Bytes of a thread's stack, as a main thread has them: what adapters read may be deeply nested."""


@dataclass(frozen=True)
class _Read:
    """How chunks of a source are read."""

    source: str
    module: str
    schemas: Mapping[str, pa.Schema]
    seconds: int

    def hangs(self) -> TimeLimitReached:
        words = f"the adapter of `{self.source}` has given nothing back in {self.seconds} s and was ended"
        help = (
            "look at the source's storage and at the pack's code, or raise the threshold session.source_limit_seconds"
        )
        return TimeLimitReached(words, help=help)


def _serially(read: _Read, chunks: Sequence[Sequence[Unit]]) -> _Extracted:
    """Read in this process, which cannot be ended: a thread that hangs stays behind, and the run goes without it."""
    for chunk in chunks:
        answer: Future[Mapping[str, pa.RecordBatch]] = Future()
        before = threading.stack_size(_STACK)
        threading.Thread(target=_answer, args=(answer, read, chunk), daemon=True).start()
        threading.stack_size(before)
        ended, _ = futures.wait([answer], read.seconds)
        if not ended:
            raise read.hangs()
        yield len(chunk), answer.result()


def _answer(answer: Future[Mapping[str, pa.RecordBatch]], read: _Read, chunk: Sequence[Unit]) -> None:
    try:
        answer.set_result(_extract_chunk(read.source, read.module, chunk, read.schemas))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told to the run
        answer.set_exception(error)


def _in_pool(pack: LoadedPack, read: _Read, chunks: Sequence[Sequence[Unit]], workers: int, ahead: int) -> _Extracted:
    waiting = iter(chunks)
    with _pool(pack, workers) as pool:
        running: dict[Future[Mapping[str, pa.RecordBatch]], int] = {}

        def begin(count: int) -> None:
            for chunk in islice(waiting, count):
                with detached():
                    running[pool.submit(_extract_chunk, read.source, read.module, chunk, read.schemas)] = len(chunk)

        begin(ahead * workers)
        while running:
            ended, _ = futures.wait(running, read.seconds, return_when=futures.FIRST_COMPLETED)
            if not ended:
                raise read.hangs()
            for future in ended:
                count = running.pop(future)
                begin(1)
                yield count, future.result()


def _deal(units: Sequence[Unit], parts: int) -> list[list[Unit]]:
    """Split units into parts of about equal size, the largest part first."""
    heap: list[tuple[int, int, list[Unit]]] = [(0, i, []) for i in range(min(parts, len(units)))]
    for unit in sorted(units, key=lambda u: (-u.size, u.key)):
        size, i, chunk = heap[0]
        chunk.append(unit)
        heapq.heapreplace(heap, (size + unit.size, i, chunk))
    return [chunk for _, _, chunk in sorted(heap, key=lambda part: (-part[0], part[1]))]


def _extract_chunk(
    source: str, module: str, units: Sequence[Unit], schemas: Mapping[str, pa.Schema]
) -> Mapping[str, pa.RecordBatch]:
    """Call the adapter, here or in a worker. Whatever it raises becomes SourceUnreadable, which can be sent back."""
    try:
        batches: Mapping[str, pa.RecordBatch] = import_module(module).extract(units, schemas)
        found = {name: batches[name] for name in schemas if name in batches}
    except UnitChanged as error:
        raise SourceUnreadable(f"`{source}` changed while it was read: {error}", help="run again") from None
    except Exception as error:
        words = f"the adapter of `{source}` failed: {type(error).__name__}: {error}"
        raise SourceUnreadable(words, help="mend the pack's code; DECRETA_TRACEBACK=1 shows where") from error
    for name in schemas:
        if not isinstance(found.get(name), pa.RecordBatch):
            words = f"the adapter of `{source}` gives no record batch for its stream `{name}`"
            raise SourceUnreadable(words, help="mend the pack's code")
    return found


class _Spawning(SpawnContext):
    """Starts processes anew, and knows them."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **named: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802 - its name there
        self.started.append(SpawnProcess(*args, **named))
        return self.started[-1]


@contextlib.contextmanager
def _pool(pack: LoadedPack, workers: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned, not forked: the engine's threads hold locks that a forked child would wait for without end.
    context = _Spawning()
    pool = ProcessPoolExecutor(workers, context, initializer=_begin_work, initargs=(pack.package, pack.modules()))
    try:
        yield pool
    except BaseException:
        for worker in context.started:  # what they still read is for nobody, and one may hang
            worker.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def detached() -> Iterator[None]:
    """Let the workers that start meanwhile inherit neither Ctrl-C nor the caller's main program.

    Ctrl-C is for the run alone, which takes its workers along when it ends. A spawned process would run the main
    program again to find what it defines; workers need nothing of it, and a script without a `__main__` guard would run
    twice. Python's tracker of shared resources starts here too, and would warn the user of what it tidies up.
    """
    main, warnings = sys.modules["__main__"], os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        os.environ.pop("PYTHONWARNINGS")
        if warnings is not None:
            os.environ["PYTHONWARNINGS"] = warnings
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin_work(package: str, modules: Mapping[str, bytes]) -> None:
    """Prepare a worker: the pack's verified code, and an end when the run ends, however it ends."""
    serve(package, modules)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    gc.freeze()
