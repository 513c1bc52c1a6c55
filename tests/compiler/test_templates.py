"""Every template of the library, applied to the rows of each of its examples in a project of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, compiled, run_command
from tests.packs.templates.project import write_project

LIBRARY = ROOT / "specs" / "std"


def test_examples_of_every_template_hold(tmp_path: Path) -> None:
    relations = write_project(tmp_path, LIBRARY)
    pack = compiled(tmp_path, "templates")
    done = run_command("test", "templates", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for name in relations:
        text = (pack / "tests" / f"test_{name}.py").read_text()
        assert "TEST.example(" in text, f"no example of {name} became a test"


@pytest.mark.parametrize("path", sorted((LIBRARY / "templates").glob("*.yaml")), ids=lambda p: p.stem)
def test_templates_are_documented(path: Path) -> None:
    spec = YAML(typ="safe").load(path)
    assert spec["summary"].endswith(".")
    if spec["kind"] == "relation":
        assert spec["examples"]
        assert [name for name, parameter in spec["parameters"].items() if not parameter.get("summary")] == []
