"""A new project works at once, from nothing and from tables that exist."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.conftest import run_command


def ok(*args: str, cwd: Path) -> str:
    done = run_command(*args, cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_new_project_works_at_once(tmp_path: Path) -> None:
    ok("init", "corner_shop", cwd=tmp_path)
    folder = tmp_path / "corner_shop"
    ok("check", cwd=folder)
    ok("generate", cwd=folder)
    ok("generate", "--check", cwd=folder)
    ok("test", "corner_shop", cwd=folder)
    ok("run", "corner_shop", cwd=folder)
    answer = ok("query", "corner_shop", "spent_by", "--param", "customer=ada", "--format", "json", cwd=folder)
    assert json.loads(answer) == [{"customer": "ada", "order_count": 2, "spent": "19.75"}]
    specs = sorted((folder / "specs").rglob("*.yaml"))
    for path in specs:
        first = path.read_text().splitlines()[0]
        schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")
        assert schema.resolve().is_file(), first
    ok("schema", *map(str, specs), cwd=folder)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    done = run_command("init", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert run_command("init", "1 + 1", cwd=tmp_path).returncode == 2
    assert "no word of Python" in run_command("init", "class", cwd=tmp_path).stderr
    (tmp_path / "fresh/.git").mkdir(parents=True)
    ok("init", "fresh", cwd=tmp_path)


def test_objects_of_tables_that_exist(tmp_path: Path) -> None:
    n = 50
    write_deltalake(
        str(tmp_path / "Orders 2024"),
        pa.table(
            {
                "order_id": pa.array(range(n)),
                "line": pa.array([i % 5 for i in range(n)], pa.int32()),
                "day": pa.array([date(2024, 1, 1 + i % 28) for i in range(n)]),
                "amount": pa.array([Decimal("1.50")] * n, pa.decimal128(12, 2)),
                "note": pa.array([None if i % 7 == 0 else "x" for i in range(n)]),
                "tags": pa.array([["a"]] * n),
                "where": pa.array([{"x": 1}] * n),
                "Total": pa.array([1.0] * n),
            }
        ),
        partition_by=["day"],
    )
    write_deltalake(
        str(tmp_path / "line"),
        pa.table({"order_id": [1, 1, 2], "number": [1, 2, 1], "price": [1.0, 2.0, 3.0]}),
    )
    write_deltalake(str(tmp_path / "empty"), pa.table({"a": pa.array([], pa.int64())}))
    urls = [str(tmp_path / name) for name in ("Orders 2024", "line", "empty")]
    ok("init", "project", "--pack", "adopted", "--from-delta", *urls, cwd=tmp_path)
    folder = tmp_path / "project"
    text = (folder / "specs/adopted/objects/orders_2024.yaml").read_text()
    assert "key: [order_id]  # unique in 50 rows" in text
    assert 'amount: {type: "decimal(12,2)"}' in text
    assert "note: {type: string, nullable: true}" in text
    assert "# partitioned by day" in text
    assert "left out: where is struct" in text
    assert "left out: 'Total' is no name" in text
    assert "domain: ?" in text
    assert "key: [order_id, number]" in (folder / "specs/adopted/objects/line.yaml").read_text()
    assert "# key: [?]  # the table is empty" in (folder / "specs/adopted/objects/empty.yaml").read_text()
    ok("generate", cwd=folder)
    ok("test", "adopted", cwd=folder)
    ok("run", "adopted", cwd=folder)
    rows = json.loads(ok("sql", "adopted", "SELECT count(*) AS n FROM orders_2024", "--format", "json", cwd=folder))
    assert rows == [{"n": 50}]


def test_tables_with_odd_names_and_types(tmp_path: Path) -> None:
    words = ["no", "on", "y", "null", "true", "order", "class"]
    write_deltalake(
        str(tmp_path / "no"),
        pa.table(
            {
                **{word: pa.array([1, 2]) for word in words},
                "deep": pa.array([[[1]], [[2]]], pa.list_(pa.list_(pa.int64()))),
                "a\nb": pa.array([{"x\ny": 1}, {"x\ny": 2}]),
                "c": pa.array([{"x\ny": 1}, {"x\ny": 2}]),
                "at": pa.array([0, 1], pa.timestamp("us", "UTC")),
                "here": pa.array([0, 1], pa.timestamp("us")),
            }
        ),
    )
    ok("init", "project", "--pack", "adopted", "--from-delta", "no", cwd=tmp_path)
    folder = tmp_path / "project"
    text = (folder / "specs/adopted/objects/no.yaml").read_text()
    assert 'object: "no"' in text
    assert '  "null": {type: int64}  # 2 distinct' in text
    assert "left out: deep is list<element: list<element: int64>>" in text
    assert "at: {type: timestamp}" in text
    assert "here: {type: timestamp_local}" in text
    ok("generate", cwd=folder)
    ok("test", "adopted", cwd=folder)
    ok("run", "adopted", cwd=folder)


def test_a_table_without_its_files_is_said(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "lost"), pa.table({"a": [1]}))
    for file in (tmp_path / "lost").glob("*.parquet"):
        file.unlink()
    done = run_command("init", "project", "--from-delta", "lost", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("url", ["nowhere", "."])
def test_what_is_no_table_is_said(tmp_path: Path, url: str) -> None:
    done = run_command("init", "project", "--from-delta", url, cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no Delta table" in done.stderr
    assert not (tmp_path / "project").exists()
