"""Evidence locks: what a merge writes and leaves, twenty appends, a law, and locks that cannot be relied on."""

from __future__ import annotations

import difflib
import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st

import decreta_runtime
from decreta.diagnostics import Report
from decreta.facts import COLUMN_FACTS, DATASET_FACTS, VIEW_FACTS, gather
from decreta.observe import Scope, changes, encoded, merge, open_lock
from decreta.pipeline import compile_pack
from decreta.project import Project
from decreta_runtime.contract.evidence import (
    ColumnObservation,
    DatasetEvidence,
    DatasetObservation,
    EvidenceLock,
    Observations,
    Seen,
    ViewObservation,
)
from tests.conftest import ROOT, run_command, sales

SCOPE = Scope({"t": ("k",), "u": ()}, frozenset({"v", "w"}), 8 << 20, 5)
COLUMN = ColumnObservation(files_with_statistics=4, age=0, nulls=0, rows=100, distinct=100, depth=1)
TABLE = DatasetObservation(
    version=3,
    files=4,
    bytes=1000,
    rows=100,
    files_with_rows=4,
    sizes={"7": 4},
    deleted_rows=0,
    deletion_vectors=False,
    column_mapping=False,
    partition_columns=(),
    partitions=0,
    features=("appendOnly",),
    writes_since_compaction=1,
    columns={"k": COLUMN, "v": COLUMN},
)
VIEW = ViewObservation(run_seq=7, runs=2, rows=50, bytes=400, milliseconds=9, bytes_scanned=900, rows_read=200)


def observed(table: DatasetObservation = TABLE, view: ViewObservation = VIEW) -> Observations:
    return Observations(
        format=1, pack="p", environment="local", engine={}, datasets={"t": table}, views={"v": view}
    )  # fmt: skip


def table(**fields: Any) -> Observations:
    return observed(msgspec.structs.replace(TABLE, **fields))


def column(**fields: Any) -> Observations:
    return table(columns={"k": msgspec.structs.replace(COLUMN, **fields)})


def facts(lock: EvidenceLock) -> dict[str, Seen]:
    """Return the facts of the table `t`, of its column `k` and, under `v/`, of the view."""
    outcomes = {f"v/{name}": seen for name, seen in lock.views["v"].items()}
    return lock.datasets["t"].facts | lock.datasets["t"].columns["k"] | outcomes


# -- what a merge writes


def test_the_lock_tells_the_facts_that_rules_read_and_no_others() -> None:
    lock = merge(None, observed(), SCOPE)
    of_tables = {n for n, i in DATASET_FACTS.items() if i.source == "statistics"} - set(COLUMN_FACTS)
    of_views = {n for n, i in VIEW_FACTS.items() if i.source == "outcome"} - {"estimated_rows", "estimated_bytes"}
    assert set(lock.datasets["t"].facts) == of_tables
    assert set(lock.datasets["t"].columns["k"]) == set(COLUMN_FACTS)
    assert set(lock.datasets["t"].columns["v"]) == set(COLUMN_FACTS) - {"clustering_depth"}, "the sort names `k` alone"
    assert set(lock.views["v"]) == of_views
    assert facts(lock)["v/output_ratio"] == Seen(value="0.25", version=7, runs=2)
    assert lock.datasets["t"].facts["rows"] == Seen(value=100, version=3)


@pytest.mark.parametrize(
    ("sizes", "share"),
    [({"22": 3, "23": 1}, "0.75"), ({"23": 4}, "0.00"), ({"0": 1, "22": 3}, "1.00"), ({"22": 2, "30": 1}, "0.66")],
)
def test_small_files_are_those_below_the_threshold(sizes: dict[str, int], share: str) -> None:
    lock = merge(None, table(sizes=sizes, files=sum(sizes.values())), SCOPE)
    assert facts(lock)["small_file_share"].value == share


def test_what_rests_on_some_files_says_on_how_many() -> None:
    found = facts(merge(None, column(files_with_statistics=3, nulls=29, rows=75, depth=None), SCOPE))
    assert found["statistics_coverage"] == Seen(value="0.75", version=3)
    assert found["null_share"] == Seen(value="0.38", version=3, share="0.75"), "rounded down"
    assert found["distinct"] == Seen(value=100, version=3, share="0.75")
    assert "clustering_depth" not in found, "what is unknown is not written"
    assert facts(merge(None, table(files_with_rows=1), SCOPE))["rows"].share == "0.25"


