"""Generated Python: a builder and a test a relation, a typed function a query shape."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from decreta.emit.examples import examples
from decreta.emit.pools import pools
from decreta.model.program import Checked, CheckedRelation
from decreta_runtime.contract.manifest import Column

_PYTHON = {
    "bool": "bool",
    "string": "str",
    "binary": "bytes",
    "date": "datetime.date",
    "timestamp": "datetime.datetime",
    "timestamp_local": "datetime.datetime",
}


def _environment() -> Environment:
    # No auto-escape: the output is Python, and every text in it passes through `literal` or `quoted`.
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"literal": literal, "quoted": quoted, "column": column_call, "python_type": python_type}
    return found


def builders(program: Checked) -> dict[str, str]:
    """Return the builder module of each relation."""
    template = _environment().get_template("relation.py.j2")
    return {
        f"relations/{name}.py": template.render(_described(relation)) for name, relation in program.relations.items()
    }


def _described(relation: CheckedRelation) -> dict[str, Any]:
    spec = relation.bound.relation
    return {
        "spec": spec.written.doc.name,
        "name": spec.name,
        "version": spec.written.spec.version or "0.0.0",
        "summary": sentence(spec.summary),
        "inputs": [f"{name} ({', '.join(used)})" for name, used in relation.required.items()],
        "input_names": relation.bound.inputs,
        "columns": relation.columns,
        "key": relation.key,
        "lineage": [f"{name} from {', '.join(found)}" for name, found in relation.lineage.items() if found],
        "local_to": relation.local_to.column if relation.local_to else None,
        "joins": [f"{j.table} {j.cardinality} ({j.known})" for j in relation.joins],
        "call": spec.call.function.name if spec.call else None,
        "sql": relation.sql,
    }


def query_functions(program: Checked) -> dict[str, str]:
    """Return the module of all query shapes."""
    queries = [
        {
            "name": name,
            "summary": sentence(query.bound.query.written.spec.summary),
            "parameters": query.bound.query.parameters,
            "columns": [f"{c.name} {c.type}{'?' if c.nullable else ''}" for c in query.columns],
            "sql": query.sql,
        }
        for name, query in program.queries.items()
    ]
    template = _environment().get_template("queries.py.j2")
    kinds = {python_type(t) for query in program.queries.values() for t in query.bound.query.parameters.values()}
    modules = sorted({kind.partition(".")[0] for kind in kinds if "." in kind})
    return {"queries.py": template.render(pack=program.resolved.header.spec.name, queries=queries, modules=modules)}


def tests(program: Checked) -> dict[str, str]:
    """Return the test module of each object and relation."""
    environment = _environment()
    relation_test, object_test = (environment.get_template(f"test_{kind}.py.j2") for kind in ("relation", "object"))
    found = {
        f"tests/test_{name}.py": relation_test.render(
            name=name,
            spec=relation.bound.relation.written.doc.name,
            laws=relation.bound.relation.call is None,
            groups=relation.groups.column if relation.groups else None,
            pools=pools(relation.bound),
            checked=[check.kind for check in relation.checks if check.kind in ("columns", "key") and not check.proven],
            examples=examples(relation),
        )
        for name, relation in program.relations.items()
    }
    for name, obj in program.objects.items():
        kinds = [check.kind for check in obj.checks if check.kind in ("columns", "key") and not check.proven]
        found[f"tests/test_{name}.py"] = object_test.render(name=name, spec=obj.object.doc.name, checked=kinds)
    return found


def sentence(text: str) -> str:
    """Return a summary as one line that ends as a sentence and is safe inside a docstring."""
    line = " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''")
    return line if line.endswith((".", "!", "?")) else line + "."


def literal(value: Any) -> str:
    """Return the Python literal of a plain value, with double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return "(" + ", ".join(literal(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, list):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    return repr(value)


def quoted(sql: str) -> str:
    """Return SQL as a triple-quoted Python string on lines of its own."""
    return '"""\n' + sql.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') + '\n"""'


def column_call(column: Column) -> str:
    """Return the call that makes `column`, without what is default."""
    parts = [f"name={literal(column.name)}", f"type={literal(column.type)}"]
    for name in ("nullable", "role", "domain", "values", "length", "renamed_from"):
        value = getattr(column, name)
        if value:
            parts.append(f"{name}={literal(value)}")
    return f"Column({', '.join(parts)})"


def python_type(spec: str) -> str:
    """Return the Python type that a parameter of a spec type takes."""
    if spec.startswith("decimal"):
        return "decimal.Decimal"
    if found := re.fullmatch(r"list<(.+)>", spec):
        return f"list[{python_type(found[1])}]"
    return _PYTHON.get(spec) or ("float" if spec.startswith("float") else "int")
