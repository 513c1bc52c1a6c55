"""`make probe`: see what the installed pair of engines does, and write it down as a capability file.

A capability is what was seen here, through the runtime's own scan and write, never what a version promises. The file is
committed and an input of compilation; nothing is probed in a run. `FEATURES` says what each means.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from datafusion import SessionConfig, SessionContext
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.transaction import RemoveAction

from decreta_runtime.arrow import schema_of
from decreta_runtime.contract import types
from decreta_runtime.contract.capabilities import FEATURES, CapabilityFile, FunctionSeen, Volatility
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, WriteConflict
from decreta_runtime.contract.manifest import Column
from decreta_runtime.contract.policy import Choice, MaintenanceValue, ScanValue, SessionValue, WriteValue
from decreta_runtime.foreign import delete_by_vector
from decreta_runtime.guards import installed_engine
from decreta_runtime.lease import Lease, leased
from decreta_runtime.metrics import ScanStats, scan_stats
from decreta_runtime.outcomes import Written
from decreta_runtime.parts import parts_of, together
from decreta_runtime.place import Places, Wanted
from decreta_runtime.record import Ledger
from decreta_runtime.rewrite import Rewrite, put, rewrite
from decreta_runtime.scan import UNPRUNED, Pinned, register_scan
from decreta_runtime.write import RunIdentity, already_written, write

_ROWS, _GROUP = 40_000, 1_000
_COLUMNS = (
    Column(name="id", type="int64"),
    Column(name="word", type="string", nullable=True),
    Column(name="at", type="timestamp"),
    Column(name="at_home", type="timestamp_local"),
    Column(name="parts", type="list<int32>"),
    Column(name="price", type="decimal(10,2)"),
    Column(name="later", type="int64", nullable=True),
)
_OLDER = schema_of(_COLUMNS[:-1])
_PAIR = (Column(name="id", type="int64"), Column(name="word", type="string"))
_DELTA = msgspec.structs.replace(UNPRUNED, path="delta")
_LINKED = msgspec.structs.replace(UNPRUNED, path="linked")
_WRITTEN = WriteValue(
    mode="replace",
    sort=(),
    staging="memory",
    target_file_bytes=1 << 30,
    row_group_rows=_GROUP,
    compression="snappy",
    bloom_columns=(),
    bloom_fpp="0.01",
    conflict_retries=0,
    conflict_wait_ms=0,
)


class _Read(NamedTuple):
    rows: pa.Table
    stats: ScanStats

    def column(self, column: Column) -> tuple[str | None, list[Any]]:
        """Return the type, by the name that specs give it, and the values of a column."""
        return types.from_arrow(str(self.rows.schema.field(column.name).type)), self.rows[column.name].to_pylist()


def probe() -> CapabilityFile:
    """Return the capability file's content for the installed engines."""
    found: dict[str, bool] = {}
    for act in (
        _native,
        _skipped,
        _deleted,
        _mapped,
        _partitioned,
        _not_a_number,
        _committed,
        _compacted,
        _spilled,
        _limited,
        _repeated,
    ):
        with tempfile.TemporaryDirectory() as folder:
            found |= act(Path(folder) / "a table")
    context = SessionContext(SessionConfig().with_information_schema(True))
    settings = context.sql("SELECT name FROM information_schema.df_settings ORDER BY name").to_pydict()["name"]
    features = {name: found[name] for name in sorted(FEATURES)}
    return CapabilityFile(
        engine=installed_engine(), features=features, functions=_functions(context), settings=tuple(settings)
    )


# -- scans


