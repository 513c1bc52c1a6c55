"""The pruning ladder: exact on a table made for it, null where nothing is known, and a score that means something."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import ROOT, run_command
from tests.runtime.looked_up import FILES, GROUP, PAGE, ROWS, WITHOUT, indexed, linked, name_of, project, scan

import decreta_runtime
from decreta_runtime.cli.picture import picture
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.records import ComputeDetail, Ladder
from decreta_runtime.foreign import delete_by_vector
from decreta_runtime.ladder import effectiveness
from decreta_runtime.metrics import ScanStats

ONE = 5123
"""An id in the middle of a file, a row group and a page."""
GROUPS, PAGES = ROWS // GROUP, GROUP // PAGE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("ladder") / "looked")


@pytest.fixture
def looked(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "looked"))


@pytest.fixture(scope="module")
def bare_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with no statistics, neither in log nor footers."""
    return project(tmp_path_factory.mktemp("bare") / "looked", WITHOUT, statistics=False)


def stats(folder: Path, shape: str, **given: Any) -> ScanStats:
    with decreta_runtime.open(str(folder / "generated/looked"), lake=str(folder / "lake")) as pack:
        if not (folder / "lake/_decreta/runs").exists():
            pack.run()
        return pack.answer(shape, given).stats


def ladder(folder: Path, shape: str, dataset: str = "event", **given: Any) -> Ladder:
    return stats(folder, shape, **given).ladder[dataset]


def figures(found: Ladder, *names: str) -> list[Any]:
    return [getattr(found, name) for name in names]


FILE_RUNGS = ("files", "files_log", "files_listed", "files_opened", "files_matched")


def test_a_look_up_by_what_files_are_sorted_by_comes_down_to_one_page(looked: Path) -> None:
    found = ladder(looked, "by_id", id=ONE)
    assert figures(found, *FILE_RUNGS) == [FILES, 1, 1, 1, 1]
    assert figures(found, "row_groups", "row_groups_statistics") == [GROUPS, 1]
    assert figures(found, "pages", "pages_kept") == [PAGES, 1]
    assert figures(found, "rows", "rows_read", "rows_out") == [FILES * ROWS, PAGE, 1]
    assert (found.asked, found.unbounded, found.filtered, found.indexes) == (("id",), {"id": 0}, True, ())
    whole = sum(file["size_bytes"] for file in entries(looked))
    assert found.bytes_eligible == whole
    assert found.bytes_columns is not None
    assert 0.5 * whole < found.bytes_columns < whole, "without the name"
    assert found.bytes_read == pytest.approx(found.bytes_columns / (FILES * ROWS / PAGE), rel=0.02), "one page"
    whole_score = effectiveness([found])
    assert whole_score is not None
    assert str(whole_score.score) == "1.0000", "nothing was read that a perfect index would not read"


def entries(folder: Path) -> list[dict[str, Any]]:
    return pa.table(DeltaTable(str(folder / "tables/event")).get_add_actions(flatten=True)).to_pylist()


def test_the_sums_are_those_of_the_ladder(looked: Path) -> None:
    found = stats(looked, "twice", id=5, other=FILES * ROWS - 5)
    (only,) = found.ladder.values()
    assert only.scans == 2
    assert figures(only, *FILE_RUNGS) == [FILES, 2, 2, 2, 2]
    assert (found.bytes_scanned, found.rows_scanned) == (only.bytes_read, only.rows_out)
    assert (found.row_groups_total, found.row_groups_read) == (only.row_groups, only.row_groups_statistics)
    assert figures(only, "row_groups", "pages_kept", "rows_read") == [2 * GROUPS, 2, 2 * PAGE], "each scan opens one"
    assert found.bytes_eligible == only.bytes_eligible == 2 * sum(file["size_bytes"] for file in entries(looked))


def test_nothing_matches_nothing_is_read(looked: Path) -> None:
    found = ladder(looked, "by_id", id=-1)
    assert figures(found, *FILE_RUNGS) == [FILES, 0, 0, 0, 0]
    assert figures(found, "rows_out", "bytes_read", "bytes_perfect", "row_groups", "pages") == [0, 0, 0, None, None]


def test_an_index_is_a_rung_of_its_own(looked: Path) -> None:
    indexed(looked)
    before = ladder(looked, "by_name", name=name_of(ONE))
    assert figures(before, *FILE_RUNGS) == [FILES, FILES, FILES, FILES, 1]
    assert before.indexes == ()
    indexed(looked, "by_name")
    after = ladder(looked, "by_name", name=name_of(ONE))
    assert figures(after, *FILE_RUNGS) == [FILES, FILES, 1, 1, 1]
    assert [(rung.name, rung.files) for rung in after.indexes] == [("by_name", 1)]
    assert figures(after, "rows_read", "rows_out") == [ROWS, 1], "names are scattered over the pages of the file"
    scores = [effectiveness([found]) for found in (before, after)]
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0].score < scores[1].score  # type: ignore[operator]


