"""An open pack: run it, query its shapes, or put SQL to what its last complete run wrote."""

from __future__ import annotations

import collections
import contextlib
import difflib
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import pyarrow as pa
from datafusion import DataFrame, SQLOptions

from decreta_runtime.access import HELP, is_of_store, said_by
from decreta_runtime.arrow import arrow_type, plain
from decreta_runtime.caches import note_caches
from decreta_runtime.calls import require_engine_functions
from decreta_runtime.contract.calibration import Seen
from decreta_runtime.contract.errors import DecretaError, InputInvalid, LakeUnusable
from decreta_runtime.contract.evidence import Observations
from decreta_runtime.contract.integrity import Verification
from decreta_runtime.contract.manifest import QUARANTINE, RUN_WORKLOAD, SQL_WORKLOAD, QueryEntry
from decreta_runtime.contract.policy import Choice, SessionValue
from decreta_runtime.contract.records import QueryDetail
from decreta_runtime.digests import record_all
from decreta_runtime.functions import scalar_functions
from decreta_runtime.guards import choose
from decreta_runtime.indexing import Indexed, Indexing, states
from decreta_runtime.integrity import Verifier, complete_runs
from decreta_runtime.lake import Lake
from decreta_runtime.ledger import query_ledger, register_ledger
from decreta_runtime.load import load
from decreta_runtime.locations import located
from decreta_runtime.metrics import ScanStats, read_by, scan_stats
from decreta_runtime.observe import observe
from decreta_runtime.pin import Binding, bind_run
from decreta_runtime.pins import ReaderPin, pin_run, pin_seconds
from decreta_runtime.reading import Reading
from decreta_runtime.record import Ledger, last_run
from decreta_runtime.refresh import Days
from decreta_runtime.run import RunResult, run
from decreta_runtime.samples import seen
from decreta_runtime.scan import Pinned, quote
from decreta_runtime.selection import needed
from decreta_runtime.session import build_session
from decreta_runtime.shadow import note_session
from decreta_runtime.sources import SourceUnits, list_units
from decreta_runtime.tally import Tally
from decreta_runtime.upkeep import Upkeep, maintain_tables
from decreta_runtime.verify import entries, verify, verify_tables

_OF_FILES = re.compile(r"\b(Parquet (argument )?error|Object Store error)\b")
"""How the engine says that a file is wrong, rather than the statement."""
_PYTHON: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "string": (str,),
    "binary": (bytes,),
    "date": (date,),
    "timestamp": (datetime,),
    "timestamp_local": (datetime,),
}


@dataclass(frozen=True)
class Answer:
    """The rows of a statement and what it cost."""

    rows: pa.Table
    stats: ScanStats


