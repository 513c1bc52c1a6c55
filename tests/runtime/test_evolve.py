"""What becomes of a table when its contract changes: every mode with every change, on real tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from tests.conftest import compiled, run_command

import decreta_runtime
from decreta_runtime.contract.errors import SchemaChangeRefused, SchemaMismatch
from decreta_runtime.evolve import CASES, Kind

REVENUE = "specs/shop/relations/revenue.yaml"
BODY = "SELECT p.customer_id, CAST(SUM(p.pieces * p.price) AS DECIMAL(18, 2)) AS paid, COUNT(*) AS sales"
# kind of change → what to write in the place of what in the relation
EDITS: dict[str, list[tuple[str, str]]] = {
    "added_nullable": [("COUNT(*) AS sales", "COUNT(*) AS sales, MAX(p.price) AS dearest")],
    "added_required": [("COUNT(*) AS sales", "COUNT(*) AS sales, COUNT(p.price) AS priced")],
    "removed": [(", COUNT(*) AS sales", "")],
    "renamed": [
        ("COUNT(*) AS sales", "COUNT(*) AS bought"),
        ("key:", "columns: {bought: {renamed_from: sales}}\nkey:"),
    ],
    "widened": [("DECIMAL(18, 2)", "DECIMAL(20, 2)")],
    "narrowed": [("DECIMAL(18, 2)", "DECIMAL(12, 1)")],
    "relaxed": [("COUNT(*) AS sales", "NULLIF(COUNT(*), 0) AS sales")],
    "tightened": [("key:", "columns: {paid: {nullable: false}}\nkey:")],
    "reordered": [
        (BODY, "SELECT p.customer_id, COUNT(*) AS sales, CAST(SUM(p.pieces * p.price) AS DECIMAL(18, 2)) AS paid")
    ],
    "key_changed": [("key: [customer_id]", "key: [customer_id, sales]")],
}


def edit(shop: Path, changes: list[tuple[str, str]]) -> None:
    query = shop / "specs/shop/queries/revenue_of.yaml"
    query.write_text(query.read_text().replace(", r.sales", ""))  # which some of the changes take away
    path = shop / REVENUE
    text = path.read_text()
    for find, put in changes:
        assert find in text, find
        text = text.replace(find, put, 1)
    path.write_text(text)


def table(shop: Path, version: int | None = None) -> DeltaTable:
    return DeltaTable(str(shop / "lake/shop/revenue"), version=version)


def rows(found: DeltaTable) -> list[dict[str, object]]:
    return sorted(found.to_pyarrow_table().to_pylist(), key=lambda row: row["customer_id"])


def test_the_table_of_cases_is_whole() -> None:
    assert set(EDITS) == set(get_args(Kind))
    assert {mode: set(cases) for mode, cases in CASES.items()} == {mode: set(get_args(Kind)) for mode in CASES}


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("mode", CASES)
def test_every_mode_meets_every_change(shop: Path, mode: str, kind: str) -> None:
    edit(shop, [("store: true", f"store: true\non_schema_change: {mode}")])
    with decreta_runtime.open(compiled(shop, "shop"), lake=str(shop / "lake")) as pack:
        pack.run()
    before = table(shop)
    old = rows(before)
    edit(shop, EDITS[kind])
    folder = compiled(shop, "shop")
    action = CASES[mode][kind]
    done = run_command("run", "shop", "--lake", "lake", "--plan", "--json", cwd=shop)
    (step,) = [s for s in json.loads(done.stdout) if s["action"] == "schema"]
    assert step["pointer"] == "/schema_change_by_dataset/revenue"
    assert step["value"]["action"] == action
    assert [c["kind"] for c in step["value"]["changes"]] == [kind]
    assert table(shop).version() == before.version(), "--plan touches nothing"
    with decreta_runtime.open(folder, lake=str(shop / "lake")) as pack:
        if action == "refuse":
            with pytest.raises(SchemaChangeRefused, match=f"on_schema_change: {mode}"):
                pack.run()
            assert table(shop).version() == before.version()
            return
        pack.run()
        contract = [c.name for c in pack.manifest.columns_of("revenue")]
    after = table(shop)
    assert after.version() == before.version() + 1, "one commit"
    names = [field.name for field in after.schema().fields]
    assert names == (contract if action == "rebuild" else names)
    assert sorted(names) == sorted(contract)
    if action in ("keep", "add"):
        assert names[: len(old[0])] == list(old[0])
    assert rows(table(shop, before.version())) == old, "earlier versions stay readable"
    kept = [name for name in old[0] if name in names and kind not in ("narrowed",)]
    assert [{n: r[n] for n in kept} for r in rows(after)] == [{n: r[n] for n in kept} for r in old]


def test_what_a_dead_attempt_made_of_a_table_does_not_count(shop: Path) -> None:
    edit(shop, [("store: true", "store: true\non_schema_change: add_nullable")])
    with decreta_runtime.open(compiled(shop, "shop"), lake=str(shop / "lake")) as pack:
        pack.run()
    wider = table(shop).to_pyarrow_table().append_column("extra", pa.array([1, 2], pa.int64()))
    said = CommitProperties(custom_metadata={"decreta.key": '["extra"]'})
    place = str(shop / "lake/shop/revenue")
    write_deltalake(place, wider, mode="overwrite", schema_mode="overwrite", commit_properties=said)
    edit(shop, [("summary: What", "summary: Whatever")])
    with decreta_runtime.open(compiled(shop, "shop"), lake=str(shop / "lake")) as pack:
        pack.run()
        assert "extra" not in pack.sql("SELECT * FROM revenue").rows.column_names


def upstream(shop: Path, mode: str, change: Callable[[pa.Table], pa.Table]) -> Path:
    path = shop / "specs/shop/objects/product.yaml"
    path.write_text(path.read_text().replace("{table: true}", f"{{table: true, on_upstream_change: {mode}}}"))
    place = str(shop / "tables/product")
    write_deltalake(place, change(DeltaTable(place).to_pyarrow_table()), mode="overwrite", schema_mode="overwrite")
    return compiled(shop, "shop")


def add(found: pa.Table) -> pa.Table:
    return found.append_column("color", pa.array(["red"] * found.num_rows))


@pytest.mark.parametrize(
    ("mode", "change", "words"),
    [
        ("ignore_new", add, None),
        ("refuse", add, "`color`"),
        ("ignore_new", lambda t: t.drop_columns("title"), "`title` is missing"),
        ("refuse", lambda t: t.set_column(1, "title", pa.array([1] * t.num_rows)), "`title` is int64"),
    ],
)
def test_tables_of_others(shop: Path, mode: str, change: Callable[[pa.Table], pa.Table], words: str | None) -> None:
    folder = upstream(shop, mode, change)
    with decreta_runtime.open(folder, lake=str(shop / "lake")) as pack:
        if words is None:
            pack.run()
            return
        with pytest.raises(SchemaMismatch, match=words):
            pack.run()