def test_a_look_up_that_comes_first_is_a_rung_with_its_own_bytes(looked: Path) -> None:
    found = stats(looked, "of_noted", at=name_of(ONE))
    event, noted = found.ladder["event"], found.ladder["noted"]
    assert [(step.column, step.given_by, step.values) for step in event.steps] == [("id", "noted.id", 1)]
    assert figures(event, "files_log", "files_steps", *FILE_RUNGS[2:4]) == [None, 1, 1, 1]
    assert (event.asked, event.unbounded) == ((), {"id": 0})
    (step,) = event.steps
    assert step.bytes_read is not None
    assert found.bytes_scanned == step.bytes_read + (event.bytes_read or 0) + (noted.bytes_read or 0)
    assert f"{FILES} in the snapshot → 1 by 1 values of `noted.id` → 1 opened" in "\n".join(picture(found.ladder))
    scan(looked, step_values=1)
    several = ladder(looked, "of_noted", at="n")
    assert [step.values for step in several.steps] == [0], "there is none of that name"
    assert several.files_listed == 0


def test_more_values_than_the_policy_lets_narrow_are_told(looked: Path) -> None:
    scan(looked, step_values=1)
    found = ladder(looked, "of_many", alike="n00000%")
    assert [step.values for step in found.steps] == [None]
    assert (found.files_steps, found.files_listed) == (None, FILES)
    assert "more values of `noted.id` than the policy lets narrow" in "\n".join(picture({"event": found}))


def test_an_index_that_is_gone_is_told(looked: Path) -> None:
    indexed(looked, "by_name")
    ladder(looked, "by_name", name=name_of(ONE))
    with decreta_runtime.open(str(looked / "generated/looked"), lake=str(looked / "lake")) as pack:
        shutil.rmtree(pack.lake.index("looked", "event", "by_name"))
    found = ladder(looked, "by_name", name=name_of(ONE))
    assert [(rung.name, rung.files) for rung in found.indexes] == [("by_name", None)]
    assert found.files_listed == FILES
    assert "nothing from the index by_name" in "\n".join(picture({"event": found}))


def test_without_log_pruning_the_footers_rule_files_out(looked: Path) -> None:
    scan(looked, log_pruning=False)
    found = ladder(looked, "by_id", id=ONE)
    assert figures(found, *FILE_RUNGS) == [FILES, None, FILES, 1, 1]
    assert figures(found, "row_groups", "row_groups_statistics") == [GROUPS, 1]
    assert (found.asked, found.switched_off) == (("id",), ("log_pruning",))
    assert "asked for `id`, but the policy has log_pruning off" in "\n".join(picture({"event": found}))
    assert f"{FILES} in the snapshot → 1 opened (footers)" in "\n".join(picture({"event": found}))


def test_switches_that_are_off_are_told_and_leave_their_rungs_unknown(looked: Path) -> None:
    scan(looked, page_index=False, bloom_filters=False, pushdown=False)
    found = ladder(looked, "by_id", id=ONE)
    assert found.switched_off == ("pushdown", "page_index", "bloom_filters")
    assert figures(found, "pages", "pages_kept", "row_groups_bloom") == [None, None, None]
    assert figures(found, "row_groups", "row_groups_statistics") == [GROUPS, 1]
    assert figures(found, "rows_read", "rows_out") == [GROUP, GROUP], "filtered outside the scan"
    assert figures(found, "files_matched", "bytes_perfect") == [None, None]
    assert effectiveness([found]) is None
    shown = "\n".join(picture({"event": found}))
    for switch in found.switched_off:
        assert f"the policy has {switch} off" in shown


def test_reads_through_delta_leave_no_counters(looked: Path) -> None:
    scan(looked, path="delta", log_pruning=False)
    found = ladder(looked, "by_id", id=ONE)
    measured = set(Ladder.__struct_fields__) - {
        *("path", "switched_off", "scans", "asked", "unbounded", "fresh", "files", "indexes", "files_listed"),
        *("steps", "step_indexes", "rows", "bytes_eligible"),
    }
    assert {name: getattr(found, name) for name in measured} == dict.fromkeys(measured)
    assert effectiveness([found]) is None
    assert "delta-rs reads it, which leaves no counters" in "\n".join(picture({"event": found}))


