"""Names decide nothing: no pack is known to compiler or runtime, and renaming everything in one changes nothing else."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, compiled

LANGUAGE = {"name", "kind", "key", "file", "import", "day", "rank", "valid_from", "valid_to", "module", "scope", "level",
            "target", "path", "depth", "reference", "definition", "source", "role"}  # fmt: skip
"""Names that are words of the language, of SQL or of a template's output as well, which a search by word would hit too."""

PYTHON = {"is_package"}
"""A word of Python's import machinery that is a column of a pack as well."""


def manifest(pack: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "generated" / pack / "manifest.json").read_bytes())
    return found


def names(pack: str) -> set[str]:
    found = manifest(pack)
    tables = {**found["objects"], **found["relations"]}
    return {*tables, *found["queries"], *(c["name"] for table in tables.values() for c in table["columns"])}


@pytest.mark.parametrize("pack", ["code_graph", "retail"])
def test_nothing_in_compiler_or_runtime_names_a_pack(pack: str) -> None:
    """Neither code nor words: not the pack, nor a table, query or column of it that is no plain word of English."""
    own = {name for name in names(pack) if "_" in name} - LANGUAGE | {pack, "lineitem", "partsupp"}
    folders = [ROOT / "compiler/decreta", ROOT / "runtime/decreta_runtime"]
    sources = [p for folder in folders for kind in ("py", "j2") for p in folder.rglob(f"*.{kind}")]
    assert len(sources) > 100
    found = {}
    for path in sources:
        if "starter" not in path.parts:  # what `init` lays out is a project of its own
            words = set(re.findall(r"\w+", path.read_text()))
            found[path.name] = own & words - PYTHON
    assert {name: hits for name, hits in found.items() if hits} == {}


@pytest.mark.parametrize("pack", ["code_graph", "retail"])
def test_renaming_everything_changes_nothing_but_names(tmp_path: Path, pack: str) -> None:
    renamed = names(pack) - LANGUAGE
    assert len(renamed) > 48
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    words = re.compile(r"(?<![\w/@])(" + "|".join(sorted(renamed, key=len, reverse=True)) + r")(?![\w/])")
    spanned = tmp_path / "specs/std/templates/spanned.yaml"  # gives objects columns that packs name
    for path in (*sorted((tmp_path / "specs" / pack).rglob("*")), spanned):
        if path.suffix in (".yaml", ".sql", ".json"):
            path.write_text(words.sub(lambda found: "zz_" + found[1], path.read_text()))
            if path.stem in renamed:
                path.rename(path.with_name("zz_" + path.name))
    other = compiled(tmp_path, pack)
    for file in ("manifest.json", "policy/local.json", "policy/prod.json"):
        before = json.loads((ROOT / "generated" / pack / file).read_bytes())
        after = json.loads((other / file).read_text().replace("zz_", ""))
        assert plain(after) == plain(before), file
    for path in sorted((ROOT / "generated" / pack / "relations").glob("*.py")):
        twin = next(p for p in (other / "relations").glob("*.py") if p.name.removeprefix("zz_") == path.name)
        assert counted(twin.read_text().replace("zz_", "")) == counted(path.read_text()), path.name


def counted(text: str) -> Counter[str]:
    """Return how often each word occurs: lists that are sorted by name come in another order."""
    return Counter(re.findall(r"\w+|[^\w\s,]", text))


def plain(node: Any) -> Any:
    """Leave out digests, which names are part of, and the order of names, which is theirs."""
    if isinstance(node, dict):
        return {
            k: plain(v) for k, v in node.items() if k not in ("files", "choice_id") and not str(v).startswith("sha256:")
        }
    if isinstance(node, list):
        return sorted((plain(item) for item in node), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(node, str) and ("SELECT" in node or '"' in node):
        return sorted(re.findall(r"\w+", node))
    return node
