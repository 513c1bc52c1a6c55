"""How many rows a view may have: seen, or at most what its inputs allow, and unknown where nothing bounds it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from decreta.diagnostics import Report
from decreta.facts import gather
from decreta.model.facts import Fact
from decreta.pipeline import compile_pack
from decreta.project import Project
from decreta_runtime.contract.evidence import DatasetEvidence, EvidenceLock, Seen
from tests.conftest import ROOT

VISITS, PEOPLE = 1000, 5000
JOIN = "JOIN person AS p ON p.person_id = v.person_id"


def estimated(tmp_path: Path, body: str, rows: Seen | None = None) -> dict[str, Fact]:
    """Return the facts of a view over visits and people whose numbers of rows are known."""
    base = tmp_path / "base"
    shutil.copytree(ROOT / "tests/corpus/base", base)
    (base / "specs/demo/relations/asked.yaml").write_text(f"relation: asked\nstore: true\nbody: |\n  {body}\n")
    report = Report()
    done = compile_pack(Project(base), "demo", report)
    assert done is not None, report.diagnostics()
    known = {"visit": VISITS, "person": PEOPLE}
    datasets = {
        name: DatasetEvidence(facts={"rows": Seen(value=count, version=1)}, columns={}) for name, count in known.items()
    }
    views = {"asked": {"rows": rows}} if rows else {}
    checked = done.program.checked
    lock = EvidenceLock(format=1, datasets=datasets, views=views)
    return gather(checked, lock, checked.resolved.rules.worth).rows["cache"]["asked"]


@pytest.mark.parametrize(
    ("body", "rows", "confidence"),
    [
        ("SELECT v.visit_id FROM visit AS v WHERE v.minutes > 3", VISITS, "0.80"),
        (f"SELECT v.visit_id, p.kind FROM visit AS v {JOIN}", VISITS, "0.80"),
        (f"SELECT v.visit_id, p.kind FROM visit AS v LEFT {JOIN}", VISITS, "0.80"),
        ("SELECT v.place, count(*) AS n FROM visit AS v GROUP BY v.place", VISITS, "0.80"),
        ("SELECT count(*) AS n FROM visit AS v", 1, "1.00"),
        ("SELECT v.person_id FROM visit AS v UNION ALL SELECT p.person_id FROM person AS p", VISITS + PEOPLE, "0.80"),
    ],
)
def test_inputs_bound_rows(tmp_path: Path, body: str, rows: int, confidence: str) -> None:
    found = estimated(tmp_path, body)["estimated_rows"]
    assert (found.value, found.confidence) == (rows, confidence)
    assert found.derivation


@pytest.mark.parametrize(
    "body",
    [
        f"SELECT v.visit_id, p.person_id FROM visit AS v RIGHT {JOIN}",
        f"SELECT v.visit_id, p.person_id FROM visit AS v FULL {JOIN}",
        "SELECT v.visit_id, unnest(make_array(1, 2, 3)) AS n FROM visit AS v",
        "SELECT v.place, count(*) AS n FROM visit AS v GROUP BY ROLLUP (v.place)",
        "SELECT v.place, v.person_id, count(*) AS n FROM visit AS v GROUP BY GROUPING SETS ((v.place), (v.person_id))",
        "SELECT v.visit_id FROM visit AS v, person AS p",
        "SELECT a.visit_id FROM visit AS a JOIN visit AS b ON a.place = b.place",
    ],
)
def test_what_adds_rows_is_unknown(tmp_path: Path, body: str) -> None:
    found = estimated(tmp_path, body)
    assert (found["estimated_rows"].value, found["estimated_rows"].confidence) == (None, "0.00")
    assert found["estimated_bytes"].value is None


def test_what_was_seen_stands_before_what_is_derived(tmp_path: Path) -> None:
    found = estimated(tmp_path, "SELECT v.visit_id FROM visit AS v", Seen(value=7, version=3, runs=2))["estimated_rows"]
    assert (found.value, found.confidence, found.version, found.derivation) == (7, "0.70", 3, None)
