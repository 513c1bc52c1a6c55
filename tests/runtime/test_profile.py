"""`profile`: what look-ups cost, what limits them, and which edit of a spec would help by how much."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import ROOT, compiled, edit_policy, run_command
from tests.runtime.looked_up import FILES, GROUP, ROWS, SPECS, WITHOUT, indexed, linked, name_of, project, scan

import decreta_runtime
from decreta_runtime.contract.profile import Profile, ShapeProfile, TableProfile
from decreta_runtime.contract.records import IndexRung
from decreta_runtime.foreign import delete_by_vector
from decreta_runtime.profile import profile

ONE = 5123
GROUPS = FILES * ROWS // GROUP


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("profile") / "looked")


@pytest.fixture
def looked(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "looked"))


def opened(folder: Path) -> decreta_runtime.Pack:
    return decreta_runtime.open(str(folder / "generated/looked"), lake=str(folder / "lake"))


def ask(folder: Path, *asked: tuple[str, dict[str, Any]]) -> Profile:
    """Run the pack, ask shapes, and return their profile."""
    with opened(folder) as pack:
        pack.run()
        for shape, given in asked:
            pack.query(shape, **given)
    return profile(opened(folder))


def table(found: Profile | ShapeProfile, dataset: str = "event") -> TableProfile:
    (shape,) = found.shapes if isinstance(found, Profile) else (found,)
    (only,) = [each for each in shape.tables if each.dataset == dataset]
    return only


def limits(found: TableProfile) -> list[str]:
    return [limit.says for limit in found.limits]


def advice(found: TableProfile) -> dict[str, str]:
    return {each.edit: each.says for each in found.advice}


BY_NAME = ("by_name", {"name": name_of(ONE)})


def test_nothing_asked_nothing_told(looked: Path) -> None:
    found = ask(looked)
    assert (found.lookups, found.shapes) == (0, ())
    shown = run_command("profile", "looked", "--lake", "lake", cwd=looked, module="decreta_runtime")
    assert shown.returncode == 0
    assert "nothing to tell" in shown.stdout


def test_shapes_stand_by_cost_with_their_counts(looked: Path) -> None:
    found = ask(looked, *[("by_id", {"id": i * ROWS + 7}) for i in range(FILES)], BY_NAME, ("longest", {}))
    assert found.lookups == FILES + 2
    assert {shape.shape: shape.count for shape in found.shapes} == {"by_id": FILES, "by_name": 1, "longest": 1}
    assert [shape.seconds for shape in found.shapes] == sorted((s.seconds for s in found.shapes), reverse=True)
    (by_id,) = [shape for shape in found.shapes if shape.shape == "by_id"]
    assert 0 < by_id.p50_seconds <= by_id.p95_seconds
    assert by_id.p50_seconds * FILES / 2 <= by_id.seconds <= by_id.p95_seconds * FILES
    assert by_id.pruning_effectiveness_score == "1.0000"
    assert table(by_id).ladder.files_opened == 1
    assert by_id.bytes_read == table(by_id).ladder.bytes_read
    assert (table(by_id).limits, table(by_id).advice) == ((), ()), "nothing limits a perfect look-up"


def test_medians_are_of_what_is_known(looked: Path) -> None:
    found = ask(looked, ("by_id", {"id": -1}), ("by_id", {"id": 1}), ("by_id", {"id": 2}))
    ladder = table(found).ladder
    assert (ladder.files_log, ladder.rows_out, ladder.pages_kept) == (1, 1, 1)
    newest = table(ask(looked, ("by_id", {"id": -1}))).ladder
    assert newest.filtered, "a look-up that opens no file takes nothing from what others tell"


def test_a_look_up_before_that_leaves_out_files_alone_is_told(looked: Path) -> None:
    found = table(ask(looked, ("of_noted", {"at": name_of(ONE)})))
    assert (found.ladder.files_opened, found.ladder.rows_read) == (1, ROWS)
    assert "the look-ups before leave out files alone: no condition reaches the rows of `event`" in limits(found)


def test_an_index_not_built_is_named_with_what_it_would_spare(looked: Path) -> None:
    indexed(looked)
    edit_policy(
        looked / "generated/looked",
        lambda p: p["index_policy_by_dataset"]["event.by_name"]["value"].update(build=False),
    )
    before = table(ask(looked, BY_NAME))
    assert limits(before) == [
        f"files unsorted by `name`: clustering depth {FILES} of {FILES} files",
        f"row groups unsorted by `name`: clustering depth {GROUPS} of {GROUPS} row groups",
    ]
    (only,) = before.advice
    assert only.edit == "specs/looked/objects/event.yaml: indexes.by_name"
    assert "is not built" in only.says
    assert (only.files_now, only.files_then) == (FILES, 1)
    indexed(looked, "by_name")
    with opened(looked) as pack:
        pack.run()
        pack.query(*BY_NAME[:1], **BY_NAME[1])
    after = table(profile(opened(looked)))
    assert limits(after) == [f"row groups unsorted by `name`: clustering depth {GROUPS} of {GROUPS} row groups"]
    assert after.advice == ()
    assert only.bytes_now is not None
    assert only.bytes_then is not None
    assert after.ladder.bytes_read is not None
    assert only.bytes_then <= after.ladder.bytes_read < only.bytes_now, "the estimate is of what was spared"
    assert after.ladder.bytes_read < 2 * only.bytes_then


def test_a_column_without_an_index_is_told_how_to_declare_one(tmp_path: Path) -> None:
    bare = SPECS["objects/event.yaml"].replace("indexes: {by_name: {kind: term, column: name}}\n", "")
    found = table(ask(project(tmp_path / "looked", event=bare), BY_NAME))
    assert advice(found) == {
        "specs/looked/objects/event.yaml: indexes": "declare by_name: {kind: term, column: name}",
    }


def test_another_order_is_named_and_does_what_it_says(looked: Path) -> None:
    def small_row_groups() -> None:
        edit_policy(
            looked / "generated/looked",
            lambda p: p["write_policy_by_dataset"]["noted"]["value"].update(row_group_rows=500, bloom_columns=[]),
        )

    noted = looked / "specs/looked/relations/noted.yaml"
    asked = ("noted_at", {"id": ONE})
    small_row_groups()
    before = table(ask(looked, asked), "noted")
    groups = FILES * ROWS // 500
    assert limits(before) == [
        f"row groups unsorted by `id`: clustering depth {groups} of {groups} row groups",
        "rows sorted by `name`, not first by `id`",
    ]
    (only,) = before.advice
    assert only.edit == "specs/looked/relations/noted.yaml: layout.sort"
    assert only.says == "put `id` first; `name` leads now, which `of_many`, `of_noted` ask"
    noted.write_text(noted.read_text().replace("sort: [name]", "sort: [id]"))
    compiled(looked, "looked")
    small_row_groups()
    after = table(ask(looked, asked), "noted")
    assert after.limits == ()
    assert only.bytes_now is not None
    assert after.ladder.bytes_read is not None
    assert after.ladder.bytes_read < only.bytes_now / 5
    assert after.ladder.bytes_read == pytest.approx(only.bytes_then, rel=0.3)


def test_statistics_that_are_missing_are_counted(tmp_path: Path) -> None:
    folder = project(tmp_path / "looked", WITHOUT, statistics=False)
    found = table(ask(folder, ("by_id", {"id": ONE})))
    assert f"statistics missing on `id` in {FILES} of {FILES} files" in limits(found)
    assert "delta.dataSkippingStatsColumns" in advice(found)["specs/looked/objects/event.yaml: source"]


def test_what_cannot_be_bounded_or_indexed_is_advised_of_neither(tmp_path: Path) -> None:
    """An index of floats is refused, statistics of them leave no file out, and one page has no better order."""
    weighed = SPECS["relations/noted.yaml"].replace("e.name FROM", "e.name, CAST(e.id AS DOUBLE) AS weight FROM")
    by_weight = SPECS["queries/noted_at.yaml"].replace("int64", "float64").replace("n.id =", "n.weight =")
    found = table(
        ask(project(tmp_path / "looked", rows=20, noted=weighed, noted_at=by_weight), ("noted_at", {"id": 0.5})),
        "noted",
    )
    assert (found.ladder.files_opened, found.ladder.files_matched) == (1, 0)
    missing = "statistics missing on `weight` in 1 of 1 files: the log has no bounds of such float64"
    assert limits(found)[0] == missing
    assert found.advice == ()


def test_look_ups_of_a_table_as_it_was_are_not_told_of_it_as_it_is(looked: Path) -> None:
    with opened(looked) as pack:
        pack.run()
        for _ in range(2):
            pack.query(*BY_NAME[:1], **BY_NAME[1])
        DeltaTable(str(looked / "tables/event")).optimize.compact()
        pack.run()
        pack.query(*BY_NAME[:1], **BY_NAME[1])
    found = profile(opened(looked))
    assert found.lookups == 3
    assert (table(found).ladder.files, table(found).ladder.files_opened) == (1, 1)
    assert (table(found).limits, table(found).advice) == ((), ()), "there is one file with one row group"


def test_what_the_policy_has_off_is_told_with_its_rule(looked: Path) -> None:
    scan(looked, log_pruning=False, page_index=False)
    rule = json.loads((looked / "generated/looked/policy/local.json").read_bytes())["scan_policy_by_dataset"]["event"][
        "rule"
    ]
    found = table(ask(looked, ("by_id", {"id": ONE})))
    assert limits(found) == [
        f"not narrowed: log_pruning is off by rule {rule}",
        f"not filtered so: page_index is off by rule {rule}",
    ]
    (only,) = found.advice
    assert "decreta explain looked/scan/event" in only.says
    assert (only.files_now, only.files_then) == (FILES, 1)


def test_delta_reads_say_why(looked: Path) -> None:
    scan(looked, path="delta", log_pruning=False)
    found = table(ask(looked, ("by_id", {"id": ONE})))
    assert limits(found)[0].startswith("read through delta-rs, by rule ")
    assert found.ladder.bytes_read is None


def test_other_switches_that_are_off_are_advised_of(looked: Path) -> None:
    scan(looked, pushdown=False, page_index=False)
    (only,) = table(ask(looked, ("by_id", {"id": ONE}))).advice
    assert only.edit.startswith("rules of the scan domain")
    assert only.says.endswith("says what would switch on pushdown, page_index")
    assert only.files_then is None


def test_an_index_that_is_behind_is_told(looked: Path) -> None:
    indexed(looked, "by_name")
    ask(looked)
    write_deltalake(
        str(looked / "tables/event"),
        pa.table({"id": [-5, -6], "name": ["n", "o"], "payload": ["p", "q"]}),
        mode="append",
    )
    edit_policy(
        looked / "generated/looked",
        lambda p: p["index_policy_by_dataset"]["event.by_name"]["value"].update(build=False),
    )
    found = table(ask(looked, BY_NAME))
    (rung,) = found.ladder.indexes
    assert rung == IndexRung(name="by_name", files=2, unknown=1, bytes_read=rung.bytes_read) and rung.bytes_read
    assert "the index by_name does not know 1 of the 2 files that it leaves" in limits(found)


def test_partitions_are_advised_neither_an_index_nor_an_order(tmp_path: Path) -> None:
    folder = project(tmp_path / "looked", partition_by="name", rows=20)
    linked(folder)
    found = table(ask(folder, ("by_name", {"name": name_of(3)})))
    assert (found.ladder.path, found.ladder.files_log) == ("linked", 1)
    assert (found.limits, found.advice) == ((), ())


def test_deletion_vectors_are_told(looked: Path) -> None:
    delete_by_vector(looked / "tables/event")
    found = table(ask(looked, ("by_id", {"id": ONE})))
    assert found.ladder.fresh is False
    first, second = limits(found)[:2]
    assert first.startswith("read through delta-rs, because a guard failed that the rule ")
    assert second == "deletion vectors hide rows that the log's statistics still count and bound"


def test_a_table_without_rows_has_nothing_to_tell(tmp_path: Path) -> None:
    folder = project(tmp_path / "looked", rows=0)
    found = ask(folder, ("by_id", {"id": 1}), ("longest", {}), ("by_name", {"name": "x"}))
    assert found.lookups == 3
    for shape in found.shapes:
        assert (shape.bytes_eligible, shape.pruning_effectiveness_score) == (0, None)
        assert table(shape).ladder.files == 0
        assert [a for a in table(shape).advice if a.bytes_then is not None] == []


def test_a_table_that_nothing_narrows_is_told(looked: Path) -> None:
    found = table(ask(looked, ("longest", {})))
    assert limits(found) == ["no condition reaches `event`"]
    assert list(advice(found)) == ["specs/looked/queries/longest.yaml: body"]


def test_the_verb_prints_text_and_data(looked: Path) -> None:
    indexed(looked)
    ask(looked, BY_NAME, ("by_id", {"id": ONE}))
    shown = run_command("profile", "looked", "--lake", "lake", cwd=looked, module="decreta_runtime").stdout
    assert "looked, local: 2 look-ups of 2 shapes under this policy" in shown
    assert f"    limited by  files unsorted by `name`: clustering depth {FILES} of {FILES} files" in shown
    assert f"1 files instead of {FILES}" in shown
    told = run_command("profile", "looked", "--lake", "lake", "--format", "json", cwd=looked)
    assert told.returncode == 0, told.stderr
    schema = json.loads((ROOT / "generated/schemas/profile.schema.json").read_bytes())
    jsonschema.validate(json.loads(told.stdout), schema, cls=jsonschema.Draft202012Validator)


def test_a_lake_whose_own_tables_cannot_be_read_is_no_bug_of_ours(looked: Path) -> None:
    ask(looked, ("by_id", {"id": 1}))
    for own, verbs in (("ledger", ["profile"]), ("runs", ["kpi", "index", "query"])):
        for file in (looked / "lake/_decreta" / own).rglob("*.parquet"):
            file.write_bytes(file.read_bytes()[:50])
        for verb in verbs:
            shape = ["by_id", "--param", "id=1"] if verb == "query" else []
            done = run_command(verb, "looked", *shape, "--lake", "lake", cwd=looked, module="decreta_runtime")
            assert done.returncode == 2 and f"_decreta/{own} cannot be read" in done.stderr, (verb, done.stderr)


def test_what_is_not_there_limits_nothing_and_partitions_are_to_be_observed(tmp_path: Path) -> None:
    empty = table(ask(project(tmp_path / "empty", rows=0), ("longest", {})))
    assert (limits(empty), empty.ladder.files) == ([], 0)
    split = table(ask(project(tmp_path / "split", partition_by="name", rows=5), ("by_id", {"id": 3})))
    (only,) = split.advice
    assert only.says == "it is partitioned, which the rule did not know: `decreta observe looked`, then generate"
