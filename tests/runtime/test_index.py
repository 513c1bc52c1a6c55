"""An index narrows and never loses: its candidates hold every matching file, whatever became of table and index."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import SessionContext
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import compiled, edit_policy

import decreta_runtime
from decreta_runtime.contract.errors import LakeUnusable
from decreta_runtime.contract.manifest import Ask, AskValue, Column
from decreta_runtime.index import narrowed_by, open_index, relative_files, update_index
from decreta_runtime.scan import Pinned

TERM = (Column(name="name", type="string", nullable=True),)
PAIR = (Column(name="kind", type="int64", nullable=True), Column(name="name", type="string", nullable=True))
MEMORY = 1 << 20
NAMES = ["a", "it's", "ab", "abc", "b", "é", "zz", "", None]


def pinned(path: Path, version: int | None = None) -> Pinned:
    table = DeltaTable(str(path), version=version)
    return Pinned("t", path, table.version(), table)


def append(path: Path, rows: list[tuple[Any, Any]]) -> None:
    kinds, names = zip(*rows, strict=True)
    table = pa.table({"kind": pa.array(kinds, pa.int64()), "name": pa.array(names, pa.string())})
    write_deltalake(str(path), table, mode="append")


def ask(column: str, op: str, *values: Any) -> Ask:
    return Ask(column=column, op=op, values=tuple(AskValue(literal=value) for value in values))  # type: ignore[arg-type]


def holding(table: Pinned, condition: Any) -> set[str]:
    """Return the files that hold a matching row, by reading all of them."""
    import pyarrow.parquet as pq

    found = set()
    for name, path in zip(relative_files(table), table.files, strict=True):
        rows = pq.read_table(path).cast(pa.schema([("kind", pa.int64()), ("name", pa.string())]))
        if rows.filter(condition).num_rows:
            found.add(name)
    return found


CONDITIONS = [
    (lambda v: [ask("name", "=", v)], lambda v: pc.field("name") == v),
    (lambda v: [ask("name", "in", v, "b")], lambda v: pc.field("name").isin([v, "b"])),
    (lambda v: [ask("name", "like", v + "%")], lambda v: pc.starts_with(pc.field("name"), v)),
    (lambda v: [ask("name", "=", v), ask("kind", "=", 1)], lambda v: (pc.field("name") == v) & (pc.field("kind") == 1)),
]
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"), st.lists(st.tuples(st.integers(0, 2), st.sampled_from(NAMES)), min_size=1, max_size=4)
        ),
        st.tuples(st.just("delete"), st.sampled_from(["kind = 1", "name = 'ab'", "name IS NULL"])),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(
            st.just("overwrite"), st.lists(st.tuples(st.integers(0, 2), st.sampled_from(NAMES)), min_size=1, max_size=3)
        ),
        st.tuples(st.just("restore"), st.integers(0, 3)),
        st.tuples(st.just("index"), st.none()),
        st.tuples(st.just("lose index"), st.none()),
    ),
    max_size=8,
)


def take(step: tuple[str, Any], table: Path, index: Path, columns: tuple[Column, ...], context: SessionContext) -> None:
    kind, what = step
    handle = DeltaTable(str(table))
    if kind == "append":
        append(table, what)
    elif kind == "overwrite":
        kinds, names = zip(*what, strict=True)
        rows = pa.table({"kind": pa.array(kinds, pa.int64()), "name": pa.array(names, pa.string())})
        write_deltalake(str(table), rows, mode="overwrite")
    elif kind == "delete":
        handle.delete(what)
    elif kind == "compact":
        handle.optimize.compact()
    elif kind == "restore" and what and handle.version():
        handle.restore(max(0, handle.version() - what))
    elif kind == "index":
        update_index(context, pinned(table), columns, index)
    elif kind == "lose index":
        shutil.rmtree(index, ignore_errors=True)


@pytest.mark.parametrize("memory", [MEMORY, 0], ids=["in memory", "asked anew"])
@pytest.mark.parametrize("columns", [TERM, PAIR], ids=["one", "two"])
def test_candidates_hold_every_matching_file(columns: tuple[Column, ...], memory: int) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=steps, value=st.sampled_from(["a", "ab", "é", "it's", "", "nowhere"]))
    def law(steps: list[tuple[str, Any]], value: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            table, index = Path(folder) / "t", Path(folder) / "i"
            context = SessionContext()
            append(table, [(0, "a"), (1, "ab"), (2, None)])
            for step in steps:
                take(step, table, index, columns, context)
            now = pinned(table)
            found = open_index(index, columns, now, memory)
            for make, condition in CONDITIONS:
                kept = None if found is None else narrowed_by(found, now, [make(value)], {})
                names = dict(zip(now.files, relative_files(now), strict=True))
                candidates = set(names.values()) if kept is None else {names[path] for path in kept}
                assert candidates >= holding(now, condition(value))

    law()


def test_an_index_opens_one_file_of_many(tmp_path: Path) -> None:
    table, index, context = tmp_path / "a table", tmp_path / "index", SessionContext()
    for i in range(12):
        append(table, [(k, f"n{(k * 7 + i) % 60}") for k in range(0, 60, 12)])
    done = update_index(context, pinned(table), TERM, index)
    assert (done.files_added, done.files_removed, done.rows) == (12, 0, 12 + 60)
    now = pinned(table)
    found = open_index(index, TERM, now, MEMORY)
    assert found is not None
    kept = narrowed_by(found, now, [[ask("name", "=", "n3")]], {})
    assert kept is not None
    names = dict(zip(now.files, relative_files(now), strict=True))
    assert {names[path] for path in kept} == holding(now, pc.field("name") == "n3")
    assert len(kept) < 3
    assert narrowed_by(found, now, [[ask("name", "like", "%3")]], {}) is None, "no prefix, no use"
    assert narrowed_by(found, now, [[ask("kind", "=", 3)]], {}) is None, "not its column"
    assert narrowed_by(found, now, [[ask("name", "=", None)]], {}) == ()


def test_an_index_is_brought_up_to_date_by_what_is_new(tmp_path: Path) -> None:
    table, index, context = tmp_path / "t", tmp_path / "i", SessionContext()
    append(table, [(0, "a")])
    assert update_index(context, pinned(table), TERM, index).files_added == 1
    append(table, [(1, "b")])
    append(table, [(2, None)])
    done = update_index(context, pinned(table), TERM, index)
    assert (done.files_added, done.files_removed, done.version) == (2, 0, 1)
    assert update_index(context, pinned(table), TERM, index).version == 1, "nothing new, nothing written"
    DeltaTable(str(table)).optimize.compact()
    done = update_index(context, pinned(table), TERM, index)
    assert (done.files_added, done.files_removed, done.rows) == (1, 3, 1 + 3)
    old = open_index(index, TERM, pinned(table), MEMORY)
    assert old is not None
    assert narrowed_by(old, pinned(table, 2), [[ask("name", "=", "b")]], {}) == pinned(table, 2).files, "unknown: read"


def test_a_partition_column_is_not_indexed(tmp_path: Path) -> None:
    """Its values are not in the files: an index would know the files and not the terms."""
    rows = pa.table({"kind": pa.array([1, 2]), "name": ["a", "b"]})
    write_deltalake(str(tmp_path / "t"), rows, partition_by=["name"])
    with pytest.raises(LakeUnusable, match="`name` stands in the log"):
        update_index(SessionContext(), pinned(tmp_path / "t"), TERM, tmp_path / "i")


# -- in runs and look-ups


def many_files(policy: dict[str, Any]) -> None:
    """Write many files, and use the index."""
    write = policy["write_policy_by_dataset"]["definition"]
    for value in (write["value"], write["otherwise"]):
        value |= {"target_file_bytes": 1, "row_group_rows": 100, "sort": ["file_id"]}
    policy["maintenance_policy_by_dataset"]["definition"]["value"]["triggers"] = {}  # which would bring them together
    policy["index_policy_by_dataset"]["definition.by_name"]["value"] = {
        "build": True, "shapes": ["symbol_lookup"], "memory_bytes": 1 << 20,
    }  # fmt: skip
    policy["index_policy_by_dataset"]["definition.by_name"] |= {
        "requires": ["index_readable"], "otherwise": {"build": True, "shapes": [], "memory_bytes": 0},
    }  # fmt: skip


@pytest.fixture
def looked_up(code_graph: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A compiled code graph that uses its index, a source with many names, and a lake."""
    source = tmp_path / "many"
    source.mkdir()
    for i in range(6):
        (source / f"m{i}.py").write_text("\n".join(f"name_{i}_{k} = {k}" for k in range(2_000)) + "\n")
    edit_policy(code_graph, many_files)
    return code_graph, source, tmp_path / "lake"


