"""Last step of a run: its record, which makes its tables visible, and the ledger of what was done and why."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from decreta_runtime import digests
from decreta_runtime.contract.errors import LakeUnusable, WriteConflict
from decreta_runtime.contract.records import Kind, LedgerRow, QueryDetail, RunRecord
from decreta_runtime.lake import Lake, open_table, rows_of, writing
from decreta_runtime.locations import Location

_APPEND = "decreta.append"
"""What a commit to runs or ledger is known by, once an answer has been lost."""
_APPENDS = 10
"""Tries at an append that others beat: runs of several packs, and readers, share the runs and the ledger."""

RUNS = pa.schema(
    [
        pa.field("pack", pa.string(), nullable=False),
        pa.field("run_seq", pa.int64(), nullable=False),
        pa.field("run_key", pa.string(), nullable=False),
        pa.field("attempt", pa.string(), nullable=False),
        pa.field("environment", pa.string(), nullable=False),
        pa.field("manifest_digest", pa.string(), nullable=False),
        pa.field("policy_digest", pa.string(), nullable=False),
        pa.field("started_us", pa.int64(), nullable=False),
        pa.field("finished_us", pa.int64(), nullable=False),
        pa.field("versions", pa.string(), nullable=False),
        pa.field("quarantine", pa.string()),
        pa.field("sources", pa.string(), nullable=False),
        pa.field("stale", pa.string()),
        pa.field("pack_loads", pa.int32(), nullable=False),
        pa.field("bindings", pa.int32(), nullable=False),
        pa.field("sessions", pa.int32(), nullable=False),
    ]
)
_DETAILS = msgspec.json.Decoder(QueryDetail)
_AS_JSON = ("versions", "quarantine", "sources", "stale")
_LEDGER_VERSIONS = (
    (
        pa.field("pack", pa.string(), nullable=False),
        pa.field("attempt", pa.string(), nullable=False),
        pa.field("run_seq", pa.int64()),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("pointer", pa.string()),
        pa.field("policy_digest", pa.string(), nullable=False),
        pa.field("seconds", pa.float64()),
        pa.field("rows", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("files", pa.int64()),
        pa.field("files_total", pa.int64()),
        pa.field("table_version", pa.int64()),
        pa.field("detail", pa.string()),
    ),
    (
        pa.field("rows_read", pa.int64()),
        pa.field("bytes_scanned", pa.int64()),
        pa.field("memory_bytes", pa.int64()),
    ),
    (pa.field("files_with_statistics", pa.int64()),),
)
"""The columns that each version of the ledger's schema has added. What is added may be null, and nothing is ever
renamed, retyped or given another meaning: a table of any version takes rows of any other, and is read as any other."""

LEDGER = pa.schema([field for added in _LEDGER_VERSIONS for field in added])
"""The ledger as this version writes it."""


def ledger_version(columns: Collection[str]) -> int:
    """Return the version of the ledger's schema whose columns a table has; one that is newer counts as ours."""
    whole = itertools.takewhile(lambda added: {f.name for f in added} <= set(columns), _LEDGER_VERSIONS)
    return sum(1 for _ in whole)


def now_us() -> int:
    """Return the wall clock in microseconds since the epoch."""
    return time.time_ns() // 1000


@dataclass
class Ledger:
    """Rows of one attempt, kept until they are written together."""

    pack: str
    policy_digest: str
    run_seq: int | None = None
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)
    rows: list[LedgerRow] = field(default_factory=list)

    def add(
        self, kind: Kind, subject: str, action: str, pointer: str | None, *, detail: Any = None, **figures: Any
    ) -> None:
        """Note one action with the policy pointer that caused it; `figures` are columns of the ledger."""
        text = None if detail is None else json.dumps(detail, sort_keys=True, separators=(",", ":"))
        row = LedgerRow(
            pack=self.pack,
            attempt=self.attempt,
            run_seq=self.run_seq,
            at_us=now_us(),
            kind=kind,
            subject=subject,
            action=action,
            pointer=pointer,
            policy_digest=self.policy_digest,
            detail=text,
            **figures,
        )
        self.rows.append(row)

    def write(self, lake: Lake) -> None:
        """Append the rows to the lake's ledger in one commit and forget them."""
        if not self.rows:
            return
        rows = [msgspec.to_builtins(row) for row in self.rows]
        for row in rows:
            row["at"] = row.pop("at_us")
        marks = [] if self.run_seq is None else [Transaction(f"decreta/{self.pack}/_ledger", self.run_seq)]
        _append(lake, self.pack, lake.ledger, pa.Table.from_pylist(rows, schema=LEDGER), marks)
        self.rows.clear()


