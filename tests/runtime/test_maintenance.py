"""Tables are maintained by their measured outcome: each trigger, each action, each field of the policy, and what is safe."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.transaction import AddAction
from tests.conftest import ROOT, Command, compiled, edit_policy, rows_of, sales

import decreta_runtime
from decreta_runtime import maintain, rewrite, settle
from decreta_runtime import run as order
from decreta_runtime.contract.errors import ContentDiffers, LakeUnusable, TimeLimitReached, WriteConflict
from decreta_runtime.contract.policy import Metric, Policy, Trigger
from decreta_runtime.contract.records import TableOutcomes
from decreta_runtime.foreign import delete_by_vector
from decreta_runtime.kpi import key_figures
from decreta_runtime.lake import Lake
from decreta_runtime.lease import leased
from decreta_runtime.limited import within
from decreta_runtime.load import load
from decreta_runtime.maintain import Maintained, Maintainer
from decreta_runtime.pins import pin
from decreta_runtime.record import Ledger
from decreta_runtime.scan import Pinned
from decreta_runtime.tally import Tally
from decreta_runtime.triggers import meet

SUBJECTS = {"code_graph": "definition", "retail": "order_state"}
AT_ONCE = {"delta.deletedFileRetentionDuration": "interval 0 hours", "delta.logRetentionDuration": "interval 0 days"}
"""Properties of a table that lets dead files and old commits go at once."""


def trigger(action: str, metric: str, threshold: int | str, unknown: str = "pass", comparison: str = "at_least") -> Any:
    return {"action": action, "metric": metric, "comparison": comparison, "threshold": threshold, "unknown": unknown}


class Bench:
    """A maintainer of one pack's tables under a policy with some fields of one decision changed."""

    def __init__(self, folder: Path, pack: str = "code_graph", **fields: Any) -> None:
        self.dataset = SUBJECTS[pack]
        self.lake = Lake(str(folder / "lake"))
        self.lake.prepare()
        self.path = folder / "a table"
        self.pack = load(ROOT / "generated" / pack, Tally())
        self.ledger = Ledger(pack, "sha256:0")
        self.told: list[str] = []
        self.set(**fields)

    def set(self, **fields: Any) -> None:
        """Put fields of the decision in the place of what its rule says; without triggers there are none."""
        whole = json.loads((self.pack.folder / "policy/local.json").read_bytes())
        decision = whole["maintenance_policy_by_dataset"][self.dataset]
        plain = {"triggers": {}, "sort": ["id"], "bloom_columns": [], "retention_hours": 0}
        decision["value"] |= plain | fields
        policy = Policy(json.dumps(whole).encode())
        profile = policy.session("batch_ingest")
        self.keeper = Maintainer(
            self.pack.manifest, policy, self.lake, self.ledger, "batch_ingest", profile,
            lambda stage, words: self.told.append(words),
        )  # fmt: skip

    def append(self, ids: list[int], word: str = "w", **more: Any) -> None:
        rows = pa.table({"id": pa.array(ids, pa.int64()), "word": [f"{word}{i}" for i in ids]})
        hooks = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
        write_deltalake(str(self.path), rows, mode="append", post_commithook_properties=hooks, **more)

    def pinned(self, version: int | None = None) -> Pinned:
        table = DeltaTable(str(self.path), version=version)
        return Pinned(self.dataset, self.path, table.version(), table)

    def keep(self) -> Maintained:
        return self.keeper.after_write(self.dataset, self.pinned())

    def ids(self) -> list[int]:
        return sorted(pa.table(DeltaTable(str(self.path)).scan())["id"].to_pylist())

    @property
    def files(self) -> list[str]:
        return [Path(uri).name for uri in DeltaTable(str(self.path)).file_uris()]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the engine in this very process: what a process of its own is for is tested apart."""
    monkeypatch.setattr(maintain, "within", lambda seconds, function, *args: function(*args))


COMPACT = {"small": trigger("compact", "small_files", 4)}


# -- triggers


def outcomes(**known: Any) -> TableOutcomes:
    nothing: dict[str, Any] = {field.name: None for field in msgspec.structs.fields(TableOutcomes)}
    return TableOutcomes(**(nothing | known))


@pytest.mark.parametrize("metric", Metric.__args__)  # type: ignore[attr-defined]
def test_each_metric_is_true_false_or_unknown(metric: str) -> None:
    share = metric.endswith("share")
    at, over, under = ("0.50", "0.51", "0.49") if share else (5, 6, 4)
    for comparison, holds in (
        ("at_least", {at: True, over: True, under: False}),
        ("at_most", {at: True, over: False, under: True}),
    ):
        for unknown in ("act", "pass"):
            asked = {"one": msgspec.convert(trigger("vacuum", metric, at, unknown, comparison), Trigger)}
            for found, expected in holds.items():
                met = meet(asked, outcomes(**{metric: found}))["one"]
                assert (met.holds, met.due) == (expected, expected)
            met = meet(asked, outcomes())["one"]
            assert (met.holds, met.due) == (None, unknown == "act")


def test_an_unknown_metric_does_what_the_policy_says(tmp_path: Path, here: None) -> None:
    """Files without statistics: nobody knows how many of them overlap."""
    bench = Bench(tmp_path, triggers={"depth": trigger("sort", "clustering_depth", 3)})
    nothing = {"delta.dataSkippingNumIndexedCols": "0"}
    for i in range(3):
        bench.append([i, i + 10], configuration=nothing if i == 0 else None)
    assert bench.keep().action == "none"
    bench.set(triggers={"depth": trigger("sort", "clustering_depth", 3, "act")})
    found = bench.keep()
    assert found.detail.triggers["depth"].holds is None and found.detail.done == ("sort",)
    assert bench.ids() == [0, 1, 2, 10, 11, 12]


# -- actions


def test_compaction_takes_the_small_files_alone(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=COMPACT, small_file_bytes=20_000)
    bench.append(list(range(10_000)))
    large = bench.files
    for i in range(4):
        bench.append([20_000 + i], commit_properties=CommitProperties(
            app_transactions=[Transaction("load", i)], custom_metadata={"decreta.run_key": f"sha256:{i}"}))  # fmt: skip
    before = bench.ids()
    found = bench.keep()
    detail = found.detail
    assert (found.action, detail.done, detail.cause) == ("acted", ("compact",), ("small",))
    assert set(large) < set(bench.files) and len(bench.files) == 2
    assert bench.ids() == before
    assert detail.before.small_files == detail.real.files_rewritten == 4 and detail.after is not None
    assert (detail.after.files, detail.after.small_files, detail.after.version) == (2, 1, 5)
    assert detail.real.bytes_written == detail.after.rewritten_bytes > 0
    assert detail.estimated.bytes_read == detail.real.bytes_read
    table = DeltaTable(str(bench.path))
    assert table.transaction_version("load") == 3, "application transactions of others stay"
    assert table.history(1)[0]["decreta.run_key"] == "sha256:3", "the rows are still that run's"
    lines = [json.loads(line) for line in (bench.path / "_delta_log" / f"{5:020}.json").read_text().splitlines()]
    assert {part["dataChange"] for line in lines for key in ("add", "remove") if (part := line.get(key))} == {False}
    (row,) = [row for row in bench.ledger.rows if row.kind == "maintenance"]
    assert row.pointer == "/maintenance_policy_by_dataset/definition" and row.table_version == 4
    assert bench.keep().action == "none", "one small file is left, and nothing is due"


def test_sorting_parts_the_files_that_overlap_and_no_others(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers={"depth": trigger("sort", "clustering_depth", 3)}, small_file_bytes=1)
    bench.append([1000, 1001])
    apart = bench.files
    for i in range(3):
        bench.append([i, 100 + i])
    found = bench.keep()
    assert found.detail.before.clustering_depth == 3 and found.detail.done == ("sort",)
    assert found.detail.after is not None and found.detail.after.clustering_depth == 1
    assert set(apart) < set(bench.files) and found.detail.real.files_rewritten == 3
    (made,) = set(bench.files) - set(apart)
    assert pq.read_table(bench.path / made)["id"].to_pylist() == [0, 1, 2, 100, 101, 102]


def test_what_look_ups_list_is_told_before_and_after(tmp_path: Path, here: None) -> None:
    """A shape that asks for a name lists every file whose range holds it."""
    bench = Bench(tmp_path, triggers={"depth": trigger("sort", "clustering_depth", 2)}, sort=["name"])
    for i in range(3):
        rows = pa.table({"name": [f"a{i}", f"m{i}", f"z{i}"]})
        write_deltalake(str(bench.path), rows, mode="append")
    (was, now) = bench.keep().detail.shapes["symbol_lookup"]
    assert (was.files, now.files) == (2, 1), "of `a1`, the middle one of the least names"
    assert was.bytes and now.bytes


def test_a_checkpoint_shortens_the_log(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers={"long": trigger("checkpoint", "log_length", 3)})
    for i in range(3):
        bench.append([i])
    found = bench.keep()
    assert found.detail.before.log_length == 3 and found.detail.done == ("checkpoint",)
    assert found.detail.after is not None and found.detail.after.log_length == 0
    assert list((bench.path / "_delta_log").glob("*.checkpoint.parquet")) and bench.ids() == [0, 1, 2]


def test_old_commits_go_when_no_pin_needs_them(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers={"old": trigger("clean_log", "expired_log_files", 1)})
    for i in range(3):
        bench.append([i], configuration=AT_ONCE if i == 0 else None)
    DeltaTable(str(bench.path)).create_checkpoint()
    bench.append([3])
    for commit in (bench.path / "_delta_log").glob("*.json"):
        os.utime(commit, (1, 1))
    reader = pin(bench.lake, [bench.pinned(1)], 60)
    refused = bench.keep()
    assert refused.detail.before.expired_log_files == 2 and refused.detail.done == ()
    assert "older than the last checkpoint" in str(refused.detail.why)
    assert DeltaTable(str(bench.path), version=1).count() == 2
    reader.release()
    bench.keep()
    assert len(list((bench.path / "_delta_log").glob("*.json"))) < 4 and bench.ids() == [0, 1, 2, 3]


VACUUM = {"dead": trigger("vacuum", "expired_bytes", 1)}


def test_vacuum_deletes_what_no_version_within_the_retention_has(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=VACUUM)
    bench.append([1], configuration=AT_ONCE)
    bench.append([2])
    DeltaTable(str(bench.path)).delete("id = 1")
    (bench.path / "never-committed.parquet").write_bytes(b"left by a writer that died")
    time.sleep(0.01)
    found = bench.keep()
    assert found.detail.done == ("vacuum",) and found.detail.real.files_deleted == 2
    assert len(list(bench.path.glob("*.parquet"))) == 1 and bench.ids() == [2]
    assert DeltaTable(str(bench.path)).version() == 2, "a vacuum commits nothing"


def test_vacuum_keeps_what_a_reader_has_pinned(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=VACUUM)
    bench.append([1], configuration=AT_ONCE)
    reader = pin(bench.lake, [bench.pinned()], 60)
    DeltaTable(str(bench.path)).delete("id = 1")
    bench.append([2])
    time.sleep(0.01)
    assert bench.keep().detail.real.files_deleted == 0
    assert pa.table(DeltaTable(str(bench.path), version=0).scan())["id"].to_pylist() == [1]
    reader.release()
    assert bench.keep().detail.real.files_deleted == 1


def test_a_pin_that_nobody_renews_runs_out(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=VACUUM)
    bench.append([1], configuration=AT_ONCE)
    pin(bench.lake, [bench.pinned()], 0)
    DeltaTable(str(bench.path)).delete("id = 1")
    time.sleep(0.01)
    assert bench.keep().detail.real.files_deleted == 1
    assert not list((bench.lake.own / "pins").glob("*.json"))


def test_a_retention_below_the_tables_own_is_refused(tmp_path: Path, here: None) -> None:
    """The engine's guard is never switched off; nothing is deleted."""
    bench = Bench(tmp_path, triggers={"dead": trigger("vacuum", "unreferenced_bytes", 1)})
    bench.append([1])
    DeltaTable(str(bench.path)).delete("id = 1")
    with pytest.raises(Exception, match="retention"):
        DeltaTable(str(bench.path)).vacuum(retention_hours=0)
    found = bench.keep()
    assert (found.action, found.detail.done) == ("failed", ()) and "retention" in str(found.detail.why)
    assert len(list(bench.path.glob("*.parquet"))) == 1


