"""Write the reference from what is obeyed: specs from their models, artefacts from the contract.

`python -m decreta.reference FOLDER` writes `spec.md`, `policy.md` and `capabilities.md`; `make docs` calls it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from decreta.schemas import SPECS, schemas
from decreta_runtime.contract.capabilities import FEATURES, Feature

_MADE = "<!-- Made by `make docs`. Do not edit. -->\n\n"


def reference() -> dict[str, str]:
    """Return the pages, each under its file name."""
    found = {name.removesuffix(".schema.json"): json.loads(data) for name, data in schemas().items()}
    specs = [_section(name, found[name]) for name in SPECS]
    artefacts = [_section(name, schema) for name, schema in found.items() if name not in SPECS]
    return {
        "spec.md": _MADE + "# Specs, key by key\n\n" + "\n".join(specs),
        "capabilities.md": _MADE + "# Capabilities: what a probe must see, and what relies on it\n\n" + _features(),
        "policy.md": _MADE + "# What decreta writes: manifest, policy, records\n\n" + "\n".join(artefacts),
    }


def _features() -> str:
    rows = [f"| `{name}` | {f.relied_on_by} | {f.summary} |" for name, f in FEATURES.items()]
    words = " ".join((Feature.__doc__ or "").split())
    return "\n".join([words, "", "| feature | for | seen when |", "|---|---|---|", *rows, ""])


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


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in reference().items():
        (folder / name).write_text(text)
