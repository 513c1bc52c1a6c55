"""The page about a pack: self-contained, escaped, legible, and the same figures as `kpi`; opened in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from deltalake import write_deltalake
from msgspec.structs import replace

import decreta_runtime
from decreta.page import page as drawn
from decreta_runtime.contract.kpi import PruningPoint, PruningTrend
from decreta_runtime.contract.policy import Evidence
from decreta_runtime.contract.profile import Advice, Limit, ShapeProfile, TableProfile
from decreta_runtime.contract.report import LineageNode, Report, ReportedMaintenance
from tests.conftest import ROOT, Command, compiled, run_command, sales, shop_tables

HOSTILE = "<script>document.title='gone'</script>&\"'"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BROWSER = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium here: install Debian's package `chromium`"
)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose summary is hostile, run twice and asked."""
    folder = tmp_path_factory.mktemp("report") / "shop"
    shutil.copytree(ROOT / "tests/packs/shop", folder, ignore=shutil.ignore_patterns("generated", ".decreta"))
    (spec,) = [p for p in (folder / "specs/shop/relations").glob("*.yaml") if p.stem == "revenue"]
    spec.write_text(re.sub(r"(?m)^summary:.*$", f"summary: {json.dumps(HOSTILE)}", spec.read_text()))
    shop_tables(folder / "tables")
    pack = str(compiled(folder, "shop"))
    for sale in (8, 9):
        write_deltalake(str(folder / "tables/sale"), sales([(sale, 3, 8, 2)]), mode="append")
        with decreta_runtime.open(pack) as opened:
            opened.run()
            opened.query("revenue_of", customer=1)
    return folder