# -- over a table's life


def test_rewriting_stays_within_its_budget_over_a_tables_life(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=COMPACT, amplification="2.00")
    for i in range(60):
        bench.append(list(range(100 * i, 100 * i + 100)))
        after = bench.keep().detail
        state = after.after or after.before
        assert state.rewritten_bytes <= 2 * state.written_bytes
        if i == 30:  # what is counted outlasts the log
            table = DeltaTable(str(bench.path))
            table.create_checkpoint()
            for commit in (bench.path / "_delta_log").glob("*.json"):
                if int(commit.stem) < table.version():
                    commit.unlink()
    assert state.rewritten_bytes > state.written_bytes / 2 and len(bench.files) < 12
    assert bench.ids() == list(range(6_000))


def test_a_file_much_larger_than_the_others_waits_for_more(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=COMPACT, at_most_times="2.00")
    bench.append(list(range(20_000)))
    for i in range(3):
        bench.append([20_000 + i])
    (large,) = (name for name in bench.files if (bench.path / name).stat().st_size > 20_000)
    assert bench.keep().detail.real.files_rewritten == 3
    assert large in bench.files and len(bench.files) == 2
    bench.set(triggers={"small": trigger("compact", "small_files", 2)}, at_most_times="2.00")
    assert bench.keep().detail.real.files_rewritten == 2, "two are brought together whatever their sizes"
    assert bench.ids() == list(range(20_003))


