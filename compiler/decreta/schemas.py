"""JSON Schemas of everything that people write and that decreta writes, from the models that read and write it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from pydantic import TypeAdapter

from decreta.model import spec
from decreta_runtime.contract.capabilities import CapabilityFile
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.contract.policy import PolicyFile
from decreta_runtime.contract.records import LedgerRow, RunRecord

SPECS: dict[str, Any] = {
    "object": spec.ObjectSpec,
    "relation": spec.RelationSpec,
    "query": spec.QuerySpec,
    "template": spec.TemplateSpec,
    "function": spec.FunctionSpec,
    "rules": spec.RulesSpec,
    "pack": spec.PackSpec,
    "env": spec.EnvironmentSpec,
}
"""Kind of spec → the model that reads it."""
FOLDERS = {
    "objects": "object",
    "relations": "relation",
    "queries": "query",
    "templates": "template",
    "functions": "function",
    "rules": "rules",
    "env": "env",
}
"""Folder of a pack → the kind of the specs in it; `pack.toml` stands above them."""
_ARTEFACTS = {
    "manifest": Manifest,
    "policy": PolicyFile,
    "capabilities": CapabilityFile,
    "run": RunRecord,
    "ledger": LedgerRow,
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXAMPLES: dict[str, list[Any]] = {
    "object": [
        {
            "object": "person",
            "version": "1.0.0",
            "summary": "Somebody.",
            "columns": {"person_id": {"type": "int64", "role": "identity", "domain": "person"}},
            "key": ["person_id"],
            "source": {"table": True},
        }
    ],
    "relation": [
        {
            "relation": "adult",
            "store": True,
            "body": "SELECT p.person_id FROM person AS p WHERE p.age >= 18",
            "key": ["person_id"],
        }
    ],
    "query": [
        {
            "query": "person_of",
            "summary": "One person.",
            "class": "interactive_query",
            "parameters": {"id": "int64"},
            "body": "SELECT p.name FROM person AS p WHERE p.person_id = $id",
        }
    ],
    "env": [{"lake": "lake", "engine": "datafusion-55.0.0+deltalake-1.6.6", "budgets": {"cores": 2}}],
}


def schemas() -> dict[str, bytes]:
    """Return the files of `generated/schemas/`."""
    found = {name: _of_spec(name, model) for name, model in SPECS.items()}
    found |= {name: _of_artefact(kind) for name, kind in _ARTEFACTS.items()}
    return {f"{name}.schema.json": _canonical(schema) for name, schema in sorted(found.items())}


def _of_spec(name: str, model: Any) -> dict[str, Any]:
    schema = {"$schema": _DIALECT, "title": name, **_any_of(TypeAdapter(model).json_schema(by_alias=True))}
    return schema | ({"examples": _EXAMPLES[name]} if name in _EXAMPLES else {})


def _of_artefact(kind: Any) -> dict[str, Any]:
    return {"$schema": _DIALECT, **msgspec.json.schema(kind)}


def _any_of(node: Any) -> Any:
    """Forms that the compiler tells apart by their keys may overlap as schemas: any of them will do."""
    if isinstance(node, dict):
        if "patternProperties" in node:
            node = {"additionalProperties": False, **node}  # names are closed too
        return {("anyOf" if key == "oneOf" else key): _any_of(value) for key, value in node.items()}
    return [_any_of(item) for item in node] if isinstance(node, list) else node


def _canonical(schema: dict[str, Any]) -> bytes:
    return (json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
