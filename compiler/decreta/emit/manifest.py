"""The manifest: everything the runtime needs to know of a pack but its policy."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from decreta.model.program import Arguments, CheckedObject, CheckedQuery, CheckedRelation, Decided, Function
from decreta.model.program import Call as BoundCall
from decreta.model.spec import GateSpec, PromiseSpec, ScalarFunctionSpec
from decreta.project import LANGUAGE
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import (
    FORMAT,
    Bound,
    Call,
    CallInput,
    FunctionEntry,
    Gate,
    Manifest,
    Margin,
    ObjectEntry,
    QueryEntry,
    RelationEntry,
)


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
        functions={n: _function(f) for n, f in checked.resolved.functions.items() if _is_scalar(f)},
        order=checked.order,
        gates={name: _gate(spec) for name, spec in sorted(header.gates.items())},
        files=files,
    )


def _gate(spec: GateSpec) -> Gate:
    of = spec.payoff
    written = {"latency": of.latency, "bytes_scanned": of.bytes_scanned, "maintenance_cost": of.maintenance_cost}
    payoff = {name: Margin(unit=m.unit, margin=m.margin) for name, m in written.items() if m is not None}
    return Gate(runs=spec.runs, agreement=spec.agreement, failures=spec.failures, payoff=payoff)


def _promises(spec: PromiseSpec) -> dict[str, Bound]:
    written = {"latency": spec.latency, "bytes_scanned": spec.bytes_scanned}
    return {name: Bound(of=b.of, at_most=b.at_most) for name, b in written.items() if b is not None}


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
        indexes=dict(obj.indexes),
        changes=obj.changes,
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
        stored=relation.stored,
        export=spec.export and relation.round is None,
        cut_point=checked.cut_point,  # type: ignore[arg-type]
        lineage=dict(checked.lineage),
        required=dict(checked.required),
        joins=checked.joins,
        local_to=checked.local_to,
        groups=checked.groups,
        stratum=checked.stratum,
        call=_call(relation.call) if relation.call else None,
        functions=checked.functions,
        checks=checked.checks,
        indexes=dict(checked.indexes),
        varies=dict(sorted(spec.varies.items())) if relation.round is None else {},
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
        asks=dict(checked.asks),
        steps=dict(checked.steps),
        functions=checked.functions,
        views=checked.views,
        payoff=_promises(query.written.spec.payoff),
    )


def _is_scalar(function: Function) -> bool:
    return isinstance(function.written.spec, ScalarFunctionSpec)


def _function(function: Function) -> FunctionEntry:
    spec = function.written.spec
    assert isinstance(spec, ScalarFunctionSpec)
    return FunctionEntry(
        module=spec.module,
        arguments=tuple(_type(t) for t in spec.arguments.values()),
        returns=_type(spec.returns),
        volatility=spec.volatility,
    )


def _type(text: str) -> str:
    names = types.names_of(text)
    assert names is not None, text
    return names.spec


def _call(call: BoundCall) -> Call:
    return Call(
        module=call.function.written.spec.module,
        function=call.function.name,
        inputs={
            name: CallInput(relation=a.relation, columns=_columns(a.columns))
            for name, a in call.arguments.relations.items()
        },
        arguments=_values(call.arguments),
    )


def _columns(given: Mapping[str, str | tuple[str, ...]]) -> dict[str, str]:
    """Return what a function calls each column; those of a list keep their names."""
    found: dict[str, str] = {}
    for local, actual in given.items():
        found |= {local: actual} if isinstance(actual, str) else {name: name for name in actual}
    return found


def _values(arguments: Arguments) -> dict[str, bool | int | str | tuple[str, ...]]:
    scalars = {n: str(v) if isinstance(v, Decimal) else v for n, v in arguments.scalars.items()}
    return {**arguments.choices, **scalars, **arguments.durations, **arguments.columns}
