"""Query the ledger: its rows of one pack, a typed view for each kind, and ready queries that lie beside as SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import pyarrow as pa
from datafusion import ScalarUDF, SessionContext, SQLOptions, udf
from deltalake import DeltaTable

from decreta_runtime.access import said_by
from decreta_runtime.arrow import arrow_type, plain
from decreta_runtime.contract.errors import InputInvalid, LakeUnusable
from decreta_runtime.contract.policy import DOMAINS, Policy
from decreta_runtime.lake import Lake, open_table, register_by_delta
from decreta_runtime.record import LEDGER, RUNS

_PARAMETER = re.compile(r"-- \$(?P<name>\w+) (?P<type>\w+)(?: = (?P<default>.+))?")
_REFUSED = re.compile(r"(DDL|DML|Statement) not supported")
_ACTIONS = """
SELECT l.*, r.attempt IS NOT NULL AS complete
FROM ledger AS l LEFT JOIN (SELECT DISTINCT attempt FROM runs) AS r ON r.attempt = l.attempt
"""


@dataclass(frozen=True)
class Ready:
    """A query that ships with the runtime, with what it asks for."""

    name: str
    summary: str
    sql: str
    types: Mapping[str, str]
    """Parameter → spec type."""
    defaults: Mapping[str, str]
    """Parameter → what it is if nobody says, as its file has it."""


@cache
def ready_queries() -> dict[str, Ready]:
    """Return the ready queries by name."""
    return {name: _ready(name, text) for name, text in _texts("ready").items()}


@cache
def views() -> dict[str, str]:
    """Return the statement of the view of each kind of action, by its name: `ledger_<kind>`."""
    return _texts("views")


def register_ledger(context: SessionContext, lake: Lake, pack: str, policy: Policy) -> None:
    """Make the ledger's rows of a pack readable, its complete runs, the policy's decisions, and the views.

    Raises LakeUnusable if the lake has no ledger.
    """
    lake.check_readable()
    table = open_table(lake.ledger)
    if table is None:
        raise LakeUnusable(f"the lake at {lake.root} has no ledger yet", help="run the pack first: `decreta run`")
    context.register_udf(_detail_text())
    _register(context, "ledger", table, LEDGER, pack)
    _register(context, "runs", open_table(lake.runs), RUNS, pack)
    context.register_record_batches("policy_decision", [_decisions(policy).to_batches()])
    context.register_table("ledger_action", context.sql(_ACTIONS).into_view())
    for name, sql in views().items():
        context.register_table(name, context.sql(sql).into_view())


def query_ledger(context: SessionContext, statement: str, values: Mapping[str, pa.Scalar]) -> pa.Table:
    """Return the rows of one reading statement over what `register_ledger` has made. Raises InputInvalid."""
    options = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
    try:
        frame = context.sql_with_options(statement, options, param_values=dict(values))
        batches = frame.collect()
    except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
        words = said_by(error).removeprefix("DataFusion error: ")
        if _REFUSED.search(words):
            raise InputInvalid(
                "the ledger is only read: this statement would change something", help="give one SELECT statement"
            ) from None
        raise InputInvalid(f"the engine says: {words}", help="correct the statement or its parameters") from None
    return plain(pa.Table.from_batches(batches, None if batches else frame.schema()))


def _texts(folder: str) -> dict[str, str]:
    found = (entry for entry in (files(__package__) / folder).iterdir() if entry.is_file())
    return {entry.name.removesuffix(".sql"): entry.read_text("utf-8") for entry in sorted(found, key=lambda e: e.name)}


def _ready(name: str, text: str) -> Ready:
    summary, *_ = text.splitlines()
    asked = [m for line in text.splitlines() if (m := _PARAMETER.fullmatch(line)) is not None]
    types = {m["name"]: m["type"] for m in asked}
    defaults = {m["name"]: m["default"] for m in asked if m["default"] is not None}
    return Ready(name, summary.removeprefix("-- "), text, types, defaults)


def _register(context: SessionContext, name: str, table: DeltaTable | None, schema: pa.Schema, pack: str) -> None:
    """Make a table of the lake's own readable as `schema` has it; a column that it does not have yet is null."""
    if table is None:
        context.register_record_batches(name, [schema.empty_table().to_batches() or [_nothing(schema)]])
        return
    # By delta-rs itself, whatever other writers have made of the table: it is read by people, and need not be quick.
    own = f"pack = '{pack}'"
    register_by_delta(context, f"__{name}", table, own)
    there = set(pa.schema(table.schema().to_arrow()).names)
    columns = [f'"{f.name}"' if f.name in there else f'CAST(NULL AS {_SQL[f.type]}) AS "{f.name}"' for f in schema]
    frame = context.sql(f'SELECT {", ".join(columns)} FROM "__{name}" WHERE {own}')
    context.register_table(name, frame.into_view())


_SQL = {pa.string(): "VARCHAR", pa.int32(): "INT", pa.int64(): "BIGINT", pa.float64(): "DOUBLE"}
"""Types of the columns that a table of an earlier version may lack."""


def _nothing(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _decisions(policy: Policy) -> pa.Table:
    """Return the decisions of a policy as rows."""
    text = pa.string()
    names = ("domain", "subject", "pointer", "policy_digest", "rule", "origin", "mode", "confidence")
    schema = pa.schema([*((name, text) for name in names), ("fallback_reason", text), ("choice_id", text)])
    rows = [
        {
            "domain": domain,
            "subject": subject,
            "pointer": choice.pointer,
            "policy_digest": policy.digest,
            "confidence": choice.value.confidence_score,
            **{
                name: getattr(choice.value, name) for name in ("rule", "origin", "mode", "fallback_reason", "choice_id")
            },
        }
        for domain in DOMAINS
        for subject, choice in policy.decisions(domain).items()
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _detail_text() -> ScalarUDF:
    """Return `detail_text(detail, 'name.inner')`: what a detail has under a name, as text; null if it has nothing."""
    return udf(_picked, [pa.string(), pa.string()], pa.string(), "immutable", "detail_text")


def _picked(details: pa.Array, names: pa.Array) -> pa.Array:
    pairs = zip(details.to_pylist(), names.to_pylist(), strict=True)
    return pa.array([_pick(detail, name) for detail, name in pairs], pa.string())


def _pick(detail: str | None, name: str | None) -> str | None:
    if detail is None or name is None:
        return None
    value: Any = msgspec.json.decode(detail)
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def typed(ready: Ready, name: str) -> pa.DataType:
    """Return the type of a parameter of a ready query."""
    return arrow_type(ready.types[name])