def test_without_a_budget_nothing_is_rewritten(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=COMPACT, amplification="0.00")
    for i in range(5):
        bench.append([i])
    found = bench.keep()
    assert found.action == "none" and "the budget of 0 bytes" in str(found.detail.why)


# -- safety


def test_a_lease_is_of_one_holder_and_ends_with_it(tmp_path: Path) -> None:
    with leased(tmp_path, 60) as first:
        assert first.holds()
        with pytest.raises(WriteConflict, match="another maintainer"), leased(tmp_path, 60):
            pass
    with leased(tmp_path, 0) as second, leased(tmp_path, 60) as third:
        assert (second.token, third.token) == (2, 3), "a term that is over is no lease"
        assert third.holds() and not second.holds()
    assert len(list((tmp_path / "_decreta").glob("*.*.lock"))) == 1
    (tmp_path / "_decreta/lease.json").write_text("{")
    with pytest.raises(LakeUnusable), leased(tmp_path, 60):
        pass


def test_a_table_that_was_put_back_without_its_lease_is_maintained(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=COMPACT)
    for k in range(3):
        for i in range(4):
            bench.append([10 * k + i])
        if k == 2:  # as from a copy of data and log alone
            shutil.rmtree(bench.path / "_decreta")
        assert bench.keep().action == "acted"
    assert bench.pinned().table.transaction_version(rewrite.TOKEN) == 3 and len(bench.ids()) == 12


