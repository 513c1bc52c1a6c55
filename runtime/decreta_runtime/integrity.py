"""Hold a lake against what was written: files against digests, the log against itself, rows against counts and keys.

Every question is asked of the versions that the last complete run names. Nothing is written and nothing is mended: a
finding says what is wrong, where the rows come from, and what a person does to have them right again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from datafusion import SessionContext
from deltalake import DeltaTable
from msgspec import Struct

from decreta_runtime import digests
from decreta_runtime.contract.errors import DecretaError, LakeUnusable
from decreta_runtime.contract.integrity import Finding, Verification
from decreta_runtime.contract.manifest import QUARANTINE, Key, Manifest
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.guards import choose
from decreta_runtime.history import removed_twice
from decreta_runtime.index import open_index
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.locations import exists, missing
from decreta_runtime.origins import Subject, Subjects
from decreta_runtime.record import Ledger, noted, runs_of_pack
from decreta_runtime.scan import Pinned, quote, register_scan


class _Write(Struct):
    """What the ledger says of a write over a part of a table alone."""

    files_rewritten: int | None = None


_WRITES = msgspec.json.Decoder(_Write)


@dataclass
class Verifier:
    """One look at one lake: what it needs to ask its questions, and how much it has looked at."""

    manifest: Manifest
    policy: Policy
    lake: Lake
    context: SessionContext
    data: bool
    files: int = 0
    tables: int = 0

    def __post_init__(self) -> None:
        self.subjects = Subjects(self.manifest, self.policy, self.lake)
        self.pinned: dict[str, Pinned] = {}

    def verify(self, run: RunRecord, recorded: list[RunRecord]) -> Verification:
        """Return what is found of the tables that `run` names, of their indexes, and of the lake's own tables."""
        found: list[Finding] = []
        written = self._written(run)
        for subject, version in self.subjects.tables(run):
            self._table(subject, version, run, written.get(subject.name))
            found += subject.found
        for subject in self.subjects.indexes():
            self._index(subject, run)
            found += subject.found
        for subject in self._own(recorded):
            found += subject.found
        return Verification(
            pack=self.manifest.pack,
            run_seq=run.run_seq,
            data=self.data,
            tables=self.tables,
            files=self.files,
            findings=tuple(found),
        )

    def _table(self, subject: Subject, version: int, run: RunRecord, written: int | None) -> None:
        """Ask everything of one table: its log, its files, its counts and its key."""
        self.tables += 1
        own = subject.origin.kind != "bound"
        if own:
            self._log(subject, version)
        table = _opened(subject, version)
        if table is None:
            return
        pinned = self.pinned[subject.name] = Pinned(subject.name, subject.path, version, table)
        known = run.sources.get(subject.name, "").partition("@")[0]
        if not own and known and pinned.table_id != known:
            subject.say("changed", "it is another table than the one that the last run read")
        self._files(subject, pinned)
        if own:
            self._twice(subject, pinned)
            self._digests(subject, pinned)
        if not subject.found:  # what follows reads the files
            self._rows(subject, pinned, written)
            self._key(subject, pinned)

    def _log(self, subject: Subject, version: int | None) -> None:
        """Compare the files of the log, before the engine is asked to read it; `version` is the last that counts."""
        known = self._known(subject)
        if known is None or not isinstance(subject.path, Path):
            return
        try:
            assert isinstance(subject.path, Path)  # digests are of folders
            names = digests.log_files(subject.path)
        except OSError:
            return  # that there is no log is found when the table is opened
        for name in names:
            if version is None or digests.part_of(version, name):
                self._compare(subject, name, known.files.get(name), subject.rebuild_table)

    def _files(self, subject: Subject, pinned: Pinned) -> None:
        if not isinstance(pinned.path, Path):
            if (lost := missing(pinned.path, pinned.files)) is not None:
                subject.say("missing", "the log names it, and it is not there", self.subjects.shown(lost))
            return
        for path, size in zip(pinned.files, pinned.actions["size_bytes"].to_pylist(), strict=True):
            try:
                there = Path(path).stat().st_size
            except OSError as error:
                subject.say(
                    "missing", f"the log names it, and it is not there: {error.strerror}", self.subjects.shown(path)
                )
                continue
            if there != size:
                subject.say("changed", f"it has {there:,} bytes where the log says {size:,}", self.subjects.shown(path))

    def _twice(self, subject: Subject, pinned: Pinned) -> None:
        """A rewrite from a stale snapshot takes away files that were gone, and adds their rows again."""
        try:
            twice = removed_twice(pinned.path, pinned.version, pinned.actions["path"].to_pylist())
        except LakeUnusable as error:
            subject.say("unreadable", error.message, rebuild=subject.rebuild_table)
            return
        for name, (first, second) in twice.items():
            words = f"versions {first} and {second} both took it away: what the second put in its place may be doubled"
            subject.say("removed_twice", words, self.subjects.shown(pinned.path / name), subject.rebuild_table)

    def _digests(self, subject: Subject, pinned: Pinned) -> None:
        """Compare data files, or see at least that each has a digest."""
        known = self._known(subject, silent=True)
        if known is None:
            return
        for name in digests.data_files(pinned.table):
            if self.data:
                self._compare(subject, name, known.files.get(name), subject.rebuild_file)
            elif name not in known.files:
                self._unrecorded(subject, name)

    def _known(self, subject: Subject, silent: bool = False) -> digests.Digests | None:
        if not isinstance(subject.path, Path):
            return None  # of an object store none are taken
        try:
            known = digests.read(self.lake, self.manifest.pack, subject.path)
        except LakeUnusable as error:
            if not silent:
                place = digests.place(self.lake, self.manifest.pack, subject.path)
                subject.say("digests_changed", error.message, self.subjects.shown(place), rebuild=error.help)
            return None
        if known is None and not silent and exists(subject.path):
            words = "no digests of its files are recorded"
            subject.say("unrecorded", words, rebuild=self.subjects.record_again())
        return known

    def _compare(self, subject: Subject, name: str, wanted: str | None, rebuild: str) -> None:
        path = subject.path / name
        assert isinstance(path, Path)  # digests are of folders
        if wanted is None:
            self._unrecorded(subject, name)
            return
        assert isinstance(path, Path)  # of nothing else are digests known
        try:
            found = digests.digest_of(path)
        except LakeUnusable as error:
            subject.say("unreadable", error.message, self.subjects.shown(path), rebuild)
            return
        self.files += found is not None
        if found is not None and found != wanted:
            words = f"its bytes are not those that were written: sha256 {found} where {wanted} was written"
            subject.say("changed", words, self.subjects.shown(path), rebuild)

    def _unrecorded(self, subject: Subject, name: str) -> None:
        words = "no digest of it is recorded, so nothing can be said of its bytes"
        rebuild = self.subjects.record_again()
        subject.say("unrecorded", words, self.subjects.shown(subject.path / name), rebuild)

    def _rows(self, subject: Subject, pinned: Pinned, written: int | None) -> None:
        """Compare rows as files hold them, as the log counts them, and as the run has counted what it wrote."""
        known = "num_records" in pinned.actions.column_names
        counted = pinned.actions["num_records"].to_pylist() if known else [None] * len(pinned.files)
        local = isinstance(pinned.path, Path)  # in an object store each footer is a request
        for path, said in zip(pinned.files, counted, strict=True) if local else ():
            try:
                held = pq.read_metadata(path).num_rows
            except Exception as error:  # noqa: BLE001 - a broken footer surfaces as several kinds
                subject.say(
                    "unreadable", f"it is no Parquet file any more: {_first_line(error)}", self.subjects.shown(path)
                )
                continue
            if said is not None and held != said:
                subject.say(
                    "row_count", f"it holds {held:,} rows where the log says {said:,}", self.subjects.shown(path)
                )
        if written is not None and pinned.rows is not None and pinned.rows != written:
            words = f"version {pinned.version} has {pinned.rows:,} rows, and the run wrote {written:,}"
            subject.say("row_count", words, rebuild=subject.rebuild_table)

    def _key(self, subject: Subject, pinned: Pinned) -> None:
        if subject.name.endswith(QUARANTINE) or (key := self.manifest.key_of(subject.name)) is None:
            return
        columns = self.manifest.columns_of(subject.name)
        try:
            ledger = Ledger(self.manifest.pack, self.policy.digest)  # of a look that is no action: it goes nowhere
            scan = self.policy.scan(subject.name)
            choice = choose(scan, subject.name, pinned.table, self.policy, ledger, columns)
            scanned = register_scan(self.context, pinned, columns, choice.value)
            doubled, nulls = _key_counts(self.context, subject.name, key)
            scanned.require_files()
        except DecretaError as error:
            subject.say("unreadable", error.message)
        except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
            subject.say("unreadable", f"the engine says: {_first_line(error)}")
        else:
            if doubled or nulls:
                columns_named = ", ".join(key.columns)
                words = f"its key ({columns_named}) stands {doubled:,} times more than once, and has {nulls:,} nulls"
                subject.say("key", words, rebuild=subject.rebuild_table)
        finally:
            self.context.deregister_table(subject.name)

    def _index(self, subject: Subject, run: RunRecord) -> None:
        dataset, _, name = subject.name.rpartition(".")
        if dataset not in self.pinned:
            return  # what its dataset lacks is told of that
        try:
            columns = self.manifest.index_columns_of(dataset, name)
            index = open_index(subject.path, columns, self.pinned[dataset], 0)
            if index is None:
                return  # what a build that failed left behind is none, and read by nobody
            self._log(subject, None)
            known = self._known(subject, silent=True)
            for file in digests.data_files(index.table):
                if known is not None:
                    self._compare(subject, file, known.files.get(file), subject.rebuild_table)
            if not subject.found:
                assert index.known is not None
        except LakeUnusable as error:
            subject.say("unreadable", error.message)
            self._log(subject, None)

    def _own(self, recorded: list[RunRecord]) -> Iterator[Subject]:
        """Yield runs and ledger, with what is found of them."""
        for path in (self.lake.runs, self.lake.ledger):
            subject = self.subjects.of_lake(path)
            self.tables += 1
            if exists(path):
                self._log(subject, None)
                if (table := _opened(subject, None)) is not None:
                    pinned = Pinned(subject.name, path, table.version(), table)
                    self._files(subject, pinned)
                    self._twice(subject, pinned)
                    if path == self.lake.runs or self.data:
                        self._digests_of(subject, pinned)
            if path == self.lake.runs:
                _follow(subject, recorded)
            yield subject

    def _digests_of(self, subject: Subject, pinned: Pinned) -> None:
        known = self._known(subject, silent=True)
        for name in digests.data_files(pinned.table) if known is not None else ():
            self._compare(subject, name, known.files.get(name) if known else None, subject.rebuild_table)

    def _written(self, run: RunRecord) -> dict[str, int]:
        """Return the rows that the run says it wrote, by table, maintained or not since.

        What it took over is not there, nor what it wrote a part of.
        """
        try:
            rows = noted(self.lake, self.manifest.pack, "write")
        except Exception:  # noqa: BLE001 - a broken ledger is found where the ledger is looked at
            return {}
        versions = run.versions | {name + QUARANTINE: version for name, version in run.quarantine.items()}
        mine = [row for row in rows if row["attempt"] == run.attempt and row["subject"] in versions]
        return {row["subject"]: row["rows"] for row in mine if not _of_a_part(row)}


