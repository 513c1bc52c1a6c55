"""Indexes of a pack from evidence to answer: built where the rules say, used by the shapes they name, never missed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import ROOT, Command, compiled, edit_policy, sales

import decreta_runtime
from decreta_runtime.pack import Pack

MODULES = 40
DATASETS = ("definition", "imports", "scope", "file")


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code graph, compiled for a lake where it was seen to have many files, and writing such files."""
    project = tmp_path_factory.mktemp("many")
    shutil.copytree(ROOT / "specs", project / "specs")
    (project / "decreta.toml").touch()
    lock = project / "specs/code_graph/locks/local.evidence.json"
    seen = json.loads(lock.read_bytes())
    for name in DATASETS:
        seen["datasets"][name]["facts"]["files"]["value"] = 40
    lock.write_text(json.dumps(seen))
    pack = compiled(project, "code_graph")

    def small_files(policy: dict[str, Any]) -> None:
        for name in DATASETS:
            decision = policy["write_policy_by_dataset"][name]
            for value in (decision["value"], decision["otherwise"]):
                value |= {"target_file_bytes": 1, "row_group_rows": 300, "bloom_columns": []}
            policy["scan_policy_by_dataset"][name]["value"]["step_files"] = 2
            # Maintenance would bring them together.
            policy["maintenance_policy_by_dataset"][name]["value"]["triggers"] = {}

    edit_policy(pack, small_files)
    return pack


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    for i in range(MODULES):
        lines = [f"def f_{(i * 7 + k * 13) % 4000}_{i % 3}(x): return x" for k in range(250)]
        (folder / f"m{i}.py").write_text("\n".join([f"import m{(i + 1) % MODULES}", *lines]) + "\n")
    return folder


@pytest.fixture(scope="session")
def built(many: Path, modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("built") / "lake"
    with decreta_runtime.open(str(many), lake=str(lake)) as pack:
        pack.run({"python": str(modules)})
    return lake


@pytest.fixture
def lake(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "lake")
    return tmp_path / "lake"


QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    *(("symbol_lookup", {"name": name}) for name in ("f_47_0", "f_0_0", "f_3271_1", "it's nowhere", "m7")),
    *(("file_outline", {"path": path}) for path in ("m0.py", "m7.py", "m39.py", "nowhere.py")),
    *(("span_at", {"path": "m7.py", "offset": offset}) for offset in (0, 400, 6_000, -1)),
    *(("importers_of", {"module": module}) for module in ("m5", "m39", "nowhere")),
]


def answers(pack: Pack) -> list[list[dict[str, Any]]]:
    return [pack.query(shape, **given).to_pylist() for shape, given in QUESTIONS]


def listed(pack: Pack, dataset: str) -> tuple[int, int]:
    """Return how many files the last look-up named, of how many."""
    scanned = pack._readings["interactive_query"].scans[dataset]
    return len(scanned.listed), scanned.files


def guards(pack: Pack) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in pack._ledger.rows:
        if row.action.startswith("index_readable"):
            found.setdefault(row.subject, []).append(row.action.removeprefix("index_readable: "))
    return found


