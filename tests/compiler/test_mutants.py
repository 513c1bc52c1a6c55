"""Random damage to specs: the compiler accepts or refuses it with words, and never breaks down."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from decreta.diagnostics import Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from tests.conftest import ROOT

MUTANTS = 120
_PIECES = ["{", "}", "[", "]", ":", "- ", "'", '"', "\t", "#", "|", "x", "0", "1.5", "null", "true", "$a", "@b", "(", ")", "é", "\\",
           "SELECT ", " FROM ", "*", ";", "--", ",", "[[rule]]\n", "=", "UNNEST(x)", "NULL", " UNION ALL SELECT 1 AS a", "CARRY(l)"]  # fmt: skip


def damage(text: str, draw: random.Random) -> str:
    """Return `text` with one random edit, of the kinds that fingers make."""
    lines = text.split("\n")
    i = draw.randrange(len(lines))
    kind = draw.randrange(6)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(i, lines[draw.randrange(len(lines))])
    elif kind == 2:
        words = lines[i].split(" ")
        j = draw.randrange(len(words))
        words[j] = draw.choice(draw.choice(lines).split(" "))
        lines[i] = " ".join(words)
    else:
        at = draw.randrange(len(lines[i]) + 1)
        cut = draw.choice([0, 0, 1, 3])
        lines[i] = lines[i][:at] + (draw.choice(_PIECES) if kind < 5 else "") + lines[i][at + cut :]
    return "\n".join(lines)


def test_random_damage_is_accepted_or_refused_with_words(tmp_path: Path) -> None:
    hunt(tmp_path, random.Random(1), MUTANTS)


def hunt(tmp_path: Path, draw: random.Random, mutants: int) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    files = [p for p in (tmp_path / "specs").rglob("*") if p.suffix in (".yaml", ".toml", ".sql")]
    refused = near = 0
    for _ in range(mutants):
        path = draw.choice(sorted(files))
        text = path.read_text()
        path.write_text(damage(text, draw))
        report = Report()
        try:
            compiled = compile_pack(Project(tmp_path), "code_graph", report)
        except Exception as error:
            raise AssertionError(f"{path.name} broke the compiler:\n{path.read_text()}") from error
        found = report.diagnostics()
        assert (compiled is None) == bool(found), path.read_text()
        if found:
            refused += 1
            name = path.relative_to(tmp_path).as_posix()
            places = [d.span.file for d in found] + [r.span.file for d in found for r in d.related]
            near += name in places
        path.write_text(text)
    assert refused > mutants / 3
    assert near >= refused * 0.9, (near, refused)