def complete_runs(lake: Lake, pack: str) -> list[RunRecord]:
    """Return the records of all complete runs of a pack, the first one first. Raises LakeUnusable."""
    try:
        return runs_of_pack(lake, pack)
    except LakeUnusable:
        raise
    except Exception as error:  # noqa: BLE001 - the reader raises several kinds, bare Exception among them
        words = f"the records of runs in {lake.runs} cannot be read: {_first_line(error)}"
        raise LakeUnusable(words, help="restore the folder from a backup, or use another lake") from None


def _opened(subject: Subject, version: int | None) -> DeltaTable | None:
    try:
        table = open_table(subject.path, version)
    except LakeUnusable as error:
        subject.say("unreadable", error.message, rebuild=subject.rebuild_table)
        return None
    if table is None:
        subject.say("missing", f"there is no table at {subject.path}", rebuild=subject.rebuild_table)
    return table


def _follow(subject: Subject, recorded: Iterable[RunRecord]) -> None:
    """See that runs follow each other one by one, each with versions not below those of the run before."""
    sequence = [run.run_seq for run in recorded]
    if sequence != list(range(1, len(sequence) + 1)):
        lost = sorted(set(range(1, max(sequence) + 1)) - set(sequence))
        doubled = sorted({n for n in sequence if sequence.count(n) > 1})
        words = f"runs do not follow each other: {lost or 'none'} lack, {doubled or 'none'} stand there twice"
        subject.say("run_record", words)


def _key_counts(context: SessionContext, table: str, key: Key) -> tuple[int, int]:
    """Return how many values of a key stand more than once, and how many rows have a null in it."""
    columns = ", ".join(quote(column) for column in key.columns)
    null = " OR ".join(f"{quote(column)} IS NULL" for column in key.columns)
    groups = f"SELECT 1 FROM {quote(table)} GROUP BY {columns} HAVING count(*) > 1"
    ask: Callable[[str], int] = lambda sql: int(context.sql(sql).to_pylist()[0]["n"])  # noqa: E731
    doubled = ask(f"SELECT count(*) AS n FROM ({groups})")
    return doubled, ask(f"SELECT count(*) AS n FROM {quote(table)} WHERE {null}")


def _of_a_part(row: dict[str, Any]) -> bool:
    return row["detail"] is not None and _WRITES.decode(row["detail"]).files_rewritten is not None


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
