"""One environment as rules see it: thresholds and budgets in force, bindings, and what its engine was seen to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from decreta.diagnostics import Report, did_you_mean
from decreta.model.program import Resolved, Written
from decreta.model.spec import EnvironmentSpec
from decreta_runtime.contract.policy import Bindings, SourceBinding, TableBinding


@dataclass
class Environment:
    """An environment with its names bound; it notes which inputs were read, since only those stand in the policy."""

    name: str
    written: Written[EnvironmentSpec]
    inputs: dict[str, int | str]
    bindings: Bindings
    engine: dict[str, str]
    features: dict[str, bool]
    settings: frozenset[str]
    _read: set[str] = field(default_factory=set)

    def note(self, *names: str) -> None:
        """Note that a decision read these inputs."""
        self._read.update(names)

    def read_inputs(self) -> dict[str, int | str | bool]:
        """Return the inputs that decisions or guards read."""
        return {name: self.inputs[name] for name in sorted(self._read)}


def read_environment(
    name: str, written: Written[EnvironmentSpec], resolved: Resolved, report: Report
) -> Environment | None:
    """Return the environment, or None after reporting values that no threshold, ladder or engine knows."""
    spec = written.spec
    capability = resolved.capabilities.get(spec.engine)
    if capability is None:
        hint = did_you_mean(spec.engine, resolved.capabilities)
        report.error("D410", f"no capability file for the engine `{spec.engine}`", written.place("engine"), help=hint)
    inputs = _inputs(written, resolved, report)
    bindings = _bindings(written, resolved, report)
    if report.failed or capability is None:
        return None
    return Environment(
        name,
        written,
        inputs,
        bindings,
        dict(capability["engine"]),
        dict(capability["features"]),
        frozenset(capability["settings"]),
    )


def _inputs(written: Written[EnvironmentSpec], resolved: Resolved, report: Report) -> dict[str, int | str]:
    inputs: dict[str, int | str] = {f"budget.{name}": value for name, value in written.spec.budgets.items()}
    for name, threshold in resolved.rules.thresholds.items():
        inputs[name] = threshold.spec.value
        if threshold.spec.value not in threshold.spec.ladder:
            report.error(
                "D408",
                f"`{name}` is {threshold.spec.value}",
                threshold.place("value"),
                help=_rungs(threshold.spec.ladder),
            )
    for name, value in written.spec.thresholds.items():
        place = written.place("thresholds", name)
        if name not in resolved.rules.thresholds:
            hint = did_you_mean(name, resolved.rules.thresholds)
            report.error("D403", f"there is no threshold `{name}`", place, help=hint)
        elif value not in (ladder := resolved.rules.thresholds[name].spec.ladder):
            report.error("D408", f"`{name}` is {value}", place, help=_rungs(ladder))
        else:
            inputs[name] = value
    return inputs


def _rungs(ladder: list[int | str]) -> str:
    return "its ladder is " + ", ".join(str(rung) for rung in ladder)


def _bindings(written: Written[EnvironmentSpec], resolved: Resolved, report: Report) -> Bindings:
    spec = written.spec
    sources: dict[str, SourceBinding] = {}
    tables: dict[str, TableBinding] = {}
    for name, obj in resolved.objects.items():
        if obj.source is None:
            uri = spec.bindings[name].table if name in spec.bindings else None
            if uri is None:
                report.error(
                    "D202",
                    f"the environment does not bind `{name}`",
                    written.place("bindings"),
                    help=f'write bindings.{name} = {{ table = "…" }}',
                )
            else:
                tables[name] = TableBinding(uri=uri)
        elif obj.source.name not in sources:
            binding = spec.bindings.get(obj.source.name)
            options: dict[str, Any] = {k: _plain(v) for k, v in binding.options.items()} if binding else {}
            roots = tuple(binding.roots) if binding else ()
            sources[obj.source.name] = SourceBinding(roots=roots, options=options)
    return Bindings(lake=spec.lake, sources=sources, tables=tables)


def _plain(value: Any) -> Any:
    """Return an adapter's option as policy carries it: decimals as text."""
    return str(value) if isinstance(value, Decimal) else value