def _native(path: Path) -> dict[str, bool]:
    """Read a table of two files, the older without the column `later`, by both paths."""
    older = {
        "id": list(range(_ROWS)),
        "word": [None if i % 11 == 0 else f"w{i % 97}" for i in range(_ROWS)],
        "at": pa.array(range(_ROWS), pa.timestamp("us", "UTC")),
        "at_home": pa.array(range(_ROWS), pa.timestamp("us")),
        "parts": [[i, i + 1] for i in range(_ROWS)],
        "price": [Decimal(i) / 100 for i in range(_ROWS)],
    }
    first = pa.table(older, schema=_OLDER)
    write_deltalake(str(path), first, writer_properties=WriterProperties(max_row_group_size=_GROUP))
    second = first.slice(0, 1).set_column(0, "id", pa.array([_ROWS])).append_column("later", pa.array([1]))
    write_deltalake(str(path), second, mode="append", schema_mode="merge")
    pinned = _pinned(path)
    whole = pa.concat_tables([first, second], promote_options="default").cast(schema_of(_COLUMNS))
    wanted = _Read(whole, None)  # type: ignore[arg-type]
    delta, native = _read(pinned, _COLUMNS, _DELTA), _read(pinned, _COLUMNS, UNPRUNED)
    same = {c.name: native.column(c) == wanted.column(c) for c in _COLUMNS}
    narrow = _read(pinned, _COLUMNS, UNPRUNED, "id = 777")
    few = _read(pinned, _COLUMNS, msgspec.structs.replace(UNPRUNED, pushdown=True), "word = 'w7' AND id < 3000")
    groups, total = narrow.stats.row_groups_read, narrow.stats.row_groups_total
    pruned = groups is not None and total is not None and groups < total
    return {
        "delta_scan": all(delta.column(c) == wanted.column(c) for c in _COLUMNS),
        "native_scan": same["id"] and same["word"] and narrow.rows.num_rows == 1 and pruned,
        "native_schema_changes": same["later"],
        "native_timestamps": same["at"] and same["at_home"],
        "native_nested_types": same["parts"],
        "native_decimals": same["price"],
        "row_filters": 0 < few.rows.num_rows == few.stats.rows_scanned,
    }


def _skipped(path: Path) -> dict[str, bool]:
    """Look up one word in row groups that all span the same words, and one id in a row group of several pages."""
    rows = pa.table({"id": list(range(_ROWS)), "word": [f"w{i * 7919 % _ROWS:05}" for i in range(_ROWS)]})
    read: dict[tuple[str, bool], int | None] = {}
    wide = msgspec.structs.replace(_WRITTEN, row_group_rows=_ROWS)
    blooms = msgspec.structs.replace(_WRITTEN, bloom_columns=("word",))
    for on in (True, False):
        pages, filters = _write(path / "wide", rows, wide), _write(path / "blooms", rows, blooms)
        none = _write(path / "none", rows, _WRITTEN)
        by_page = msgspec.structs.replace(UNPRUNED, page_index=on)
        by_filter = msgspec.structs.replace(UNPRUNED, bloom_filters=on)
        read["pages", on] = _read(pages, _PAIR, by_page, "id = 777").stats.rows_scanned
        read["blooms", on] = _read(filters, _PAIR, by_filter, "word = 'w00777'").stats.rows_scanned
        read["none", on] = _read(none, _PAIR, by_filter, "word = 'w00777'").stats.rows_scanned
    # One row group in a hundred passes a filter in vain.
    few = 0 < (read["blooms", True] or 0) <= 4 * _GROUP
    return {
        "page_index": 0 < (read["pages", True] or 0) < _ROWS == read["pages", False],
        "bloom_filters": few and read["blooms", False] == _ROWS == read["none", True],
    }


def _deleted(path: Path) -> dict[str, bool]:
    rows = pa.table({"id": list(range(10)), "word": [f"w{i}" for i in range(10)]})
    write_deltalake(str(path), rows)
    delete_by_vector(path)
    native, delta = _both(path)
    return {
        "delta_reads_deletion_vectors": delta == rows.slice(2).to_pylist(),
        "native_sees_deleted_rows": native != delta,
    }


def _mapped(path: Path) -> dict[str, bool]:
    rows = pa.table({"id": list(range(10)), "word": [f"w{i}" for i in range(10)]})
    write_deltalake(str(path), rows, configuration={"delta.columnMapping.mode": "name"})
    native, delta = _both(path)
    return {"delta_reads_column_mapping": delta == rows.to_pylist(), "native_misses_mapped_columns": native != delta}