def last_run(lake: Lake, pack: str) -> RunRecord | None:
    """Return the last complete run of `pack`, None if there is none."""
    table = open_table(lake.runs)
    if table is None:
        return None
    # The mark says which row it is: thousands of runs need not be read. After a restore it may say too much.
    mark = table.transaction_version(_runs(pack))
    rows = _records(table, f"pack = '{pack}' AND run_seq = {mark}") if mark is not None else []
    rows = rows or _records(table, f"pack = '{pack}'")
    if not rows:
        return None
    return _decoded(max(rows, key=lambda row: row["run_seq"]))


def last_runs(lake: Lake) -> list[RunRecord]:
    """Return the last complete run of each pack that has run in the lake."""
    table = open_table(lake.runs)
    packs = set() if table is None else set(rows_of(table, ["pack"])["pack"].to_pylist())
    return [run for pack in sorted(packs) if (run := last_run(lake, pack)) is not None]


def _decoded(row: dict[str, Any]) -> RunRecord:
    texts = {name: json.loads(row.get(name) or "{}") for name in _AS_JSON}  # records of before have no quarantine
    return msgspec.convert(row | texts, type=RunRecord)


def noted(lake: Lake, pack: str, *kinds: Kind) -> list[dict[str, Any]]:
    """Return the ledger's rows of these kinds, those of attempts that came to nothing included."""
    table, listed = open_table(lake.ledger), ", ".join(f"'{kind}'" for kind in kinds)
    return [] if table is None else _records(table, f"pack = '{pack}' AND kind IN ({listed})")


def noted_under(lake: Lake, pack: str, policy_digest: str, *kinds: str) -> list[dict[str, Any]]:
    """Return the ledger's rows of these kinds under one policy, the first one first."""
    table, listed = open_table(lake.ledger), ", ".join(f"'{kind}'" for kind in kinds)
    predicate = f"pack = '{pack}' AND policy_digest = '{policy_digest}' AND kind IN ({listed})"
    return [] if table is None else sorted(_records(table, predicate), key=lambda row: row["at"])


class Lookup(NamedTuple):
    """One query shape that was asked, as the ledger has it."""

    shape: str
    at: datetime
    seconds: float
    bytes: int | None
    detail: QueryDetail


def lookups_under(lake: Lake, pack: str, *policy_digests: str) -> list[Lookup]:
    """Return the look-ups by query shapes under some policies, the first one first; earlier versions left no ladder."""
    table, listed = open_table(lake.ledger), ", ".join(f"'{digest}'" for digest in policy_digests)
    predicate = f"pack = '{pack}' AND policy_digest IN ({listed}) AND kind = 'query'"
    rows = [] if table is None else _records(table, predicate)
    found = [
        Lookup(row["subject"], row["at"], row["seconds"], row["bytes"], _DETAILS.decode(row["detail"]))
        for row in rows
        if row["detail"] is not None
    ]
    return sorted((each for each in found if each.detail.shape), key=lambda each: each.at)


class Action(NamedTuple):
    """What makes rows of the ledger the same action."""

    kind: str
    subject: str
    action: str
    pointer: str | None


def runs_under(lake: Lake, pack: str, policy_digest: str) -> list[RunRecord]:
    """Return the complete runs of `pack` under one policy, the first one first."""
    table = open_table(lake.runs)
    rows = [] if table is None else _records(table, f"pack = '{pack}' AND policy_digest = '{policy_digest}'")
    return sorted((_decoded(row) for row in rows), key=lambda run: run.run_seq)


def runs_of_pack(lake: Lake, pack: str) -> list[RunRecord]:
    """Return the records of all complete runs of `pack`, the first one first."""
    table = open_table(lake.runs)
    rows = [] if table is None else _records(table, f"pack = '{pack}'")
    return sorted((_decoded(row) for row in rows), key=lambda run: run.run_seq)


def actions_under(lake: Lake, pack: str, policy_digest: str) -> Counter[Action]:
    """Return how often each action stands in the ledger under one policy."""
    table = open_table(lake.ledger)
    if table is None:
        return Counter()
    predicate = f"pack = '{pack}' AND policy_digest = '{policy_digest}'"
    names = list(Action._fields)
    rows = rows_of(table, names, predicate)
    counted = rows.group_by(names).aggregate([([], "count_all")])
    return Counter({Action(*(row[n] for n in names)): row["count_all"] for row in counted.to_pylist()})