def test_nothing_has_a_share_of_nothing() -> None:
    empty = table(files=0, rows=0, files_with_rows=0, sizes={})
    assert "small_file_share" not in facts(merge(None, empty, SCOPE))
    view = msgspec.structs.replace(VIEW, rows_read=0)
    assert "v/output_ratio" not in facts(merge(None, observed(view=view), SCOPE))


@pytest.mark.parametrize(
    ("fact", "change", "written"),
    [
        ("rows", table(rows=127), None),
        ("rows", table(rows=64), None),
        ("rows", table(rows=128), 128),
        ("rows", table(rows=63), 63),
        ("deletion_vectors", table(deletion_vectors=True), True),
        ("features", table(features=("appendOnly", "deletionVectors")), ("appendOnly", "deletionVectors")),
        ("null_share", column(nulls=1), "0.01"),
        ("statistics_coverage", column(files_with_statistics=3), "0.75"),
        ("v/bytes", observed(view=msgspec.structs.replace(VIEW, bytes=511)), None),
        ("v/bytes", observed(view=msgspec.structs.replace(VIEW, bytes=512)), 512),
        ("v/output_ratio", observed(view=msgspec.structs.replace(VIEW, rows=62)), None),
        ("v/output_ratio", observed(view=msgspec.structs.replace(VIEW, rows=64)), "0.32"),
        ("v/output_ratio", observed(view=msgspec.structs.replace(VIEW, rows=600)), "3.00"),
    ],
)
def test_a_value_is_written_anew_when_it_leaves_its_band(fact: str, change: Observations, written: Any) -> None:
    old = merge(None, observed(), SCOPE)
    later = msgspec.structs.replace(
        change,
        datasets={"t": msgspec.structs.replace(change.datasets["t"], version=9)},
        views={"v": msgspec.structs.replace(change.views["v"], run_seq=9)},
    )
    new = facts(merge(old, later, SCOPE))[fact]
    if written is None:
        assert new == facts(old)[fact], "value and version stand as they were written"
    else:
        assert (new.value, new.version) == (written, 9)


def test_both_ends_of_a_share_matter() -> None:
    lock = merge(None, column(nulls=50), SCOPE)
    shares = []
    for nulls in (*range(50, 100), 100):
        lock = merge(lock, column(nulls=nulls), SCOPE)
        shares.append(facts(lock)["null_share"].value)
    assert list(dict.fromkeys(shares)) == ["0.50", "0.64", "0.69", "0.85", "0.93", "0.97", "0.99", "1.00"]


def test_runs_count_as_far_as_they_raise_confidence() -> None:
    lock = None
    runs = []
    for n in range(1, 9):
        lock = merge(lock, observed(view=msgspec.structs.replace(VIEW, runs=n, run_seq=n)), SCOPE)
        runs.append((facts(lock)["v/milliseconds"].runs, facts(lock)["v/milliseconds"].version))
    assert runs == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (5, 1), (5, 1), (5, 1)]


def test_what_the_pack_no_longer_has_drops_out() -> None:
    lock = merge(None, observed(), SCOPE)
    assert merge(lock, observed(), SCOPE._replace(sorts={}, views=frozenset())) == EvidenceLock(
        format=1, datasets={}, views={}
    )
    unknown = merge(lock, table(rows=None, writes_since_compaction=None), SCOPE)
    assert {c.path: c.new for c in changes(lock, unknown)} == {
        "datasets/t/rows": None,
        "datasets/t/writes_since_compaction": None,
    }


# -- laws

COUNTS = st.integers(0, 1 << 40)
MAYBE = st.none() | COUNTS


@st.composite
def columns(draw: st.DrawFn, files: int) -> ColumnObservation:
    rows = draw(MAYBE)
    nulls = None if rows is None else draw(st.integers(0, rows))
    return ColumnObservation(
        files_with_statistics=draw(st.integers(0, files)),
        age=draw(MAYBE),
        nulls=nulls,
        rows=rows,
        distinct=draw(MAYBE),
        depth=draw(MAYBE),
    )