@pytest.fixture(scope="module")
def page(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "report.html"
    done = run_command("report", "shop", "-o", str(target), cwd=shop)
    assert done.returncode == 0, done.stderr
    return target


def test_the_page_is_small_and_self_contained(page: Path) -> None:
    text = page.read_text()
    assert len(text.encode()) < 500 * 1024
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", text), "nothing is fetched"
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert "default-src &#39;none&#39;" in policy and "unsafe" not in policy
    assert "<script>document" not in text and "on" + "click=" not in text


@pytest.fixture(scope="module")
def told(shop: Path) -> Report:
    """What the shop's page is made from."""
    done = run_command("report", "shop", "--json", cwd=shop)
    return msgspec.json.decode(done.stdout, type=Report)


def often(times: int, tables: int) -> list[ReportedMaintenance]:
    """Return what a lake tells whose tables were often due."""
    first = ReportedMaintenance(
        run_seq=1, at="2026-01-01T00:00:00Z", dataset="", cause=("small_files",), done=("compact",), why=None,
        files_before=9, files_after=1, bytes_written=1000, seconds=0.1,
    )  # fmt: skip
    return [replace(first, dataset=f"table_{i % tables}", files_after=1 + i % tables) for i in range(times)]


def test_it_stays_small_whatever_the_lake_has_seen(told: Report) -> None:
    fact = Evidence(fact="a_long_name_of_a_fact", value="x" * 60, source="statistics", confidence="0.90")
    decision, shape = replace(told.decisions[0], evidence=(fact,) * 400), told.profile.shapes[0]
    shapes = (replace(shape, tables=shape.tables * 300),) * 40
    names = [f"node_{i}" for i in range(400)]
    crowded = replace(
        told,
        decisions=(decision,) * 1000,
        profile=replace(told.profile, shapes=shapes),
        maintenance=tuple(often(40_000, 500)),
        lineage=tuple(
            LineageNode(name=name, kind="relation", stored=True, summary="", inputs=tuple(names[:i]))
            for i, name in enumerate(names)
        ),
    )
    text = drawn(crowded)
    assert len(text.encode()) < 500 * 1024
    for shown, what in (("data-decision=", "decisions"), ("<h3>revenue_of", "shapes"), ("data-node=", "tables and")):
        more = re.search(rf"and [\d,]+ more {what}", text)
        assert text.count(shown) > 1 and more is not None, what
    assert re.search(r"and \d+ more</span></dd>", text), "evidence that was cut is counted"
    assert drawn(told) == drawn(replace(told)) and "more decisions" not in drawn(told), "nothing is cut for nothing"


def test_each_table_has_a_line_of_its_own(told: Report) -> None:
    text = drawn(replace(told, maintenance=tuple(often(6, 2))))
    lines = re.findall(r'aria-label="files of (\w+) over time"><polyline points="([^"]+)"', text)
    assert [(name, line.count(",")) for name, line in lines] == [("table_0", 3), ("table_1", 3)]
    assert "no table was due twice" in drawn(replace(told, maintenance=tuple(often(2, 2))))


def test_a_trend_without_scores_says_of_how_many_runs(told: Report) -> None:
    blank = {"policy_digest": told.policy_digest, "queries": 1, "known": 0, "bytes_avoided": 0, "bytes_avoidable": 0}
    points = tuple(PruningPoint(run_seq=run, score=None, **blank) for run in range(11))
    trend = {"interactive_query": PruningTrend(points=points, change=None)}
    text = drawn(replace(told, kpi=replace(told.kpi, pruning_effectiveness_trend=trend)))
    assert "known over 0 of 11 runs looked up in" in text


def test_its_data_is_what_kpi_says(shop: Path, decreta: Command) -> None:
    done = decreta("report", "shop", "--json", cwd=shop)
    figures = decreta("kpi", "shop", "--json", cwd=shop)
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["kpi"] == json.loads(figures.stdout)
    jsonschema.validate(report, json.loads((ROOT / "generated/schemas/report.schema.json").read_text()))
    jsonschema.validate(report["kpi"], json.loads((ROOT / "generated/schemas/kpi.schema.json").read_text()))
    assert [run["run_seq"] for run in report["runs"]] == [1, 2]
    assert {node["name"] for node in report["lineage"]} >= {"sale", "revenue", "revenue_of"}


def test_without_a_place_it_says_so(shop: Path, decreta: Command) -> None:
    done = decreta("report", "shop", cwd=shop)
    assert done.returncode == 2 and "-o FILE" in done.stderr and "Traceback" not in done.stderr
    both = decreta("report", "shop", "--json", "-o", "page.html", cwd=shop)
    assert both.returncode == 2 and not both.stdout and not (shop / "page.html").exists()


@pytest.mark.parametrize("place", ["", ".", "/", "specs"])
def test_a_folder_is_no_place_for_a_page(shop: Path, decreta: Command, place: str) -> None:
    done = decreta("report", "shop", "-o", place, cwd=shop)
    assert (done.returncode, "error[R101]" in done.stderr) == (2, True), done.stderr


def test_overrides_are_those_of_the_packs_own_specs(shop: Path, decreta: Command, tmp_path: Path) -> None:
    """However the pack is named, and nothing is said of them where its specs are not to be seen."""

    def told(verb: str, pack: str | Path, cwd: Path) -> Any:
        done = decreta(verb, str(pack), "--lake", str(shop / "lake"), "--json", cwd=cwd)
        found = json.loads(done.stdout)
        return found.get("kpi", found)["overrides"]

    alone = Path(shutil.copytree(shop / "generated/shop", tmp_path / "shop"))
    for verb in ("kpi", "report"):
        for pack, cwd in (("shop", shop), ("generated/shop", shop), (shop / "generated/shop", tmp_path), (alone, shop)):
            assert told(verb, pack, cwd) == {"alive": 0, "expired": 0}, "there is no lock, and so no override"
        assert told(verb, alone, tmp_path) is None
    bounds = ("--fail-over", "overrides.expired=0")
    assert decreta("kpi", "shop", *bounds, cwd=shop).returncode == 0
    done = decreta("kpi", str(alone), "--lake", str(shop / "lake"), *bounds, cwd=tmp_path)
    assert done.returncode == 1 and "overrides.expired is unknown: locks stand in the specs" in done.stderr


@pytest.mark.parametrize(
    ("bound", "status", "words"),
    [
        ("writes_using_outcome_based_maintenance.share=1.00", 0, ""),
        ("runs=3", 1, "runs is 2, below 3"),
        ("artifact_replay_success_rate=0.99", 1, "artifact_replay_success_rate is unknown"),
        ("runz=1", 2, "did you mean"),
        ("runs", 2, "NAME=VALUE"),
    ],
)
def test_a_figure_below_its_bound_fails(shop: Path, decreta: Command, bound: str, status: int, words: str) -> None:
    done = decreta("kpi", "shop", "--fail-under", bound, cwd=shop)
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr


def test_what_was_not_met_counts_as_none(shop: Path, decreta: Command) -> None:
    """A gate may be about a mode, a reason or a guard that nothing has yet; a word that is none of them is no figure."""
    absent = (
        "decisions.by_mode.warn",
        "decisions.by_origin.declared",
        "decisions.by_confidence.0.5",
        "decisions.by_fallback_reason.low_confidence",
        "fallbacks.by_reason.low_confidence",
        "fallbacks.by_guard.index_readable.failed",
        "confidence.by_band.0.5.wrong",
        "confidence.by_evidence.shadow",
    )
    figures = json.loads(decreta("kpi", "shop", "--json", cwd=shop).stdout)
    assert not {"warn", "declared"} & {*figures["decisions"]["by_mode"], *figures["decisions"]["by_origin"]}
    bounds = [word for name in absent for word in ("--fail-over", f"{name}=0")]
    done = decreta("kpi", "shop", *bounds, cwd=shop)
    assert done.returncode == 0, done.stderr
    failed = decreta("kpi", "shop", *[word.replace("over", "under").replace("=0", "=1") for word in bounds], cwd=shop)
    assert failed.returncode == 1 and failed.stderr.count("is 0, below 1") == len(absent), failed.stderr
    assert (
        "did you mean `decisions.by_mode.warn`"
        in decreta("kpi", "shop", "--fail-over", "decisions.by_mode.warm=0", cwd=shop).stderr
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "CI has a browser"
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield found
        found.close()


def opened(browser: Any, page: Path, **options: Any) -> tuple[Any, list[str]]:
    """Open the page; return it, and all that it asked of a network or complained of."""
    view = browser.new_context(**options).new_page()
    noise: list[str] = []
    view.on("console", lambda message: noise.append(message.text))
    view.on("pageerror", lambda error: noise.append(str(error)))
    view.on("request", lambda asked: None if asked.url.startswith("file:") else noise.append(asked.url))
    view.goto(page.as_uri())
    return view, noise


@BROWSER
def test_it_is_read_and_clicked_through(browser: Any, page: Path, tmp_path: Path) -> None:
    view, noise = opened(browser, page)
    assert view.title() == "shop in local: decreta report"
    for section in ("figures", "decisions", "fallbacks", "shadow", "pruning", "maintenance", "runs", "lineage"):
        view.click(f'nav a[href="#{section}"]')
        assert view.is_visible(f"section#{section} h2")
    every = view.locator("[data-decision]:visible").count()
    view.fill("#words", "scan/")
    some = view.locator("[data-decision]:visible").count()
    assert 0 < some < every and view.inner_text("#found") == f"{some} of {every} shown"
    view.locator("[data-decision]:visible summary").first.click()
    assert view.locator("details[open] dl").count() == 1
    for node in view.query_selector_all("[data-node]"):
        (said,) = re.findall(r"(\d+) decisions$", node.get_attribute("aria-label"))
        node.click()
        assert view.inner_text("#found") == f"{said} of {every} shown"
    view.click('[data-node="revenue"]')
    assert view.input_value("#subject") == "revenue" and view.input_value("#words") == ""
    view.screenshot(path=str(tmp_path / "report.png"), full_page=True)
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert noise == []


@BROWSER
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_anybody_can_read_it(browser: Any, page: Path, scheme: str) -> None:
    """By a screen reader and by bad eyes, in light and dark; on a phone nothing is cut off."""
    from axe_playwright_python.sync_playwright import Axe

    view, noise = opened(browser, page, color_scheme=scheme, viewport={"width": 360, "height": 740}, bypass_csp=True)
    assert view.evaluate("document.documentElement.scrollWidth") <= 360
    for each in view.query_selector_all("details"):
        each.evaluate("node => { node.open = true }")
    found = Axe().run(view)
    assert found.violations_count == 0, found.generate_report()
    assert noise == []


@BROWSER
def test_long_words_do_not_widen_it(browser: Any, told: Report, tmp_path: Path) -> None:
    """Names and paths that nothing breaks: a phone scrolls the page one way only."""
    word = "specs/" + "very_long_" * 30
    path = Advice(edit=word, says=word, files_now=None, files_then=None, bytes_now=None, bytes_then=None)
    limit = Limit(kind="no_condition", column=None, says=word)
    (first, *_) = told.profile.shapes[0].tables
    table = TableProfile(dataset=word, ladder=first.ladder, limits=(limit,), advice=(path,))
    fields = msgspec.structs.asdict(told.profile.shapes[0]) | {"shape": word, "workload": word, "tables": (table,)}
    decisions = [replace(each, subject=word, rule=word, because=word) for each in told.decisions[:3]]
    profile = replace(told.profile, shapes=(ShapeProfile(**fields),))
    target = tmp_path / "long.html"
    target.write_text(drawn(replace(told, pack=word, profile=profile, decisions=tuple(decisions))))
    view, _ = opened(browser, target, viewport={"width": 360, "height": 740})
    for each in view.query_selector_all("details"):
        each.evaluate("node => { node.open = true }")
    assert view.evaluate("document.documentElement.scrollWidth") <= 360
