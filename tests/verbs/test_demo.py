"""The demonstration keeps what it promises, and would say so if it did not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable
from demo import shop
from demo.appends import book, holds
from demo.slowdowns import causes

from tests.conftest import ROOT
from tests.verbs.seeds import is_right


@pytest.mark.calm
def test_the_demonstration_keeps_its_promises() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("compiler", "runtime"))}
    command = [sys.executable, "-m", "demo", "--quick", "--seed", "8"]
    done = subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 causes named" in done.stdout and "BROKEN" not in done.stdout


def test_a_row_that_is_lost_or_doubled_is_seen(tmp_path: Path) -> None:
    for rows in shop.bulk(2):
        shop.deliver(tmp_path, rows)
    orders, lines = book(tmp_path, 2)
    assert holds(tmp_path / "orders", orders) and holds(tmp_path / "lines", lines)
    DeltaTable(str(tmp_path / "orders")).delete("order_id = 7")
    assert not holds(tmp_path / "orders", orders), "one is lost"
    shop.deliver(tmp_path, (orders.slice(0, 0), lines.slice(0, 1)))
    assert not holds(tmp_path / "lines", lines), "one is doubled"
    (tmp_path / "book").write_text("0\n")
    assert len(book(tmp_path, 2)[0]) == len(orders) + shop.SMALL, "what is noted later belongs to the book"


def test_only_what_was_planted_is_right() -> None:
    told = "A → B, shop in `local`: 9 changes, 7 runs\n\nspecs/shop/env/local.toml:3  thresholds.scan.min_readers: none → 4\n"
    planted = [[("specs/shop/env/local.toml", "thresholds.scan.min_readers")]]
    assert is_right(causes(told), planted)
    assert not is_right(causes(told), [[("specs/shop/env/local.toml", "bindings.orders")]])
    assert not is_right(causes(told + "specs/shop/queries/sold.yaml:6  body: a → b\n"), planted), "one is too many"
    assert not is_right(causes("no difference in bytes"), planted)
