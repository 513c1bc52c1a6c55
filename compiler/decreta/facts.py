"""The fact base: for each policy domain one table of typed, documented facts, a row a subject.

Facts come from declarations and lineage, and from the committed capability file; none is measured while compiling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from decreta.model.program import Checked

FactValue = bool | int | str | tuple[str, ...] | None
FactSource = Literal["declared", "lineage", "capability", "assumed"]


class FactInfo(NamedTuple):
    """What a fact says, its spec type, unit, source and, if it is enumerated, its values."""

    type: Literal["bool", "int64", "string", "list<string>"]
    source: FactSource
    summary: str
    unit: str | None = None
    values: tuple[str, ...] = ()


DATASET_FACTS = {
    "kind": FactInfo(
        "string", "declared", "whether it is an object or a stored relation", None, ("object", "relation")
    ),
    "bound": FactInfo("bool", "declared", "whether others write it and the environment binds it"),
    "sorted": FactInfo("bool", "declared", "whether its layout declares a sort"),
    "layout_sort": FactInfo("list<string>", "declared", "the columns its layout is sorted by"),
    "readers": FactInfo("int64", "lineage", "relations and query shapes that read it", "readers"),
    "selective_readers": FactInfo("int64", "lineage", "query shapes of selective workloads that read it", "readers"),
}
VIEW_FACTS = {
    "declared_output": FactInfo("bool", "declared", "whether it is stored, so that readers read its table"),
    "cut_point": FactInfo("bool", "lineage", "whether it must be computed once a run and kept"),
    "consumers": FactInfo("int64", "lineage", "relations that read it", "relations"),
    "columns": FactInfo("int64", "lineage", "its output columns", "columns"),
}
WORKLOAD_FACTS = {
    "reads": FactInfo(
        "string", "declared", "whether its statements read whole tables or few rows", None, ("whole", "selective")
    ),
}
TABLES: dict[str, Mapping[str, FactInfo]] = {
    "scan": DATASET_FACTS,
    "write": DATASET_FACTS,
    "cache": VIEW_FACTS,
    "session": WORKLOAD_FACTS,
}
"""Domain → the facts of its subjects. Every domain also reads `capability.<feature>`."""

Rows = dict[str, dict[str, FactValue]]


@dataclass(frozen=True)
class FactBase:
    """The rows of each domain: subject → fact → value."""

    rows: Mapping[str, Rows]


def gather(checked: Checked) -> FactBase:
    """Return the facts that a checked pack gives."""
    datasets = _datasets(checked)
    written = {name: row for name, row in datasets.items() if not row["bound"]}
    workloads: Rows = {name: {"reads": w.reads} for name, w in sorted(checked.resolved.header.spec.workloads.items())}
    return FactBase({"scan": datasets, "write": written, "cache": _views(checked), "session": workloads})


def _datasets(checked: Checked) -> Rows:
    workloads = checked.resolved.header.spec.workloads
    readers = Counter(i for relation in checked.relations.values() for i in relation.bound.inputs)
    selective: Counter[str] = Counter()
    for query in checked.queries.values():
        readers.update(query.datasets.keys())
        if workloads[query.bound.query.written.spec.class_].reads == "selective":
            selective.update(query.datasets.keys())
    rows: Rows = {}
    for name, obj in checked.objects.items():
        rows[name] = {"kind": "object", "bound": obj.object.source is None, "layout_sort": obj.object.sort}
    for name, relation in checked.relations.items():
        if relation.bound.relation.stored:
            rows[name] = {"kind": "relation", "bound": False, "layout_sort": relation.sort}
    for name, row in rows.items():
        row |= {"sorted": bool(row["layout_sort"]), "readers": readers[name], "selective_readers": selective[name]}
    return rows


def _views(checked: Checked) -> Rows:
    consumers = Counter(i for relation in checked.relations.values() for i in relation.bound.inputs)
    return {
        name: {
            "declared_output": relation.bound.relation.stored,
            "cut_point": relation.cut_point is not None,
            "consumers": consumers[name],
            "columns": len(relation.columns),
        }
        for name, relation in checked.relations.items()
    }