def look_up(pack: Path, lake: Path, name: str) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of a look-up, and how many files it listed."""
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        rows = opened.query("symbol_lookup", name=name).to_pylist()
        return rows, len(opened._readings["interactive_query"].scans["definition"].listed)


def test_a_look_up_lists_the_files_of_its_term(looked_up: tuple[Path, Path, Path]) -> None:
    pack, source, lake = looked_up
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run({"python": str(source)})
    total = len(DeltaTable(str(lake / "code_graph/definition")).file_uris())
    rows, listed = look_up(pack, lake, "name_3_777")
    assert (len(rows), listed) == (1, 1) and total > 10
    assert look_up(pack, lake, "nowhere") == ([], 0)
    shutil.rmtree(lake / "_decreta/index")
    without, listed = look_up(pack, lake, "name_3_777")
    assert without == rows and listed > 1, "all files that the log's statistics leave"


def test_a_view_follows_the_files_that_each_look_up_lists(project: Path, looked_up: tuple[Path, Path, Path]) -> None:
    """A view keeps the tables that it was made over: what one look-up left out, the next one may ask for."""
    _, source, lake = looked_up
    (project / "specs/code_graph/relations/named.yaml").write_text(
        "relation: named\nversion: 1.0.0\nexport: true\nstore: false\nsummary: Names.\n"
        "body: SELECT d.definition_id, d.name FROM definition AS d WHERE d.name IS NOT NULL\n"
    )
    (project / "specs/code_graph/queries/named_so.yaml").write_text(
        "query: named_so\nsummary: By a view.\nclass: interactive_query\nparameters: {name: string}\n"
        "example: {name: a}\nbody: SELECT n.name FROM named AS n WHERE n.name = $name\n"
    )
    pack = compiled(project, "code_graph")
    edit_policy(pack, many_files)
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run({"python": str(source)})
        for name in ("name_3_777", "name_0_1", "name_5_1999", "nowhere", "name_3_777"):
            wanted = [] if name == "nowhere" else [name]
            assert opened.query("named_so", name=name)["name"].to_pylist() == wanted
            assert opened.query("symbol_lookup", name=name).num_rows == len(wanted)
            listed = opened._readings["interactive_query"].scans["definition"].listed
            assert len(listed) < len(DeltaTable(str(lake / "code_graph/definition")).file_uris()) / 2


@pytest.mark.parametrize("harm", ["log", "data", "other columns"])
def test_a_broken_index_is_not_used_and_built_anew(looked_up: tuple[Path, Path, Path], harm: str) -> None:
    pack, source, lake = looked_up
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run({"python": str(source)})
    rows, _ = look_up(pack, lake, "name_3_777")
    index = lake / "_decreta/index/code_graph/definition/by_name"
    if harm == "log":
        next((index / "_delta_log").glob("*.json")).write_text("{")
    elif harm == "data":
        next(index.glob("*.parquet")).write_bytes(b"PAR1")
    else:
        write_deltalake(str(index), pa.table({"other": [1]}), mode="overwrite", schema_mode="overwrite")
    found, listed = look_up(pack, lake, "name_3_777")
    assert found == rows and listed > 1
    ledger = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    assert {r["action"] for r in ledger if r["kind"] == "guard" and r["subject"] == "definition.by_name"} == {
        "index_readable: holds", "index_readable: fails",
    }  # fmt: skip
    (source / "more.py").write_text("one_more = 1\n")
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run({"python": str(source)})
    assert look_up(pack, lake, "name_3_777")[1] == 1
    assert look_up(pack, lake, "one_more")[1] == 1


def test_an_index_that_cannot_be_written_holds_no_run_up(looked_up: tuple[Path, Path, Path]) -> None:
    pack, source, lake = looked_up
    (lake / "_decreta").mkdir(parents=True)
    (lake / "_decreta/index").write_text("in the way")
    said: list[str] = []
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run({"python": str(source)}, lambda stage, words: said.append(f"{stage}: {words}"))
    assert any(words.startswith("index: definition.by_name is not up to date") for words in said)
    assert len(look_up(pack, lake, "name_3_777")[0]) == 1