def writes_under(lake: Lake, pack: str, policy_digest: str) -> list[bool]:
    """Say of each write under one policy whether a decision about the maintenance of what it wrote stands beside it."""
    table = open_table(lake.ledger)
    if table is None:
        return []
    predicate = f"pack = '{pack}' AND policy_digest = '{policy_digest}' AND (kind = 'write' OR kind = 'maintenance')"
    names = ["attempt", "subject", "table_version", "kind"]
    rows = rows_of(table, names, predicate).to_pylist()
    decided = {(r["attempt"], r["subject"], r["table_version"]) for r in rows if r["kind"] == "maintenance"}
    return [(r["attempt"], r["subject"], r["table_version"]) in decided for r in rows if r["kind"] == "write"]


def runs_of(lake: Lake, pack: str, environment: str) -> list[dict[str, Any]]:
    """Return the records of the complete runs of `pack` in an environment, the newest first."""
    table = open_table(lake.runs)
    rows = [] if table is None else _records(table, f"pack = '{pack}' AND environment = '{environment}'")
    return sorted(rows, key=lambda row: -int(row["run_seq"]))


def computed_in(lake: Lake, pack: str, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the ledger says of all that these complete runs have computed, in the order it was done.

    Steps and writes that took time; those of attempts that did not complete a run do not count.
    """
    table = open_table(lake.ledger)
    if table is None or not runs:
        return []
    attempts = " OR ".join(f"attempt = '{run['attempt']}'" for run in runs)
    kinds = "(kind = 'step' OR kind = 'write') AND seconds IS NOT NULL"
    rows = _records(table, f"pack = '{pack}' AND {kinds} AND ({attempts})")
    return sorted(rows, key=lambda row: row["at"])


def commit_run(lake: Lake, record: RunRecord) -> None:
    """Append the record of a complete run: from here on readers see its tables. Raises WriteConflict."""
    row = msgspec.to_builtins(record)
    row |= {name: json.dumps(row[name], sort_keys=True) for name in _AS_JSON}

    def look_first(table: DeltaTable) -> None:
        if (table.transaction_version(_runs(record.pack)) or 0) >= record.run_seq:
            raise WriteConflict(f"run {record.run_seq} of `{record.pack}` is recorded already", help="run again")

    marks = [Transaction(_runs(record.pack), record.run_seq)]
    _append(lake, record.pack, lake.runs, pa.Table.from_pylist([row], schema=RUNS), marks, look_first)


def _runs(pack: str) -> str:
    return f"decreta/{pack}/_runs"


def _records(table: DeltaTable, predicate: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = rows_of(table, predicate=predicate).to_pylist()
    return rows


def note_digests(lake: Lake, pack: str) -> None:
    """Take the digests of the files of runs and ledger that have none. Raises LakeUnusable."""
    for path in (lake.runs, lake.ledger):
        if (table := open_table(path)) is not None:
            digests.record(lake, pack, path, table)


def _append(
    lake: Lake,
    pack: str,
    path: Location,
    rows: pa.Table,
    marks: list[Transaction],
    look_first: Callable[[DeltaTable], None] = lambda table: None,
) -> None:
    """Append rows in one commit, once. The engine settles races between appends itself, but not who creates the table.

    A table that an earlier version has made gets the columns that it lacks.
    """
    append = uuid.uuid4().hex
    properties = CommitProperties(app_transactions=marks, custom_metadata={_APPEND: append})
    for left in reversed(range(_APPENDS)):
        table = open_table(path)
        if table is not None:
            look_first(table)
        before = -1 if table is None else table.version()
        try:
            with writing(f"the table {path}"):
                # Merged, because a lake that an earlier version began lacks columns that have come since.
                write_deltalake(
                    str(path) if table is None else table,
                    rows,
                    mode="append",
                    schema_mode="merge",
                    commit_properties=properties,
                )
        except (CommitFailedError, LakeUnusable) as error:
            # Words of failure may come from what follows a commit, or from an answer that was lost.
            if not _has(path, append, before):
                if isinstance(error, LakeUnusable):
                    raise
                if not left:
                    words = str(error).split("\n")[0]
                    lost = f"{path} was changed by others all the while: {words}"
                    raise WriteConflict(lost, help="run again") from None
                time.sleep(random.uniform(0.0, 0.1))
                continue
        _digest_append(lake, pack, path, before + 1)
        return


def _has(path: Location, append: str, before: int) -> bool:
    """Whether a commit after the version `before` is this append."""
    try:
        table = open_table(path)
        if table is None or table.version() == before:
            return False
        return any(commit.get(_APPEND) == append for commit in table.history(limit=table.version() - before))
    except (LakeUnusable, DeltaError):
        return False


def _digest_append(lake: Lake, pack: str, path: Location, since: int) -> None:
    # What has been committed is so, whether or not its digests can be noted: the next run notes those that lack.
    with contextlib.suppress(LakeUnusable, DeltaError):
        if (table := open_table(path)) is not None:
            digests.record(lake, pack, path, table, since)
