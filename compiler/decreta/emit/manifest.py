"""The manifest: everything the runtime needs to know of a pack but its policy."""

from __future__ import annotations

from decreta.model.program import CheckedObject, CheckedQuery, CheckedRelation, Decided
from decreta.project import LANGUAGE
from decreta_runtime.contract.manifest import FORMAT, Manifest, ObjectEntry, QueryEntry, RelationEntry


def manifest(program: Decided, toolchain: dict[str, str], files: dict[str, str]) -> Manifest:
    """Return the manifest of a program whose other files have the digests `files`."""
    checked = program.checked
    header = checked.resolved.header.spec
    return Manifest(
        format=FORMAT,
        language=LANGUAGE,
        pack=header.name,
        version=header.version,
        toolchain=toolchain,
        workloads=tuple(sorted(header.workloads)),
        objects={name: _object(obj) for name, obj in checked.objects.items()},
        relations={name: _relation(relation) for name, relation in checked.relations.items()},
        queries={name: _query(query) for name, query in checked.queries.items()},
        order=checked.order,
        files=files,
    )


def _object(checked: CheckedObject) -> ObjectEntry:
    obj = checked.object
    return ObjectEntry(
        version=obj.version,
        summary=obj.summary,
        columns=obj.columns,
        key=checked.key,
        source=obj.source,
        table=None if obj.source else obj.name,
        checks=checked.checks,
    )


def _relation(checked: CheckedRelation) -> RelationEntry:
    relation = checked.bound.relation
    spec = relation.written.spec
    return RelationEntry(
        version=spec.version or "0.0.0",
        summary=relation.summary,
        file=f"relations/{relation.name}.py",
        inputs=checked.bound.inputs,
        columns=checked.columns,
        key=checked.key,
        stored=spec.store,
        export=spec.export,
        cut_point=checked.cut_point,  # type: ignore[arg-type]
        lineage=dict(checked.lineage),
        required=dict(checked.required),
        checks=checked.checks,
    )


def _query(checked: CheckedQuery) -> QueryEntry:
    query = checked.bound.query
    return QueryEntry(
        summary=query.written.spec.summary,
        workload=query.written.spec.class_,
        parameters=dict(query.parameters),
        example=dict(query.written.spec.example),
        columns=checked.columns,
        datasets=dict(checked.datasets),
        views=checked.views,
    )