class Pack:
    """A compiled pack with a lake and an environment. Use it as a context manager, or `close` it."""

    def __init__(
        self, folder: str | Path, *, lake: str | None = None, env: str = "local", expect: str | None = None
    ) -> None:
        """Load and verify the pack in `folder`. Raises DecretaError."""
        self._tally = Tally()
        self._pack = load(Path(folder), self._tally, expect)
        self.policy = self._pack.policy(env)
        self.manifest = self._pack.manifest
        # A relative lake of the environment starts where `generated/` stands.
        start = Path(folder).absolute().parent.parent
        self.lake = Lake(lake) if lake else Lake(str(located(self.policy.lake().value, start)))
        self._ledger = Ledger(self.manifest.pack, self.policy.digest)
        self._binding: Binding | None = None
        self._readings: dict[str, Reading] = {}
        self._pin: ReaderPin | None = None

    def __enter__(self) -> Pack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what queries did to the ledger, and let go of the versions that they read."""
        self._flush()
        if self._pin is not None:
            self._pin.release()

    def _flush(self) -> None:
        # A read-only lake keeps none, and an answer is not taken back because a note of it could not be kept.
        if self.lake.writable():
            with contextlib.suppress(DecretaError):
                self._ledger.write(self.lake)
        self._ledger.rows.clear()

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return self._pack.digest

    @property
    def folder(self) -> Path:
        """Where the compiled pack lies."""
        return self._pack.folder

    def files(self) -> dict[str, bytes]:
        """Return the verified bytes of the compiled pack, its manifest among them."""
        own = {name: (self.folder / name).read_bytes() for name in ("manifest.json", "manifest.sha256")}
        return {**own, **self._pack.files}

    def adapters(self) -> dict[str, str]:
        """Return the adapter of each source that the pack reads."""
        objects = self.manifest.objects.values()
        return {e.source.name: e.source.adapter for e in objects if e.source is not None}

    def units(self, source: str, adapter: str, roots: Sequence[str]) -> SourceUnits:
        """Return the units of a source as it is now at these places. Raises SourceUnreadable, InputInvalid."""
        return list_units(self._pack, source, adapter, roots, self.policy.source(source).value.options)

    def settings(self, workload: str) -> dict[str, str | None]:
        """Return all settings of a session of a workload class, as the engine has them."""
        profile = choose(self.policy.session(workload), workload, None, self.policy, self._ledger)
        context = build_session(workload, profile, self._tally.anew(), ())
        rows = context.sql("SELECT name, value FROM information_schema.df_settings ORDER BY name").to_pylist()
        return {row["name"]: row["value"] for row in rows}

    def decided(self, workload: str) -> set[str]:
        """Return the settings of a workload class that the policy gives a value; all else is as the engine has it."""
        choice = self.policy.session(workload)
        return {name for value in (choice.value, choice.otherwise) if value is not None for name in value.settings}

    def plans(self) -> dict[str, tuple[str, str]]:
        """Return the logical plan of each relation's statement over the last complete run, as written and optimized.

        Relations that pack code computes have none. Raises DecretaError.
        """
        reading, found = self._reading(RUN_WORKLOAD), {}
        for name in self.manifest.datasets():
            reading.take(name)
        for name in self.manifest.order:
            if self.manifest.relations[name].call is None:
                frame = self._pack.builder(name)(reading.context)
                whole, less = frame.logical_plan(), frame.optimized_logical_plan()
                found[name] = whole.display_indent(), less.display_indent()
            if name not in reading.views:
                reading.take_view(name)
        return found

    def note_replay(self, subject: str, action: str, seconds: float, detail: Mapping[str, Any]) -> None:
        """Note in the ledger what a replay came to. Raises LakeUnusable."""
        self.lake.check_readable()
        self._ledger.add("replay", subject, action, None, seconds=seconds, detail=dict(detail))
        with self.lake.failures():
            self._ledger.write(self.lake)

    def verify(self) -> list[str]:
        """Check policy, manifest and builders against each other; return what was verified, in words."""
        return verify(self._pack, self.policy)

    def verify_tables(self) -> list[str]:
        """Check the tables that the environment binds against their contracts; return what was verified, in words."""
        return verify_tables(self._pack, self.policy, self.lake, {})

    def verify_lake(self, data: bool = False) -> Verification:
        """Hold the tables of the last complete run, their indexes and the lake's own tables against what was written.

        With `data` every byte of every data file is compared. Raises LakeUnusable if there is no complete run to hold
        anything against.
        """
        self.lake.check_readable()
        if data and not isinstance(self.lake.root, Path):
            words = f"of the lake at {self.lake.root} no digests are kept: it lies in an object store"
            raise InputInvalid(words, help="verify it without `--data`; stores check what they keep themselves")
        recorded = complete_runs(self.lake, self.manifest.pack)
        if not recorded:
            raise LakeUnusable(
                f"the lake at {self.lake.root} has no complete run of `{self.manifest.pack}`",
                help="run the pack first: `decreta run`",
            )
        profile = choose(self.policy.session(SQL_WORKLOAD), SQL_WORKLOAD, None, self.policy, self._ledger)
        context = build_session(SQL_WORKLOAD, profile, self._tally.anew(), scalar_functions(self._pack))
        with self.lake.failures():
            return Verifier(self.manifest, self.policy, self.lake, context, data).verify(recorded[-1], recorded)

    def ledger(self, statement: str, values: Mapping[str, pa.Scalar] | None = None) -> pa.Table:
        """Return the rows of one reading statement over this pack's rows of the ledger, its runs and its decisions.

        There need be no complete run: what refused attempts did stands in the ledger, too. Raises DecretaError.
        """
        profile = choose(self.policy.session(SQL_WORKLOAD), SQL_WORKLOAD, None, self.policy, self._ledger)
        context = build_session(SQL_WORKLOAD, profile, self._tally.anew(), ())
        with self.lake.failures():
            register_ledger(context, self.lake, self.manifest.pack, self.policy)
        return query_ledger(context, statement, values or {})

    def run(
        self,
        sources: Mapping[str, str | Sequence[str]] | None = None,
        progress: Callable[[str, str], None] | None = None,
        select: Sequence[str] = (),
        workload: str = RUN_WORKLOAD,
        days: str | None = None,
    ) -> RunResult:
        """Run the pack, or the part of it that `select` names (`+name+` with ancestors and descendants).

        `sources` binds names to `[ROOT:]PATH` over the environment; the run has the session of `workload`, so that a
        class that is `repeatable` gives the same rows in the same order each time. `days`, `FROM..TO`, are filled again
        in the objects that are replaced by days, whether or not they have changed. Raises DecretaError.
        """
        self.check_workload(workload)
        given, again = self.places(sources or {}), None if days is None else Days.read(days)
        try:
            with self.lake.failures():
                return run(
                    self._pack,
                    self.policy,
                    self.lake,
                    given,
                    self._tally.anew(),
                    progress or (lambda _stage, _words: None),
                    select,
                    workload,
                    again,
                )
        finally:
            self._forget()

    def maintain(
        self,
        sources: Mapping[str, str | Sequence[str]] | None = None,
        progress: Callable[[str, str], None] | None = None,
        *,
        plan: bool = False,
    ) -> list[Upkeep]:
        """Maintain the pack's tables and those that it binds by their outcomes; with `plan` say what would be done.

        Raises DecretaError.
        """
        given = {name: places[-1] for name, places in self.places(sources or {}).items()}
        told = progress or (lambda _stage, _words: None)
        try:
            with self.lake.failures():
                return maintain_tables(self._pack, self.policy, self.lake, given, self._tally.anew(), told, plan=plan)
        finally:
            self._forget()

    def _forget(self) -> None:
        """Let readers of this pack bind, and open sessions, anew: they see the newest complete run."""
        if self._pin is not None:
            self._pin.release()
        self._pin = None
        self._binding, self._readings, self._tally = None, {}, self._tally.anew()

    def places(self, sources: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
        """Return the places given for sources and tables of others, the latter made absolute. Raises InputInvalid."""
        adapted = {entry.source.name for entry in self.manifest.objects.values() if entry.source is not None}
        bound = {name for name, entry in self.manifest.objects.items() if entry.table is not None}
        given = {name: [place] if isinstance(place, str) else list(place) for name, place in sources.items()}
        for name, found in given.items():
            if name not in adapted | bound:
                raise InputInvalid(f"there is no source or bound table `{name}`", help=_nearest(name, adapted | bound))
            if name in bound:
                if len(found) != 1:
                    raise InputInvalid(f"the table `{name}` is bound to {len(found)} places", help="name one")
                given[name] = [str(located(found[0], Path.cwd()))]
        return given

    def check_workload(self, workload: str) -> None:
        """Raise InputInvalid unless the pack declares a workload class of that name."""
        if workload not in self.manifest.workloads:
            known = {*self.manifest.workloads}
            raise InputInvalid(f"the pack has no workload class `{workload}`", help=_nearest(workload, known))

    def query(self, shape: str, **parameters: Any) -> pa.Table:
        """Return the rows of a query shape over the last complete run. Raises DecretaError."""
        return self.answer(shape, parameters).rows

    def answer(self, shape: str, parameters: Mapping[str, Any]) -> Answer:
        """Return the rows of a query shape and what reading them cost. Raises DecretaError."""
        entry = self.manifest.queries.get(shape)
        if entry is None:
            raise InputInvalid(f"there is no query shape `{shape}`", help=_nearest(shape, self.manifest.queries))
        values = _checked(shape, entry, parameters)
        reading = self._reading(entry.workload)
        sql = self._pack.module("queries").SQL[shape]

        def frame() -> DataFrame:
            reading.take_for(shape, entry, values)
            return reading.context.sql(sql, param_values=values)

        return self._run(shape, frame, reading, lambda _: tuple(entry.datasets), entry)

    def sql(self, statement: str) -> Answer:
        """Return the rows of one reading SQL statement over the last complete run. Raises DecretaError."""
        reading = self._reading(SQL_WORKLOAD)
        for dataset in self.manifest.datasets():
            reading.take(dataset)
        for dataset in self._bound().quarantine:
            reading.take_aside(dataset)
        return self._read_only(statement, reading, "sql")

    def show(self, relation: str, *, limit: int, where: str | None = None) -> Answer:
        """Return rows of one relation, computed now over the last complete run, or rows set aside by it.

        Raises DecretaError.
        """
        dataset, _, beside = relation.rpartition(QUARANTINE)
        if dataset and not beside and dataset in self._bound().quarantine:
            reading = self._reading(SQL_WORKLOAD)
            reading.take_aside(dataset)
            return self._some_of(relation, reading, limit, where)
        if relation not in self.manifest.relations and relation not in self.manifest.objects:
            known = {*self.manifest.relations, *self.manifest.objects}
            raise InputInvalid(f"there is no relation `{relation}`", help=_nearest(relation, known))
        if limit < 0:
            raise InputInvalid(f"{limit} rows cannot be shown", help="give a limit of 0 or more")
        reading = self._reading(SQL_WORKLOAD)
        computed = needed(self.manifest, frozenset([relation]))
        for name in computed:
            entry = self.manifest.relations.get(name)
            for read in (*(entry.inputs if entry else ()), *(() if entry else (name,))):
                if read in self.manifest.datasets():
                    reading.take(read)
        for name in self.manifest.order:
            if name in computed and name not in reading.views:
                reading.take_view(name)
        source = f"{relation}__shown" if relation in self.manifest.relations else relation
        return self._some_of(source, reading, limit, where)

    def _some_of(self, table: str, reading: Reading, limit: int, where: str | None) -> Answer:
        condition = f" WHERE ({where}\n)" if where else ""  # a comment at its end must not swallow the limit
        return self._read_only(f"SELECT * FROM {quote(table)}{condition} LIMIT {int(limit)}", reading)

    def _read_only(self, statement: str, reading: Reading, subject: str = "show") -> Answer:
        options = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
        frame = lambda: reading.context.sql_with_options(statement, options)  # noqa: E731
        return self._run(subject, frame, reading, lambda made: read_by(made, reading.scans))

    def observe(self, runs: int) -> Observations:
        """Return what is seen of the last complete run's tables, and of relations in the newest `runs` of them."""
        return observe(self.manifest, self.policy.environment, self.lake, self._bound(), runs)

    def samples(self, since_us: int, features: Mapping[str, bool]) -> Seen:
        """Return what the ledger tells of this policy since a moment, for calibration. Raises DecretaError."""
        profile = choose(self.policy.session(SQL_WORKLOAD), SQL_WORKLOAD, None, self.policy, self._ledger)
        context = build_session(SQL_WORKLOAD, profile, self._tally.anew(), ())
        context.enable_spark_functions()
        with self.lake.failures():
            return seen(self.manifest, self.policy, self.lake, context, since_us, features)

    def pinned(self, dataset: str) -> Pinned:
        """Return the version of a dataset that readers of this pack see."""
        return self._bound()[dataset]

    def index(self, dataset: str | None = None, *, rebuild: bool = False) -> list[Indexed]:
        """Bring external indexes up to date with the last complete run's tables, or build them anew.

        Of one dataset or of all, under the pack's lock; what was done goes to the ledger. Raises DecretaError.
        """
        if dataset is not None and dataset not in self.manifest.datasets():
            raise InputInvalid(f"there is no dataset `{dataset}`", help=_nearest(dataset, {*self.manifest.datasets()}))
        verify(self._pack, self.policy)
        self.lake.check_readable()
        with self.lake.failures(), self.lake.locked(self.manifest.pack):
            tally, ledger = self._tally.anew(), Ledger(self.manifest.pack, self.policy.digest)
            binding = bind_run(self.manifest, self.lake, last_run(self.lake, self.manifest.pack), tally)
            profile = choose(self.policy.session(RUN_WORKLOAD), RUN_WORKLOAD, None, self.policy, ledger)
            context = build_session(RUN_WORKLOAD, profile, tally, ())
            indexing = Indexing(self.manifest, self.policy, self.lake, ledger, context)
            names = self.manifest.datasets() if dataset is None else (dataset,)
            found = [done for name in names for done in indexing.keep(binding[name], rebuild=rebuild)]
            record_all(self.lake, self.manifest, ())
            ledger.write(self.lake)
        self._forget()  # sessions of this pack have opened the indexes that were
        return found

    def index_states(self) -> list[Indexed]:
        """Say how each external index stands to the tables of the last complete run. Raises DecretaError."""
        bound = self._bound()
        names = self.manifest.datasets()
        return [state for name in names for state in states(self.manifest, self.policy, self.lake, bound[name])]

    def versions(self) -> dict[str, int]:
        """Return the table versions that readers of this pack see."""
        return self._bound().versions()

    def _bound(self) -> Binding:
        if self._binding is None:
            collections.deque(entries(self._pack, self.policy), maxlen=0)  # nothing is read before all of it is there
            self.lake.check_readable()
            with self.lake.failures():
                run_record = last_run(self.lake, self.manifest.pack)
                self._binding = bind_run(self.manifest, self.lake, run_record, self._tally)
                if run_record is not None and self.lake.writable():
                    self._pin = pin_run(self.lake, run_record, pin_seconds(self.manifest, self.policy))
        if self._pin is not None:
            self._pin.renew()
        return self._binding

    def _reading(self, workload: str) -> Reading:
        self._bound()
        if workload not in self._readings:
            profile = choose(self.policy.session(workload), workload, None, self.policy, self._ledger)
            context = build_session(workload, profile, self._tally, scalar_functions(self._pack))
            note_session(self._ledger, workload, profile, self.policy)
            note_caches(self._ledger, workload, profile, context)
            require_engine_functions(context, workload, self.manifest, self.policy, self._ledger)
            self._readings[workload] = Reading(
                self._pack, self.policy, self.lake, self._bound(), self._ledger, context, profile
            )
        return self._readings[workload]

    def _run(
        self,
        subject: str,
        make: Callable[[], DataFrame],
        reading: Reading,
        read: Callable[[DataFrame], Collection[str]],
        entry: QueryEntry | None = None,
    ) -> Answer:
        start = time.perf_counter()
        try:
            frame = make()
            batches = frame.collect()
        except DecretaError:
            raise
        except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
            words = said_by(error).removeprefix("DataFusion error: ")
            if is_of_store(error):
                raise LakeUnusable(f"a table of `{subject}` cannot be read: {words}", help=HELP) from None
            if _OF_FILES.search(words):
                help = "`decreta verify` with `--data` says which of the pack's own; restore it from a backup"
                raise LakeUnusable(f"a file that `{subject}` reads cannot be read: {words}", help=help) from None
            raise InputInvalid(f"the engine says: {words}", help="correct the statement or its parameters") from None
        seconds = time.perf_counter() - start
        scans = {name: reading.scans[name] for name in read(frame)}
        for scanned in scans.values():
            scanned.require_files()
        rows = plain(pa.Table.from_batches(batches, None if batches else frame.schema()))
        stats = scan_stats(frame.execution_plan(), scans, seconds, reading.narrowed if entry else None)
        workload = entry.workload if entry else SQL_WORKLOAD
        detail = QueryDetail(
            workload=workload, shape=entry is not None, ladder=stats.ladder, footer_seconds=stats.footer_seconds
        )
        self._note(subject, reading.profile, rows.num_rows, stats, detail)
        return Answer(rows, stats)

    def _note(
        self, shape: str, profile: Choice[SessionValue], rows: int, stats: ScanStats, detail: QueryDetail
    ) -> None:
        self._ledger.add(
            "query",
            shape,
            "query",
            profile.pointer,
            seconds=stats.seconds,
            rows=rows,
            bytes=stats.bytes_scanned,
            files=stats.files_read,
            files_total=stats.files_total,
            detail=msgspec.to_builtins(detail),
        )
        if len(self._ledger.rows) >= profile.value.ledger_buffer_rows:
            self._flush()


