"""Last step of a run: its record, which makes its tables visible, and the ledger of what was done and why."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from decreta_runtime.contract.errors import WriteConflict
from decreta_runtime.contract.records import Kind, LedgerRow, RunRecord
from decreta_runtime.lake import Lake, open_table

_RUNS = pa.schema(
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
        pa.field("sources", pa.string(), nullable=False),
        pa.field("pack_loads", pa.int32(), nullable=False),
        pa.field("bindings", pa.int32(), nullable=False),
        pa.field("sessions", pa.int32(), nullable=False),
    ]
)
_LEDGER = pa.schema(
    [
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
    ]
)


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
        write_deltalake(str(lake.ledger), pa.Table.from_pylist(rows, schema=_LEDGER), mode="append")
        self.rows.clear()


def last_run(lake: Lake, pack: str) -> RunRecord | None:
    """Return the last complete run of `pack`, None if there is none."""
    table = open_table(lake.runs)
    if table is None:
        return None
    rows = pa.table(table.scan(predicate=f"pack = '{pack}'").read_all()).to_pylist()
    if not rows:
        return None
    last = max(rows, key=lambda row: row["run_seq"])
    last["versions"], last["sources"] = json.loads(last["versions"]), json.loads(last["sources"])
    return msgspec.convert(last, type=RunRecord)


def commit_run(lake: Lake, record: RunRecord) -> None:
    """Append the record of a complete run: from here on readers see its tables. Raises WriteConflict."""
    row = msgspec.to_builtins(record)
    row["versions"], row["sources"] = (json.dumps(row[name], sort_keys=True) for name in ("versions", "sources"))
    application = f"decreta/{record.pack}/_runs"
    table = open_table(lake.runs)
    if table is not None and (table.transaction_version(application) or 0) >= record.run_seq:
        raise WriteConflict(f"run {record.run_seq} of `{record.pack}` is recorded already", help="run again")
    write_deltalake(
        str(lake.runs) if table is None else table,
        pa.Table.from_pylist([row], schema=_RUNS),
        mode="append",
        commit_properties=CommitProperties(app_transactions=[Transaction(application, record.run_seq)]),
    )
