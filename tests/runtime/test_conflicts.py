"""Another writer that commits to a dataset's table between a run's look at it and its commit loses nothing and doubles nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import edit_policy, rows_of, sales
from tests.runtime.test_refresh import Traffic, noted, traffic_compiled

import decreta_runtime
from decreta_runtime import write as writer
from decreta_runtime.contract.errors import WriteConflict

__all__ = ["traffic_compiled"]

INTRUDER = """
import sys
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
print("ready", flush=True)
for line in sys.stdin:
    table = DeltaTable(line.strip())
    rows = pa.table(table.scan().read_all())
    write_deltalake(table, rows.slice(0, 1), mode="append")
    print(table.version(), flush=True)
"""
"""A process of its own that knows nothing of decreta, and appends a row to each table that it is told."""


class Intruder:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", INTRUDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def append(self, table: Path | str) -> None:
        assert self.process.stdin is not None
        print(table, file=self.process.stdin, flush=True)
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture(scope="module")
def intruder() -> Iterator[Intruder]:
    found = Intruder()
    yield found
    found.process.stdin.close()  # type: ignore[union-attr]
    found.process.wait(10)


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch, intruder: Intruder) -> Callable[[str, int], list[str]]:
    """Let the intruder append to a dataset's table so many times, each time just before the commit of a run."""
    commit = writer._commit

    def begin(dataset: str, times: int) -> list[str]:
        met: list[str] = []

        def committing(target: str | DeltaTable, *args: Any) -> None:
            place = target if isinstance(target, str) else target.table_uri
            if place.rstrip("/").endswith(f"/{dataset}") and len(met) < times:
                intruder.append(place)
                met.append(place)
            commit(target, *args)

        monkeypatch.setattr(writer, "_commit", committing)
        return met

    return begin


def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return what the writer waits, which it does not."""
    found: list[float] = []
    monkeypatch.setattr(writer.time, "sleep", found.append)
    return found


def sell(shop_pack: Path, sale: int) -> None:
    write_deltalake(str(shop_pack.parents[1] / "tables/sale"), sales([(sale, 3, 8, 2)]), mode="append")


def conflicts(lake: Path, dataset: str) -> int:
    (row,) = [row for row in noted(lake, "write") if row["subject"] == dataset]
    return int(json.loads(row["detail"]).get("conflicts", 0))


def test_a_whole_table_is_written_once_more(
    shop_pack: Path, between: Callable[[str, int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, waited = shop_pack.parents[1] / "lake", waits(monkeypatch)
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        sell(shop_pack, 4)
        assert between("revenue", 2) == []
        assert pack.run().run_seq == 2
        assert pack.sql("SELECT count(*) AS n, sum(sales) AS s FROM revenue").rows.to_pylist() == [{"n": 3, "s": 4}]
        assert conflicts(lake, "revenue") == 2 and waited == [0.2, 0.4]
        assert not pack.verify_lake(data=True).findings


def test_a_writer_that_never_rests_refuses_the_run(
    shop_pack: Path, between: Callable[[str, int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the run before stays what readers see; the next one writes the table as if nothing had been."""
    waited = waits(monkeypatch)
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        sell(shop_pack, 4)
        met = between("revenue", 1000)
        with pytest.raises(WriteConflict, match=r"`revenue` was changed by another writer each time .* \(6\)") as lost:
            pack.run()
        assert "write.conflict_retries" in lost.value.help and lost.value.exit_status == 4
        assert len(met) == 6 and waited == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        assert pack.sql("SELECT sum(sales) AS s FROM revenue").rows["s"].to_pylist() == [3]
        between("revenue", 0)
        monkeypatch.undo()
        assert pack.run().run_seq == 2
        assert pack.sql("SELECT sum(sales) AS s FROM revenue").rows["s"].to_pylist() == [4]


@pytest.mark.parametrize(("retries", "wait", "waited"), [(0, 200, []), (2, 50, [0.05, 0.1])])
def test_bound_and_wait_are_the_policys(
    shop_pack: Path,
    between: Callable[[str, int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    retries: int,
    wait: int,
    waited: list[float],
) -> None:
    def bounded(policy: dict[str, Any]) -> None:
        policy["write_policy_by_dataset"]["revenue"]["value"] |= {
            "conflict_retries": retries, "conflict_wait_ms": wait}  # fmt: skip

    edit_policy(shop_pack, bounded)
    seen = waits(monkeypatch)
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        sell(shop_pack, 4)
        met = between("revenue", 1000)
        with pytest.raises(WriteConflict):
            pack.run()
    assert (len(met), seen) == (retries + 1, waited)


def test_a_commit_whose_answer_was_lost_is_found(
    shop_pack: Path, between: Callable[[str, int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last transaction is looked up before another try: what was committed is not committed twice."""
    from deltalake.exceptions import CommitFailedError

    commit, lost = writer._commit, list[str]()

    def losing(target: Any, *args: Any) -> None:
        commit(target, *args)
        if not isinstance(target, str) and target.table_uri.rstrip("/").endswith("/revenue") and not lost:
            lost.append("answer")
            raise CommitFailedError("the answer was lost")

    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        before = DeltaTable(str(shop_pack.parents[1] / "lake/shop/revenue")).version()
        sell(shop_pack, 4)
        monkeypatch.setattr(writer, "_commit", losing)
        assert pack.run().tables["revenue"].version == before + 1
    assert lost


@pytest.mark.parametrize("times", [1, 3])
def test_a_part_is_written_over_the_last_complete_run(
    traffic_compiled: Path, tmp_path: Path, between: Callable[[str, int], list[str]], times: int, intruder: Intruder
) -> None:
    """What another writer has put into the table meanwhile is undone, and the groups are replaced once."""
    traffic = Traffic(traffic_compiled, tmp_path)
    traffic.run()
    traffic.count("2024-01-06", (2, "EF", 200), (3, "CD", 120))
    intruder.append(traffic.lake / "traffic/passage")  # one that was there before, too
    met = between("passage", times)
    found = decreta_runtime.open(str(traffic.pack), lake=str(traffic.lake))
    with found as pack:
        assert pack.run(traffic.places()).tables["passage"].action == "replaced"
        rows = rows_of(traffic.lake / "traffic/passage", pack.versions()["passage"])
    assert len(met) == times and conflicts(traffic.lake, "passage") == times
    between("passage", 0)
    fresh = tmp_path / "fresh"
    with decreta_runtime.open(str(traffic.pack), lake=str(fresh)) as pack:
        pack.run(traffic.places())
    assert rows == rows_of(fresh / "traffic/passage")
