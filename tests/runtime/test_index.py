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
