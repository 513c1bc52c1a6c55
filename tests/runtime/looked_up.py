"""A pack over one table of many files: ids stand together, names are scattered over all of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import ColumnProperties, DeltaTable, WriterProperties, write_deltalake
from tests.conftest import ROOT, compiled, edit_policy

FILES, ROWS, GROUP, PAGE = 12, 1000, 250, 50
SPECS = {
    "pack.toml": """
name = "looked"
version = "0.1.0"
summary = "One table of many files."
imports = ["std@1"]
[workloads.batch_ingest]
reads = "whole"
[workloads.interactive_query]
reads = "selective"
[workloads.compile_replay]
reads = "whole"
repeatable = true
""",
    "env/local.toml": """
lake = "lake"
engine = "datafusion-55.0.0+deltalake-1.6.6"
[budgets]
cores = 2
cache_bytes = 1048576
session_memory = "256M"
[bindings]
event = { table = "../tables/event" }
""",
    "objects/event.yaml": """
object: event
version: 1.0.0
summary: Something that happened.
columns:
  id: {type: int64, role: identity, domain: event}
  name: {type: string}
  payload: {type: string}
key: [id]
source: {table: true}
indexes: {by_name: {kind: term, column: name}}
""",
    "relations/noted.yaml": """
relation: noted
version: 1.0.0
store: true
summary: What happened, in an order of its own.
body: SELECT e.id, e.name FROM event AS e
key: [id]
layout: {sort: [name]}
""",
    "queries/by_id.yaml": """
query: by_id
summary: One event.
class: interactive_query
parameters: {id: int64}
body: SELECT e.payload FROM event AS e WHERE e.id = $id
""",
    "queries/by_name.yaml": """
query: by_name
summary: The events of a name.
class: interactive_query
parameters: {name: string}
body: SELECT e.payload FROM event AS e WHERE e.name = $name
""",
    "queries/noted_at.yaml": """
query: noted_at
summary: The name of an id.
class: interactive_query
parameters: {id: int64}
body: SELECT n.name FROM noted AS n WHERE n.id = $id
""",
    "queries/of_noted.yaml": """
query: of_noted
summary: The payloads of what is noted under a name.
class: interactive_query
parameters: {at: string}
body: SELECT e.payload FROM noted AS n JOIN event AS e ON e.id = n.id WHERE n.name = $at
""",
    "queries/of_many.yaml": """
query: of_many
summary: The payloads of what is noted under names alike.
class: interactive_query
parameters: {alike: string}
body: SELECT e.payload FROM noted AS n JOIN event AS e ON e.id = n.id WHERE n.name LIKE $alike
""",
    "queries/longest.yaml": """
query: longest
summary: The longest payload of all.
class: interactive_query
body: SELECT max(length(e.payload)) AS n FROM event AS e
""",
    "queries/twice.yaml": """
query: twice
summary: An event, and another.
class: interactive_query
parameters: {id: int64, other: int64}
body: |
  SELECT a.payload, b.payload AS other
  FROM event AS a
  CROSS JOIN event AS b
  WHERE a.id = $id AND b.id = $other
""",
}
WITHOUT = {"delta.dataSkippingNumIndexedCols": "0"}


def name_of(event: int) -> str:
    return f"n{event * 7919 % (FILES * ROWS):06}"


def write_events(
    path: Path,
    configuration: Mapping[str, str] = {},
    statistics: bool = True,
    partition_by: str | None = None,
    rows: int = FILES * ROWS,
) -> None:
    """Write the table, a commit and a file each thousand; without `statistics` the footers have none either."""
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("payload", pa.string())])
    DeltaTable.create(str(path), schema, partition_by=partition_by, configuration=dict(configuration))
    for first in range(0, rows, ROWS):
        ids = range(first, min(first + ROWS, rows))
        written = pa.table(
            {
                "id": pa.array(ids, pa.int64()),
                "name": [name_of(i) for i in ids],
                "payload": ["".join(hashlib.sha256(f"{i}.{k}".encode()).hexdigest() for k in range(4)) for i in ids],
            }
        )
        properties = WriterProperties(
            max_row_group_size=GROUP,
            data_page_row_count_limit=PAGE,
            write_batch_size=PAGE,
            # Without dictionaries, so that one page can be read without the rest of its column.
            default_column_properties=ColumnProperties(
                dictionary_enabled=False, statistics_enabled="PAGE" if statistics else "NONE"
            ),
        )
        write_deltalake(str(path), written, mode="append", writer_properties=properties)


def project(
    folder: Path,
    without: Mapping[str, str] = {},
    statistics: bool = True,
    partition_by: str | None = None,
    rows: int = FILES * ROWS,
    **specs: str,
) -> Path:
    """Make the compiled project with its table; return its folder. `specs` replace those of the same file name."""
    for name, text in (SPECS | {name: specs[Path(name).stem] for name in SPECS if Path(name).stem in specs}).items():
        path = folder / "specs/looked" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip())
    (folder / "decreta.toml").touch()
    shutil.copytree(ROOT / "specs/std", folder / "specs/std")
    write_events(folder / "tables/event", without, statistics, partition_by, rows)
    compiled(folder, "looked")
    return folder


def scan(project: Path, dataset: str = "event", **fields: Any) -> None:
    """Change fields of a dataset's scan decision."""
    edit_policy(project / "generated/looked", lambda p: p["scan_policy_by_dataset"][dataset]["value"].update(fields))


def linked(project: Path, dataset: str = "event") -> None:
    """Have a partitioned dataset scanned by links."""

    def edit(policy: dict[str, Any]) -> None:
        decision = policy["scan_policy_by_dataset"][dataset]
        decision["value"].update(path="linked")
        decision["requires"].remove("unpartitioned")

    edit_policy(project / "generated/looked", edit)


def indexed(project: Path, *shapes: str) -> None:
    """Have the index by name built, and used by some shapes."""
    edit_policy(
        project / "generated/looked",
        lambda p: p["index_policy_by_dataset"]["event.by_name"]["value"].update(build=True, shapes=list(shapes)),
    )
