"""A value that takes a fact over rests on it: it is evidence, it weighs, and unknown it decides nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from decreta.decide import decide
from decreta.diagnostics import Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from decreta_runtime.contract.evidence import DatasetEvidence, EvidenceLock, Seen
from decreta_runtime.contract.policy import Decision
from tests.conftest import ROOT

RULES = """\
[domain.write]
order = ["write.sorted_and_looked_up", "write.sorted", "write.small", "write.baseline"]
min_confidence = "0.60"

[[rule]]
id = "write.small"
version = 1
when = "kind = 'relation' AND NOT sorted"
because = "One row group."

[rule.then]
mode = "replace"
sort = []
staging = "spill"
target_file_bytes = "$write.target_file_bytes"
row_group_rows = "$rows"
compression = "zstd"
bloom_columns = []
bloom_fpp = "$null_share"
conflict_retries = 5
conflict_wait_ms = 200
"""


def decided(tmp_path: Path, rows: Seen | None) -> Decision:
    """Return how `long_visit` is written, which has no sort, where so much is known of its rows."""
    base = tmp_path / "base"
    shutil.copytree(ROOT / "tests/corpus/base", base)
    (base / "specs/demo/rules/cache.toml").write_text(RULES.replace("$null_share", "$write.bloom_fpp"))
    report = Report()
    done = compile_pack(Project(base), "demo", report)
    assert done is not None, report.diagnostics()
    known = {"long_visit": DatasetEvidence(facts={"rows": rows}, columns={})} if rows else {}
    done.program.checked.resolved.evidence["local"] = EvidenceLock(format=1, datasets=known, views={})  # type: ignore[index]
    decisions = decide(done.program.checked, report)
    assert decisions is not None
    return decisions.policies["local"].write_policy_by_dataset["long_visit"]


@pytest.mark.parametrize(
    ("rows", "origin", "reason", "confidence"),
    [
        (None, "baseline", "unknown_fact", "0.00"),
        (Seen(value=5000, version=3, share="0.50"), "baseline", "low_confidence", "0.50"),
        (Seen(value=5000, version=3), "derived", None, "1.00"),
    ],
)
def test_a_decision_is_worth_what_its_value_rests_on(
    tmp_path: Path, rows: Seen | None, origin: str, reason: str | None, confidence: str
) -> None:
    decision = decided(tmp_path, rows)
    assert (decision.origin, decision.fallback_reason, decision.confidence_score) == (origin, reason, confidence)
    (evidence,) = [e for e in decision.evidence_sources if e.fact == "rows"]
    assert (evidence.value, evidence.version) == (rows.value if rows else None, rows.version if rows else None)
    assert (decision.value["row_group_rows"] == 5000) == (origin == "derived")


def test_what_nobody_has_looked_at_still_fits_or_does_not(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(ROOT / "tests/corpus/base", base)
    rules = base / "specs/demo/rules/cache.toml"
    for text, code in ((RULES, None), (RULES.replace('"$null_share"', '"$features"'), "D405")):
        rules.write_text(text)
        report = Report()
        done = compile_pack(Project(base), "demo", report)
        assert (done is None) == (code is not None)
        assert [d.code for d in report.diagnostics() if d.severity == "error"] == ([code] if code else [])
