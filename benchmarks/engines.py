"""Each engine that look-ups are measured by, in a process of its own: decreta and its peers over the same files.

`python benchmarks/engines.py ENGINE WORK` answers lines of JSON: `work.json` in the folder WORK says where things are.
Only Python's own library is imported before an engine is chosen, so that each runs in the environment that has it.
Bytes are what the process has read from files, from disk or page cache: the one counter that all engines have.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shapes import EVENTS, SHAPES, Shape

ALL = SHAPES | EVENTS


class Engine(ABC):
    """An engine over Delta tables in one folder."""

    title = ""
    """What the engine is called where results are shown."""
    ours = False
    """Whether this project's own environment has it."""

    def __init__(self, work: dict[str, Any]) -> None:
        self.work, self.tables = work, Path(work["tables"])
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Import what opening will need: the time that it takes is not measured."""

    @abstractmethod
    def open(self) -> None:
        """Open all that the first look-up needs, as if for the first time."""

    @abstractmethod
    def ask(self, name: str, shape: Shape, values: dict[str, int]) -> Iterable[Sequence[Any]]:
        """Return the rows of a look-up."""

    def counters(self) -> dict[str, Any]:
        """Return what the engine itself counted of its last look-up."""
        return {}

    def _names(self) -> Iterable[str]:
        return sorted({name for shape in self.work["shapes"] for name in ALL[shape].tables})


def _rows(table: Any) -> Iterable[Sequence[Any]]:
    """Return the rows of an Arrow table."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


class Decreta(Engine):
    title, ours = "decreta", True

    def prepare(self) -> None:
        import decreta_runtime.pack

        self._open = decreta_runtime.open

    def open(self) -> None:
        self._pack = self._open(self.work["pack"], lake=self.work["lake"])

    def ask(self, name: str, shape: Shape, values: dict[str, int]) -> Iterable[Sequence[Any]]:
        self._answer = self._pack.answer(name, values)
        return _rows(self._answer.rows)

    def counters(self) -> dict[str, Any]:
        stats = self._answer.stats
        return {"files": stats.files_read, "of": stats.files_total, "scanned": stats.bytes_scanned}


class Folder(Engine):
    title, ours = "DataFusion over the folder", True

    def prepare(self) -> None:
        import datafusion

        self._session = datafusion.SessionContext

    def open(self) -> None:
        self._context = self._session()
        for name in self._names():
            self._context.register_parquet(name, str(self.tables / name))

    def ask(self, name: str, shape: Shape, values: dict[str, int]) -> Iterable[Sequence[Any]]:
        return _rows(self._context.sql(shape.sql, param_values=values).to_arrow_table())


class Provider(Folder):
    title, ours = "DataFusion, `register_table(DeltaTable)`", True

    def prepare(self) -> None:
        super().prepare()
        import deltalake

        self._delta = deltalake

    def open(self) -> None:
        self._context = self._session()
        for name in self._names():
            self._context.register_table(name, self._delta.DeltaTable(str(self.tables / name)))


class Builder(Engine):
    title, ours = "deltalake `QueryBuilder`", True

    def prepare(self) -> None:
        import deltalake
        import pyarrow

        self._delta, self._arrow = deltalake, pyarrow

    def open(self) -> None:
        self._builder = self._delta.QueryBuilder()
        for name in self._names():
            self._builder.register(name, self._delta.DeltaTable(str(self.tables / name)))

    def ask(self, name: str, shape: Shape, values: dict[str, int]) -> Iterable[Sequence[Any]]:
        return _rows(self._arrow.table(self._builder.execute(shape.filled(values)).read_all()))


class DuckDB(Engine):
    title = "DuckDB over the files"

    def prepare(self) -> None:
        import duckdb

        self._duckdb = duckdb

    def open(self) -> None:
        self._connection = self._duckdb.connect()
        for name in self._names():
            files = f"read_parquet('{self.tables / name}/*.parquet')"
            self._connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {files}")

    def ask(self, name: str, shape: Shape, values: dict[str, int]) -> Iterable[Sequence[Any]]:
        found: list[Any] = self._connection.execute(shape.filled(values)).fetchall()
        return found


