"""Sessions of every workload class give right answers where the engine's own settings do not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import ROOT

from decreta_runtime.load import load
from decreta_runtime.session import build_session
from decreta_runtime.tally import Tally

LEAST_AND_GREATEST = "SELECT min(a) AS a0, max(a) AS a1, min(b) AS b0, max(b) AS b1 FROM t"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files each of which may lack values of one column: a bound that is not known yet must leave out none of them."""
    found = tmp_path_factory.mktemp("files")
    for name, a, b in (("1", [1.0, 5.0], None), ("2", None, [3.0, 4.0]), ("3", [2.0, 3.0], [3.5, 3.6])):
        columns = {"a": pa.array(a or [None] * 2, pa.float64()), "b": pa.array(b or [None] * 2, pa.float64())}
        pq.write_table(pa.table(columns), found / f"{name}.parquet")
    return found


@pytest.mark.parametrize("workload", ["batch_ingest", "interactive_query", "compile_replay"])
def test_several_least_and_greatest_values_are_all_found(folder: Path, workload: str) -> None:
    tally = Tally()
    policy = load(ROOT / "generated/retail", tally).policy("local")
    context = build_session(workload, policy.session(workload), tally, ())
    context.sql(f"CREATE EXTERNAL TABLE t (a DOUBLE, b DOUBLE) STORED AS PARQUET LOCATION '{folder}/'")
    # Which file is read first is left to chance: with the engine's own settings half of these fail.
    answers = {repr(context.sql(LEAST_AND_GREATEST).to_pylist()) for _ in range(8)}
    assert answers == {repr([{"a0": 1.0, "a1": 5.0, "b0": 3.0, "b1": 4.0}])}
