"""Write the reference from what is obeyed: specs from their models, artefacts from the contract, codes from the corpus.

`python -m decreta.reference FOLDER CORPUS` writes `spec.md`, `policy.md` and `codes.md`; `make docs` calls it.
"""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import Any

from decreta.codes import CODES
from decreta.schemas import SPECS, schemas

_MADE = "<!-- Made by `make docs`. Do not edit. -->\n\n"


def reference(corpus: Path) -> dict[str, str]:
    """Return the pages, each under its file name."""
    found = {name.removesuffix(".schema.json"): json.loads(data) for name, data in schemas().items()}
    specs = [_section(name, found[name]) for name in SPECS]
    artefacts = [_section(name, schema) for name, schema in found.items() if name not in SPECS]
    return {
        "spec.md": _MADE + "# Specs, key by key\n\n" + "\n".join(specs),
        "policy.md": _MADE + "# What decreta writes: manifest, policy, records\n\n" + "\n".join(artefacts),
        "codes.md": _MADE + "# Mistakes\n\n" + "\n".join(_code(code, corpus) for code in CODES),
    }


def _section(name: str, schema: dict[str, Any]) -> str:
    parts = [f"## {name}\n"]
    if "properties" in schema:
        parts.append(_table(schema))
    parts += [f"### {name}: {key}\n\n{_table(form)}" for key, form in sorted(schema.get("$defs", {}).items())]
    return "\n".join(parts)


def _table(schema: dict[str, Any]) -> str:
    words = " ".join(str(schema.get("description", "")).split())
    rows = [
        f"| `{key}` | {_form(form)} | {'yes' if key in schema.get('required', ()) else _default(form)} |"
        for key, form in schema.get("properties", {}).items()
    ]
    head = ["| key | form | needed |", "|---|---|---|"] if rows else []
    return "\n".join([*([words, ""] if words else []), *head, *rows, ""])


def _form(form: dict[str, Any]) -> str:
    if "$ref" in form:
        return str(form["$ref"]).rpartition("/")[2]
    if "anyOf" in form:
        return " or ".join(dict.fromkeys(_form(f) for f in form["anyOf"] if f.get("type") != "null"))
    if "enum" in form or "const" in form:
        return " or ".join(f"`{value}`" for value in form.get("enum", [form.get("const")]))
    if form.get("type") == "array":
        return f"list of {_form(form.get('items', {}))}"
    if form.get("type") == "object":
        inner = form.get("additionalProperties") or next(iter(form.get("patternProperties", {}).values()), None)
        return f"names with {_form(inner)}" if isinstance(inner, dict) else "names with values"
    kind = form.get("type", "any value")
    return str(kind) + (f" `{form['pattern']}`".replace("|", "\\|") if "pattern" in form else "")


def _default(form: dict[str, Any]) -> str:
    default = form.get("default")
    return "no" if default in (None, [], {}) else f"no (`{json.dumps(default)}`)"


def _code(code: str, corpus: Path) -> str:
    page = CODES[code]
    lines = [f"## {code}: {page.title}", "", page.why, "", f"What to do: {page.mend}", ""]
    for case in sorted(corpus.glob(f"{code}-*")):
        lines += ["```", (case / "expected.txt").read_text().rstrip(), "```", "", "```diff", *_mended(case), "```", ""]
    return "\n".join(lines)


def _mended(case: Path) -> list[str]:
    """Return the difference between a mistake and what mends it."""
    sides = [{p.relative_to(case / s): p for p in (case / s).rglob("*") if p.is_file()} for s in ("input", "mended")]
    found: list[str] = []
    for path in sorted({*sides[0], *sides[1]}):
        old, new = (_lines(side.get(path)) for side in sides)
        found += [line for line in difflib.unified_diff(old, new, lineterm="", n=0) if line[:3] not in ("---", "+++")]
    return [line for line in found if not line.startswith("@@")]


def _lines(path: Path | None) -> list[str]:
    return path.read_bytes().decode(errors="replace").splitlines() if path else []


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in reference(Path(sys.argv[2])).items():
        (folder / name).write_text(text)
