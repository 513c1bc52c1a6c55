"""Parts of a pack: one relation shown now, a run of what is selected, the rest as the last run left it."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import write_deltalake
from tests.conftest import edit_policy, run_command, sales

import decreta_runtime
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.selection import select


def test_show_computes_stored_and_other_relations_now(shop_pack: Path, tmp_path: Path) -> None:
    with decreta_runtime.open(shop_pack, lake=str(tmp_path / "shop/lake")) as pack:
        pack.run()
        for name in (*pack.manifest.relations, *pack.manifest.objects):
            rows = pack.show(name, limit=2).rows
            assert 0 < rows.num_rows <= 2, name
            assert rows.column_names == [c.name for c in pack.manifest.columns_of(name)]
        assert pack.show("sale", limit=9, where="pieces > 3").rows.num_rows == 1
        assert pack.show("sale", limit=1, where="pieces > 0 -- all").rows.num_rows == 1
        with pytest.raises(InputInvalid, match="-1 rows"):
            pack.show("sale", limit=-1)
        with pytest.raises(InputInvalid, match="no relation `nothing`"):
            pack.show("nothing", limit=1)
    done = run_command("show", "shop", "revenue", "--lake", "lake", cwd=tmp_path / "shop")
    assert done.returncode == 0, done.stderr
    assert (
        "Traceback"
        not in run_command("show", "shop", "revenue", "--where", "x x", "--lake", "lake", cwd=tmp_path / "shop").stderr
    )


def test_a_selected_run_carries_the_other_tables_over(shop_pack: Path, tmp_path: Path) -> None:
    lake = str(tmp_path / "shop/lake")
    with decreta_runtime.open(shop_pack, lake=lake) as pack:
        with pytest.raises(InputInvalid, match="no run to take the other tables from"):
            pack.run(select=["revenue"])
        first = pack.run()
        stored = [name for name in pack.manifest.order if pack.manifest.relations[name].stored]
        write_deltalake(str(tmp_path / "shop/tables/sale"), sales([(9, 3, 7, 100)]), mode="append")
        part = pack.run(select=["+revenue"])
        assert part.run_seq == first.run_seq + 1
        assert part.tables["revenue"].action == "written"
        others = [name for name in stored if name != "revenue" and name not in select(pack.manifest, ["+revenue"])]
        assert others
        assert {part.tables[name].action for name in others} == {"carried"}
        assert {name: pack.versions()[name] for name in others} == {n: first.tables[n].version for n in others}
        assert pack.run(select=["+revenue"]).unchanged
        whole = pack.run()
        assert not whole.unchanged
        assert {whole.tables[name].action for name in stored} == {"written"}
        with pytest.raises(InputInvalid, match="no object or relation `revenu`"):
            pack.run(select=["revenu"])


def test_a_selected_run_is_one_of_its_own(shop_pack: Path, tmp_path: Path) -> None:
    """Another policy makes another run; the parts that are carried keep their rows."""
    lake = str(tmp_path / "shop/lake")
    with decreta_runtime.open(shop_pack, lake=lake) as pack:
        pack.run()
        before = pack.sql("SELECT * FROM best_sale").rows.to_pylist()

    def compress(policy: dict) -> None:
        policy["write_policy_by_dataset"]["revenue"]["value"]["compression"] = "zstd"

    edit_policy(shop_pack, compress)
    with decreta_runtime.open(shop_pack, lake=lake) as pack:
        assert not pack.run(select=["revenue"]).unchanged
        assert pack.sql("SELECT * FROM best_sale").rows.to_pylist() == before
