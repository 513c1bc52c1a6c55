"""What statements call, how volatile that makes a view, and what follows: rows that could differ are computed once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import decreta_runtime
from decreta.check.functions import called, worst
from decreta.diagnostics import Report
from decreta.pipeline import Compiled, compile_pack
from decreta.project import Project
from decreta_runtime.contract.policy import Policy
from tests.conftest import rows_of

KNOWN = {"count", "lower", "left", "random", "date_part", "current_date", "now", "coalesce", "replace", "row"}


@pytest.mark.parametrize(
    ("sql", "functions"),
    [
        ("SELECT COUNT(*) AS n, Lower(t.name) AS low FROM t", {"count", "lower"}),
        ("SELECT 'lower(x)' AS text, t.\"random\" AS r, t.count AS c FROM t", set()),
        ("SELECT a.x FROM a LEFT JOIN b ON a.x = b.x", set()),
        ("SELECT LEFT(a.x, 2) AS x FROM a -- random()", {"left"}),
        ("WITH random(a) AS (SELECT 1) SELECT a FROM random", set()),
        ("SELECT c.x FROM (VALUES (1)) AS count(x) CROSS JOIN c", set()),
        ("SELECT EXTRACT(YEAR FROM t.d) AS y, CURRENT_DATE AS today FROM t", {"date_part", "current_date"}),
        ("SELECT t.current_date AS d, 1 AS now FROM t", set()),
        ("SELECT SUM(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM t", set()),
        ("SELECT COALESCE(lower(t.a), (SELECT COUNT(1) FROM u)) AS a FROM t", {"coalesce", "lower", "count"}),
    ],
)
def test_calls_are_told_from_words(sql: str, functions: set[str]) -> None:
    assert set(called(sql, KNOWN)) == functions


def test_the_worst_volatility_counts() -> None:
    assert worst([]) == "immutable"
    assert worst(["stable", "immutable"]) == "stable"
    assert worst(["stable", "volatile", "immutable"]) == "volatile"


VIEWS = {
    "drawn": ("SELECT s.sale_id, random() AS lot FROM sale AS s", "key: [sale_id]\nvaries: {lot: any}\n"),
    "kept": (
        "SELECT d.sale_id, d.lot FROM drawn AS d",
        "store: true\nkey: [sale_id]\nvaries: {lot: any}\n"
        "checks:\n  all_of_them: {coverage: {of: drawn.lot, by: lot, at_least: 1}}\n",
    ),
    "after": ("SELECT k.sale_id, k.lot FROM kept AS k", "store: true\nkey: [sale_id]\nvaries: {lot: any}\n"),
    "dated": ("SELECT s.sale_id, CAST(now() AS date) AS seen FROM sale AS s", "varies: {seen: any}\n"),
    "inlined": (
        "SELECT d.sale_id, lower(CAST(d.seen AS varchar)) AS seen FROM dated AS d",
        "varies: {seen: any}\n",
    ),
    "latest": ("SELECT i.sale_id, i.seen FROM inlined AS i", "store: true\nkey: [sale_id]\nvaries: {seen: any}\n"),
}


@pytest.fixture
def views(shop: Path) -> Path:
    for name, (body, more) in VIEWS.items():
        text = f"relation: {name}\nsummary: Of {name}.\nbody: |\n  {body}\n{more}"
        (shop / f"specs/shop/relations/{name}.yaml").write_text(text)
    return shop


def compiled_shop(folder: Path) -> Compiled:
    report = Report()
    found = compile_pack(Project(folder), "shop", report)
    assert found is not None, [d.message for d in report.diagnostics()]
    return found


def test_volatility_is_inherited_until_rows_are_computed_once(views: Path) -> None:
    relations = compiled_shop(views).program.checked.relations
    found = {name: (relations[name].volatility, relations[name].cut_point) for name in VIEWS}
    assert found == {
        "drawn": ("volatile", "volatile"),  # its reader, its key check and a coverage check must see the same rows
        "kept": ("immutable", None),
        "after": ("immutable", None),
        "dated": ("stable", None),  # read once, by no check
        "inlined": ("stable", None),
        "latest": ("stable", None),
    }
    assert relations["inlined"].functions == ("lower",)


def test_one_check_makes_a_view_that_could_differ_a_cut(views: Path) -> None:
    path = views / "specs/shop/relations/inlined.yaml"
    path.write_text(path.read_text() + "checks:\n  said: {where: seen <> ''}\n")
    relations = compiled_shop(views).program.checked.relations
    assert relations["inlined"].cut_point == "volatile"
    assert relations["latest"].volatility == "immutable", "its input is computed once"
    path.write_text(path.read_text().replace("CAST(d.seen AS varchar)", "CAST(d.sale_id AS varchar)"))
    dated = views / "specs/shop/relations/dated.yaml"
    dated.write_text(dated.read_text().replace("CAST(now() AS date)", "CAST('2024-01-01' AS date)"))
    assert compiled_shop(views).program.checked.relations["inlined"].cut_point is None


def test_checks_see_the_rows_that_readers_see(views: Path, tmp_path: Path) -> None:
    """Were `drawn` computed for the check anew, it would hold other rows than `kept`."""
    files = compiled_shop(views).files
    for path, data in files.items():
        target = tmp_path / "generated/shop" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    lake = tmp_path / "lake"
    places = {name: str(views / "tables" / name) for name in ("sale", "product", "customer")}
    for _ in range(2):
        with decreta_runtime.open(str(tmp_path / "generated/shop"), lake=str(lake)) as pack:
            pack.run(places)
            assert rows_of(lake / "shop/kept") == rows_of(lake / "shop/after")
        shutil.rmtree(lake)


def test_requirements_say_what_each_view_and_shape_calls(views: Path) -> None:
    files = compiled_shop(views).files
    functions = Policy(files["policy/local.json"]).functions
    drawn: dict[str, Any] = functions("drawn").value
    assert {name: (r.origin, r.volatility, r.arguments, r.digest) for name, r in drawn.items()} == {
        "random": ("engine", "volatile", None, None)
    }
    assert functions("drawn").pointer == "/udf_requirements_by_view/drawn"
    assert {n: r.volatility for n, r in functions("dated").value.items()} == {"current_timestamp": "stable"}
