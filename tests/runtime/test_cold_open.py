"""The first look-up of an open pack reads what it needs: one table's log, and the footers of the files it asks for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import compiled

import decreta_runtime
from decreta_runtime.contract.errors import LakeUnusable

LOOK_UP = """\
query: sales_by_id
summary: One sale.
class: interactive_query
parameters: {sale: int64}
example: {sale: 1}
body: SELECT s.customer_id, s.pieces FROM sale AS s WHERE s.sale_id = $sale
"""


@pytest.fixture
def ran(shop: Path) -> Path:
    """A shop that has run, its sales in two files: those to three, and those from 101."""
    (shop / "specs/shop/queries/sales_by_id.yaml").write_text(LOOK_UP)
    rows = pa.table(DeltaTable(str(shop / "tables/sale")).scan().read_all())
    later = pc.add(rows["sale_id"], pa.scalar(100, pa.int64()))
    write_deltalake(str(shop / "tables/sale"), rows.set_column(0, "sale_id", later), mode="append")
    with decreta_runtime.open(str(compiled(shop, "shop")), lake=str(shop / "lake")) as pack:
        pack.run()
    return shop


def test_files_that_a_first_look_up_leaves_out_are_not_opened(ran: Path) -> None:
    table = DeltaTable(str(ran / "tables/sale"))
    added = table.get_add_actions(flatten=True)
    paths = dict(zip(pa.table(added)["min.sale_id"].to_pylist(), table.file_uris(), strict=True))
    Path(paths[101].removeprefix("file://")).unlink()
    with decreta_runtime.open(str(ran / "generated/shop"), lake=str(ran / "lake")) as pack:
        assert pack.query("sales_by_id", sale=1).to_pylist() == [{"customer_id": 1, "pieces": 4}]
        with pytest.raises(LakeUnusable, match="is gone"):
            pack.query("sales_by_id", sale=101)


def test_logs_of_other_tables_are_not_read(ran: Path) -> None:
    shutil.rmtree(ran / "tables/product")
    with decreta_runtime.open(str(ran / "generated/shop"), lake=str(ran / "lake")) as pack:
        assert pack.query("sales_by_id", sale=2).num_rows == 1
        with pytest.raises(LakeUnusable, match="`product`"):
            pack.sql("SELECT * FROM product")
        with pytest.raises(LakeUnusable, match="`product`"):
            pack.versions()
