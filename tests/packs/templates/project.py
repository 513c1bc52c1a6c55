"""A project in which every example of every template of the library is a relation over objects made for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PACK = """
name = "templates"
version = "0.1.0"
summary = "Every template of the library, by its examples."
imports = ["std@1"]
[workloads.batch_ingest]
reads = "whole"
[workloads.interactive_query]
reads = "selective"
"""
KEYS = {"scd2": ["k", "at"]}
"""What the rows given to a template are one for each of, where the relation is not total without it."""
ENVIRONMENT = """
lake = "lake"
engine = "datafusion-55.0.0+deltalake-1.6.6"
[budgets]
cores = 2
cache_bytes = 1048576
session_memory = "256M"
[bindings]
"""


def write_project(folder: Path, library: Path) -> list[str]:
    """Write the project and return the names of its relations, one an example."""
    specs = folder / "specs" / "templates"
    for part in ("objects", "relations", "env"):
        (specs / part).mkdir(parents=True)
    (folder / "decreta.toml").touch()
    (specs / "pack.toml").write_text(PACK)
    names, bindings = [], ""
    for template in sorted((library / "templates").glob("*.yaml")):
        spec = YAML(typ="safe").load(template)
        for i, example in enumerate(spec.get("examples", [])):
            case = _Case(spec, f"{spec['template']}_{i}", example)
            for name, text in case.objects():
                _write(specs / "objects" / f"{name}.yaml", text)
                bindings += f'{name} = {{ table = "tables/{name}" }}\n'
            _write(specs / "relations" / f"{case.name}.yaml", case.relation())
            names.append(case.name)
    (specs / "env" / "local.toml").write_text(ENVIRONMENT + bindings)
    return names


def _write(path: Path, data: Any) -> None:
    with path.open("w") as out:
        YAML().dump(data, out)


class _Case:
    def __init__(self, template: dict[str, Any], name: str, example: dict[str, Any]) -> None:
        self.template, self.name, self.example = template, name, example
        self.parameters = template["parameters"]
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.arguments: dict[str, Any] = dict(example.get("with", {}))
        for parameter, given in example["given"].items():
            form = self.parameters[parameter]
            if "relations" in form:
                self.arguments[parameter] = [
                    self._table(f"{parameter}_{k}", form["relations"], r) for k, r in enumerate(given)
                ]
            else:
                self.arguments[parameter] = self._table(parameter, form["relation"], given)

    def _table(self, parameter: str, locals_: dict[str, str], rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a table of the rows given, a list of values a list of columns, and return the argument that names it."""
        columns: dict[str, Any] = {}
        for local, form in locals_.items():
            lengths = {len(row[local]) for row in rows if isinstance(row.get(local), list)}
            if form.startswith("columns"):
                wide = lengths.pop() if lengths else int(form == "columns")
                columns[local] = [f"{local}_{k}" for k in range(wide)]
            else:
                columns[local] = local
        self.tables[f"{self.name}_{parameter}"] = [_flat(row) for row in rows] or [
            {
                c: "2024-01-01" if c == "day" else 1
                for local in columns.values()
                for c in ([local] if isinstance(local, str) else local)
            }
        ]
        return {"relation": f"{self.name}_{parameter}", "columns": {k: v for k, v in columns.items() if v}}

    def objects(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, rows in self.tables.items():
            columns: dict[str, Any] = {}
            for row in rows:
                for column, value in row.items():
                    known = columns.setdefault(column, {"type": _type(value)})
                    if value is None:
                        known["nullable"] = True
                    else:
                        known["type"] = _type(value)
            yield (
                name,
                {
                    "object": name,
                    "version": "1.0.0",
                    "summary": "Made from an example.",
                    "columns": columns,
                    **({"key": key} if (key := KEYS.get(self.template["template"])) else {}),
                    "source": {"table": True},
                },
            )

    def relation(self) -> dict[str, Any]:
        spec = self.template
        carry = dict(self.example.get("carry", {}))
        if not carry and "CARRY" in str(spec["body"]):
            carry = self._something_carried()
        carry = {parameter: _flat_carry(columns, self.arguments[parameter]) for parameter, columns in carry.items()}
        expect = [_flat(row) for row in self.example["expect"]]
        given = {name: self._given(name) for name in self.tables}
        return {
            "relation": self.name,
            "store": True,
            "use": f"std/{spec['template']}@{spec['version'].split('.')[0]}",
            "with": self.arguments,
            **({"carry": carry} if carry else {}),
            "examples": [{"name": self.example["name"], "given": given, "expect": expect}],
        }

    def _given(self, name: str) -> list[dict[str, Any]]:
        parameter = name.removeprefix(f"{self.name}_")
        given = self.example["given"]
        if parameter in given:
            return [_flat(row) for row in given[parameter]]
        united, _, k = parameter.rpartition("_")
        return [_flat(row) for row in given[united][int(k)]]

    def _something_carried(self) -> dict[str, Any]:
        """Return a column to carry for a template whose example names none, where its body would else have none."""
        if re.search(r"SELECT CARRY", str(self.template["body"])) is None:
            return {}
        first = next(iter(self.example["given"]))
        return {first: list(self.arguments[first]["columns"])[:1]}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        found |= {f"{name}_{k}": v for k, v in enumerate(value)} if isinstance(value, list) else {name: value}
    return found


def _flat_carry(columns: Any, argument: dict[str, Any]) -> Any:
    if not isinstance(columns, list):
        return columns
    found: list[str] = []
    for local in columns:
        actual = argument["columns"].get(local, local)
        found += actual if isinstance(actual, list) else [actual]
    return {actual: actual for actual in found}


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "date" if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else "string"
    return "int64"
