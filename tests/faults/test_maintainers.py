"""Two maintainers at once, in processes of their own or by the commit alone: one acts, nothing is lost or doubled."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake

from decreta_runtime import maintain
from decreta_runtime.lease import Lease
from decreta_runtime.maintain import Maintained
from decreta_runtime.scan import Pinned
from tests.conftest import ROOT, edit_policy, rows_of, sales
from tests.faults.extent import ALL
from tests.runtime.test_maintenance import COMPACT, Bench, here

__all__ = ["here"]
ROUNDS = 100 if ALL else 3

KEEP = """
import sys
import decreta_runtime
with decreta_runtime.open(sys.argv[1], lake=sys.argv[2]) as pack:
    for _ in sys.stdin:
        (found,) = [upkeep.found for upkeep in pack.maintain() if upkeep.table == "sale"]
        print(found.action, found.detail.why, sep="|", flush=True)
"""


@pytest.mark.slow
def test_of_two_processes_that_maintain_a_table_one_acts(shop_pack: Path) -> None:
    """Of two lakes that bind it, so that the lock of neither keeps the other away."""
    edit_policy(
        shop_pack, lambda p: p["maintenance_policy_by_dataset"]["sale"]["value"].update(amplification="1000.00")
    )
    project = shop_pack.parents[1]
    table, env = project / "tables/sale", {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", KEEP, str(shop_pack), str(project / lake)], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for lake in ("lake", "other")
    ]  # fmt: skip
    met = 0
    try:
        for count in range(ROUNDS):
            for i in range(8):
                write_deltalake(str(table), sales([(100 + 8 * count + i, 1, 7, 1)]), mode="append")
            expected, version = rows_of(table), DeltaTable(str(table)).version()
            for keeper in both:
                assert keeper.stdin is not None
                keeper.stdin.write("\n")
                keeper.stdin.flush()
            answers = [keeper.stdout.readline().strip().split("|") for keeper in both if keeper.stdout is not None]
            actions = [action for action, _ in answers]
            assert actions.count("acted") == 1 and set(actions) <= {"acted", "failed", "none"}, answers
            met += "failed" in actions
            after = DeltaTable(str(table))
            assert after.version() == version + 1, "one commit"
            assert len(after.file_uris()) == 1 and rows_of(table) == expected
    finally:
        for keeper in both:
            keeper.communicate(timeout=60)
    assert {keeper.returncode for keeper in both} == {0}
    assert met >= ROUNDS // 10, "one met the other at work, and did not merely come later"
    known = {
        Path(uri).name for v in range(after.version() + 1) for uri in DeltaTable(str(table), version=v).file_uris()
    }
    assert {p.name for p in table.glob("*.parquet")} <= known, "the one that lost leaves nothing"


@pytest.mark.parametrize("lease", [True, False], ids=["by the lease", "by the commit alone"])
def test_of_two_that_have_looked_at_a_table_one_acts(
    tmp_path: Path, here: None, lease: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not lease:
        tokens = itertools.count(1)
        monkeypatch.setattr(maintain, "leased", lambda table, seconds, after: nullcontext(_Held(table, next(tokens))))
        monkeypatch.setattr(maintain, "tidy", lambda table: None)
    for k in range(ROUNDS):
        bench = Bench(tmp_path / str(k), triggers=COMPACT)
        for i in range(4):
            bench.append([i, i + 10])
        expected, looked = rows_of(bench.path), [bench.pinned(), bench.pinned()]
        start, found = threading.Barrier(2), list[Maintained]()

        def keep(pinned: Pinned, bench: Bench = bench, start: Any = start, found: Any = found) -> None:
            start.wait()
            found.append(bench.keeper.after_write(bench.dataset, pinned))

        threads = [threading.Thread(target=keep, args=(pinned,)) for pinned in looked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(m.action for m in found) == ["acted", "failed"]
        assert rows_of(bench.path) == expected, "nothing lost, nothing doubled"
        assert len(bench.files) == 1
        lost = {p.name for p in bench.path.glob("*.parquet")} - {Path(f).name for p in looked for f in p.files}
        assert lost == set(bench.files), "the one that lost leaves nothing"


class _Held(Lease):
    """A lease that anybody has."""

    def holds(self) -> bool:
        return True