def test_a_maintainer_whose_lease_was_taken_over_commits_nothing(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, triggers=COMPACT, lease_seconds=0)
    for i in range(4):
        bench.append([i])
    write = rewrite._write

    def slowly(*args: Any) -> None:
        write(*args)
        with leased(bench.path, 60):
            pass

    monkeypatch.setattr(rewrite, "_write", slowly)
    found = bench.keep()
    assert found.action == "failed" and "taken" in str(found.detail.why)
    assert bench.pinned().version == 3 and len(list(bench.path.glob("*.parquet"))) == 4


def test_rows_that_would_differ_are_never_committed(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, triggers=COMPACT)
    for i in range(4):
        bench.append([i])
    write = rewrite._write
    for column, value in (("id", "id + 1"), ("word", "CAST(NULL AS VARCHAR)")):

        def wrongly(context: Any, job: Any, table: Any, scratch: Path, c: str = column, v: str = value) -> None:
            context.sql(f'CREATE VIEW wrong AS SELECT * EXCEPT ("{c}"), {v} AS "{c}" FROM removed')
            frame = context.table("wrong").select("id", "word")
            context.deregister_table("removed")
            context.register_table("removed", frame.into_view())
            write(context, job, table, scratch)

        monkeypatch.setattr(rewrite, "_write", wrongly)
        found = bench.keep()
        assert found.action == "failed" and "or others" in str(found.detail.why)
        assert bench.pinned().version == 3 and bench.ids() == [0, 1, 2, 3]
        assert sorted(p.name for p in bench.path.iterdir()) == sorted([*bench.files, "_decreta", "_delta_log"]), (
            "nothing is left"
        )


def test_a_version_that_is_not_as_meant_is_taken_back(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, triggers=COMPACT)
    for i in range(4):
        bench.append([i])
    put = rewrite.put

    def badly(pinned: Pinned, actions: list[Any], marks: Any, said: Any) -> None:
        lost = actions if not marks else actions[:-1]  # one of the old files stays: its rows are there twice
        put(pinned, lost, marks, said)

    monkeypatch.setattr(rewrite, "put", badly)
    found = bench.keep()
    assert found.action == "failed" and "taken back" in str(found.detail.why)
    assert bench.ids() == [0, 1, 2, 3] and len(bench.files) == 4
    with pytest.raises(ContentDiffers):
        raise ContentDiffers("", help="")


def column_mapped(bench: Bench) -> None:
    rows = pa.table({"id": pa.array([1], pa.int64())})
    write_deltalake(str(bench.path), rows, configuration={"delta.columnMapping.mode": "name"})


def with_vector(bench: Bench) -> None:
    write_deltalake(str(bench.path), sales([(90, 3, 7, 100), (91, 3, 7, 100)]))
    delete_by_vector(bench.path)


def with_row_ids(bench: Bench) -> None:
    """A feature that ties rows to their files, as other engines write it."""
    bench.append([1])
    protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"]}
    line = json.dumps({"protocol": protocol})
    (bench.path / "_delta_log" / f"{1:020}.json").write_text(line + "\n")