@pytest.fixture(scope="session")
def right(code_graph_compiled: Path, modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the pack answers as it is committed: one file a table, no index, no steps."""
    with decreta_runtime.open(str(code_graph_compiled), lake=str(tmp_path_factory.mktemp("right") / "lake")) as pack:
        pack.run({"python": str(modules)})
        assert not pack.policy.index("definition", "by_name").value.build, "few files: the baseline"
        return answers(pack)


def test_many_files_are_evidence_for_an_index_and_the_shape_uses_it(many: Path, lake: Path, right: Any) -> None:
    with decreta_runtime.open(str(many), lake=str(lake)) as pack:
        choice = pack.policy.index("definition", "by_name")
        assert (choice.value.build, choice.value.shapes) == (True, ("symbol_lookup",))
        assert choice.requires == ("index_readable",)
        answer = pack.answer("symbol_lookup", {"name": "f_47_0"})
        assert answer.rows.num_rows == 1
        kept, total = listed(pack, "definition")
        assert kept == 1 < total
        assert answer.stats.files_read == 1 + listed(pack, "file")[0]
        index = lake / "_decreta/index/code_graph/definition/by_name"
        assert 0 < (answer.stats.index_bytes or 0) <= sum(file.stat().st_size for file in index.glob("*.parquet"))
        detail = json.loads(next(row.detail for row in pack._ledger.rows if row.kind == "query") or "")
        (rung,) = detail["ladder"]["definition"]["indexes"]
        assert (rung["files"], rung["bytes_read"]) == (1, answer.stats.index_bytes)
        assert pack.answer("symbol_lookup", {"name": "f_47_0"}).stats.index_bytes == 0, "it is in memory now"
        stepped = pack.answer("file_outline", {"path": "m7.py"}).stats
        assert stepped.index_bytes is None and 0 < (stepped.step_bytes or 0) < (stepped.bytes_scanned or 0)
        assert pack.query("symbol_lookup", name="nowhere").num_rows == 0
        assert listed(pack, "definition")[0] == 0, "what no file has is looked for in none"
        assert guards(pack) == {"definition.by_name": ["holds"]}
        assert answers(pack) == right


def test_a_look_up_says_which_files_of_a_joined_table_are_wanted(many: Path, lake: Path, right: Any) -> None:
    with decreta_runtime.open(str(many), lake=str(lake)) as pack:
        assert pack.query("file_outline", path="m7.py").num_rows == 250
        kept, total = listed(pack, "definition")
        assert kept <= 2 < total, "the file's definitions lie side by side"
        pack.query("span_at", path="m7.py", offset=400)
        assert listed(pack, "scope")[0] <= 2 < listed(pack, "scope")[1]
        noted = [r for r in pack._ledger.rows if r.action.startswith("narrowed: file_id by file.file_id")]
        assert {r.pointer for r in noted} == {f"/scan_policy_by_dataset/{n}" for n in ("definition", "scope")}
        assert len(noted) == 3, "once a shape and table"
        assert answers(pack) == right


def test_too_many_values_narrow_nothing(many: Path, lake: Path, right: Any, tmp_path: Path) -> None:
    with (
        changed(
            many, tmp_path, lambda p: p["scan_policy_by_dataset"]["definition"]["value"].update(step_values=1)
        ) as n,
        decreta_runtime.open(str(n), lake=str(lake)) as pack,
    ):
        pack.query("file_outline", path="m7.py")
        assert listed(pack, "definition")[0] <= 2, "one value is not too many"
    with (
        changed(
            many, tmp_path, lambda p: p["scan_policy_by_dataset"]["definition"]["value"].update(step_values=0)
        ) as n,
        decreta_runtime.open(str(n), lake=str(lake)) as pack,
    ):
        pack.query("file_outline", path="m7.py")
        kept, total = listed(pack, "definition")
        assert kept == total
        assert answers(pack) == right


@contextmanager
def changed(pack: Path, tmp_path: Path, change: Any) -> Iterator[Path]:
    """Have a copy of a compiled pack with another policy."""
    folder = tmp_path / "changed" / pack.name
    shutil.copytree(pack, folder)
    edit_policy(folder, change)
    yield folder
    shutil.rmtree(folder.parent)


def lose_folder(path: Path) -> None:
    shutil.rmtree(path)


def lose_log(path: Path) -> None:
    shutil.rmtree(path / "_delta_log")


def empty_log(path: Path) -> None:
    shutil.rmtree(path / "_delta_log")
    (path / "_delta_log").mkdir()


def break_log(path: Path) -> None:
    for entry in (path / "_delta_log").glob("*.json"):
        entry.write_text('{"commitInfo": ')


def lose_data(path: Path) -> None:
    for file in path.glob("*.parquet"):
        file.unlink()


def break_data(path: Path) -> None:
    for file in path.glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:100] + b"\0" * 500)


def older_form(path: Path) -> None:
    rows = pa.table(DeltaTable(str(path)).scan().read_all()).slice(0, 5)
    shutil.rmtree(path)
    write_deltalake(str(path), rows)


def other_columns(path: Path) -> None:
    shutil.rmtree(path)
    write_deltalake(str(path), pa.table({"kind": ["function"], "__file": ["part-0.parquet"]}))


BROKEN = {
    lose_folder: "missing",
    lose_log: "missing",
    empty_log: "missing",
    break_log: "unreadable",
    lose_data: "unreadable",
    break_data: "unreadable",
    older_form: "unreadable",
    other_columns: "unreadable",
}


@pytest.mark.parametrize("memory", [0, 1 << 26], ids=["asked anew", "in memory"])
@pytest.mark.parametrize("wreck", BROKEN, ids=lambda w: w.__name__)
def test_a_broken_index_costs_files_never_rows(
    wreck: Any, memory: int, many: Path, lake: Path, right: Any, tmp_path: Path
) -> None:
    path = lake / "_decreta/index/code_graph/definition/by_name"
    wreck(path)
    values = lambda p: p["index_policy_by_dataset"]["definition.by_name"]["value"].update(memory_bytes=memory)  # noqa: E731
    with changed(many, tmp_path, values) as folder, decreta_runtime.open(str(folder), lake=str(lake)) as pack:
        assert answers(pack) == right
        assert guards(pack)["definition.by_name"] == ["fails"], "said once"
        states = {state.subject: state.action for state in pack.index_states()}
        assert states == {"definition.by_name": BROKEN[wreck], "imports.by_target": "current"}
        done = {each.subject: each.action for each in pack.index()}
        assert done == {"definition.by_name": "built", "imports.by_target": "unchanged"}
        assert answers(pack) == right
        assert guards(pack)["definition.by_name"] == ["fails", "holds"]
        pack.query("symbol_lookup", name="f_47_0")
        assert listed(pack, "definition")[0] == 1


@pytest.mark.parametrize("wreck", [lose_data, break_data], ids=lambda w: w.__name__)
def test_an_index_that_breaks_while_it_is_used(wreck: Any, many: Path, lake: Path, right: Any, tmp_path: Path) -> None:
    values = lambda p: p["index_policy_by_dataset"]["definition.by_name"]["value"].update(memory_bytes=0)  # noqa: E731
    with changed(many, tmp_path, values) as folder, decreta_runtime.open(str(folder), lake=str(lake)) as pack:
        pack.query("symbol_lookup", name="f_0_0")
        wreck(lake / "_decreta/index/code_graph/definition/by_name")
        assert answers(pack) == right
        assert guards(pack)["definition.by_name"] == ["holds", "fails"]


def test_an_index_that_lags_behind_is_stale_and_reads_what_it_does_not_know(
    many: Path, lake: Path, modules: Path, tmp_path: Path, right: Any
) -> None:
    path = lake / "_decreta/index/code_graph/definition/by_name"
    shutil.copytree(path, tmp_path / "before")
    source = tmp_path / "source"
    shutil.copytree(modules, source)
    (source / "m7.py").write_text("import m8\ndef f_47_0(y): return y\ndef brand_new(): pass\n")
    with decreta_runtime.open(str(many), lake=str(lake)) as pack:
        pack.run({"python": str(source)})
        after = answers(pack)
        assert after != right
        assert pack.query("symbol_lookup", name="brand_new").num_rows == 1
        shutil.rmtree(path)
        shutil.copytree(tmp_path / "before", path)
    with decreta_runtime.open(str(many), lake=str(lake)) as pack:
        state = next(s for s in pack.index_states() if s.subject == "definition.by_name")
        assert (state.action, "always read" in state.words) == ("stale", True)
        assert answers(pack) == after
        assert pack.query("symbol_lookup", name="brand_new").num_rows == 1
        assert next(d for d in pack.index() if d.subject == "definition.by_name").action == "updated"
        assert next(s for s in pack.index_states() if s.subject == "definition.by_name").action == "current"
        assert answers(pack) == after


def test_a_failure_of_an_index_does_not_fail_the_run(many: Path, modules: Path, tmp_path: Path, right: Any) -> None:
    lake = tmp_path / "lake"
    (lake / "_decreta/index/code_graph").mkdir(parents=True)
    (lake / "_decreta/index/code_graph/definition").write_text("in the way")
    told: list[str] = []
    with decreta_runtime.open(str(many), lake=str(lake)) as pack:
        pack.run({"python": str(modules)}, lambda stage, words: told.append(f"{stage} {words}"))
        assert answers(pack) == right
        assert guards(pack)["definition.by_name"] == ["fails"]
        assert [done.action for done in pack.index("definition")] == ["failed"]
    assert any(line.startswith("index definition.by_name is not up to date: ") for line in told)
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    failed = [row for row in rows if (row["kind"], row["action"]) == ("index", "failed")]
    assert {row["pointer"] for row in failed} == {"/index_policy_by_dataset/definition.by_name"}
    assert "cannot be" in failed[0]["detail"]


def test_the_verb(many: Path, lake: Path, decreta: Command, tmp_path: Path, code_graph: Path) -> None:
    where = ("--lake", str(lake))
    done = decreta("index", str(many), *where, cwd=tmp_path)
    assert (done.returncode, done.stdout.count("unchanged")) == (0, 2), done.stderr
    done = decreta("index", str(many), "definition", "--rebuild", *where, cwd=tmp_path, module="decreta_runtime")
    assert done.returncode == 0 and done.stdout.startswith("built      definition.by_name: 20 files read")
    done = decreta("verify", str(many), *where, cwd=tmp_path)
    assert "`definition.by_name` current: 20 files" in done.stdout
    shutil.rmtree(lake / "_decreta/index/code_graph/definition")
    assert "`definition.by_name` missing" in decreta("verify", str(many), *where, cwd=tmp_path).stdout
    for pack, dataset, code, words in (
        (many, "nothing", 2, "there is no dataset `nothing`"),
        (many, "scope", 2, "`scope` declares no index"),
        (code_graph, "definition", 4, "the policy builds no index of `definition`"),
    ):
        done = decreta("index", str(pack), dataset, *where, cwd=tmp_path)
        assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
    done = decreta("index", str(many), "--lake", str(tmp_path / "none"), cwd=tmp_path)
    assert (done.returncode, "does not exist" in done.stderr) == (2, True)
    with decreta_runtime.open(str(many), lake=str(lake)) as pack, pack.lake.locked("code_graph"):
        done = decreta("index", str(many), *where, cwd=tmp_path)
        assert (done.returncode, "R204" in done.stderr) == (4, True), done.stderr
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    assert {"built", "unchanged"} <= {row["action"] for row in rows if row["kind"] == "index"}


def test_killed_while_an_index_is_built(many: Path, lake: Path, right: Any) -> None:
    command = [sys.executable, "-m", "decreta_runtime", "index", str(many), "--rebuild", "--lake", str(lake)]
    env, killed = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}, 0
    begins = lake / "_decreta/index/code_graph/definition/by_name/_delta_log/00000000000000000000.json"
    for i in range(6):
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while begins.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(0.015 * i)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        with decreta_runtime.open(str(many), lake=str(lake)) as pack:
            assert answers(pack) == right
            assert {done.action for done in pack.index()} <= {"built", "updated", "unchanged"}
            assert {state.action for state in pack.index_states()} == {"current"}
            assert answers(pack) == right
    assert killed >= 3, "most kills met a living process"


def test_many_readers_see_rows_while_an_index_is_built_anew(many: Path, lake: Path, right: Any) -> None:
    command = [sys.executable, "-m", "decreta_runtime", "index", str(many), "--rebuild", "--lake", str(lake)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked = 0
    while process.poll() is None:
        with decreta_runtime.open(str(many), lake=str(lake)) as pack:
            assert answers(pack) == right
        asked += 1
    assert process.returncode == 0
    assert asked > 1


@pytest.fixture
def shop_index(shop: Path) -> Path:
    """The shop with an index of a table that others write, which a person has decided to build."""
    sale = shop / "specs/shop/objects/sale.yaml"
    sale.write_text(sale.read_text() + "indexes:\n  by_customer: {kind: term, column: customer_id}\n")
    (shop / "specs/shop/queries/sales_of.yaml").write_text(
        "query: sales_of\nsummary: What was sold to a customer.\nclass: interactive_query\n"
        "parameters: {customer: int64}\n"
        "body: SELECT s.sale_id FROM sale AS s WHERE s.customer_id = $customer ORDER BY s.sale_id\n"
    )
    (shop / "specs/shop/relations/sale_line.yaml").write_text(
        "relation: sale_line\nsummary: Sales, computed where they are read.\n"
        "body: SELECT s.sale_id, s.customer_id FROM sale AS s WHERE s.pieces > 0\n"
    )
    (shop / "specs/shop/queries/lines_of.yaml").write_text(
        "query: lines_of\nsummary: What was sold to a customer, by a view.\nclass: interactive_query\n"
        "parameters: {customer: int64}\n"
        "body: SELECT l.sale_id FROM sale_line AS l WHERE l.customer_id = $customer ORDER BY l.sale_id\n"
    )
    pack = compiled(shop, "shop")

    def build(policy: dict[str, Any]) -> None:
        value = {
            "build": True,
            "shapes": ["sales_of"],
            "memory_bytes": 1 << 20,
            "row_group_rows": 1_000,
            "compression": "zstd",
        }
        policy["index_policy_by_dataset"]["sale.by_customer"]["value"] = value

    edit_policy(pack, build)
    return pack


def sold(pack: Pack) -> list[list[int]]:
    return [pack.query("sales_of", customer=c)["sale_id"].to_pylist() for c in (1, 2, 3)]


def test_an_index_of_a_table_that_others_change(shop: Path, shop_index: Path, tmp_path: Path) -> None:
    place, lake = str(shop / "tables/sale"), str(tmp_path / "lake")
    sources = {name: str(shop / "tables" / name) for name in ("customer", "product", "sale")}
    with decreta_runtime.open(str(shop_index), lake=lake) as pack:
        pack.run(sources)
        assert sold(pack) == [[1, 2], [3], []]
        for i in range(5):
            write_deltalake(place, sales([(10 + i, 1 + i % 3, 7, 1)]), mode="append")
        pack.run(sources)
        assert sold(pack) == [[1, 2, 10, 13], [3, 11, 14], [12]]
        assert pack._readings["interactive_query"].scans["sale"].files == 6
        DeltaTable(place).optimize.compact()
        assert sold(pack) == [[1, 2, 10, 13], [3, 11, 14], [12]], "of the version that the run names"
        assert [d.action for d in pack.index()] == ["unchanged"]
        pack.run(sources)
        assert sold(pack) == [[1, 2, 10, 13], [3, 11, 14], [12]]
        DeltaTable(place).restore(2)
        pack.run(sources)
        assert sold(pack) == [[1, 2, 10], [3, 11], []]
        write_deltalake(place, sales([(99, 3, 7, 1)]), mode="overwrite")
        pack.run(sources)
        assert sold(pack) == [[], [], [99]]
        assert [s.action for s in pack.index_states()] == ["current"]
        shutil.rmtree(place)
        write_deltalake(place, sales([(5, 2, 7, 1)]))
        pack.run(sources)
        assert sold(pack) == [[], [5], []], "a table made anew has an index made anew"


def test_a_view_follows_the_files_that_another_shape_has_moved(shop: Path, shop_index: Path, tmp_path: Path) -> None:
    place = str(shop / "tables/sale")
    for i in range(4):
        write_deltalake(place, sales([(20 + i, 5 + i, 7, 1)]), mode="append")
    with decreta_runtime.open(str(shop_index), lake=str(tmp_path / "lake")) as pack:
        pack.run({n: str(shop / "tables" / n) for n in ("customer", "product", "sale")})
        assert pack.query("lines_of", customer=5)["sale_id"].to_pylist() == [20]
        assert pack.query("sales_of", customer=6)["sale_id"].to_pylist() == [21]
        assert pack.query("lines_of", customer=6)["sale_id"].to_pylist() == [21]
        assert pack.show("sale_line", limit=100).rows.num_rows == 7
        assert pack.query("lines_of", customer=8)["sale_id"].to_pylist() == [23]
        assert pack.show("sale_line", limit=100).rows.num_rows == 7


def test_another_index_of_the_same_name_is_built_anew(shop: Path, shop_index: Path, tmp_path: Path) -> None:
    lake, sources = str(tmp_path / "lake"), {n: str(shop / "tables" / n) for n in ("customer", "product", "sale")}
    with decreta_runtime.open(str(shop_index), lake=lake) as pack:
        pack.run(sources)
    sale = shop / "specs/shop/objects/sale.yaml"
    sale.write_text(sale.read_text().replace("column: customer_id", "columns: [customer_id, product_id]"))
    policy = json.loads((shop_index / "policy/local.json").read_bytes())["index_policy_by_dataset"]
    folder = compiled(shop, "shop")
    edit_policy(folder, lambda p: p.update(index_policy_by_dataset=policy))
    with decreta_runtime.open(str(folder), lake=lake) as pack:
        assert [s.action for s in pack.index_states()] == ["unreadable"]
        assert sold(pack) == [[1, 2], [3], []]
        assert [d.action for d in pack.index()] == ["built"]
        assert sold(pack) == [[1, 2], [3], []]
        assert [s.action for s in pack.index_states()] == ["current"]


def test_a_partition_column_is_not_indexed(shop: Path, shop_index: Path, tmp_path: Path) -> None:
    place, lake = str(shop / "tables/sale"), str(tmp_path / "lake")
    rows = pa.table(DeltaTable(place).scan().read_all())
    shutil.rmtree(place)
    write_deltalake(place, rows, partition_by=["customer_id"])
    with decreta_runtime.open(str(shop_index), lake=lake) as pack:
        pack.run({n: str(shop / "tables" / n) for n in ("customer", "product", "sale")})
        assert sold(pack) == [[1, 2], [3], []]
        failed = pack.index()
        assert [(d.action, "`customer_id` stands in the log" in d.words) for d in failed] == [("failed", True)]