def _checked(shape: str, entry: QueryEntry, given: Mapping[str, Any]) -> dict[str, pa.Scalar]:
    """Return the parameters as values of their declared types. Raises InputInvalid."""
    for name in given:
        if name not in entry.parameters:
            raise InputInvalid(f"`{shape}` has no parameter `{name}`", help=_nearest(name, entry.parameters))
    values = {}
    for name, kind in entry.parameters.items():
        if name not in given:
            raise InputInvalid(f"`{shape}` needs its parameter `{name}` ({kind})", help=f"give {name}=…")
        value = given[name]
        expected = _PYTHON.get(kind) or ((Decimal, int) if kind.startswith("decimal") else (int, float))
        wrong = isinstance(value, bool) and kind != "bool"
        try:
            if wrong or not isinstance(value, expected):
                raise TypeError
            values[name] = pa.scalar(value, arrow_type(kind))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError):
            raise InputInvalid(f"`{name}` of `{shape}` needs a value of type {kind}, not {value!r}") from None
    return values


def _nearest(word: str, known: Mapping[str, Any] | set[str]) -> str:
    if near := difflib.get_close_matches(word, list(known), n=1):
        return f"did you mean `{near[0]}`?"
    return "there are " + ", ".join(f"`{name}`" for name in sorted(known))
