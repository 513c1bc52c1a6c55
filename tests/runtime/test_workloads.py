"""`--workload CLASS`: a run in a repeatable class gives the same rows in the same order, float sums to the last bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import Command, compiled, edit_policy, sales

import decreta_runtime
from decreta_runtime.contract.errors import InputInvalid

SHARE = """\
relation: share
store: true
summary: What each customer got, in floats and in no order.
body: |
  SELECT s.customer_id, SUM(1 / (s.sale_id + 1.5e0)) AS shares FROM sale AS s GROUP BY s.customer_id
key: [customer_id]
varies: {shares: "0.000001"}
"""
EVENLY = "relation: evenly\nsummary: Sales of the first product.\nbody: SELECT s.sale_id, s.customer_id FROM sale AS s WHERE s.product_id < 500\n"
PAIRS = """\
relation: pairs
store: true
summary: Sales of the first product that are a customer's last, as they come.
body: |
  SELECT e.sale_id, e.customer_id FROM evenly AS e
  WHERE EXISTS (SELECT 1 FROM evenly AS o WHERE o.customer_id = e.customer_id AND o.sale_id > e.sale_id)
key: [sale_id]
"""


@pytest.fixture
def floats(shop: Path) -> Path:
    for name, text in (("share", SHARE), ("evenly", EVENLY), ("pairs", PAIRS)):
        (shop / f"specs/shop/relations/{name}.yaml").write_text(text)
    many = sales([(i, i * 7919 % 997, 7 + i % 991, 1) for i in range(200_000)])
    shutil.rmtree(shop / "tables/sale")
    write_deltalake(str(shop / "tables/sale"), many, target_file_size=200_000)
    return compiled(shop, "shop")


def tables(pack: Path, lake: Path, workload: str) -> dict[str, pa.Table]:
    """Run into a lake of its own; return what was written, in the order in which it lies there."""
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        places = {name: str(pack.parents[1] / "tables" / name) for name in ("sale", "product", "customer")}
        opened.run(places, workload=workload)
        found = {name: DeltaTable(str(lake / "shop" / name)) for name in ("share", "pairs")}
    # By the files: the Delta reader gives rows in any order.
    files = {name: sorted(p.removeprefix("file://") for p in table.file_uris()) for name, table in found.items()}
    return {name: pa.concat_tables(map(pq.read_table, paths)) for name, paths in files.items()}


def test_a_repeatable_run_repeats_itself(floats: Path, tmp_path: Path) -> None:
    def small_spills(policy: dict[str, Any]) -> None:
        policy["session_profile_by_workload"]["compile_replay"]["value"]["spill_buffer_bytes"] = 100_000
        policy["cache_policy_by_view"]["evenly"]["value"].update(placement="spill", pushdown=False)
        policy["cache_policy_by_view"]["evenly"].update(requires=[], otherwise=None)

    edit_policy(floats, small_spills)
    assert DeltaTable(str(floats.parents[1] / "tables/sale")).to_pyarrow_table().num_rows == 200_000
    first = tables(floats, tmp_path / "0", "compile_replay")
    assert (first["share"].num_rows, first["pairs"].num_rows > 50_000) == (997, True)
    for i in (1, 2):
        again = tables(floats, tmp_path / str(i), "compile_replay")
        assert all(again[name].equals(first[name]) for name in first), "rows, order and sums are the same"
    other = tables(floats, tmp_path / "other", "batch_ingest")
    for name, key in (("share", "customer_id"), ("pairs", "sale_id")):
        assert sorted(other[name][key].to_pylist()) == sorted(first[name][key].to_pylist()), "a class changes no row"


def test_the_class_is_in_the_plan_the_ledger_and_the_run_key(
    shop_pack: Path, shop: Path, decreta: Command, tmp_path: Path
) -> None:
    planned = decreta("run", "shop", "--plan", "--json", "--workload", "compile_replay", cwd=shop)
    (session,) = [step for step in json.loads(planned.stdout) if step["action"] == "session"]
    assert session["subject"] == "compile_replay"
    assert session["value"]["settings"]["datafusion.execution.target_partitions"]["value"] == "1"
    assert session["value"]["source_workers"] == 1
    with decreta_runtime.open(str(shop_pack)) as pack:
        plain, same = pack.run(), pack.run()
        replay = pack.run(workload="compile_replay")
        lake = pack.lake
    assert (same.unchanged, replay.unchanged) == (True, False)
    assert plain.run_key != replay.run_key
    rows = pa.table(DeltaTable(str(lake.ledger)).scan().read_all()).to_pylist()
    assert {(r["run_seq"], r["subject"]) for r in rows if r["action"] == "session"} == {
        (1, "batch_ingest"),
        (2, "compile_replay"),
    }


def test_an_unknown_class_is_refused_in_words(shop_pack: Path, shop: Path, decreta: Command) -> None:
    with decreta_runtime.open(str(shop_pack)) as pack, pytest.raises(InputInvalid, match="compile_relay"):
        pack.run(workload="compile_relay")
    for more in ([], ["--plan"]):
        done = decreta("run", "shop", "--workload", "compile_relay", *more, cwd=shop)
        assert done.returncode == 2
        assert "did you mean `compile_replay`?" in done.stderr
