"""Names decide nothing: no pack is known to compiler or runtime, and renaming everything in one changes nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, compiled

LANGUAGE = {"name", "kind", "key", "file", "import", "day", "rank", "valid_from", "valid_to", "module", "scope", "level",
            "target", "path", "depth", "reference", "definition", "source"}  # fmt: skip
"""Names that are words of the language, of SQL or of a template's output as well, which a search by word would hit too."""


def manifest(pack: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "generated" / pack / "manifest.json").read_bytes())
    return found


def names(pack: str) -> set[str]:
    found = manifest(pack)
    tables = {**found["objects"], **found["relations"]}
    return {*tables, *found["queries"], *(c["name"] for table in tables.values() for c in table["columns"])}


@pytest.mark.parametrize("pack", ["code_graph", "retail"])
def test_nothing_in_compiler_or_runtime_names_a_pack(pack: str) -> None:
    own = {name for name in names(pack) if "_" in name and name not in LANGUAGE} | {pack}
    sources = [p for folder in ("compiler/decreta", "runtime/decreta_runtime") for p in (ROOT / folder).rglob("*.py")]
    # What `init` lays out is a project of its own; examples in help and docstrings name packs, code must not.
    sources = [p for p in sources if "starter" not in p.parts]
    found = {}
    for path in sources:
        code = re.sub(r'"""(?:.|\n)*?"""|#.*|help=".*"|`[^`]*`', "", path.read_text())
        if hits := own & set(re.findall(r"[a-z_]+", code)) - {"order_by", "row_number"}:
            found[path.name] = hits
    assert {name: hits for name, hits in found.items() if pack in hits or len(hits) > 2} == {}


@pytest.mark.parametrize("pack", ["retail"])
def test_renaming_everything_changes_nothing_but_names(tmp_path: Path, pack: str) -> None:
    renamed = names(pack) - LANGUAGE
    assert len(renamed) > 80
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    words = re.compile(r"(?<![\w/@])(" + "|".join(sorted(renamed, key=len, reverse=True)) + r")(?![\w/])")
    for path in sorted((tmp_path / "specs" / pack).rglob("*")):
        if path.suffix in (".yaml", ".sql", ".json"):
            path.write_text(words.sub(lambda found: "zz_" + found[1], path.read_text()))
            if path.stem in renamed:
                path.rename(path.with_name("zz_" + path.name))
    other = compiled(tmp_path, pack)
    for file in ("manifest.json", "policy/local.json"):
        before = json.loads((ROOT / "generated" / pack / file).read_bytes())
        after = json.loads((other / file).read_text().replace("zz_", ""))
        assert plain(after) == plain(before), file


def plain(node: Any) -> Any:
    """Leave out digests, which names are part of, and the order of names, which is theirs."""
    if isinstance(node, dict):
        return {
            k: plain(v) for k, v in node.items() if k not in ("files", "choice_id") and not str(v).startswith("sha256:")
        }
    if isinstance(node, list):
        return sorted((plain(item) for item in node), key=repr)
    if isinstance(node, str) and ("SELECT" in node or '"' in node):
        return sorted(re.findall(r"\w+", node))
    return node
