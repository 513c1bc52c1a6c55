"""JSON Schemas of everything that people write and that decreta writes, from the models that read and write it."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import msgspec
from pydantic import TypeAdapter

from decreta.model import spec
from decreta_runtime.contract import kpi, manifest, policy, records, report
from decreta_runtime.contract.calibration import CalibrationLock
from decreta_runtime.contract.capabilities import CapabilityFile
from decreta_runtime.contract.evidence import EvidenceLock, Observations
from decreta_runtime.contract.integrity import Verification
from decreta_runtime.contract.kpi import Kpi
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.contract.policy import PolicyFile
from decreta_runtime.contract.profile import Profile
from decreta_runtime.contract.records import ComputeDetail, LedgerRow, QueryDetail, RunRecord, ShadowDetail
from decreta_runtime.contract.report import Report
from decreta_runtime.contract.rollout import RolloutReport

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
    "shadow": ShadowDetail,
    "query_detail": QueryDetail,
    "compute_detail": ComputeDetail,
    "kpi": Kpi,
    "report": Report,
    "rollout": RolloutReport,
    "verification": Verification,
    "profile": Profile,
    "observations": Observations,
    "evidence": EvidenceLock,
    "calibration": CalibrationLock,
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
    "template": [
        {
            "template": "longer_than",
            "version": "1.0.0",
            "kind": "relation",
            "summary": "The rows above a bound.",
            "parameters": {
                "input": {"relation": {"id": "@identity", "size": "column"}},
                "least": {"type": "int", "default": 60},
            },
            "provides": {"key": ["id"]},
            "body": "SELECT i.id AS id, CARRY(i) FROM input AS i WHERE i.size >= $least",
        },
        {
            "template": "named",
            "version": "1.0.0",
            "kind": "object",
            "summary": "What has a name.",
            "columns": {"name": {"type": "string", "role": "symbol"}},
        },
    ],
    "function": [
        {
            "function": "tidy",
            "kind": "scalar",
            "summary": "The text without spaces around it.",
            "module": "words",
            "arguments": {"text": "string"},
            "returns": "string",
            "volatility": "immutable",
        }
    ],
    "rules": [
        {
            "threshold": [
                {
                    "id": "cache.min_consumers",
                    "value": 3,
                    "unit": "relations",
                    "ladder": [2, 3, 4, 8],
                    "because": "Memory is scarce here.",
                }
            ]
        }
    ],
    "pack": [
        {
            "name": "demo",
            "version": "0.1.0",
            "summary": "People and their visits.",
            "imports": ["std@1"],
            "workloads": {"batch_ingest": {"reads": "whole"}, "interactive_query": {"reads": "selective"}},
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
    made = _any_of(TypeAdapter(model).json_schema(by_alias=True))
    described = _described(made, getattr(model, "__name__", ""), _said(spec))
    return {"$schema": _DIALECT, **described, "title": name, "examples": _EXAMPLES[name]}


def _of_artefact(kind: Any) -> dict[str, Any]:
    said = {c: words for module in (manifest, policy, records, kpi, report) for c, words in _said(module).items()}
    return {"$schema": _DIALECT, **_described(msgspec.json.schema(kind), kind.__name__, said)}


def _described(schema: dict[str, Any], name: str, said: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Give each key of a schema and of its parts the words that stand below the model's field."""
    for part, form in ((name, schema), *schema.get("$defs", {}).items()):
        for key, value in form.get("properties", {}).items():
            if words := said.get(part, {}).get(key):
                value["description"] = words
    return schema


@cache
def _said(module: ModuleType) -> dict[str, dict[str, str]]:
    """Return the docstrings of fields by class and key, which Python itself does not keep."""
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    return {node.name: dict(_fields(node)) for node in classes}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in zip(node.body, node.body[1:], strict=False):
        words = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(words, str):
            yield field.target.id.rstrip("_"), " ".join(words.split())


def _any_of(node: Any) -> Any:
    """Forms that the compiler tells apart by their keys may overlap as schemas: any of them will do."""
    if isinstance(node, dict):
        if "patternProperties" in node:
            node = {"additionalProperties": False, **node}  # names are closed too
        return {("anyOf" if key == "oneOf" else key): _any_of(value) for key, value in node.items()}
    return [_any_of(item) for item in node] if isinstance(node, list) else node


def _canonical(schema: dict[str, Any]) -> bytes:
    return (json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
