"""Write object specs for Delta tables that exist: types, nulls and keys as the data show them, domains for people."""

from __future__ import annotations

import json
from collections import Counter

from decreta.read.yaml import is_ambiguous
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.describe import Described, describe

_ENVIRONMENT = """lake = ".decreta/lake"
engine = "datafusion-55.0.0+deltalake-1.6.6"

[budgets]
cores = 2
cache_bytes = 268435456
session_memory = "1G"

[bindings]
"""
_MODELINE = "# yaml-language-server: $schema=../../../generated/schemas/object.schema.json\n"


def adopt(pack: str, urls: list[str]) -> dict[str, str]:
    """Return the object specs of the tables at `urls` and an environment that binds them. Raises InputInvalid."""
    tables = [describe(url) for url in urls]
    repeated = [name for name, n in Counter(table.name for table in tables).items() if n > 1]
    if repeated:
        raise InputInvalid(
            f"several tables are called `{repeated[0]}`", help="take them one by one, or rename a folder"
        )
    files = {f"specs/{pack}/objects/{table.name}.yaml": _object(table) for table in tables}
    bound = "".join(f"{table.name} = {{ table = {json.dumps(table.place)} }}\n" for table in tables)
    return files | {f"specs/{pack}/env/local.toml": _ENVIRONMENT + bound}


def _object(table: Described) -> str:
    lines = [
        f"object: {_written(table.name)}",
        "version: 1.0.0",
        f"summary: {json.dumps('A table of others, ' + table.place)}",
        f"# version {table.version}: {table.rows} rows in {table.files} files, {table.bytes} bytes",
    ]
    if table.partitions:
        lines.append(f"# partitioned by {', '.join(table.partitions)}")
    lines.append("columns:  # say what keys hold: `domain: NAME` makes wrong joins errors")
    for column in table.columns:
        quoted = f'"{column.type}"' if column.type.startswith(("decimal", "list")) else column.type
        nullable = ", nullable: true" if column.nullable else ""
        notes = [column.evidence] if column.evidence else []
        notes += ["domain: ?"] if column.name in table.key or column.name.endswith(("id", "key")) else []
        comment = f"  # {'; '.join(notes)}" if notes else ""
        lines.append(f"  {_written(column.name)}: {{type: {quoted}{nullable}}}{comment}")
    lines += [f"  # left out: {words}" for words in table.left_out]
    if table.key:
        lines.append(f"key: [{', '.join(map(_written, table.key))}]  # {table.key_evidence}")
    else:
        lines.append(f"# key: [?]  # {table.key_evidence}")
    return _MODELINE + "\n".join([*lines, "source: {table: true}"]) + "\n"


def _written(name: str) -> str:
    """Return a name as YAML takes it for text."""
    return f'"{name}"' if is_ambiguous(name) or name in ("null", "true", "false") else name