def test_a_partitioned_table_comes_down_by_its_partition(tmp_path: Path) -> None:
    folder = project(tmp_path / "looked", partition_by="name", rows=20)
    linked(folder)
    found = ladder(folder, "by_name", name=name_of(3))
    assert found.path == "linked"
    assert figures(found, *FILE_RUNGS) == [20, 1, 1, 1, 1]
    assert figures(found, "rows", "rows_read", "rows_out") == [20, 1, 1]
    assert (found.unbounded, found.fresh) == ({"name": 0}, True)
    scan(folder, log_pruning=False)
    found = ladder(folder, "by_id", id=3)
    assert figures(found, *FILE_RUNGS) == [20, None, 20, 20, 1]
    assert effectiveness([found]) is not None, "which file is which stands in the links"
    assert "20 in the snapshot → 20 opened" in "\n".join(picture({"event": found}))


def test_deletion_vectors_leave_statistics_that_are_not_fresh(looked: Path) -> None:
    assert ladder(looked, "by_id", id=ONE).fresh is True
    delete_by_vector(looked / "tables/event")
    with decreta_runtime.open(str(looked / "generated/looked"), lake=str(looked / "lake")) as pack:
        pack.run()
    found = ladder(looked, "by_id", id=ONE)
    assert (found.path, found.fresh, found.rows) == ("delta", False, None)
    assert "not fresh: deletion vectors hide rows" in "\n".join(picture({"event": found}))


def test_an_empty_table_has_empty_rungs(tmp_path: Path) -> None:
    folder = project(tmp_path / "looked", rows=0)
    asked: list[tuple[str, dict[str, Any]]] = [("by_id", {"id": 1}), ("longest", {})]
    for shape, values in asked:
        found = ladder(folder, shape, **values)
        assert figures(found, *FILE_RUNGS[2:4], "bytes_eligible", "bytes_read") == [0, 0, 0, 0]
        assert "0 in the snapshot" in "\n".join(picture({"event": found}))


def test_a_run_notes_how_its_statements_read(looked: Path) -> None:
    with decreta_runtime.open(str(looked / "generated/looked"), lake=str(looked / "lake")) as pack:
        pack.run()
    ledger = DeltaTable(str(looked / "lake/_decreta/ledger")).scan(predicate="kind = 'write' AND subject = 'noted'")
    (row,) = pa.table(ledger).to_pylist()
    detail = json.loads(row["detail"])
    schema = json.loads((ROOT / "generated/schemas/compute_detail.schema.json").read_bytes())
    jsonschema.validate(detail, schema, cls=jsonschema.Draft202012Validator)
    found = msgspec.convert(detail, ComputeDetail)
    assert (found.workload, list(found.ladder)) == ("batch_ingest", ["event"])
    read = found.ladder["event"]
    assert figures(read, "files", "files_log", "files_listed", "files_opened") == [FILES, None, FILES, FILES]
    assert (read.filtered, read.rows_out, read.bytes_read) == (False, FILES * ROWS, row["bytes_scanned"])


def test_a_scan_that_nothing_asks_has_nothing_to_avoid(looked: Path) -> None:
    found = ladder(looked, "longest")
    assert figures(found, *FILE_RUNGS) == [FILES, None, FILES, FILES, None]
    assert (found.asked, found.filtered, found.rows_out) == ((), False, FILES * ROWS)
    assert effectiveness([found]) is None
    assert "no condition reaches this table" in "\n".join(picture({"event": found}))


def test_without_statistics_more_is_read_and_the_score_falls(looked: Path, bare_made: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(bare_made, tmp_path / "bare"))
    good, poor = (ladder(folder, "by_id", id=ONE) for folder in (looked, bare))
    assert poor.unbounded == {"id": FILES}
    assert figures(poor, *FILE_RUNGS) == [FILES, FILES, FILES, FILES, 1]
    assert poor.rows_read == FILES * ROWS
    assert f"missing on `id` in {FILES} of {FILES} files" in "\n".join(picture({"event": poor}))
    high, low = effectiveness([good]), effectiveness([poor])
    assert high is not None
    assert low is not None
    assert high.score is not None
    assert low.score is not None
    assert 0 < low.score < high.score == 1


def test_statements_that_nobody_compiled_have_counters_but_no_score(looked: Path) -> None:
    stats(looked, "longest")
    with decreta_runtime.open(str(looked / "generated/looked"), lake=str(looked / "lake")) as pack:
        found = pack.sql(f"SELECT payload FROM event WHERE id = {ONE}").stats.ladder["event"]
    assert figures(found, "files", "files_log", "files_opened", "rows_out") == [FILES, None, 1, 1]
    assert effectiveness([found]) is None, "which columns it reads is unknown"