def _partitioned(path: Path) -> dict[str, bool]:
    """Look up values of a partition column that are null, or no folder's name, by all three paths."""
    words = [None, "a b/c'd%", "w"]
    rows = pa.table({"id": list(range(12)), "word": [words[i % 3] for i in range(12)]})
    write_deltalake(str(path), rows, partition_by=["word"])
    native, delta = _both(path)
    linked = {
        condition: _read(_pinned(path), _PAIR, msgspec.structs.replace(_LINKED, pushdown=True), condition)
        for condition in ("true", "word IS NULL", "word = 'a b/c''d%' AND id > 5")
    }
    ids = [found.rows["id"].to_pylist() for found in linked.values()]
    stats = [found.stats for found in linked.values()]
    right = linked["true"].rows.to_pylist() == rows.to_pylist() and ids[1:] == [[0, 3, 6, 9], [7, 10]]
    groups = [s.row_groups_read or 0 for s in stats]
    pruned = groups[0] == stats[0].row_groups_total and max(groups[1:]) < groups[0]
    read = pruned and [s.rows_scanned for s in stats] == [12, 4, 2]
    return {
        "delta_reads_partitions": delta == rows.to_pylist(),
        "linked_scan": right and read,
        "native_misses_partitions": native != delta,
    }


def _not_a_number(path: Path) -> dict[str, bool]:
    """Ask for what is more than a file's greatest number: NaN alone is, and stands in no statistics."""
    columns = (Column(name="id", type="int64"), Column(name="x", type="float64"), Column(name="y", type="float32"))
    numbers = [0.5, float("nan"), -0.0]
    rows = pa.table({"id": [1, 2, 3], "x": numbers, "y": pa.array(numbers, pa.float32())})
    write_deltalake(str(path), rows)
    asked = [_read(_pinned(path), columns, UNPRUNED, f"{name} > 1").rows["id"].to_pylist() for name in ("x", "y")]
    return {"native_nan": asked == [[2], [2]]}


# -- writes