@st.composite
def tables(draw: st.DrawFn) -> DatasetObservation:
    sizes = draw(st.dictionaries(st.integers(0, 40).map(str), st.integers(1, 1000), max_size=4))
    files = sum(sizes.values())
    names = st.sampled_from(["k", "l", "ä", "Z"])
    return DatasetObservation(
        version=draw(COUNTS),
        files=files,
        bytes=draw(COUNTS),
        rows=draw(MAYBE),
        files_with_rows=draw(st.integers(0, files)),
        sizes=sizes,
        deleted_rows=draw(MAYBE),
        deletion_vectors=draw(st.booleans()),
        column_mapping=draw(st.booleans()),
        partition_columns=draw(st.lists(names, unique=True, max_size=2).map(tuple)),
        features=draw(st.lists(st.sampled_from(["a", "b", "ü"]), unique=True).map(tuple)),
        writes_since_compaction=draw(MAYBE),
        columns=draw(st.dictionaries(names, columns(files), max_size=3)),
    )


@st.composite
def observations(draw: st.DrawFn) -> Observations:
    view = st.builds(
        ViewObservation,
        run_seq=COUNTS, runs=st.integers(1, 9), rows=MAYBE, bytes=MAYBE, milliseconds=MAYBE, bytes_scanned=MAYBE,
        rows_read=MAYBE,
    )  # fmt: skip
    return Observations(
        format=1,
        pack="p",
        environment="local",
        engine={},
        datasets=draw(st.dictionaries(st.sampled_from(["t", "u", "gone"]), tables(), max_size=3)),
        views=draw(st.dictionaries(st.sampled_from(["v", "w", "gone"]), view, max_size=3)),
    )


