"""Conservation: every key that somebody writes in a spec is read by a stage that lowers it, or is an error."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import decreta.resolve
import decreta.resolve.rulebook
import decreta.resolve.templates
from decreta.diagnostics import Report
from decreta.model import spec
from decreta.pipeline import compile_pack
from decreta.project import Project
from tests.conftest import ROOT

INFORMS = {
    ("PackSpec", "summary"),
    ("ThresholdSpec", "because"),
    (
        "ConfidenceSpec",
        "bound",
    ),  # read where a lock bounds a column that look-ups compare: tests/compiler/test_evidence.py
    ("ConfidenceSpec", "calibrated"),  # read where a lock of calibration turns a threshold
    ("BudgetSpec", "because"),
    ("RelationParameter", "summary"),
    ("RelationsParameter", "summary"),
    ("OneOfParameter", "summary"),
    ("ScalarParameter", "summary"),
    ("ScalarFunctionSpec", "summary"),
    ("RelationTemplateSpec", "summary"),
    ("ObjectTemplateSpec", "summary"),
    ("TableFunctionSpec", "summary"),
}
"""Fields that tell people something: `decreta template show`, editors and reviewers read them."""
UNION = {("ObjectTemplateSpec", "kind"), ("RelationTemplateSpec", "kind"), ("ScalarFunctionSpec", "kind"),
         ("TableFunctionSpec", "kind"), ("TableSpec", "table")}  # fmt: skip
"""Fields that say which form a spec has; the model that reads it is the answer."""


UNITED = """\
relation: anybody
store: true
summary: Those who live somewhere or went somewhere.
use: std/union@1
with:
  inputs: [person, visit]
  columns: [person_id]
"""


class Watch:
    """Notes which fields of which spec are read once specs are validated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: set[tuple[str, str]] = set()
        self.kept: list[BaseModel] = []
        self.watching = True
        watch, plain = self, spec.Spec.__getattribute__

        def noting(instance: Any, name: str) -> Any:
            if watch.watching and not name.startswith(("_", "model_")):
                watch.read.add((type(instance).__name__, name))
            return plain(instance, name)

        monkeypatch.setattr(spec.Spec, "__getattribute__", noting)
        for module in (decreta.resolve, decreta.resolve.rulebook, decreta.resolve.templates):
            original = module.validate

            def keeping(doc: Any, form: Any, report: Report, original: Any = original) -> Any:
                found = original(doc, form, report)
                if found is not None:
                    self.kept.append(found)
                return found

            monkeypatch.setattr(module, "validate", keeping)

    def unread(self) -> set[tuple[str, str]]:
        """Return the fields that somebody wrote and no stage read of any spec."""
        self.watching = False
        return used(self.kept, set()) - self.read - INFORMS - UNION


def used(node: Any, found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    if isinstance(node, BaseModel):
        for name in node.model_fields_set:
            found.add((type(node).__name__, name))
            used(getattr(node, name), found)
    elif isinstance(node, dict | list | tuple):
        for inner in node.values() if isinstance(node, dict) else node:
            used(inner, found)
    return found


def projects(tmp_path: Path) -> list[tuple[Path, str]]:
    base = tmp_path / "base"
    shutil.copytree(ROOT / "tests/corpus/base", base)
    (base / "specs/demo/relations/anybody.yaml").write_text(UNITED)  # the packs unite nothing by template
    return [
        (ROOT, "code_graph"),
        (ROOT, "retail"),
        (ROOT / "tests/packs/graph", "graph"),
        (ROOT / "tests/packs/shop", "shop"),
        (base, "demo"),
    ]


def test_every_field_that_is_written_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    watch = Watch(monkeypatch)
    for folder, pack in projects(tmp_path):
        report = Report()
        assert compile_pack(Project(folder), pack, report) is not None, report.diagnostics()
    assert watch.unread() == set()
    assert len(watch.kept) > 100


def test_a_field_that_nobody_reads_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The watch itself can fail: a model with one field more than lowering knows is told."""

    class Coloured(spec.PackSpec):
        colour: str = "red"

    monkeypatch.setattr(spec, "PackSpec", Coloured)
    watch = Watch(monkeypatch)
    folder = tmp_path / "base"
    shutil.copytree(ROOT / "tests/corpus/base", folder)
    header = folder / "specs/demo/pack.toml"
    header.write_text('colour = "blue"\n' + header.read_text())
    assert compile_pack(Project(folder), "demo", Report()) is not None
    assert ("Coloured", "colour") in watch.unread()