def _meddled(path: Path, rows: pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield rows while another writer commits to the table they are for."""
    # In a thread of its own: the writer asks for these rows from one in which it cannot write again.
    other = threading.Thread(target=write_deltalake, args=(str(path), rows), kwargs={"mode": "append"})
    other.start()
    other.join()
    yield from rows.to_batches()


def _committed(path: Path) -> dict[str, bool]:
    rows = pa.table({"id": [1, 2], "word": ["a", "b"]})
    _write(path, rows, _WRITTEN)
    ours, other = RunIdentity("probe", 1, "sha256:1"), RunIdentity("probe", 1, "sha256:2")
    found = already_written("probed", path, ours) is not None and already_written("probed", path, other) is None
    try:
        write("probed", path, lambda: _meddled(path, rows), _PAIR, "", _WRITTEN, other._replace(run_seq=2))
        refused = False
    except WriteConflict:
        refused = DeltaTable(str(path)).to_pyarrow_table().num_rows == 2 * rows.num_rows
    return {"transactions_recorded": found, "stale_overwrite_refused": refused}


def _compacted(path: Path) -> dict[str, bool]:
    tracked = {"delta.enableChangeDataFeed": "true"}
    for start in range(0, _ROWS, _ROWS // 4):
        rows = pa.table({"id": list(range(start, start + _ROWS // 4)), "word": ["x", None] * (_ROWS // 8)})
        marks = CommitProperties(app_transactions=[Transaction("probe", start)])
        write_deltalake(str(path), rows, mode="append", commit_properties=marks, configuration=tracked)
    before = _pinned(path)
    with leased(path, 60) as lease:
        done = rewrite(_job(before, path, lease))
    after = _pinned(path)
    kept = after.table.transaction_version("probe") == before.table.transaction_version("probe")
    changes = pa.table(after.table.load_cdf(starting_version=done.version, ending_version=done.version)).num_rows
    names = zip(before.actions["path"].to_pylist(), before.actions["size_bytes"].to_pylist(), strict=True)
    try:
        put(before, [RemoveAction(name, False, 0, size, {}) for name, size in names], {}, {})
        refused = False
    except WriteConflict:
        refused = after.table.count() == _ROWS
    parted = _compacted_in_parts(path.with_name(f"{path.name}-parted"))
    return {"own_compaction": refused and kept and not changes and len(after.files) == 1 and parted}


def _compacted_in_parts(path: Path) -> bool:
    """Whether rows stay in their partitions, one of them of a name that folders and logs write in two ways."""
    for start in range(4):
        rows = pa.table({"id": [start, start + 4], "word": ["x", None], "at": ["a b/%ü", None]})
        write_deltalake(str(path), rows, mode="append", partition_by=["at"])
    before = _pinned(path)
    with leased(path, 60) as lease:
        rewrite(_job(before, path, lease))
    after = _pinned(path)
    return len(after.files) == 2 and _rows_of(before) == _rows_of(after)


def _rows_of(pinned: Pinned) -> list[str]:
    return sorted(map(repr, pa.table(pinned.table.scan().read_all()).to_pylist()))


def _job(pinned: Pinned, path: Path, lease: Lease) -> Rewrite:
    columns = tuple(msgspec.structs.replace(column, nullable=True) for column in _PAIR)
    value = MaintenanceValue(
        triggers={},
        small_file_bytes=1 << 30,
        sort=("id",),
        target_file_bytes=1 << 30,
        row_group_rows=_GROUP,
        compression="snappy",
        bloom_columns=("word",),
        bloom_fpp="0.01",
        amplification="1.00",
        at_most_times="1.00",
        retention_hours=168,
        time_limit_seconds=60,
        lease_seconds=60,
        pin_seconds=60,
    )
    profile = SessionValue(
        settings={},
        source_workers=1,
        source_chunks_per_worker=1,
        source_chunks_ahead=1,
        source_alone_bytes=0,
        source_limit_seconds=1800,
        refresh="whole",
        spill_buffer_bytes=1,
        ledger_buffer_rows=1,
        ordered_writes=False,
    )
    folder = pinned.path
    assert isinstance(folder, Path)  # made here
    parts = parts_of(pinned)
    assert not isinstance(parts, str)
    return Rewrite(
        name="probed",
        path=folder,
        version=pinned.version,
        parts=tuple(together(parts, parts)),
        columns=columns,
        value=value,
        workload="probe",
        profile=Choice(profile, ""),
        lease=lease,
        total=Written(pinned.bytes, 0),
        said={},
    )


def _spilled(path: Path) -> dict[str, bool]:
    rows = pa.table({"id": list(range(_ROWS)), "word": [f"w{i % 97}" for i in range(_ROWS)]}, schema_of(_PAIR))
    context = _session(1)
    places = Places(context, None, 1 << 30, path, Ledger("probe", ""))  # type: ignore[arg-type] # no guard is asked
    places.put("probed", rows.to_batches(), _PAIR, Wanted("spill", (), None, "", pushdown=True))
    found = _answer(context, "SELECT * FROM probed WHERE word = 'w7'")
    return {"spill_filters": 0 < found.rows.num_rows == found.stats.rows_scanned}


# -- sessions


def _limited(_: Path) -> dict[str, bool]:
    context = _session(1)
    context.sql("SET datafusion.runtime.memory_limit = '24M'")
    many = 300_000
    frame = context.sql(f"SELECT value * 7919 % 999983 AS k, repeat('x', 99) AS x FROM range({many}) ORDER BY k")
    keys = pa.Table.from_batches([b.to_pyarrow() for b in frame.execute_stream()])["k"].to_pylist()
    spills = sum(int(m.value or 0) for m in _metrics(frame.execution_plan()) if m.name == "spill_count")
    return {"memory_limit_obeyed": spills > 0 and keys == sorted(i * 7919 % 999983 for i in range(many))}


def _repeated(path: Path) -> dict[str, bool]:
    rows = pa.table({"id": list(range(_ROWS)), "word": [f"w{i * 7919 % 997}" for i in range(_ROWS)]})
    for start in range(0, _ROWS, _ROWS // 4):
        write_deltalake(str(path), rows.slice(start, _ROWS // 4), mode="append")
    pinned, found = _pinned(path), []
    for _ in range(5):
        context = _session(1)
        register_scan(context, pinned, _PAIR, UNPRUNED)
        found.append(_answer(context, "SELECT word, sum(1 / (id + 1.5e0)) AS s FROM probed GROUP BY word").rows)
    return {"one_partition_repeats": all(rows.equals(found[0]) for rows in found)}


# -- functions


def _functions(context: SessionContext) -> dict[str, FunctionSeen]:
    """Return the engine's functions by name."""
    listed = context.sql(
        "SELECT routine_name AS name, lower(function_type) AS kind, bool_and(is_deterministic) AS same "
        "FROM information_schema.routines GROUP BY 1, 2 ORDER BY 1, 2"
    ).to_pylist()
    found: dict[str, FunctionSeen] = {}
    for name in sorted({row["name"] for row in listed}):
        kinds = {row["kind"]: row["same"] for row in listed if row["name"] == name}
        # The engine says of table functions alone that they are not deterministic, whichever they are.
        same = all(same for kind, same in kinds.items() if kind != "table")
        found[name] = FunctionSeen(kinds=tuple(kinds), volatility="immutable" if same else _volatility(context, name))
    return found


def _volatility(context: SessionContext, name: str) -> Volatility:
    """Return whether a function gives one value a statement. What cannot be called without arguments is volatile."""
    try:
        (row,) = context.sql(f"SELECT count(DISTINCT v) AS n FROM (SELECT {name}() AS v FROM range(20000))").to_pylist()
    except Exception:  # noqa: BLE001 - the binding raises bare Exception
        return "volatile"
    return "stable" if row["n"] == 1 else "volatile"


# -- reading


def _pinned(path: Path) -> Pinned:
    table = DeltaTable(str(path))
    return Pinned("probed", path, table.version(), table)


def _write(path: Path, rows: pa.Table, value: WriteValue) -> Pinned:
    """Write rows as a run does."""
    return write("probed", path, rows.to_batches, _PAIR, "", value, RunIdentity("probe", 1, "sha256:1"))[0]


def _session(partitions: int) -> SessionContext:
    config = SessionConfig().with_target_partitions(partitions)
    return SessionContext(config.set("datafusion.execution.time_zone", "UTC"))


def _both(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a table's rows by the native path and by the Delta reader."""
    native, delta = (_read(_pinned(path), _PAIR, value).rows.to_pylist() for value in (UNPRUNED, _DELTA))
    return native, delta


def _read(pinned: Pinned, columns: Sequence[Column], value: ScanValue, predicate: str = "true") -> _Read:
    context = _session(1)
    scanned = register_scan(context, pinned, columns, value)
    return _answer(context, f"SELECT * FROM probed WHERE {predicate} ORDER BY id", scans={pinned.name: scanned})


def _answer(context: SessionContext, sql: str, **scans: Any) -> _Read:
    frame = context.sql(sql)
    rows = pa.Table.from_batches(frame.collect(), frame.schema())
    return _Read(rows, scan_stats(frame.execution_plan(), scans.get("scans", {}), 0.0))


def _metrics(plan: Any) -> Iterator[Any]:
    stack: list[Any] = [plan]
    while stack:
        node = stack.pop()
        stack += node.children()
        metrics = node.metrics()
        yield from metrics.metrics() if metrics is not None else ()


# -- the file


def render(found: CapabilityFile) -> str:
    """Return a capability file's text: a line a feature, function and setting, so that changes read well."""
    plain = msgspec.to_builtins(found)
    parts = [f'  "engine": {_line(plain["engine"])}']
    parts += [f'  "{name}": {{\n{_lines(plain[name])}\n  }}' for name in ("features", "functions")]
    listed = ",\n".join(f"    {_line(name)}" for name in plain["settings"])
    return "{\n" + ",\n".join([*parts, f'  "settings": [\n{listed}\n  ]']) + "\n}\n"


def _lines(entries: dict[str, Any]) -> str:
    return ",\n".join(f"    {_line(name)}: {_line(value)}" for name, value in sorted(entries.items()))


def _line(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=0).decode()


def main() -> int:
    """Write the capability file into the folder named on the command line; say what was not seen."""
    found = probe()
    name = "+".join(f"{engine}-{version}" for engine, version in sorted(found.engine.items()))
    path = Path(sys.argv[1]) / f"{name}.json"
    path.write_text(render(found))
    missed = [feature for feature, seen in found.features.items() if not seen]
    print(f"{path}: {len(found.features) - len(missed)} features, {len(found.functions)} functions")
    for feature in missed:
        print(f"not seen: {feature}: {FEATURES[feature].summary}", file=sys.stderr)
    return EXIT_FINDINGS if missed else EXIT_DONE


if __name__ == "__main__":
    raise SystemExit(main())