def test_the_ledger_keeps_the_ladder(looked: Path) -> None:
    answered = stats(looked, "by_id", id=ONE)
    ledger = DeltaTable(str(looked / "lake/_decreta/ledger")).scan(predicate="kind = 'query'")
    (row,) = pa.table(ledger).to_pylist()
    detail = json.loads(row["detail"])
    assert detail == json.loads(json.dumps(detail, sort_keys=True, separators=(",", ":")))
    schema = json.loads((ROOT / "generated/schemas/query_detail.schema.json").read_bytes())
    jsonschema.validate(detail, schema, cls=jsonschema.Draft202012Validator)
    assert (detail["workload"], detail["shape"]) == ("interactive_query", True)
    assert msgspec.convert(detail["ladder"], dict[str, Ladder]) == answered.ladder


def test_the_picture_and_the_data_on_the_command_line(looked: Path) -> None:
    stats(looked, "longest")
    asked = ("query", "looked", "by_id", "--lake", "lake", "--param", f"id={ONE}", "--stats")
    shown = run_command(*asked, cwd=looked, module="decreta_runtime").stderr
    assert f"files       {FILES} in the snapshot → 1 by the log's statistics → 1 opened" in shown
    assert f"row groups  {GROUPS} → 1 (statistics)" in shown
    assert f"pages       {PAGES} → 1 (page index)" in shown
    assert f"rows        {FILES * ROWS:,} in the snapshot → {PAGE} read → 1 out of the scan's filter" in shown
    told = json.loads(run_command(*asked, "--format", "json", cwd=looked, module="decreta_runtime").stdout)
    assert told["stats"]["ladder"]["event"]["files_opened"] == 1


def test_the_score_of_a_workload_class_is_a_key_figure(looked: Path) -> None:
    def figure() -> Any:
        done = run_command("kpi", "looked", "--lake", "lake", "--json", cwd=looked, module="decreta_runtime")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        schema = json.loads((ROOT / "generated/schemas/kpi.schema.json").read_bytes())
        jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
        return found["pruning_effectiveness_score"]

    with decreta_runtime.open(str(looked / "generated/looked"), lake=str(looked / "lake")) as pack:
        pack.run()
        pack.sql("SELECT count(*) FROM event")
    assert figure() is None, "nothing but typed statements"
    stats(looked, "longest")
    words = run_command("kpi", "looked", "--lake", "lake", cwd=looked, module="decreta_runtime").stdout
    assert "unknown  nothing known to be avoidable, 0 of 1 look-ups known" in words, "it has counters, and no condition"
    stats(looked, "by_id", id=ONE)
    first = figure()["interactive_query"]
    assert (first["queries"], first["known"], first["score"]) == (2, 1, "1.0000")
    stats(looked, "by_name", name=name_of(ONE))
    later = figure()["interactive_query"]
    assert (later["queries"], later["known"]) == (3, 2)
    assert later["score"] < "1.0000"
    words = run_command("kpi", "looked", "--lake", "lake", cwd=looked, module="decreta_runtime").stdout
    assert f"pruning_effectiveness_score            {later['score']}" in words


counts = st.none() | st.integers(0, 10**12)


@given(
    st.lists(
        st.fixed_dictionaries({"bytes_columns": counts, "bytes_read": counts, "bytes_perfect": counts}), max_size=5
    )
)
def test_a_score_lies_between_nothing_and_all(each: list[dict[str, int | None]]) -> None:
    fields: dict[str, Any] = dict.fromkeys(Ladder.__struct_fields__)
    fields |= {
        "path": "native",
        "switched_off": (),
        "scans": 1,
        "asked": (),
        "unbounded": {},
        "indexes": (),
        "steps": (),
    }
    found = effectiveness([Ladder(**{**fields, **figures}) for figures in each])
    known = [f for f in each if None not in f.values() and f["bytes_columns"] > f["bytes_perfect"]]  # type: ignore[operator]
    assert (found is None) == (not known)
    if found is not None:
        assert found.score is not None
        assert 0 <= found.score <= 1
        assert (found.score == 1) == (found.avoided == found.avoidable)


def test_files_that_go_wrong_under_a_reader_are_no_mistake_of_the_statement(looked: Path) -> None:
    with decreta_runtime.open(str(looked / "generated/looked")) as pack:
        pack.run()
        pack.query("by_id", id=ONE)
        for file in (looked / "tables/event").glob("*.parquet"):
            file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(LakeUnusable, match=r"a file that `by_name` reads cannot be read: .*Parquet"):
            pack.query("by_name", name=name_of(ONE))
        shutil.rmtree(looked / "tables/event")
        with pytest.raises(LakeUnusable, match="is gone") as caught:
            pack.query("by_id", id=ONE)
        assert "read the table as it is now" in caught.value.help, "the pack does not write it"
