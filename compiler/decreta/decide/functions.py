"""What each view and query shape needs to be callable: functions of the engine as probed, of the pack by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from decreta.decide.environment import Environment
from decreta.diagnostics import Related, Report
from decreta.model.program import Checked, Function
from decreta.model.spec import ScalarFunctionSpec
from decreta.source import Span
from decreta_runtime.contract import types
from decreta_runtime.contract.policy import FunctionRequirement


def requirements(
    checked: Checked, environment: Environment, report: Report
) -> dict[str, dict[str, FunctionRequirement]]:
    """Return the functions of each view and shape that calls some, reporting those that the engine does not have."""
    found: dict[str, dict[str, FunctionRequirement]] = {}
    for name, functions, place in _callers(checked):
        found[name] = {}
        for function in functions:
            if function in checked.resolved.functions:
                found[name][function] = _own(checked, checked.resolved.functions[function])
            elif function in environment.functions:
                found[name][function] = _engine(environment, function)
            else:
                _missing(name, function, place, environment, report)
    return found


def _callers(checked: Checked) -> Iterator[tuple[str, tuple[str, ...], Span]]:
    """Yield each view and query shape that calls something, what it calls, and where it is written."""
    for name, relation in checked.relations.items():
        if relation.functions:
            yield name, relation.functions, relation.bound.relation.place()
    for name, query in checked.queries.items():
        if query.functions:
            yield name, query.functions, query.bound.statement.origin


def _own(checked: Checked, function: Function) -> FunctionRequirement:
    spec = function.written.spec
    scalar = spec if isinstance(spec, ScalarFunctionSpec) else None
    module = checked.resolved.code[f"code/{spec.module}.py"].text.encode()
    return FunctionRequirement(
        origin="pack",
        arguments=tuple(map(_type, scalar.arguments.values())) if scalar else None,
        returns=_type(scalar.returns) if scalar else None,
        volatility=spec.volatility,
        digest="sha256:" + hashlib.sha256(module).hexdigest(),
    )


def _engine(environment: Environment, function: str) -> FunctionRequirement:
    seen = environment.functions[function]
    return FunctionRequirement(origin="engine", arguments=None, returns=None, volatility=seen.volatility, digest=None)


def _missing(view: str, function: str, place: Span, environment: Environment, report: Report) -> None:
    engine = environment.written
    words = f"`{view}` calls `{function}`, which `{engine.spec.engine}` was not seen to have"
    related = [Related(engine.place("engine"), f"the engine of `{environment.name}`")]
    report.error("D416", words, place, help="call another function, or name an engine that has it", related=related)


def _type(text: str) -> str:
    names = types.names_of(text)
    assert names is not None, text
    return names.spec
