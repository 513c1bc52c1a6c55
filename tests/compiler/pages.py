"""The pages of all diagnostics, from the table of codes and the corpus: `docs/diagnostics.md`, which the wheel carries."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from decreta.codes import CODES

HEAD = """# Diagnostics

What each code means, why decreta insists, and what to do; then what is written wrong (`-`) and how it is mended (`+`), and
what the compiler says. `decreta explain CODE` shows one. Made from `compiler/decreta/codes.py` and `tests/corpus` by `make bless`.
"""


def pages(corpus: Path) -> str:
    """Return the text of all pages."""
    cases = sorted(path for path in corpus.iterdir() if path.name != "base")
    found = [HEAD]
    for code, page in sorted(CODES.items()):
        found.append(f"## {code}: {page.title}\n\n{page.why}\n\nWhat to do: {page.mend}\n")
        found += [_example(case, corpus / "base") for case in cases if case.name.startswith(code + "-")]
    return "\n".join(found)


def _example(case: Path, base: Path) -> str:
    title = case.name.partition("-")[2].replace("-", " ")
    changes = "\n".join(_changes(case, base))
    told = (case / "expected.txt").read_text().rpartition("\n1 ")[0]
    return f"### {title}\n\n```diff\n{changes}\n```\n\n```text\n{told}\n```\n"


def _changes(case: Path, base: Path) -> Iterator[str]:
    sides = [_files(case / side) for side in ("input", "mended")]
    for path in sorted({*sides[0], *sides[1]}):
        wrong, right = (side.get(path) or _read(base / path) for side in sides)
        if wrong != right:
            yield path
            lines = difflib.unified_diff(wrong, right, lineterm="", n=1)
            yield from (line for line in lines if not line.startswith(("---", "+++", "@@")))


def _files(folder: Path) -> dict[str, list[str]]:
    return {p.relative_to(folder).as_posix(): _read(p) for p in folder.rglob("*") if p.is_file()}


def _read(path: Path) -> list[str]:
    return path.read_bytes().decode(errors="backslashreplace").splitlines() if path.is_file() else []
