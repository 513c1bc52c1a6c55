"""Maintenance that is really killed: no row is lost or doubled, nothing stays locked, the next one completes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from tests.conftest import ROOT, rows_of, sales
from tests.faults.test_kills import children_of

KILLS = 10


def start(pack: Path) -> subprocess.Popen[bytes]:
    """Start `maintain` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "decreta_runtime", "maintain", str(pack)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "runtime")}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def grow(table: Path, round_: int) -> None:
    """Append small files enough to make a compaction due."""
    for i in range(8):
        first = 10_000 + 8_000 * round_ + 1_000 * i
        write_deltalake(str(table), sales([(first + k, 1 + k % 3, 7, 1) for k in range(1_000)]), mode="append")


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_doubled(shop_pack: Path) -> None:
    table, draw = shop_pack.parents[1] / "tables/sale", random.Random(7)
    grow(table, 0)
    begun = time.monotonic()
    assert start(shop_pack).wait(120) == 0
    took = time.monotonic() - begun
    assert len(DeltaTable(str(table)).file_uris()) == 1
    killed = 0
    for i in range(1, KILLS + 1):
        grow(table, i)
        expected = rows_of(table)
        maintaining = start(shop_pack)
        time.sleep(draw.uniform(took / 3, took))
        # Half of the time the one process alone, which its own must follow.
        (os.killpg if i % 2 else os.kill)(maintaining.pid, signal.SIGKILL)
        killed += maintaining.wait() == -signal.SIGKILL
        for _ in range(100):
            if not children_of(maintaining.pid):
                break
            time.sleep(0.1)
        assert not children_of(maintaining.pid), "no process is left that might still commit"
        assert rows_of(table) == expected
    assert killed >= KILLS // 2, "most kills met a living process"
    grow(table, KILLS + 1)
    expected = rows_of(table)
    assert start(shop_pack).wait(120) == 0
    assert rows_of(table) == expected
    assert len(DeltaTable(str(table)).file_uris()) < 8
    assert not list((table / "_decreta").glob("rewrite-*")), "what the dead have left is tidied up"
