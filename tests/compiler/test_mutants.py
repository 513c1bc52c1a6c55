"""Random damage to specs: the compiler accepts or refuses it with words, and never breaks down."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from decreta.diagnostics import Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from tests.conftest import ROOT

MUTANTS = 200
NEAR = 3
"""Lines between a mutation and the place that a message names."""
_PIECES = ["{", "}", "[", "]", ":", "- ", "'", '"', "\t", "#", "|", "x", "0", "1.5", "null", "true", "$a", "@b", "(", ")", "é", "\\",
           "SELECT ", " FROM ", "*", ";", "--", ",", "[[rule]]\n", "=", "UNNEST(x)", "NULL", " UNION ALL SELECT 1 AS a", "CARRY(l)"]  # fmt: skip


def damage(text: str, draw: random.Random) -> tuple[str, int]:
    """Return `text` with one random edit, of the kinds that fingers make, and the line it is on."""
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
    return "\n".join(lines), i + 1


def test_random_damage_is_accepted_or_refused_with_words(tmp_path: Path) -> None:
    hunt(tmp_path, random.Random(1), MUTANTS)


def hunt(tmp_path: Path, draw: random.Random, mutants: int) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    files = [p for p in (tmp_path / "specs").rglob("*") if p.suffix in (".yaml", ".toml", ".sql")]
    refused = near = 0
    missed: list[str] = []
    for _ in range(mutants):
        path = draw.choice(sorted(files))
        text = path.read_text()
        damaged, line = damage(text, draw)
        path.write_text(damaged)
        report = Report()
        try:
            compiled = compile_pack(Project(tmp_path), _pack(path, draw), report)
        except Exception as error:
            raise AssertionError(f"{path.name} broke the compiler:\n{path.read_text()}") from error
        found = report.diagnostics()
        found = [d for d in found if d.severity == "error"]
        assert (compiled is None) == bool(found), path.read_text()
        if found:
            refused += 1
            name = path.relative_to(tmp_path).as_posix()
            places = [d.span for d in found] + [r.span for d in found for r in d.related]
            if any(s.file == name and s.line - NEAR <= line <= s.end_line + NEAR for s in places):
                near += 1
            else:
                missed.append(
                    f"{name}:{line} {damaged.splitlines()[line - 1 : line]}: {found[0].span} {found[0].message}"
                )
        path.write_text(text)
    assert refused > mutants / 3
    print("\n".join(missed))
    assert near >= refused * 0.95, (near, refused, missed)


def _pack(path: Path, draw: random.Random) -> str:
    """Return the pack that a file belongs to; the library is part of each."""
    return next(
        (name for name in ("code_graph", "retail") if name in path.parts), draw.choice(["code_graph", "retail"])
    )


@pytest.mark.parametrize(
    "line",
    ["\tversion: 1.0.0", "summary: a\0b", "key: &k [file_id]", "key: *k", "version: 1.0.0\nversion: 1.0.0",
     "summary: no", "summary: 2024-01-01", "summary: 0o17", "summary: 08", "summary: 1:30", "summary: 1e3", "summary: 1.5e3",
     "summary: 1_000.5", "summary: 0x_1F", "summary: =", "summary: ~", "<<: {a: 1}",
     "summary: !!str x", "summary:\tx", 'summary: "a\\0b"', '"a\\0b": 1', "key: [a,\tb]", "key: [a] \t# b"],
)  # fmt: skip
def test_what_reads_differently_than_it_looks_is_always_refused(tmp_path: Path, line: str) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    for path in sorted((tmp_path / "specs/code_graph").rglob("*.yaml"))[::4]:
        text = path.read_text()
        path.write_text(text.replace("summary: ", f"{line}\nsummary: ", 1))
        report = Report()
        assert compile_pack(Project(tmp_path), "code_graph", report) is None
        name = path.relative_to(tmp_path).as_posix()
        assert name in {d.span.file for d in report.diagnostics()}, report.diagnostics()
        path.write_text(text)


@pytest.mark.parametrize(
    "line",
    [
        "id = 1\nid = 1",
        "because = 'a\0b'",
        'because = "a\\u0000b"',
        "[domain.cache]\n[domain.cache]",
        "a.b = 1\na.b = 2",
    ],
)
def test_rules_that_read_differently_than_they_look_are_always_refused(tmp_path: Path, line: str) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    path = tmp_path / "specs/std/rules/cache.toml"
    path.write_text(line + "\n" + path.read_text())
    report = Report()
    assert compile_pack(Project(tmp_path), "code_graph", report) is None
    assert {d.span.file for d in report.diagnostics()} == {"specs/std/rules/cache.toml"}