@pytest.mark.parametrize(
    ("make", "guard"),
    [
        (column_mapped, "no_column_mapping"), (with_vector, "no_deletion_vectors"), (with_row_ids, "safe_to_rewrite"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_seen_to_be_safe_is_refused(
    tmp_path: Path, here: None, make: Callable[[Bench], None], guard: str
) -> None:
    bench = Bench(tmp_path, triggers={"any": trigger("compact", "files", 1)}, sort=[])
    make(bench)
    version = bench.pinned().version
    found = bench.keep()
    assert (found.action, found.detail.why, found.detail.code) == ("refused", f"the guard {guard} fails", "R202")
    assert bench.pinned().version == version
    assert {row.action for row in bench.ledger.rows if row.kind == "guard"} >= {f"{guard}: fails"}


PLACES: list[Any] = ["a b/%ü", "a b/%ü", None, "plain", "a=1&b"]


def test_rows_stay_in_their_partitions(tmp_path: Path, here: None) -> None:
    """Values as texts, numbers, days and nulls, whatever the names of their folders; files of other partitions stay."""
    bench = Bench(tmp_path, triggers=COMPACT | {"depth": trigger("sort", "clustering_depth", 2)}, sort=["at", "id"])
    by = ["at", "day", "n", "yes"]
    for i in range(4):
        rows = pa.table({
            "id": pa.array([10 * i + k for k in range(5)]), "at": PLACES,
            "day": pa.array([date(2024, 1, 1), None, date(1969, 12, 31), None, None], pa.date32()),
            "n": pa.array([-1, 2, None, 1 << 40, 0], pa.int64()), "yes": [True, False, None, True, False],
        })  # fmt: skip
        write_deltalake(str(bench.path), rows, mode="append", partition_by=by)
    alone = rows.slice(0, 1).set_column(1, "at", pa.array(["alone"])).set_column(0, "id", pa.array([99]))
    write_deltalake(str(bench.path), alone, mode="append")
    before, expected = bench.pinned(), rows_of(bench.path)
    found = bench.keep()
    assert found.action == "acted" and found.detail.real.files_rewritten == 20
    after = bench.pinned()
    assert len(after.files) == 6 and len(set(before.files) & set(after.files)) == 1
    assert rows_of(bench.path) == expected
    parted = pa.table(DeltaTable(str(bench.path)).scan(predicate="at = 'a b/%ü' AND n = 2"))
    assert sorted(parted["id"].to_pylist()) == [1, 11, 21, 31]
    assert {Path(f).parent.name.split("=", 1)[0] for f in after.files} == {"yes"}, "beside the files that were"
    assert bench.keep().action == "none" and bench.pinned().version == after.version


def test_a_partition_of_a_value_that_is_not_written_again_is_named(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=COMPACT, sort=[])
    for i in range(4):
        rows = pa.table({"id": [i], "price": pa.array([Decimal("1.50")])})
        write_deltalake(str(bench.path), rows, mode="append", partition_by=["price"])
    found = bench.keep()
    assert found.action == "none" and "partition column `price`" in str(found.detail.why)
    assert bench.pinned().version == 3


def test_what_readers_have_pinned_of_a_partition_is_kept(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=COMPACT | VACUUM, sort=[])
    for i in range(4):
        rows = pa.table({"id": pa.array([i, i + 10]), "at": ["a b/%ü", "plain"]})
        about = AT_ONCE if i == 0 else None
        write_deltalake(str(bench.path), rows, mode="append", partition_by=["at"], configuration=about)
    reader, before = pin(bench.lake, [bench.pinned()], 60), bench.pinned().version
    bench.keep()
    time.sleep(0.01)
    bench.keep()
    assert sorted(pa.table(DeltaTable(str(bench.path), version=before).scan())["id"].to_pylist()) == bench.ids()
    reader.release()
    assert bench.keep().detail.real.files_deleted == 8
    assert bench.ids() == [*range(4), *range(10, 14)] and len(list(bench.path.rglob("*.parquet"))) == 2


def test_a_partition_that_is_not_as_meant_is_taken_back(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is said to be of another partition would move its rows."""
    bench = Bench(tmp_path, triggers=COMPACT, sort=[])
    for i in range(4):
        rows = pa.table({"id": pa.array([i, i + 10]), "at": ["a b/%ü", None]})
        write_deltalake(str(bench.path), rows, mode="append", partition_by=["at"])
    expected, put = rows_of(bench.path), rewrite.put

    def badly(pinned: Pinned, actions: list[Any], marks: Any, said: Any) -> None:
        if marks:
            first = actions[0]
            actions[0] = AddAction(first.path, first.size, {"at": "b"}, first.modification_time, False, first.stats)
        put(pinned, actions, marks, said)

    monkeypatch.setattr(rewrite, "put", badly)
    found = bench.keep()
    assert (found.action, found.detail.code) == ("failed", ContentDiffers.code)
    assert "taken back" in str(found.detail.why) and rows_of(bench.path) == expected


def test_a_column_of_a_type_that_is_not_rewritten_is_named(tmp_path: Path, here: None) -> None:
    bench = Bench(tmp_path, triggers=COMPACT, sort=[])
    for i in range(4):
        write_deltalake(str(bench.path), pa.table({"at": [{"x": i}]}), mode="append")
    found = bench.keep()
    assert found.action == "none" and "`at` has a type" in str(found.detail.why)


def test_a_call_that_hangs_is_ended(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(TimeLimitReached):
        within(1, time.sleep, 300)
    assert time.monotonic() - start < 60
    assert within(60, os.path.basename, "a/b") == "b"
    with pytest.raises(LakeUnusable, match="no such"):
        within(60, _raise, LakeUnusable("no such", help="look"))
    with pytest.raises(LakeUnusable, match="died"):
        within(60, os._exit, 3)


def _raise(error: Exception) -> None:
    raise error


# -- each field


def depth(bench: Bench) -> int | None:
    return maintain.measure(bench.pinned(), bench.keeper.policy.maintenance(bench.dataset).value).clustering_depth


def seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a table, its folder, the lease and a reader's pin are like after maintenance."""
    limits = list[int]()
    monkeypatch.setattr(maintain, "within", lambda seconds, f, *args: limits.append(seconds) or f(*args))
    for i in range(6):
        bench.append([i, 50 - i, *range(100 * i, 100 * i + 90)], configuration=AT_ONCE if i == 0 else None)
    DeltaTable(str(bench.path)).delete("id = 0")
    now = time.time()
    bench.keep()
    footers = [pq.ParquetFile(bench.path / name).metadata for name in bench.files]
    chunks = [f.row_group(g).column(1) for f in footers for g in range(f.num_row_groups)]
    leases = [json.loads(p.read_bytes()) for p in (bench.path / "_decreta").glob("*.json")]
    with decreta_runtime.open(ROOT / "generated" / bench.pack.manifest.pack, lake=str(bench.lake.root)):
        pass
    return {
        "files": len(footers),
        "groups": len(chunks),
        "compression": {chunk.compression for chunk in chunks},
        "blooms": sum(int(getattr(c, "bloom_filter_length", None) or 0) for c in chunks),
        "first": pq.read_table(bench.path / bench.files[0])["id"].to_pylist()[:9],
        "on disk": len(list(bench.path.glob("*.parquet"))),
        "limits": limits,
        "lease": [round((lease["until"] - now) / 100) for lease in leases],
    }


BASE = {"triggers": {"small": trigger("compact", "small_files", 4), "dead": trigger("vacuum", "expired_bytes", 10**9)},
        "small_file_bytes": 1 << 20, "target_file_bytes": 1 << 25, "row_group_rows": 1000, "bloom_columns": ["word"],
        "lease_seconds": 900}  # fmt: skip
EFFECTS: dict[str, tuple[dict[str, Any], str]] = {
    "triggers": ({"triggers": {}}, "files"),
    "action": ({"triggers": {"small": trigger("checkpoint", "small_files", 4)}}, "files"),
    "metric": ({"triggers": {"small": trigger("compact", "deleted_rows", 4)}}, "files"),
    "comparison": ({"triggers": {"small": trigger("compact", "small_files", 4, comparison="at_most")}}, "files"),
    "threshold": ({"triggers": {"small": trigger("compact", "small_files", 40)}}, "files"),
    "small_file_bytes": ({"small_file_bytes": 1}, "files"),
    "sort": ({"sort": []}, "first"),
    "target_file_bytes": ({"target_file_bytes": 1000, "row_group_rows": 100}, "files"),
    "row_group_rows": ({"row_group_rows": 100}, "groups"),
    "compression": ({"compression": "uncompressed"}, "compression"),
    "bloom_columns": ({"bloom_columns": []}, "blooms"),
    "bloom_fpp": ({"bloom_fpp": "0.50"}, "blooms"),
    "amplification": ({"amplification": "0.10"}, "files"),
    "at_most_times": ({"at_most_times": "0.01"}, "files"),
    "retention_hours": ({"retention_hours": 1, "triggers": {"dead": trigger("vacuum", "expired_bytes", 1)}}, "on disk"),
    "time_limit_seconds": ({"time_limit_seconds": 77}, "limits"),
    "lease_seconds": ({"lease_seconds": 9000}, "lease"),
}


@pytest.mark.parametrize("pack", sorted(SUBJECTS))
def test_each_field_has_an_effect(tmp_path: Path, pack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`unknown` and `pin_seconds` are shown above and below."""

    def of(name: str, fields: dict[str, Any]) -> dict[str, Any]:
        return seen(Bench(tmp_path / name, pack, **(BASE | fields)), monkeypatch)

    before = of("before", {})
    for name, (fields, expected) in EFFECTS.items():
        base = before
        if name == "retention_hours":  # beside one that does not wait
            base = of("at once", fields | {"retention_hours": 0})
        after = of(name, fields)
        assert base[expected] != after[expected], (name, base[expected])


def test_a_pin_lasts_as_long_as_the_policy_says(shop_pack: Path) -> None:
    lake = shop_pack.parents[1] / "lake"
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        now = time.time()
        pack.query("revenue_of", customer=1)
        (mark,) = [json.loads(p.read_bytes()) for p in (lake / "_decreta/pins").glob("*.json")]
        seconds = max(pack.policy.maintenance(name).value.pin_seconds for name in pack.manifest.datasets())
        assert seconds <= mark["until"] - now < seconds + 60
        assert mark["versions"] == {str(p.path): p.version for p in pack._bound().tables()}
    assert not list((lake / "_decreta/pins").glob("*.json")), "a reader that closes lets go"


# -- in a run, and by the verb


def test_the_lakes_own_tables_are_kept_like_any_other(shop_pack: Path) -> None:
    """Each run appends to both; what they hold, and the mark by which the last run is found, outlives the rewriting."""
    own, runs = shop_pack.parents[1] / "lake/_decreta", 12
    for sale in range(runs):
        write_deltalake(str(shop_pack.parents[1] / "tables/sale"), sales([(100 + sale, 3, 8, 2)]), mode="append")
        with decreta_runtime.open(str(shop_pack)) as pack:
            assert pack.run().run_seq == sale + 1
    with decreta_runtime.open(str(shop_pack)) as pack:
        bound = pack.policy.maintenance("_ledger").value.triggers["many_small_files"].threshold
        for name in ("ledger", "runs"):
            assert len(DeltaTable(str(own / name)).file_uris()) <= int(bound) < runs
        seen = pack.ledger("SELECT DISTINCT run_seq FROM ledger ORDER BY run_seq")["run_seq"].to_pylist()
        assert [n for n in seen if n is not None] == list(range(1, runs + 1))
        acted = "SELECT DISTINCT subject, pointer FROM ledger WHERE kind = 'maintenance' AND action = 'acted'"
        found = {row["subject"]: row["pointer"] for row in pack.ledger(acted).to_pylist()}
        assert {n: found.get(n) for n in ("_ledger", "_runs")} == {
            n: f"/maintenance_policy_by_dataset/{n}" for n in ("_ledger", "_runs")
        }
        assert not pack.verify_lake(data=True).findings


def test_the_verb_plans_acts_and_says_so(shop_pack: Path, decreta: Command) -> None:
    project = shop_pack.parents[1]
    for i in range(9):
        write_deltalake(str(project / "tables/sale"), sales([(100 + i, 1, 7, 1)]), mode="append")
    expected = rows_of(project / "tables/sale")
    planned = decreta("maintain", "shop", "--plan", "--json", cwd=project)
    assert planned.returncode == 0, planned.stderr
    (sale,) = [t for t in json.loads(planned.stdout)["tables"] if t["table"] == "sale"]
    assert (sale["action"], sale["estimated"]["files_rewritten"]) == ("due", 10)
    assert not (project / "lake").exists(), "a plan touches nothing"
    decreta("run", "shop", cwd=project)
    done = decreta("maintain", "shop", cwd=project)
    assert done.returncode == 0 and "sale: 10 files became 1" in done.stderr
    assert rows_of(project / "tables/sale") == expected
    with decreta_runtime.open(str(shop_pack)) as pack:
        assert pack.versions()["sale"] == 10, "readers see the version that holds the rows now"
        assert pack.query("revenue_of", customer=1).num_rows == 1
    figures = json.loads(decreta("kpi", "shop", "--json", cwd=project).stdout)
    assert figures["writes_using_outcome_based_maintenance"] == {"count": 2, "of": 2, "share": "1.00"}
    assert figures["runtime_policy_derivation_points"] == 0


def z_ordered(place: str) -> None:
    small_appends(place)
    DeltaTable(place).optimize.z_order(["customer_id", "sale_id"])
    small_appends(place, 500)


def by_customer(place: str) -> None:
    small_appends(place, partition_by=["customer_id"])


def mapped(place: str) -> None:
    small_appends(place, configuration={"delta.columnMapping.mode": "name"})


def with_deleted_rows(place: str) -> None:
    small_appends(place)
    write_deltalake(place, sales([(900, 3, 7, 100), (901, 3, 7, 100)]), mode="append")
    delete_by_vector(Path(place))


def tracked(place: str) -> None:
    small_appends(place)
    protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"]}
    log = Path(place) / "_delta_log"
    (log / f"{DeltaTable(place).version() + 1:020}.json").write_text(json.dumps({"protocol": protocol}) + "\n")


def small_appends(place: str, first: int = 100, **more: Any) -> None:
    for i in range(9):
        write_deltalake(place, sales([(first + i, 1 + i % 2, 7, 1)]), mode="append", **({} if i else more))


def test_tables_of_others_are_maintained_or_refused_with_a_code(shop_pack: Path) -> None:
    """Whatever another writer has made of a table: its rows stay, and nothing is done that it does not bear."""
    place = shop_pack.parents[1] / "tables/sale"
    for make, guard, files in (
        (z_ordered, None, 1), (by_customer, None, 2), (mapped, "no_column_mapping", 9),
        (with_deleted_rows, "no_deletion_vectors", 10), (tracked, "safe_to_rewrite", 9),
    ):  # fmt: skip
        shutil.rmtree(place)
        make(str(place))
        before, expected = DeltaTable(str(place)).version(), rows_of(place)
        with decreta_runtime.open(str(shop_pack)) as pack:
            (found,) = [upkeep.found for upkeep in pack.maintain() if upkeep.table == "sale"]
        assert found is not None
        refused = None if guard is None else f"the guard {guard} fails"
        assert (found.action, found.detail.code) == (("acted", None) if guard is None else ("refused", "R202")), make
        assert guard is None or found.detail.why == refused
        after = DeltaTable(str(place))
        assert after.version() == before + (guard is None) and len(after.file_uris()) == files, make
        assert rows_of(place) == expected, make


def small_files(policy: dict[str, Any]) -> None:
    """Write each table of the code graph in many files, and let maintenance bring them together."""
    for name, decision in policy["write_policy_by_dataset"].items():
        for value in filter(None, (decision["value"], decision["otherwise"])):
            value |= {"target_file_bytes": 1, "row_group_rows": 1}
        policy["maintenance_policy_by_dataset"][name]["value"]["triggers"] = {
            "few": trigger("compact", "small_files", 2)
        }
    session = policy["session_profile_by_workload"]["batch_ingest"]
    session |= {"requires": [], "otherwise": None}
    session["value"]["settings"]["datafusion.execution.batch_size"] = {"value": "1", "because": "tried"}
    policy["index_policy_by_dataset"]["definition.by_name"]["value"] |= {"build": True, "shapes": ["symbol_lookup"]}


def test_what_a_run_writes_is_compacted_before_it_is_recorded(
    code_graph: Path, source: Path, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers and the index have the compacted version; an attempt that died after it is taken over as it is."""
    edit_policy(code_graph, small_files)
    lake, plain = tmp_path / "lake", tmp_path / "plain"
    commit = order.commit_run
    with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
        monkeypatch.setattr(order, "commit_run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            pack.run({"python": str(source)})
        monkeypatch.setattr(order, "commit_run", commit)
        done = pack.run({"python": str(source)})
        assert {table.action for table in done.tables.values()} == {"kept"}, "the run is found below its compaction"
        assert done.tables["definition"].files == 1 and done.tables["definition"].version == 1
        assert pack.query("symbol_lookup", name="run").num_rows
        listed = pack._readings["interactive_query"].scans["definition"]
        assert len(listed.pinned.files) == len(listed.listed) == 1
        (index,) = (lake / "_decreta/index").glob("*/definition/*")
        assert set(pa.table(DeltaTable(str(index)).scan())["__file"].to_pylist()) == {
            Path(file).name for file in listed.pinned.files
        }
    figures = key_figures("code_graph", pack.policy, pack.lake)
    assert figures.writes_using_outcome_based_maintenance.share == "1.00"
    edit_policy(
        code_graph, lambda p: [d["value"].update(triggers={}) for d in p["maintenance_policy_by_dataset"].values()]
    )
    with decreta_runtime.open(str(code_graph), lake=str(plain)) as pack:
        pack.run({"python": str(source)})
    for name in done.tables:
        assert rows_of(lake / "code_graph" / name) == rows_of(plain / "code_graph" / name)


@pytest.fixture
def fragmented(
    code_graph: Path, source: Path, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """A pack whose maintenance is due, and a lake whose tables lie in many files."""
    monkeypatch.setattr(settle, "within", lambda seconds, function, *args: function(*args))
    lake, leave = tmp_path / "lake", lambda decision: decision["value"].update(triggers={})
    edit_policy(code_graph, small_files)
    edit_policy(code_graph, lambda p: [leave(d) for d in p["maintenance_policy_by_dataset"].values()])
    with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
        pack.run({"python": str(source)})
    edit_policy(code_graph, small_files)
    return code_graph, lake


def test_what_a_run_that_did_not_end_has_left_is_taken_back(fragmented: tuple[Path, Path], source: Path) -> None:
    """A run on the same source has nothing to do, so nobody else would ever undo it."""
    code_graph, lake = fragmented
    place = lake / "code_graph/scope"
    key = DeltaTable(str(place)).history(1)[0]["decreta.key"]
    expected = rows_of(place)
    table = DeltaTable(str(place))
    table.delete("scope_id < 0")
    write_deltalake(table, pa.table(table.scan()).slice(1), mode="overwrite")
    with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
        before = pack.versions()
        (planned,) = [upkeep for upkeep in pack.maintain(plan=True) if upkeep.table == "scope"]
        assert "did not end" in str(planned.why) and DeltaTable(str(place)).version() == table.version()
        done = {upkeep.table: upkeep for upkeep in pack.maintain()}
        assert "taken back to version 0" in str(done["scope"].settled)
        assert all(done[name].found.action == "acted" for name in ("scope", "definition"))  # type: ignore[union-attr]
        now = {n: u.found.pinned.version for n, u in done.items() if u.found is not None and n in before}
        assert pack.versions() == before | now and now["scope"] > table.version()
        assert rows_of(place) == expected
        assert DeltaTable(str(place)).history(1)[0]["decreta.key"] == key, "a key that changes is still seen"
        (row,) = pack.ledger("SELECT action, pointer FROM ledger WHERE action LIKE 'taken%'").to_pylist()
        assert row == {"action": "taken back", "pointer": "/maintenance_policy_by_dataset/scope"}
        assert not pack.verify_lake(data=True).findings, "what was rewritten has digests, its indexes too"
        assert pack.query("symbol_lookup", name="run").num_rows
        assert pack.run({"python": str(source)}).unchanged is False, "another policy, another run"


@pytest.mark.parametrize("after", ["nothing", "restored", "doubled"])
def test_maintenance_that_died_before_it_was_recorded_is_settled(
    fragmented: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Between its commit and what looks at it; nothing else happens, or somebody restores the table, or rows differ."""
    code_graph, lake = fragmented
    put = rewrite.put

    def dying(pinned: Pinned, actions: list[Any], marks: Any, said: Any) -> None:
        put(pinned, actions[:-1] if after == "doubled" else actions, marks, said)
        raise KeyboardInterrupt

    with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(rewrite, "put", dying)
            pack.maintain()
        died = [p for p in (lake / "code_graph").iterdir() if DeltaTable(str(p)).version() == 1]
        (place,) = died
        expected = rows_of(place, 0)
        assert (rows_of(place) == expected) == (after != "doubled")
        if after == "restored":
            DeltaTable(str(place)).restore(0)
        done = {upkeep.table: upkeep for upkeep in pack.maintain()}
        words = {
            "nothing": "it is kept",
            "restored": "somebody put its files back",
            "doubled": "taken back to version 0",
        }
        assert words[after] in str(done[place.name].settled)
        assert {upkeep.settled for name, upkeep in done.items() if name != place.name} == {None}
        found = done[place.name].found
        assert found is not None and found.action == ("none" if after == "nothing" else "acted")
        assert pack.versions()[place.name] == found.pinned.version == DeltaTable(str(place)).version()
        assert rows_of(place) == expected and len(found.pinned.files) == 1
        assert not pack.verify_lake(data=True).findings
        assert {upkeep.settled for upkeep in pack.maintain()} == {None}, "once is enough"


def test_a_table_that_nothing_reads_is_kept_once_it_was_seen_to_have_many_files(project: Path) -> None:
    """Runs that write parts of it add files and commits, whether a query shape reads it or not."""
    lock = project / "specs/code_graph/locks/local.evidence.json"
    evidence = json.loads(lock.read_bytes())
    name = "defines"
    for files, rule in ((1, "maintenance.baseline"), (20, "maintenance.own")):
        evidence["datasets"][name]["facts"]["files"]["value"] = files
        lock.write_text(json.dumps(evidence))
        policy = json.loads((compiled(project, "code_graph") / "policy/local.json").read_bytes())
        decision = policy["maintenance_policy_by_dataset"][name]
        assert decision["rule"].startswith(rule + "@")
        assert bool(decision["value"]["triggers"]) is (files > 1)