@given(st.lists(observations(), min_size=1, max_size=3))
def test_merging_again_changes_nothing_and_keys_are_in_order(seen: list[Observations]) -> None:
    lock = None
    for one in seen:
        lock = merge(lock, one, SCOPE)
    assert lock is not None
    data = encoded(lock)
    assert encoded(merge(lock, seen[-1], SCOPE)) == data
    assert msgspec.json.decode(data, type=EvidenceLock) == lock
    whole = json.loads(data)
    assert (json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode() == data
    fresh = merge(None, seen[-1], SCOPE)
    assert _paths(lock) == _paths(fresh), "what is known is what was seen last"


def _paths(lock: EvidenceLock) -> list[str]:
    return [change.path for change in changes(None, lock)]


# -- a project


def in_shop(shop: Path, *args: str) -> Any:
    return run_command("observe", "shop", *args, cwd=shop)


def run_once(shop: Path) -> None:
    with decreta_runtime.open(str(shop / "generated/shop")) as pack:
        pack.run()


LOCK = "specs/shop/locks/local.evidence.json"


def test_twenty_small_appends_change_few_lines(shop_pack: Path) -> None:
    """Each append is a file more and a version more of `sale`; each run a version more of all that is written."""
    shop = shop_pack.parents[1]
    lock, texts = None, []
    for n in range(21):
        if n:
            write_deltalake(str(shop / "tables/sale"), sales([(100 + n, 1 + n % 3, 7, 1 + n % 5)]), mode="append")
        with decreta_runtime.open(str(shop_pack)) as pack:
            pack.run()
            seen = pack.observe(5)
        opened = open_lock(Project(shop), "shop", "local", Report())
        assert opened is not None
        lock = merge(lock, seen, opened[0])
        steady = {name: [] for name in lock.views}  # times are the machine's, not the data's
        for name, view in lock.views.items():
            steady[name] = {fact: seen for fact, seen in view.items() if fact != "milliseconds"}
        texts.append(encoded(replace_views(lock, steady)).decode().splitlines())
    changed = [sum(line.startswith("+ ") for line in difflib.ndiff(old, new)) for old, new in itertools.pairwise(texts)]
    print(changed, sum(changed), "of", len(texts[-1]), "lines")
    assert sum(changed) <= 200, (
        "150 of 660 when this was written, two thirds of them the runs that are counted up to five"
    )
    assert sum(changed[4:]) <= 80, "48 lines in sixteen times, when this was written"
    assert changed.count(0) >= 3, "often nothing at all"


def replace_views(lock: EvidenceLock, views: Any) -> EvidenceLock:
    return msgspec.structs.replace(lock, views=views)


def test_observe_says_what_changed_and_then_that_nothing_did(shop_pack: Path) -> None:
    shop = shop_pack.parents[1]
    run_once(shop)
    done = in_shop(shop)
    assert done.returncode == 0, done.stderr
    assert "datasets/sale/rows: unknown -> 3\n" in done.stdout
    assert "views/paired/rows: unknown -> 3 in 1 run\n" in done.stdout
    first, stamp = (shop / LOCK).read_bytes(), (shop / LOCK).stat().st_mtime_ns
    assert b"\r" not in first and first.endswith(b"}\n") and b'\n  "datasets"' in first
    again = in_shop(shop)
    assert again.stdout == f"nothing has changed that {LOCK} tells\n"
    assert ((shop / LOCK).read_bytes(), (shop / LOCK).stat().st_mtime_ns) == (first, stamp), "not even written"
    write_deltalake(str(shop / "tables/sale"), sales([(i, 1, 7, 1) for i in range(10, 20)]), mode="append")
    run_once(shop)
    assert run_command("observe", "shop", "-o", "seen.json", cwd=shop, module="decreta_runtime").returncode == 0
    by_file = in_shop(shop, "seen.json")
    assert "datasets/sale/rows: 3 -> 13\n" in by_file.stdout
    assert json.loads((shop / LOCK).read_bytes())["datasets"]["sale"]["facts"]["rows"] == {"value": 13, "version": 1}
    assert run_command("generate", "shop", cwd=shop).returncode == 0
    assert json.loads((shop_pack / "policy/local.json").read_bytes())["cache_policy_by_view"]["paired"]["origin"]


def test_observations_of_others_are_refused(shop_pack: Path) -> None:
    shop = shop_pack.parents[1]
    path = shop / "seen.json"
    for seen in (observed(), msgspec.structs.replace(observed(), pack="shop", environment="prod")):
        path.write_bytes(msgspec.json.encode(seen))
        done = in_shop(shop, "seen.json")
        assert done.returncode == 2 and "not of `shop` in `local`" in done.stderr
    for text, words in (("{}", "holds no observations"), ("{", "holds no observations")):
        path.write_text(text)
        done = in_shop(shop, "seen.json")
        assert done.returncode == 2 and words in done.stderr
    newer = msgspec.structs.replace(observed(), format=99)
    path.write_bytes(msgspec.json.encode(newer))
    assert "has format 99" in in_shop(shop, "seen.json").stderr
    for args, words in (
        (["missing.json"], "cannot be read"),
        (["seen.json", "--lake", "lake"], "name one of them"),
        (["--env", "prod"], "no environment `prod`"),
        (["--lake", "nowhere"], "does not exist"),
    ):
        done = in_shop(shop, *args)
        assert done.returncode == 2 and words in done.stderr, done.stderr
    assert not (shop / LOCK).exists()


GOOD = {"format": 1, "datasets": {}, "views": {"paired": {"rows": {"value": 3, "version": 1, "runs": 1}}}}


@pytest.mark.parametrize(
    ("lock", "code", "words"),
    [
        ("{", "D203", "no evidence lock"),
        ('{"more": ' + "[" * 100_000, "D203", "no evidence lock"),
        ({**GOOD, "clock": "12:30"}, "D203", "unknown field `clock`"),
        ({**GOOD, "format": 2}, "D203", "has format 2"),
        ({**GOOD, "views": {"paired": {"row": {"value": 3, "version": 1}}}}, "D402", "did you mean `rows`"),
        ({**GOOD, "views": {"paired": {"rows": {"value": "many", "version": 1}}}}, "D203", "is int64 (rows), not 'many'"),
        ({**GOOD, "views": {"paired": {"rows": {"value": True, "version": 1}}}}, "D203", "is int64 (rows), not True"),
        ({**GOOD, "views": {"paired": {"output_ratio": {"value": "half", "version": 1}}}}, "D203", "is decimal"),
        ({**GOOD, "views": {"paired": {"rows": {"value": 3, "version": 1, "runs": 0}}}}, "D203", ">= 1"),
        ({**GOOD, "datasets": {"sale": {"facts": {"distinct": {"value": 3, "version": 1}}, "columns": {}}}},
         "D402", "no fact `distinct`"),
        ({**GOOD, "datasets": {"sale": {"facts": {"rows": {"value": 3, "version": 1, "share": "all"}}, "columns": {}}}},
         "D203", "regex"),
        ({**GOOD, "datasets": {"sale": {"facts": {"rows": {"value": 3, "version": 1, "share": "1.99"}}, "columns": {}}}},
         "D203", "regex"),
        ({**GOOD, "views": {"paired": {"rows": {"value": -3, "version": 1, "runs": 1}}}}, "D203", "not -3"),
        ({**GOOD, "views": {"paired": {"rows": {"value": 10**19, "version": 1, "runs": 1}}}}, "D203", "int64 (rows), not"),
        ({**GOOD, "views": {"paired": {"output_ratio": {"value": "9" * 20 + ".00", "version": 1, "runs": 1}}}},
         "D203", "is decimal (ratio)"),
        ({**GOOD, "datasets": {"sale": {"facts": {"small_file_share": {"value": "1.01", "version": 1}}, "columns": {}}}},
         "D203", "is decimal (share)"),
    ],
)  # fmt: skip
def test_a_broken_lock_is_a_mistake_at_its_file(shop: Path, lock: Any, code: str, words: str) -> None:
    path = shop / LOCK
    path.parent.mkdir()
    path.write_text(lock if isinstance(lock, str) else json.dumps(lock))
    report = Report()
    assert compile_pack(Project(shop), "shop", report) is None
    (found,) = report.diagnostics()
    assert (found.code, found.span.file) == (code, LOCK)
    assert words in found.message + found.help


def test_a_broken_lock_stops_observe_too(shop_pack: Path) -> None:
    shop = shop_pack.parents[1]
    run_once(shop)
    (shop / LOCK).parent.mkdir()
    (shop / LOCK).write_text("<<<<<<< ours\n")
    done = in_shop(shop)
    assert done.returncode == 1
    assert f"{LOCK}:1:1: error[D203]" in done.stderr and "delete it and run `decreta observe`" in done.stderr
    assert (shop / LOCK).read_text() == "<<<<<<< ours\n", "what people merge by hand is not written over"


# -- what evidence is worth


def test_a_bound_and_a_share_of_files_lower_what_a_fact_is_worth(project: Path) -> None:
    compiled_pack = compile_pack(Project(project), "code_graph", Report())
    assert compiled_pack is not None
    checked = compiled_pack.program.checked
    of_column = {"distinct": Seen(value=9, version=4, share="0.50"), "null_share": Seen(value="0.10", version=4)}
    asked = {column.name: of_column for column in checked.objects["definition"].object.columns}
    lock = EvidenceLock(
        format=1,
        datasets={"definition": DatasetEvidence(facts={"rows": Seen(value=7, version=4, share="0.66")}, columns=asked)},
        views={"module_file": {"rows": Seen(value=3, version=8, runs=2)}},
    )
    base = gather(checked, lock, checked.resolved.rules.worth)
    definition = base.rows["scan"]["definition"]
    assert (definition["rows"].value, definition["rows"].confidence) == (7, "0.66")
    assert (definition["distinct"].value, definition["distinct"].confidence) == (9, "0.35"), "a bound in half of them"
    assert definition["null_share"].value == Decimal("0.10") and definition["null_share"].version == 4
    assert definition["clustering_depth"].value is None and definition["clustering_depth"].confidence == "0.00"
    view = base.rows["cache"]["module_file"]["rows"]
    assert (view.value, view.confidence, view.version, view.runs) == (3, "0.70", 8, 2)


def test_a_fact_of_several_columns_is_worth_what_the_least_known_of_them_is() -> None:
    done = compile_pack(Project(ROOT), "retail", Report())
    assert done is not None
    checked = done.program.checked
    names = [column.name for column in checked.relations["order_state"].columns]
    whole, tenth = Seen(value="0.10", version=4), Seen(value="0.00", version=4, share="0.10")
    columns = {name: {"null_share": whole if name == "o_custkey" else tenth} for name in names}
    lock = EvidenceLock(format=1, datasets={"order_state": DatasetEvidence(facts={}, columns=columns)}, views={})
    found = gather(checked, lock, checked.resolved.rules.worth).rows["scan"]["order_state"]["null_share"]
    assert (found.value, found.confidence) == (Decimal("0.10"), "0.10"), "nine tenths of the files may have more"


def test_an_estimate_past_all_numbers_is_unknown(project: Path) -> None:
    done = compile_pack(Project(project), "code_graph", Report())
    assert done is not None
    checked = done.program.checked
    views = {name: {"rows": Seen(value=2**53 - 1, version=1, runs=5)} for name in checked.relations}
    base = gather(checked, EvidenceLock(format=1, datasets={}, views=views), checked.resolved.rules.worth)
    found = {row["estimated_bytes"].value for row in base.rows["cache"].values()}
    assert found == {None}


def test_committed_locks_have_runs_enough() -> None:
    for pack in ("code_graph", "retail"):
        lock = msgspec.json.decode((ROOT / f"specs/{pack}/locks/local.evidence.json").read_bytes(), type=EvidenceLock)
        assert lock.datasets and lock.views
        assert {seen.runs for view in lock.views.values() for seen in view.values()} <= {3, 4, 5}
        assert encoded(lock) == (ROOT / f"specs/{pack}/locks/local.evidence.json").read_bytes()