class Polars(Engine):
    title = "Polars `scan_delta`"

    def prepare(self) -> None:
        import deltalake  # noqa: F401 - scan_delta imports it when it is first called
        import polars

        self._polars = polars

    def open(self) -> None:
        self._frames = {name: self._polars.scan_delta(str(self.tables / name)) for name in self._names()}

    def ask(self, name: str, shape: Shape, values: dict[str, int]) -> Iterable[Sequence[Any]]:
        frames = {table: self._frames[table] for table in shape.tables}
        with self._polars.SQLContext(frames) as context:
            return context.execute(shape.filled(values), eager=False).collect().rows()  # type: ignore[no-any-return]


class Daft(Engine):
    title = "Daft"

    def prepare(self) -> None:
        import daft

        daft.set_runner_native()
        self._daft = daft

    def open(self) -> None:
        self._frames = {name: self._daft.read_deltalake(str(self.tables / name)) for name in self._names()}

    def ask(self, name: str, shape: Shape, values: dict[str, int]) -> Iterable[Sequence[Any]]:
        frames = {table: self._frames[table] for table in shape.tables}
        return _rows(self._daft.sql(shape.filled(values), **frames).to_arrow())


ENGINES: dict[str, type[Engine]] = {
    "decreta": Decreta,
    "folder": Folder,
    "register_table": Provider,
    "query_builder": Builder,
    "duckdb": DuckDB,
    "polars": Polars,
    "daft": Daft,
}


# -- the two ends of the line between a benchmark and an engine


class Worker:
    """An engine in a process of its own. Use it as a context manager."""

    def __init__(self, python: Path, engine: str, work: Path) -> None:
        command = [str(python), str(Path(__file__).resolve()), engine, str(work)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer(engine)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def open(self) -> dict[str, Any]:
        """Open the engine; return milliseconds and bytes."""
        return self._call({"do": "open"})

    def ask(self, shape: str, asks: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Ask one look-up after the other; return each one's milliseconds, bytes and rows digested, and counters."""
        return self._call({"do": "ask", "shape": shape, "asks": asks})

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer(request)

    def _answer(self, request: object) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engine ended at {request}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise RuntimeError(f"{request}: {found['error']}")
        return found


def serve(engine: Engine) -> None:
    """Answer the lines of a benchmark until there are no more."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            found = _opened(engine) if request["do"] == "open" else _asked(engine, request)
        except Exception as error:  # noqa: BLE001 - an engine that fails is a result to show
            found = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(found), flush=True)


def _opened(engine: Engine) -> dict[str, Any]:
    before, start = bytes_read(), time.perf_counter()
    engine.open()
    return {"ms": 1000 * (time.perf_counter() - start), "bytes": bytes_read() - before}


def _asked(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    shape, times, digests, counters = ALL[request["shape"]], [], [], []
    before, cpu = bytes_read(), time.process_time()
    for values in request["asks"]:
        start = time.perf_counter()
        rows = engine.ask(request["shape"], shape, values)
        times.append(1000 * (time.perf_counter() - start))
        digests.append(digest(rows))
        counters.append(engine.counters())
    cpu, read, count = time.process_time() - cpu, bytes_read() - before, max(1, len(times))
    return {"ms": times, "cpu": 1000 * cpu / count, "bytes": read / count, "digests": digests, "counters": counters}


def digest(rows: Iterable[Sequence[Any]]) -> str:
    """Return what rows in any order, of any engine's number and date types, have in common."""
    text = json.dumps(sorted([_word(value) for value in row] for row in rows))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _word(value: Any) -> str:
    return f"{float(value):.4f}" if not isinstance(value, str) and hasattr(value, "__float__") else str(value)


def bytes_read() -> int:
    """Return the bytes that this process has read from files so far, whether from disk or cache."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


if __name__ == "__main__":
    serve(ENGINES[sys.argv[1]](json.loads((Path(sys.argv[2]) / "work.json").read_text())))
