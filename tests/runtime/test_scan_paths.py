"""Each scan path, under each of its options, gives the rows of a plain full scan: for any table and any condition.

The reference is the table as delta-rs reads it whole into memory, filtered by the engine there.
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pytest
from datafusion import SessionConfig, SessionContext
from deltalake import DeltaTable, WriterProperties, write_deltalake
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.conftest import Command

from decreta_runtime.arrow import schema_of
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.manifest import Ask, AskValue, Column
from decreta_runtime.contract.policy import Choice, ScanValue
from decreta_runtime.foreign import delete_by_vector
from decreta_runtime.guards import ask
from decreta_runtime.metrics import scan_stats
from decreta_runtime.narrow import matching, unbounded
from decreta_runtime.place import Place, PlaceBeside, Places, Wanted
from decreta_runtime.scan import Pinned, hides_nan, register_scan

EPOCH = datetime(1970, 1, 1)
TEXTS = [
    "",
    "a" * 70,
    "a" * 64 + "b",
    "é" * 40,
    "\U0010ffff" * 20,
    "a b/c'd%20=e",
    "NULL",
    "__HIVE_DEFAULT_PARTITION__",
]
FLOATS = [-1.5, 0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 1e-3]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int8": st.integers(-2, 2) | st.sampled_from([-128, 127]),
    "int64": st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1]),
    "float32": st.sampled_from([*FLOATS[:-1], 0.10000000149011612]),
    "float64": st.sampled_from(FLOATS),
    "string": st.text("ab%_\\é'/", max_size=4) | st.sampled_from(TEXTS),
    "binary": st.binary(max_size=3) | st.just(b"\xff" * 70),
    "date": st.dates(date(2023, 12, 30), date(2024, 1, 3)) | st.sampled_from([date(1, 1, 1), date(9999, 12, 31)]),
    "timestamp": st.integers(-2_001, 3_000_003).map(lambda us: EPOCH.replace(tzinfo=UTC) + timedelta(microseconds=us)),
    "timestamp_local": st.integers(-2_001, 3_000_003).map(lambda us: EPOCH + timedelta(microseconds=us)),
    # delta-rs writes a partition value below zero as `-1.-50` and then cannot read its own log.
    "decimal(10,2)": st.integers(0, 300).map(lambda cents: Decimal(cents) / 100),
    "decimal(38,6)": st.sampled_from([Decimal("-1e30"), Decimal("0.000001"), Decimal("1e31"), Decimal("-0.5")]),
    "list<int32>": st.lists(st.integers(-2, 2) | st.none(), max_size=3),
    "list<string>": st.lists(st.sampled_from(TEXTS) | st.none(), max_size=2),
}
COLUMNS = tuple(Column(name=f"c{i}", type=kind, nullable=True) for i, kind in enumerate(VALUES))
NAMED = {column.name: column for column in COLUMNS}
KEYS = tuple(c for c in COLUMNS if c.type not in ("binary", "decimal(38,6)") and not c.type.startswith("list"))
"""What a table may be partitioned by; `binary` is not, as delta-rs writes values that it then cannot read."""
OPTIONS = [
    dict(zip(("pushdown", "page_index", "bloom_filters"), on, strict=True))
    for on in itertools.product([True, False], repeat=3)
]
Rows = list[dict[str, Any]]


class Case(NamedTuple):
    """A table in the making: its files in order, each with the columns that it was written with."""

    files: list[tuple[tuple[str, ...], Rows]]
    partitioned_by: tuple[str, ...]
    indexed: str
    folder: str


@st.composite
def cases(draw: st.DrawFn, *, partitioned: bool) -> Case:
    by = (
        draw(st.lists(st.sampled_from([c.name for c in KEYS]), min_size=1, max_size=2, unique=True))
        if partitioned
        else []
    )
    files = []
    # What the first file lacks is added later; what a later one lacks reads as null.
    for _ in range(draw(st.integers(0, 4))):
        names = draw(st.lists(st.sampled_from(sorted(NAMED)), min_size=2, max_size=6, unique=True))
        names = list(dict.fromkeys([*names, *by, *(["c2"] if set(names) <= set(by) else [])]))
        values = {n: VALUES[NAMED[n].type] for n in names}
        # A partition's folder has its value in its name, which has an end.
        values |= {n: values[n].map(lambda text: text[:14]) for n in by if NAMED[n].type == "string"}
        one = st.fixed_dictionaries({n: st.none() | values[n] for n in names})
        files.append((tuple(names), draw(st.lists(one, min_size=1, max_size=5))))
    folder = draw(st.sampled_from(["t", "a table", "50% ?*", "p=1", "é'\"#&;"]))
    return Case(files, tuple(by), draw(st.sampled_from(["32", "0", "3", "-1"])), folder)


def made(case: Case, root: Any) -> Pinned:
    """Write a case, its row groups small and with bloom filters and page indexes where they can be."""
    path = root / case.folder
    properties = WriterProperties(max_row_group_size=2, data_page_size_limit=16, statistics_truncate_length=8)
    configuration = {"delta.dataSkippingNumIndexedCols": case.indexed}
    DeltaTable.create(
        str(path), schema_of(COLUMNS), partition_by=list(case.partitioned_by) or None, configuration=configuration
    )
    for names, rows in case.files:
        written = pa.Table.from_pylist(rows, schema_of([NAMED[n] for n in names]))
        write_deltalake(str(path), written, mode="append", schema_mode="merge", writer_properties=properties)
    table = DeltaTable(str(path))
    return Pinned("t", path, table.version(), table)


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, tuple[Ask, ...], dict[str, pa.Scalar]]:
    """Draw a condition of one to three comparisons, all of which hold, and what it asks of a scan."""
    texts, asks, values = [], [], {}
    for _ in range(draw(st.integers(1, 3))):
        column = draw(st.sampled_from(COLUMNS))
        kind = schema_of([column]).field(0).type
        if draw(st.integers(0, 5)) == 0 or pa.types.is_list(kind):
            texts.append(f"{column.name} IS {draw(st.sampled_from(['', 'NOT ']))}NULL")
            continue
        op = draw(st.sampled_from(["=", "<", "<=", ">", ">=", "in", *(["like"] if column.type == "string" else [])]))
        names = [f"p{len(values) + i}" for i in range(draw(st.integers(1, 3)) if op == "in" else 1)]
        values |= {name: pa.scalar(draw(VALUES[column.type]), kind) for name in names}
        listed = ", ".join(f"${name}" for name in names)
        texts.append(f"{column.name} {op.upper()} " + (f"({listed})" if op == "in" else listed))
        asks.append(Ask(column=column.name, op=op, values=tuple(AskValue(parameter=n) for n in names)))
    return " AND ".join(texts), tuple(asks), values


def session(partitions: int = 2) -> SessionContext:
    config = SessionConfig().with_target_partitions(partitions)
    config = config.set("datafusion.execution.time_zone", "UTC")
    return SessionContext(config.set("datafusion.optimizer.enable_aggregate_dynamic_filter_pushdown", "false"))


def answer(context: SessionContext, sql: str, values: dict[str, pa.Scalar] | None = None) -> list[str]:
    found = context.sql(sql, param_values=values or {}).to_pylist()
    return sorted(repr(sorted(row.items())) for row in found)


def value_of(path: str, **options: bool) -> ScanValue:
    chosen = {"log_pruning": False, "pushdown": False, "page_index": False, "bloom_filters": False} | options
    return ScanValue(path=path, columns="all", step_files=0, step_values=0, **chosen)  # type: ignore[arg-type]


def reference(pinned: Pinned) -> SessionContext:
    context, whole = session(), pa.table(pinned.table.scan())
    empty = pa.RecordBatch.from_pylist([], schema=schema_of(COLUMNS))
    context.register_record_batches("t", [whole.select([c.name for c in COLUMNS]).to_batches() or [empty]])
    return context


ASKED = "SELECT * FROM t WHERE {}"
TOLD = ", ".join(
    f"min({c.name}), max({c.name}), count({c.name})" for c in COLUMNS if c.type[:4] not in ("list", "bool")
)


def same_by(path: str, case: Case, data: st.DataObject, *, partitions: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        same_in(Path(folder), path, case, data, partitions=partitions)


def same_in(root: Any, path: str, case: Case, data: st.DataObject, *, partitions: int) -> None:
    """Compare in a folder, or in a place of an object store."""
    pinned = made(case, root)
    truth = reference(pinned)
    asked = [data.draw(conditions()) for _ in range(4)]
    for options in data.draw(st.permutations(OPTIONS))[:2]:
        sound = path == "delta" or not hides_nan(pinned.table, COLUMNS)
        value, context = value_of(path, **options) if sound else value_of("delta"), session(partitions)
        scanned = register_scan(context, pinned, COLUMNS, value)
        assert answer(context, f"SELECT count(*), {TOLD} FROM t") == answer(truth, f"SELECT count(*), {TOLD} FROM t")
        for condition, asks, values in asked:
            wanted = answer(truth, ASKED.format(condition), values)
            assert answer(context, ASKED.format(condition), values) == wanted, (condition, values, options)
            either = f"SELECT count(*) FROM t WHERE ({condition}) OR c2 = 1"
            assert answer(context, either, values) == answer(truth, either, values), (condition, values, options)
            pruned_as_well(pinned, value, asks, values, condition, wanted)
        assert scanned.of_files == (value.path != "delta")


def pruned_as_well(
    pinned: Pinned, value: ScanValue, asks: tuple[Ask, ...], values: dict[str, pa.Scalar], condition: str, wanted: Any
) -> None:
    """Ask once more with the files alone that the log leaves."""
    context, files = session(), matching(pinned, [asks], values) if asks else pinned.files
    value = msgspec.structs.replace(value, log_pruning=True)
    scanned = register_scan(context, pinned, COLUMNS, value, files)
    assert answer(context, ASKED.format(condition), values) == wanted, ("log_pruning", condition, values)
    scanned.require_files()


# Without shrinking: a table takes tens of milliseconds to write, and a case says by itself what it is.
LAW = settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("path", ["native", "linked", "delta"])
def test_a_plain_table_reads_the_same_by_each_path(path: str) -> None:
    @LAW
    @given(case=cases(partitioned=False), data=st.data())
    def law(case: Case, data: st.DataObject) -> None:
        same_by(path, case, data, partitions=data.draw(st.sampled_from([1, 2])))

    law()


@pytest.mark.parametrize("path", ["linked", "delta"])
def test_a_partitioned_table_reads_the_same_by_each_path(path: str) -> None:
    @LAW
    @given(case=cases(partitioned=True), data=st.data())
    def law(case: Case, data: st.DataObject) -> None:
        same_by(path, case, data, partitions=data.draw(st.sampled_from([1, 2])))

    law()


PAIR = (Column(name="id", type="int64", nullable=True), Column(name="word", type="string", nullable=True))


def partitioned(path: Path, words: list[str | None], rows: int = 4) -> Pinned:
    """Write a table of `rows` rows a word, partitioned by it, the ids in order."""
    written = pa.table({"id": range(rows * len(words)), "word": [w for w in words for _ in range(rows)]})
    write_deltalake(str(path), written, partition_by=["word"])
    table = DeltaTable(str(path))
    return Pinned("t", path, table.version(), table)


def ids(context: SessionContext, condition: str) -> list[int]:
    return sorted(row["id"] for row in context.sql(f"SELECT id FROM t WHERE {condition}").to_pylist())


def test_a_linked_scan_skips_partitions_row_groups_and_rows(tmp_path: Path) -> None:
    pinned = partitioned(tmp_path / "t", [f"w{i}" for i in range(20)], 100)
    value, context = value_of("linked", pushdown=True), session(1)
    scanned = register_scan(context, pinned, PAIR, value)
    frame = context.sql("SELECT id FROM t WHERE word = 'w7' AND id < 710")
    assert len(frame.to_pylist()) == 10
    stats = scan_stats(frame.execution_plan(), {"t": scanned}, 0.0)
    assert (stats.files_total, stats.bytes_eligible) == (20, pinned.bytes), "of the snapshot, once"
    assert (stats.row_groups_read, stats.rows_scanned) == (1, 10)
    assert stats.bytes_scanned is not None and stats.bytes_scanned < pinned.bytes / 20
    frame = context.sql("SELECT count(*) AS n FROM t AS a JOIN t AS b ON a.id = b.id WHERE a.word > ''")
    assert frame.to_pylist() == [{"n": 2_000}]
    assert scan_stats(frame.execution_plan(), {"t": scanned}, 0.0).files_total == 40, "read twice"


def test_partition_values_narrow_exactly(tmp_path: Path) -> None:
    pinned = partitioned(tmp_path / "t", [None, "", "a b/c'd%", "x" * 20, "y"])

    def listed(op: str, *literals: Any) -> int:
        asked = Ask(column="word", op=op, values=tuple(AskValue(literal=v) for v in literals))  # type: ignore[arg-type]
        return len(matching(pinned, [[asked]], {}))

    assert [listed("=", "y"), listed("=", ""), listed("in", "y", "a b/c'd%"), listed("=", "z")] == [1, 1, 2, 0]
    assert [listed(">", "x"), listed("<", "a"), listed("like", "a b%")] == [2, 1, 1]
    asked = Ask(column="word", op="=", values=(AskValue(literal="y"),))
    context = session()
    scanned = register_scan(context, pinned, PAIR, value_of("linked"), matching(pinned, [[asked]], {}))
    assert ids(context, "true") == [16, 17, 18, 19]
    assert scanned.links is not None and len(list(scanned.links.folder.rglob("*.parquet"))) == 1


def test_a_decimal_that_the_log_rounds_is_found(tmp_path: Path) -> None:
    """The log has decimals as floats: more than 15 digits come back as another number, with no word of it."""
    kind = pa.decimal128(18, 4)
    long, short = Decimal("80757005931032.6234"), Decimal("57005931032.6234")
    write_deltalake(str(tmp_path / "t"), pa.table({"c": pa.array([long, -long], kind)}))
    write_deltalake(str(tmp_path / "t"), pa.table({"c": pa.array([short], kind)}), mode="append")
    pinned = Pinned("t", tmp_path / "t", 1, DeltaTable(str(tmp_path / "t")))
    assert long not in pinned.actions["max.c"].to_pylist(), "so it would be missed"

    def listed(op: str, value: Decimal) -> int:
        asked = Ask(column="c", op=op, values=(AskValue(parameter="p"),))  # type: ignore[arg-type]
        return len(matching(pinned, [[asked]], {"p": pa.scalar(value, kind)}))

    assert [listed("=", long), listed(">=", long), listed("<=", -long)] == [1, 1, 1]
    assert [listed("=", short), listed(">", short)] == [2, 1], "a short one bounds its file"
    assert unbounded(pinned, "c") == 1


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("word IS NULL", [0, 1]),
        ("word = ''", [2, 3]),
        ("word = 'a b/c''d%'", [4, 5]),
        # To null these come for some partitions: what the engine prunes by while it plans, it would keep.
        ("nullif(word, 'y') >= 'a'", [4, 5]),
        ("try_cast(word AS BIGINT) > -1", []),
        ("word <> 'y' OR id = 1", [1, 2, 3, 4, 5]),
    ],
)
def test_conditions_that_come_to_null_take_no_partition(tmp_path: Path, condition: str, found: list[int]) -> None:
    pinned = partitioned(tmp_path / "t", [None, "", "a b/c'd%", "y"], 2)
    for options in OPTIONS:
        context = session()
        _kept = register_scan(context, pinned, PAIR, value_of("linked", **options))
        assert ids(context, condition) == found, options


def test_links_last_as_long_as_what_reads_them(tmp_path: Path) -> None:
    pinned, context = partitioned(tmp_path / "t", ["a", "b"]), session()
    scanned = register_scan(context, pinned, PAIR, value_of("linked"))
    assert scanned.links is not None
    folder = scanned.links.folder
    assert not folder.is_relative_to(tmp_path), "a lake may be read-only"
    frame = context.sql("SELECT id FROM t WHERE word = 'b'")
    del scanned
    assert len(frame.to_pylist()) == 4 and folder.exists()
    del frame
    context.deregister_table("t")
    del context
    assert not folder.exists()


def test_a_linked_file_that_went_is_refused(tmp_path: Path) -> None:
    pinned, context = partitioned(tmp_path / "t", ["a", "b"]), session()
    scanned = register_scan(context, pinned, PAIR, value_of("linked"))
    Path(pinned.files[0]).unlink()
    with pytest.raises(LakeUnusable, match="is gone"):
        scanned.require_files()
    with pytest.raises(LakeUnusable, match="is gone"):
        register_scan(session(), pinned, PAIR, value_of("linked"))


def test_partition_columns_alone_can_be_read(tmp_path: Path) -> None:
    pinned, context = partitioned(tmp_path / "t", ["a", None]), session()
    _kept = register_scan(context, pinned, PAIR[1:], value_of("linked", pushdown=True))
    counted = context.sql("SELECT word, count(*) AS n FROM t GROUP BY word ORDER BY word").to_pylist()
    assert counted == [{"word": "a", "n": 4}, {"word": None, "n": 4}]


@pytest.mark.parametrize("path", ["native", "linked"])
@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_nan_is_found_though_no_statistics_tell_of_it(tmp_path: Path, path: str, kind: str) -> None:
    columns = (Column(name="id", type="int64"), Column(name="x", type=kind))
    rows = pa.table({"id": [1, 2, 3, 4], "x": [0.5, float("nan"), -0.0, 0.0]}).cast(schema_of(columns))
    write_deltalake(str(tmp_path / "t"), rows)
    table, context = DeltaTable(str(tmp_path / "t")), session()
    _kept = register_scan(context, Pinned("t", tmp_path / "t", 0, table), columns, value_of(path, pushdown=True))
    assert ids(context, "x > 1") == [2] and ids(context, "x = 0") == [3, 4]
    assert repr(context.sql("SELECT max(x) AS most FROM t").to_pylist()) == "[{'most': nan}]"
    assert context.table("t").schema().field("x").type == schema_of(columns).field("x").type


def test_what_only_the_delta_reader_can_read_stays_right_under_predicates(tmp_path: Path) -> None:
    rows = pa.table({"id": range(10), "word": [f"w{i % 3}" for i in range(10)]})
    write_deltalake(str(tmp_path / "deleted"), rows)
    delete_by_vector(tmp_path / "deleted")
    write_deltalake(str(tmp_path / "mapped"), rows, configuration={"delta.columnMapping.mode": "name"})
    wanted = {"deleted": [3, 6, 9], "mapped": [0, 3, 6, 9]}
    for name, found in wanted.items():
        path = tmp_path / name
        table, context = DeltaTable(str(path)), session()
        register_scan(context, Pinned("t", path, table.version(), table), PAIR, value_of("delta"))
        assert ids(context, "word = 'w0'") == found
        assert ids(context, "word = 'w0' AND id < 7") == found[:-1]


@pytest.mark.parametrize(
    ("features", "holds"),
    [([], True), (["timestampNtz", "v2Checkpoint"], True), (["typeWidening"], False), (["variantType"], False)],
)
def test_features_that_change_how_files_are_read_are_met_by_a_guard(
    tmp_path: Path, features: list[str], holds: bool
) -> None:
    """delta-rs opens tables whose features it then refuses to read; a scan of their files would not ask."""
    write_deltalake(str(tmp_path / "t"), pa.table({"id": [1], "word": ["a"]}))
    log = tmp_path / "t/_delta_log/00000000000000000001.json"
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    log.write_text(json.dumps({"protocol": protocol}) + "\n")
    choice = Choice(value_of("native"), "/somewhere", ("plain_protocol",), value_of("delta"))
    outcomes = ask(choice, DeltaTable(str(tmp_path / "t")), PAIR, None)  # type: ignore[arg-type] # it asks the table alone
    assert outcomes == {"plain_protocol": holds}


@pytest.mark.parametrize(
    ("values", "hidden"),
    [
        ([math.nan, 1.5], True),
        ([1.5, 1.5], True),  # nobody can tell it from the one before without reading it
        ([math.nan, 1.5, None], False),
        ([1.0, math.nan, 2.0], False),
        ([math.nan], False),
        ([None, None], False),
        ([1.5], False),
        ([], False),
    ],
)
def test_nan_that_statistics_hide_is_met_by_a_guard(tmp_path: Path, values: list[float | None], hidden: bool) -> None:
    """Where statistics say that a column of a file has one value, the engine takes it for all rows, NaN too."""
    column = (Column(name="c", type="float64", nullable=True),)
    write_deltalake(str(tmp_path / "t"), pa.table({"c": pa.array(values, pa.float64())}))
    table = DeltaTable(str(tmp_path / "t"))
    choice = Choice(value_of("native"), "/somewhere", ("no_hidden_nan",), value_of("delta"))
    assert ask(choice, table, column, None) == {"no_hidden_nan": not hidden}  # type: ignore[arg-type]
    context, path = session(1), "delta" if hides_nan(table, column) else "native"
    _kept = register_scan(context, Pinned("t", tmp_path / "t", 0, table), column, value_of(path))
    assert repr([row["c"] for row in context.sql("SELECT c FROM t").to_pylist()]) == repr(values)


@pytest.mark.parametrize("kind", [Place, PlaceBeside])
def test_spills_keep_nan_beside_one_other_number(tmp_path: Path, kind: type[Place]) -> None:
    columns = (Column(name="c", type="float64", nullable=True),)
    context, wanted = session(1), Wanted("spill", (), None, "/somewhere")
    places = Places(context, None, 1, tmp_path, None)  # type: ignore[arg-type] # a spill asks neither
    place = kind(places, "kept", columns, wanted)
    place.add(pa.record_batch({"c": pa.array([math.nan, 1.5])}))
    place.finish()
    assert repr([row["c"] for row in context.sql("SELECT c FROM kept").to_pylist()]) == "[nan, 1.5]"


def test_a_table_observed_as_partitioned_is_read_by_links(project: Path, decreta: Command) -> None:
    lock = project / "specs/code_graph/locks/local.evidence.json"
    policy = project / "generated/code_graph/policy/local.json"

    def decided(partitions: int | None) -> dict[str, Any]:
        found = json.loads(lock.read_bytes())
        facts = found["datasets"]["definition"]["facts"]
        facts["partitioned"]["value"] = partitions is not None
        facts["partitions"] = {"value": partitions or 0, "version": facts["partitioned"]["version"]}
        lock.write_text(json.dumps(found))
        assert decreta("generate", "code_graph", cwd=project).returncode == 0
        decision: dict[str, Any] = json.loads(policy.read_bytes())["scan_policy_by_dataset"]["definition"]
        return decision

    plain, few, many = decided(None), decided(12), decided(1_001)
    assert [d["rule"].split("@")[0] for d in (plain, few)] == ["scan.selective", "scan.linked_selective"]
    assert (few["value"]["path"], few["otherwise"]["path"]) == ("linked", "delta")
    assert "unpartitioned" not in few["requires"] and "plain_protocol" in few["requires"]
    assert "unpartitioned" in many["requires"], "read by delta-rs when the guard is asked"
    lock.unlink()
    assert decreta("generate", "code_graph", cwd=project).returncode == 0
    unseen = json.loads(policy.read_bytes())["scan_policy_by_dataset"]["definition"]
    assert unseen["rule"].split("@")[0] == "scan.selective" and "unpartitioned" in unseen["requires"]
