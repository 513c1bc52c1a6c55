"""Write the reference from what is obeyed: models of specs, the contract's artefacts, and the tables of facts.

`python -m decreta.reference FOLDER` writes `reference/*.md` and `facts.md` below it; `make docs` calls it.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from decreta.estimates import DERIVED
from decreta.facts import Documented, documented
from decreta.model.spec import ConfidenceSpec
from decreta.schemas import SPECS, schemas
from decreta_runtime.contract.capabilities import FEATURES, Feature

_MADE = "<!-- Made by `make docs`. Do not edit. -->\n\n"
_RULES = Path(__file__).resolve().parents[2] / "specs" / "std" / "rules"
_OF_SUBJECTS = {
    "Datasets": ("scan", "write"),
    "Views": ("cache",),
    "Indexes": ("index",),
    "Workload classes": ("session",),
}
"""Whose facts → the domains that decide for them."""
_FACT_HEAD = ("| fact | type | unit | source | what it says |", "|---|---|---|---|---|")
_FACTS = """What the rules of a domain may read of its subjects. A fact that nobody has looked at is unknown: no
predicate holds on it, and it is worth 0.00. Facts of source *statistics* and *outcome* come from the environment's
evidence lock, `locks/<env>.evidence.json`, which `decreta observe` writes and a person reviews; they carry the table
version, or the `run_seq`, at which they were written. A value is written anew when it leaves its power-of-two band.
"""
_CAPABILITIES = """Every domain may also read `capability.<feature>`, a bool of source *capability*: what `make
probe` saw of the environment's engine versions, in `specs/std/capabilities`.
"""
_WORTH = """Decimals of two places, rounded down; from `specs/std/rules/confidence.toml`, over which a pack may lay its
own `[confidence]`. A decision is worth the weakest fact of its explanation; below its domain's `min_confidence` the
baseline stands.
"""


def reference() -> dict[str, str]:
    """Return the pages, each under its path in the folder of docs."""
    found = {name.removesuffix(".schema.json"): json.loads(data) for name, data in schemas().items()}
    specs = [_section(name, found[name]) for name in SPECS]
    artefacts = [_section(name, schema) for name, schema in found.items() if name not in SPECS]
    return {
        "facts.md": _MADE + "# Facts\n\n" + _facts(),
        "reference/spec.md": _MADE + "# Specs, key by key\n\n" + "\n".join(specs),
        "reference/capabilities.md": _MADE
        + "# Capabilities: what a probe must see, and what relies on it\n\n"
        + _features(),
        "reference/policy.md": _MADE
        + "# What decreta writes: manifest, policy, records, evidence\n\n"
        + "\n".join(artefacts),
    }


def _facts() -> str:
    """Return the page of facts: what rules may read, what each source is worth, how estimates are made."""
    parts = [_FACTS]
    for title, tables in _OF_SUBJECTS.items():
        rows = [_fact(fact) for fact in documented() if set(fact.domains) & set(tables)]
        domains = ", ".join(f"`{name}`" for name in tables)
        parts += [f"## {title}\n\nFor rules of {domains}.\n", *_FACT_HEAD, *rows, ""]
    parts += [_CAPABILITIES, "## What facts are worth\n", "| source | worth | of what |", "|---|---|---|"]
    worth = ConfidenceSpec(**_confidence())
    forms = json.loads(schemas()["rules.schema.json"])["$defs"]["ConfidenceSpec"]["properties"]
    for name, form in forms.items():
        value = getattr(worth, name)
        said = "0.00" if value is None else ", ".join(value) if isinstance(value, list) else value
        parts.append(f"| {name} | {said} | {form['description']} |")
    parts += ["", _WORTH, "## How estimates are made\n"]
    parts += [f"- **{what}**: {how}" for what, how in DERIVED.items()]
    return "\n".join([*parts, ""])


def _fact(fact: Documented) -> str:
    info = fact.info
    values = ", ".join(f"`{value}`" for value in info.values)
    source = f"{info.source}, a bound" if info.bound else info.source
    kind = f"{info.type}: {values}" if values else info.type
    return f"| `{fact.name}` | {kind} | {info.unit or ''} | {source} | {info.summary} |"


def _confidence() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((_RULES / "confidence.toml").read_text(encoding="utf-8"))["confidence"]
    return found


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
        f"| `{key}` | {_form(form)} | {'yes' if key in schema.get('required', ()) else _default(form)} |{_said(form)}"
        for key, form in schema.get("properties", {}).items()
    ]
    head = ["| key | form | needed | what |", "|---|---|---|---|"] if rows else []
    return "\n".join([*([words, ""] if words else []), *head, *rows, ""])


def _said(form: dict[str, Any]) -> str:
    return f" {form.get('description', '')} |".replace("  ", " ")


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
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
