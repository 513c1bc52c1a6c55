"""What `observe` sees: every fact against a table made for it, relations through the ledger, and no clock in any of it."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import edit_policy, run_command, sales
from tests.runtime.test_policy import add_deletion_vector

import decreta_runtime
from decreta_runtime.contract.errors import CheckViolated, LakeUnusable
from decreta_runtime.contract.evidence import DatasetObservation, Observations
from decreta_runtime.contract.manifest import Column, Key
from decreta_runtime.observe import observe_table
from decreta_runtime.scan import Pinned


def log(path: Path, version: int) -> Path:
    return path / "_delta_log" / f"{version:020}.json"


def seen(path: Path, *columns: str, key: tuple[str, ...] = (), version: int | None = None) -> DatasetObservation:
    """Observe a table, of a contract with these columns."""
    table = DeltaTable(str(path), version=version)
    contract = [Column(name=name, type="any") for name in columns]
    return observe_table(
        Pinned("t", path, table.version(), table), contract, Key(columns=key, known="checked") if key else None
    )


def put(path: Path, mode: Any = "append", **columns: Any) -> None:
    write_deltalake(str(path), pa.table(columns), mode=mode)


def test_files_bytes_rows_and_sizes(tmp_path: Path) -> None:
    put(tmp_path, a=pa.array(range(10)))
    put(tmp_path, a=pa.array([i * 7919**3 % 2**62 for i in range(100_000)]))
    found = seen(tmp_path, "a")
    sizes = [Path(uri.removeprefix("file://")).stat().st_size for uri in DeltaTable(str(tmp_path)).file_uris()]
    assert (found.version, found.files, found.bytes, found.rows) == (1, 2, sum(sizes), 100_010)
    assert found.files_with_rows == 2
    assert found.sizes == {str(size.bit_length() - 1): 1 for size in sizes}
    for size, power in itertools.product(sizes, map(int, found.sizes)):
        assert (2**power <= size < 2 ** (power + 1)) == (power == size.bit_length() - 1)


def test_an_empty_table_has_nothing_to_tell(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), pa.table({"a": pa.array([], pa.int64())}))
    DeltaTable(str(tmp_path)).delete()
    found = seen(tmp_path, "a")
    assert (found.files, found.bytes, found.rows, found.sizes, found.writes_since_compaction) == (0, 0, 0, {}, 0)
    column = found.columns["a"]
    assert (column.files_with_statistics, column.age, column.nulls, column.distinct) == (0, None, None, None)


def test_the_version_asked_for_is_the_one_observed(tmp_path: Path) -> None:
    for i in range(3):
        put(tmp_path, a=[i])
    assert [(seen(tmp_path, version=v).version, seen(tmp_path, version=v).rows) for v in range(3)] == [
        (0, 1), (1, 2), (2, 3),
    ]  # fmt: skip


def test_statistics_that_some_files_lack(tmp_path: Path) -> None:
    def indexed(columns: int) -> None:
        DeltaTable(str(tmp_path)).alter.set_table_properties({"delta.dataSkippingNumIndexedCols": str(columns)})

    put(tmp_path, b=["x", "y", "z"], a=[1, 2, None])
    put(tmp_path, b=["x", "y", "z"], a=[3, 4, 5])
    indexed(1)
    put(tmp_path, b=pa.array([None], pa.string()), a=[6])
    indexed(32)
    found = seen(tmp_path, "a", "b", "not_there")
    a, b = found.columns["a"], found.columns["b"]
    assert (found.version, found.rows) == (4, 7), "their number is said by all"
    assert (a.files_with_statistics, a.rows, a.nulls, a.distinct) == (2, 6, 1, 5)
    assert (b.files_with_statistics, b.rows, b.nulls) == (3, 7, 1)
    assert (a.age, b.age) == (3, 1), "versions since a file with statistics came in"
    assert (a.depth, b.depth) == (None, 2), "a file without a range may overlap with any; one of nulls alone with none"
    assert found.columns["not_there"].files_with_statistics == 0


def test_a_table_without_any_statistics(tmp_path: Path) -> None:
    configuration = {"delta.dataSkippingNumIndexedCols": "0"}
    write_deltalake(str(tmp_path), pa.table({"a": [1, 2]}), configuration=configuration)
    found = seen(tmp_path, "a", key=("a",))
    assert (found.files, found.columns["a"].files_with_statistics) == (1, 0)
    assert (found.columns["a"].distinct, found.columns["a"].depth, found.columns["a"].age) == (None, None, None)


def test_files_that_do_not_say_their_rows(tmp_path: Path) -> None:
    """As other writers leave them: no statistics at all in some entries."""
    put(tmp_path, a=[1, 2])
    put(tmp_path, a=[3, 4, 5])
    edit_log(tmp_path, 1, lambda action: action.get("add", {}).pop("stats", None))
    found = seen(tmp_path, "a")
    assert (found.rows, found.files_with_rows, found.files) == (2, 1, 2)
    assert found.columns["a"].files_with_statistics == 1
    assert found.columns["a"].age == 1


def edit_log(path: Path, version: int, change: Callable[[dict[str, Any]], object]) -> None:
    actions = [json.loads(line) for line in log(path, version).read_text().splitlines()]
    for action in actions:
        change(action)
    log(path, version).write_text("\n".join(map(json.dumps, actions)) + "\n")


DAYS = [date(2024, 1, 1), date(2024, 1, 1), date(2024, 1, 2)]
TIMES = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC"))


@pytest.mark.parametrize(
    ("values", "distinct", "as_key"),
    [
        (pa.array([5, 6, 5]), 2, 2),
        (pa.array([5, 10**12, None]), 2, 2),
        (pa.array([-(2**63), 2**63 - 1, 0]), 3, 3),
        (pa.array([None, None, None], pa.int64()), 0, 0),
        (pa.array([True, True, False]), 2, 2),
        (pa.array(DAYS), 2, 2),
        (pa.array(["a", "b", None]), None, 2),
        (pa.array([1.5, float("nan"), 2.5]), None, 3),
        (pa.array([Decimal("1.50")] * 3), None, 3),
        (TIMES, None, 3),
        (pa.array([b"a", b"b", b"c"]), None, None),
        (pa.array([[1], [2], []]), None, None),
    ],
    ids=str,
)
def test_distinct_values_are_bounded(
    tmp_path: Path, values: pa.Array, distinct: int | None, as_key: int | None
) -> None:
    write_deltalake(str(tmp_path), pa.table({"v": values}))
    assert seen(tmp_path, "v").columns["v"].distinct == distinct
    assert seen(tmp_path, "v", key=("v",)).columns["v"].distinct == as_key
    assert seen(tmp_path, "v", key=("v", "w")).columns["v"].distinct == distinct
    known = [v for v in values.to_pylist() if v is not None]
    if distinct is not None:
        assert len(set(known)) <= distinct, "a bound, whatever the values"


@pytest.mark.parametrize(
    ("ranges", "depth"),
    [
        ([(1, 2), (3, 4), (5, 6)], 1),
        ([(1, 3), (3, 5), (5, 7)], 2),
        ([(1, 9), (2, 3), (4, 5), (6, 9)], 2),
        ([(1, 9), (2, 8), (3, 7), (4, 6)], 4),
        ([(1, 1), (1, 1), (2, 2)], 2),
        ([("a", "m"), ("k", "z"), ("x", "z")], 2),
        ([("x" * 70 + "a", "x" * 70 + "b"), ("x" * 70 + "c", "x" * 70 + "d")], 2),
        ([(DAYS[0], DAYS[2]), (DAYS[2], date(2025, 1, 1))], 2),
    ],
    ids=str,
)
def test_clustering_depth_is_how_many_files_hold_one_value(tmp_path: Path, ranges: list[Any], depth: int) -> None:
    for low, high in ranges:
        put(tmp_path, v=[low, high])
    assert seen(tmp_path, "v").columns["v"].depth == depth


def test_partitions_and_their_values(tmp_path: Path) -> None:
    rows = pa.table({"p": ["a b", "c/d%", None, None], "v": [1, 2, 3, 4]})
    write_deltalake(str(tmp_path), rows, partition_by=["p"])
    put(tmp_path, p=["a b"], v=[5])
    found = seen(tmp_path, "p", "v", key=("p",))
    assert found.partition_columns == ("p",)
    assert found.partitions == len(set(rows["p"].to_pylist()))
    p, v = found.columns["p"], found.columns["v"]
    assert (p.files_with_statistics, p.rows, p.nulls, p.distinct, p.depth) == (4, 5, 2, 3, 2)
    assert (v.files_with_statistics, v.age, p.age) == (4, 0, 0)
    assert found.writes_since_compaction == 2, "paths are the same in log and snapshot, whatever stands in them"


@pytest.mark.parametrize("partition_by", [None, ["p"]])
def test_column_mapping(tmp_path: Path, partition_by: list[str] | None) -> None:
    rows = pa.table({"p": ["x", "y"], "v": [1, None]})
    mapped = {"delta.columnMapping.mode": "name"}
    write_deltalake(str(tmp_path), rows, partition_by=partition_by, configuration=mapped)
    found = seen(tmp_path, "p", "v")
    assert found.column_mapping
    assert "columnMapping" in found.features
    for name, nulls in (("p", 0), ("v", 1)):
        column = found.columns[name]
        assert (column.files_with_statistics, column.nulls, column.age) == (found.files, nulls, 0)


def test_features_are_named_or_implied(tmp_path: Path) -> None:
    put(tmp_path / "plain", a=[1])
    assert seen(tmp_path / "plain").features == ("appendOnly", "invariants")
    feed = {"delta.enableChangeDataFeed": "true"}
    write_deltalake(str(tmp_path / "feed"), pa.table({"a": [1]}), configuration=feed)
    assert "changeDataFeed" in seen(tmp_path / "feed").features
    assert not seen(tmp_path / "feed").column_mapping


def test_deletion_vectors_hide_rows(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), sales([(i, 1, 7, 1) for i in range(5)]))
    assert (seen(tmp_path).deleted_rows, seen(tmp_path).deletion_vectors) == (0, False)
    add_deletion_vector(tmp_path)
    found = seen(tmp_path)
    assert (found.rows, found.deleted_rows, found.deletion_vectors) == (5, 2, True)
    assert "deletionVectors" in found.features
    next(tmp_path.glob("deletion_vector_*.bin")).unlink()
    found = seen(tmp_path)
    assert (found.rows, found.deleted_rows, found.deletion_vectors) == (None, None, True), "unknown, not none"


def test_writes_since_the_last_compaction(tmp_path: Path) -> None:
    def writes() -> int | None:
        return seen(tmp_path, "a").writes_since_compaction

    for i in range(4):
        put(tmp_path, a=[i])
        assert writes() == i + 1
    DeltaTable(str(tmp_path)).optimize.compact()
    assert writes() == 0
    put(tmp_path, a=[4])
    DeltaTable(str(tmp_path)).delete("a = 4")
    assert writes() == 2
    DeltaTable(str(tmp_path)).vacuum(dry_run=False, retention_hours=0, enforce_retention_duration=False)
    assert writes() == 2, "a commit that changes no data is no write"
    put(tmp_path, a=[5])
    DeltaTable(str(tmp_path)).optimize.z_order(["a"])
    assert writes() == 0
    put(tmp_path, "overwrite", a=[6])
    assert writes() == 1, "what is written anew as a whole has left nothing behind"


def test_a_log_that_begins_late_is_unknown_and_no_guess(tmp_path: Path) -> None:
    for i in range(4):
        put(tmp_path, a=[i])
    DeltaTable(str(tmp_path)).create_checkpoint()
    for version in range(3):
        log(tmp_path, version).unlink()
    DeltaTable(str(tmp_path)).delete("a = 3")
    found = seen(tmp_path, "a")
    assert (found.rows, found.writes_since_compaction, found.columns["a"].age) == (3, None, None)
    put(tmp_path, a=[4])
    found = seen(tmp_path, "a")
    assert (found.rows, found.writes_since_compaction, found.columns["a"].age) == (4, None, 0)
    DeltaTable(str(tmp_path)).optimize.compact()
    assert seen(tmp_path, "a").writes_since_compaction == 0


def test_a_commit_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    put(tmp_path, a=[1])
    table = DeltaTable(str(tmp_path))
    pinned = Pinned("t", tmp_path, 0, table)
    log(tmp_path, 0).write_text("{")
    with pytest.raises(LakeUnusable, match=r"commit .*00000000000000000000\.json"):
        observe_table(pinned, [Column(name="a", type="int64")], None)


def test_no_data_file_is_read(tmp_path: Path) -> None:
    put(tmp_path, a=[1, 2, 3])
    expected = seen(tmp_path, "a")
    for file in tmp_path.glob("*.parquet"):
        file.unlink()
    assert seen(tmp_path, "a") == expected


# -- a whole lake


def run_shop(pack: Path, *pieces: int) -> Observations:
    """Run the shop once with each number of pieces sold; return what is seen then."""
    for n in pieces:
        write_deltalake(str(pack.parents[1] / "tables/sale"), sales([(i, 1, 7, n) for i in range(n)]), mode="overwrite")
        with decreta_runtime.open(str(pack)) as opened:
            opened.run()
    with decreta_runtime.open(str(pack)) as opened:
        return opened.observe(3)


def test_tables_are_those_that_the_last_run_names(shop_pack: Path) -> None:
    found = run_shop(shop_pack, 3)
    assert set(found.datasets) == {"customer", "product", "sale", "revenue", "best_sale"}
    write_deltalake(str(shop_pack.parents[1] / "tables/sale"), sales([(100, 1, 7, 1)]), mode="append")
    assert run_shop(shop_pack) == found, "what is committed since belongs to no run"
    assert (found.datasets["sale"].version, found.datasets["sale"].rows) == (1, 3)
    assert found.datasets["customer"].columns["customer_id"].distinct == 3


def test_relations_are_medians_of_the_newest_complete_runs(shop_pack: Path) -> None:
    first = run_shop(shop_pack, 2).views["paired"]
    assert (first.run_seq, first.runs, first.rows) == (1, 1, 2)
    found = run_shop(shop_pack, 40, 4, 8, 6)
    priced, paired, revenue, best = (found.views[name] for name in ("priced", "paired", "revenue", "best_sale"))
    assert (paired.run_seq, paired.runs, paired.rows) == (5, 3, 6), "of 4, 8 and 6"
    assert (revenue.rows, best.rows) == (1, 1)
    assert priced.rows_read == 6 + 2, "the sales, and two products"
    assert best.rows_read == 6 + 6 + 6, "one view, and another twice"
    assert paired.bytes_scanned and best.milliseconds is not None
    row = 8 + 4 + 16
    assert paired.bytes and 6 * row <= paired.bytes <= 6 * (row + 1), "as Arrow holds them, wherever they were put"


def test_rows_take_the_same_bytes_in_memory_wherever_they_are_put(shop_pack: Path) -> None:
    sizes = []
    for placement in ("spill", "memory"):
        edit_policy(
            shop_pack,
            lambda p, to=placement: p["cache_policy_by_view"]["paired"]["value"].update(placement=to),  # type: ignore[misc]
        )
        shutil.rmtree(shop_pack.parents[1] / "lake", ignore_errors=True)
        sizes.append(run_shop(shop_pack, 6).views["paired"].bytes)
    assert sizes[0] == sizes[1]


def test_what_delta_rs_reads_leaves_no_counters(shop_pack: Path) -> None:
    edit_policy(shop_pack, lambda p: p["scan_policy_by_dataset"]["sale"]["value"].update(path="delta"))
    found = run_shop(shop_pack, 5).views
    assert (found["priced"].rows, found["priced"].rows_read, found["priced"].bytes_scanned) == (5, None, None)
    assert found["paired"].rows_read == 5, "what is kept in a spill is read from files again"


def test_what_is_kept_in_memory_is_read_as_a_whole(shop_pack: Path) -> None:
    edit_policy(shop_pack, lambda p: p["cache_policy_by_view"]["priced"]["value"].update(placement="memory"))
    edit_policy(shop_pack, lambda p: p["cache_policy_by_view"]["paired"]["value"].update(placement="memory"))
    found = run_shop(shop_pack, 5).views
    assert (found["revenue"].rows_read, found["revenue"].bytes_scanned) == (5, 0)
    assert found["best_sale"].rows_read == 5 + 5 + 5


def test_an_attempt_that_no_run_names_does_not_count(shop_pack: Path) -> None:
    before = run_shop(shop_pack, 3)
    write_deltalake(str(shop_pack.parents[1] / "tables/sale"), sales([(1, 1, 7, -1)]), mode="overwrite")
    with decreta_runtime.open(str(shop_pack)) as pack, pytest.raises(CheckViolated):
        pack.run()
    assert run_shop(shop_pack) == before


def test_the_same_lake_is_the_same_file(shop_pack: Path, tmp_path: Path) -> None:
    run_shop(shop_pack, 3)
    for name in ("a.json", "b.json"):
        done = run_command("observe", "shop", "-o", name, cwd=shop_pack.parents[1], module="decreta_runtime")
        assert done.returncode == 0, done.stderr
    a, b = ((shop_pack.parents[1] / name).read_bytes() for name in ("a.json", "b.json"))
    assert a == b
    assert msgspec.json.decode(a, type=Observations).pack == "shop"
    whole = json.loads(a)
    assert (json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode() == a, "sorted, indented"


def test_without_a_run_there_is_nothing_to_observe(shop_pack: Path) -> None:
    where = {"cwd": shop_pack.parents[1], "module": "decreta_runtime"}
    done = run_command("observe", "shop", **where)
    assert done.returncode == 2 and "run the pack first" in done.stderr
    done = run_command("observe", "shop", "--runs", "0", **where)
    assert done.returncode == 2 and "--runs 0" in done.stderr
    run_shop(shop_pack, 1)
    done = run_command("observe", "shop", "-o", "no/such/folder.json", **where)
    assert done.returncode == 2 and "cannot be written" in done.stderr


def test_a_lake_of_an_earlier_version_goes_on(shop_pack: Path) -> None:
    """Its ledger lacks the columns that came since: appends widen it, and what was not measured is unknown."""
    run_shop(shop_pack, 3)
    ledger = shop_pack.parents[1] / "lake/_decreta/ledger"
    rows = pa.table(DeltaTable(str(ledger)).scan().read_all())
    added = ["rows_read", "bytes_scanned", "memory_bytes"]
    shutil.rmtree(ledger)
    write_deltalake(str(ledger), rows.drop_columns(added))
    old = run_shop(shop_pack).views["paired"]
    assert (old.rows, old.bytes, old.rows_read, old.bytes_scanned) == (3, None, None, None)
    found = run_shop(shop_pack, 7).views["paired"]
    assert (found.runs, found.rows_read) == (2, 7), "the median of what is known"
    names = [field.name for field in DeltaTable(str(ledger)).schema().fields]
    assert set(added) < set(names)
    assert pa.table(DeltaTable(str(ledger)).scan().read_all()).num_rows > rows.num_rows
