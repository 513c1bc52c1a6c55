"""A project of N relations for measuring the compiler: ten layers, joins of two parents and aggregates, ten objects."""

from __future__ import annotations

from pathlib import Path

LAYERS = 10
OBJECTS = 10
PACK = """name = "wide"
version = "0.1.0"
summary = "A project for measuring the compiler."
imports = ["std@1"]

[workloads.batch_ingest]
reads = "whole"

[workloads.interactive_query]
reads = "selective"
"""
ENVIRONMENT = """lake = "lake"
engine = "datafusion-55.0.0+deltalake-1.6.6"

[budgets]
cores = 2
cache_bytes = 536870912
session_memory = "1G"

[bindings]
"""


def write_project(folder: Path, relations: int) -> None:
    """Write a project of that many relations into an empty folder."""
    specs = folder / "specs" / "wide"
    for part in ("objects", "relations", "env"):
        (specs / part).mkdir(parents=True)
    (folder / "decreta.toml").touch()
    (specs / "pack.toml").write_text(PACK)
    bindings = "".join(f'o{i} = {{ table = "tables/o{i}" }}\n' for i in range(OBJECTS))
    (specs / "env" / "local.toml").write_text(ENVIRONMENT + bindings)
    for i in range(OBJECTS):
        (specs / "objects" / f"o{i}.yaml").write_text(_object(i))
    width = relations // LAYERS
    for layer in range(LAYERS):
        for i in range(width):
            name, text = _relation(layer, i, width)
            (specs / "relations" / f"{name}.yaml").write_text(text)


def _object(i: int) -> str:
    columns = "".join(f"  v{k}: {{type: int64}}\n" for k in range(6))
    return (
        f"object: o{i}\nversion: 1.0.0\nsummary: Object {i}.\ncolumns:\n  id: {{type: int64, role: identity}}\n{columns}"
        "key: [id]\nsource: {table: true}\n"
    )


def _relation(layer: int, i: int, width: int) -> tuple[str, str]:
    name = f"r{layer}_{i}"
    parents = [f"o{(i + k) % OBJECTS}" if layer == 0 else f"r{layer - 1}_{(i + k) % width}" for k in (0, 1)]
    head = f"relation: {name}\nstore: true\nsummary: Relation {i} of layer {layer}.\n"
    if i % 2:
        left, right = (f"{{relation: {p}, columns: {{equal: [id]}}}}" for p in parents)
        text = (
            f"use: std/equi_join@1\nwith:\n  left: {left}\n  right: {right}\n"
            "carry:\n  left: [id, v0, v1, v2]\n  right: {v3: v3, v4: v4, v5: v5}\n"
        )
    else:
        text = (
            f"body: |\n  SELECT p.id, SUM(p.v0) AS v0, MAX(p.v1) AS v1, MIN(p.v2) AS v2,\n"
            f"    SUM(p.v3) AS v3, COUNT(*) AS v4, MAX(q.v5) AS v5\n  FROM {parents[0]} AS p\n"
            f"  JOIN {parents[1]} AS q ON p.id = q.id\n  WHERE p.v1 >= {i}\n  GROUP BY p.id\n"
        )
    return name, head + text + "key: [id]\n"
