"""A second, tiny pack of bound tables runs through everything: the runtime knows no pack."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import ROOT, Command, compiled, edit_policy, rows_of, sales

import decreta_runtime
from decreta_runtime.contract.errors import CheckViolated, InputInvalid, LakeUnusable, SchemaMismatch, StatementFailed


def test_from_tables_to_answers(shop_pack: Path) -> None:
    with decreta_runtime.open(str(shop_pack)) as pack:
        result = pack.run()
        assert (result.run_seq, result.unchanged) == (1, False)
        assert pack.query("revenue_of", customer=1).to_pylist() == [
            {"name": "Ada", "paid": Decimal("20.00"), "sales": 2}
        ]
        assert pack.query("revenue_of", customer=3).num_rows == 0
        best = pack.sql("SELECT customer_id, sale_id, mean FROM best_sale ORDER BY customer_id").rows.to_pylist()
        assert best == [
            {"customer_id": 1, "sale_id": 1, "mean": Decimal("16.67")},
            {"customer_id": 2, "sale_id": 3, "mean": Decimal("16.67")},
        ]


def test_a_run_over_unchanged_tables_commits_nothing(shop_pack: Path) -> None:
    lake = shop_pack.parents[1] / "lake"
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        before = {p: p.stat().st_mtime_ns for p in lake.rglob("*") if p.is_file() and "locks" not in p.parts}
        again = pack.run()
        assert again.unchanged and again.run_seq == 1
        assert before == {p: p.stat().st_mtime_ns for p in lake.rglob("*") if p.is_file() and "locks" not in p.parts}


def test_new_rows_make_a_new_run_and_readers_follow_it(shop_pack: Path) -> None:
    with decreta_runtime.open(str(shop_pack)) as pack, decreta_runtime.open(str(shop_pack)) as reader:
        pack.run()
        assert reader.query("revenue_of", customer=3).num_rows == 0
        write_deltalake(str(shop_pack.parents[1] / "tables/sale"), sales([(4, 3, 8, 2)]), mode="append")
        assert pack.run().run_seq == 2
        assert pack.query("revenue_of", customer=3)["paid"].to_pylist() == [Decimal("20.00")]
        assert reader.query("revenue_of", customer=3).num_rows == 0, "an open pack keeps the versions it has bound"


def test_a_violated_check_refuses_the_run_and_hides_it(shop_pack: Path) -> None:
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        write_deltalake(str(shop_pack.parents[1] / "tables/sale"), sales([(4, 3, 8, 0)]), mode="append")
        with pytest.raises(CheckViolated, match="something_is_sold") as refused:
            pack.run()
        assert "'sale_id': 4" in str(refused.value) and refused.value.exit_status == 4
        assert pack.query("revenue_of", customer=3).num_rows == 0, "readers still see the last complete run"
        assert pack.sql("SELECT count(*) AS n FROM sale").rows["n"].to_pylist() == [3]


def test_a_duplicate_key_in_a_bound_table_is_found(shop_pack: Path) -> None:
    write_deltalake(str(shop_pack.parents[1] / "tables/sale"), sales([(1, 3, 8, 1)]), mode="append")
    with decreta_runtime.open(str(shop_pack)) as pack, pytest.raises(CheckViolated, match="check `key` of `sale`"):
        pack.run()


def test_a_null_in_a_bound_table_is_found(shop_pack: Path) -> None:
    table = shop_pack.parents[1] / "tables/customer"
    row = pa.table({"customer_id": [9], "name": pa.array([None], pa.string()), "since": [date(2020, 1, 1)]})
    write_deltalake(str(table), row, mode="append")
    with decreta_runtime.open(str(shop_pack)) as pack, pytest.raises(CheckViolated, match="`columns` of `customer`"):
        pack.run()


def test_a_bound_table_of_another_schema_is_refused(shop_pack: Path) -> None:
    table = shop_pack.parents[1] / "tables/product"
    write_deltalake(
        str(table), pa.table({"product_id": ["7"], "title": ["tea"]}), mode="overwrite", schema_mode="overwrite"
    )
    with decreta_runtime.open(str(shop_pack)) as pack, pytest.raises(SchemaMismatch) as refused:
        pack.run()
    assert "`product_id` is string, the contract says int64" in str(refused.value)
    assert "`price` is missing" in str(refused.value)
    assert not (shop_pack.parents[1] / "lake/shop").exists()


def test_an_evolved_bound_table_reads_as_before(shop_pack: Path) -> None:
    table = shop_pack.parents[1] / "tables/product"
    more = pa.table(
        {"product_id": [9], "title": ["cup"], "price": pa.array([Decimal("1.00")], pa.decimal128(10, 2)), "size": ["S"]}
    )
    write_deltalake(str(table), more, mode="append", schema_mode="merge")
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        assert pack.sql("SELECT title FROM product ORDER BY title").rows["title"].to_pylist() == ["cup", "pot", "tea"]


def test_an_absent_bound_table(shop_pack: Path, decreta: Command) -> None:
    done = decreta("run", "shop", "--source", "sale=nowhere", cwd=shop_pack.parents[1])
    assert done.returncode == 2
    assert "`sale` is bound to" in done.stderr and "Traceback" not in done.stderr


def test_a_table_can_be_bound_on_the_command_line(shop_pack: Path, tmp_path: Path, decreta: Command) -> None:
    other = tmp_path / "other sale"
    write_deltalake(str(other), sales([(1, 3, 8, 5)]))
    done = decreta("run", "shop", "--source", f"sale={other}", "--json", cwd=shop_pack.parents[1])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tables"]["revenue"]["rows"] == 1
    done = decreta("query", "shop", "revenue_of", "--param", "customer=3", "--format", "json", cwd=shop_pack.parents[1])
    assert json.loads(done.stdout) == [{"name": "Cy", "paid": "50.00", "sales": 1}]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "needs its parameter `customer`"),
        ({"custmer": 1}, "did you mean `customer`"),
        ({"customer": "1"}, "needs a value of type int64"),
        ({"customer": True}, "needs a value of type int64"),
        ({"customer": 1 << 70}, "needs a value of type int64"),
    ],
)
def test_parameters_are_checked(shop_pack: Path, given: dict[str, object], words: str) -> None:
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        with pytest.raises(InputInvalid) as refused:
            pack.query("revenue_of", **given)
        assert words in refused.value.message + refused.value.help


def test_sql_can_only_read(shop_pack: Path) -> None:
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        for statement in ("DROP TABLE sale", "INSERT INTO sale SELECT * FROM sale", "SET x.y = 1", "SELEC 1",
                          "COPY sale TO 'out.parquet'", "CREATE TABLE t AS SELECT 1 AS x"):  # fmt: skip
            with pytest.raises(InputInvalid):
                pack.sql(statement)


def test_formats_and_stats(shop_pack: Path, decreta: Command) -> None:
    root = shop_pack.parents[1]
    assert decreta("run", "shop", cwd=root).returncode == 0
    ask = ["query", "shop", "revenue_of", "--param", "customer=1", "--stats", "--format"]
    whole = json.loads(decreta(*ask, "json", cwd=root).stdout)
    assert whole["rows"] == [{"name": "Ada", "paid": "20.00", "sales": 2}]
    stats = whole["stats"]
    assert 0 < stats["bytes_scanned"] <= stats["bytes_eligible"]
    assert 0 < stats["files_read"] <= stats["files_total"]
    assert decreta(*ask, "csv", cwd=root).stdout.splitlines() == ['"name","paid","sales"', '"Ada",20.00,2']
    assert "Ada" in decreta(*ask, "table", cwd=root).stdout
    arrow = subprocess.run(
        [sys.executable, "-m", "decreta_runtime", *ask, "arrow", "--generated", str(shop_pack.parent)],
        check=True, capture_output=True, timeout=60, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "runtime")},
    ).stdout  # fmt: skip
    assert pa.ipc.open_stream(arrow).read_all().num_rows == 1


def test_no_lake_yet(shop_pack: Path, decreta: Command) -> None:
    with decreta_runtime.open(str(shop_pack)) as pack, pytest.raises(LakeUnusable, match="does not exist"):
        pack.query("revenue_of", customer=1)
    done = decreta("query", "shop", "revenue_of", "--param", "customer=1", cwd=shop_pack.parents[1])
    assert done.returncode == 2 and "run the pack first" in done.stderr


def test_the_plan_touches_nothing(shop_pack: Path, decreta: Command) -> None:
    root = shop_pack.parents[1]
    policy = json.loads((shop_pack / "policy/local.json").read_bytes())
    done = decreta("run", "shop", "--plan", "--json", cwd=root)
    steps = json.loads(done.stdout)
    assert {(s["action"], s["subject"]) for s in steps} >= {
        ("scan", "sale"), ("place", "priced"), ("place", "paired"), ("write", "revenue"), ("check", "sale.key"),
    }  # fmt: skip
    for step in steps:
        entry = policy
        for part in step["pointer"].strip("/").split("/"):
            entry = entry[part]
        assert entry.get("value", entry) == step["value"]
    assert not (root / "lake").exists()


def test_a_lake_at_a_path_with_odd_characters(shop_pack: Path) -> None:
    lake = shop_pack.parents[1] / "a lake, 100% ünïcode & 'quotes'"
    with decreta_runtime.open(str(shop_pack), lake=str(lake)) as pack:
        pack.run()
        assert pack.query("revenue_of", customer=2).num_rows == 1
    assert rows_of(lake / "shop/revenue")
    assert DeltaTable(str(lake / "_decreta/runs")).version() == 0


def test_a_statement_that_fails_on_the_data_names_its_relation(shop: Path, decreta: Command) -> None:
    body = "SELECT c.customer_id, CAST(c.name AS INT) AS number FROM customer AS c"
    relation = f"relation: numbered\nstore: true\nbody: {body}\nkey: [customer_id]\n"
    (shop / "specs/shop/relations/numbered.yaml").write_text(relation)
    compiled(shop, "shop")
    done = decreta("run", "shop", cwd=shop)
    assert done.returncode == 2, done.stderr
    assert "error[R107]: `numbered` cannot be computed" in done.stderr and "Traceback" not in done.stderr


def test_too_little_memory_is_an_error_with_words(shop_pack: Path) -> None:
    many = sales([(i, i % 5000, 7 + i % 2, 1) for i in range(200_000)])
    write_deltalake(str(shop_pack.parents[1] / "tables/sale"), many, mode="overwrite")
    settings = {"datafusion.runtime.memory_limit": "300K"}
    edit_policy(
        shop_pack, lambda p: p["session_profile_by_workload"]["batch_ingest"]["value"]["settings"].update(put(settings))
    )
    with decreta_runtime.open(str(shop_pack)) as pack, pytest.raises(StatementFailed, match="cannot be computed"):
        pack.run()


def test_an_adapter_that_fails_is_named(project: Path, source: Path, decreta: Command) -> None:
    adapter = project / "specs/code_graph/code/python_source.py"
    adapter.write_text(adapter.read_text().replace("rows = syntax.Rows()", "rows = syntax.Rows()\n    {}['gone']"))
    compiled(project, "code_graph")
    done = decreta("run", "code_graph", "--source", f"python={source}", cwd=project)
    assert done.returncode == 2, done.stderr
    assert "error[R104]: the adapter of `python` failed: KeyError: 'gone'" in done.stderr
    assert "Traceback" not in done.stderr


def put(settings: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return settings as a policy carries them."""
    return {name: {"value": value, "because": "tried"} for name, value in settings.items()}
