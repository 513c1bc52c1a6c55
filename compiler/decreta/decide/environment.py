"""One environment as rules see it: thresholds and budgets in force, bindings, and what its engine was seen to do."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NamedTuple

from decreta.diagnostics import Related, Report, did_you_mean
from decreta.model.program import OBEYED, Resolved, Worth, Written
from decreta.model.spec import DecisionSpec, EnvironmentSpec, Mode, ValidationMode
from decreta.source import Span
from decreta_runtime.contract.calibration import KnobState, in_force
from decreta_runtime.contract.capabilities import FEATURES, CapabilityFile, FunctionSeen
from decreta_runtime.contract.policy import DOMAINS, Bindings, Exemption, SourceBinding, TableBinding

_WITH_CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]*://[^/]*@")


class Unit(NamedTuple):
    """What an input counts, and where that is written."""

    name: str
    place: Span


class Override(NamedTuple):
    """A threshold's value by calibration, with its proof in words."""

    value: int | str
    runs: int | None
    epoch: int
    derivation: str


@dataclass
class Environment:
    """An environment with its names bound; it notes which inputs were read, since only those stand in the policy."""

    name: str
    written: Written[EnvironmentSpec]
    inputs: dict[str, int | str]
    units: dict[str, Unit]
    bindings: Bindings
    engine: dict[str, str]
    features: dict[str, bool]
    settings: frozenset[str]
    functions: Mapping[str, FunctionSeen]
    """The engine's, as it was probed."""
    worth: Worth
    version: str
    """Of the pack: what exemptions expire by."""
    pack_mode: ValidationMode
    calibrated: Mapping[str, Override] = field(default_factory=dict)
    """Thresholds that calibration has turned, and why."""
    probed_otherwise: frozenset[str] = frozenset()
    """What the engine that calibration trusts was seen to have, or not, unlike this one."""
    _read: set[str] = field(default_factory=set)

    def declared(self) -> Iterator[Written[DecisionSpec]]:
        """Yield what people decided for single subjects in this environment."""
        for i, decision in enumerate(self.written.spec.decision):
            yield Written(decision, self.written.doc, (*self.written.path, "decision", i))

    def mode(self, domain: str, subject: str) -> tuple[Mode, Exemption | None]:
        """Return how far the decision for a subject is obeyed, and why that differs from its domain."""
        rollout = self.written.spec.rollout
        for exception in rollout.exception:
            if (exception.domain, exception.subject) == (domain, subject):
                return exception.mode, Exemption(reason=exception.because, until=exception.until)
        return rollout.domains.get(domain, "enforce"), None

    def check_exceptions(self, domain: str, subjects: Collection[str], report: Report) -> None:
        """Report exceptions for what the domain decides nothing for, and a second one for the same subject."""
        seen: set[str] = set()
        for i, exception in enumerate(self.written.spec.rollout.exception):
            if exception.domain != domain:
                continue
            place, subject = self.written.place("rollout", "exception", i, "subject"), exception.subject
            if subject not in subjects:
                words = f"the domain `{domain}` decides nothing for `{subject}`"
                report.error("D205", words, place, help=did_you_mean(subject, subjects))
            elif subject in seen:
                report.error("D409", f"`{subject}` has two exceptions", place, help="keep one")
            seen.add(subject)

    @property
    def validation_mode(self) -> ValidationMode:
        """How strictly checks are held: the environment's word, else the pack's."""
        return self.written.spec.validation_mode or self.pack_mode

    def note(self, *names: str) -> None:
        """Note that a decision read these inputs."""
        self._read.update(names)

    def unread(self) -> Environment:
        """Return the same environment with nothing noted."""
        return replace(self, _read=set())

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
    else:
        _check_promises(written, capability, report)
    inputs = _inputs(written, resolved, report)
    bindings = _bindings(written, resolved, report)
    calibrated = _overrides(name, written, resolved, inputs, capability)
    inputs |= {knob: override.value for knob, override in calibrated.items()}
    _check_rollout(written, resolved, report)
    if report.failed or capability is None:
        return None
    return Environment(
        name,
        written,
        inputs,
        _units(resolved),
        bindings,
        dict(capability.engine),
        dict(capability.features),
        frozenset(capability.settings),
        capability.functions,
        resolved.rules.worth,
        resolved.header.spec.version,
        resolved.header.spec.validation_mode,
        calibrated,
        _probed_otherwise(name, written, resolved, capability),
    )


def _overrides(
    name: str,
    written: Written[EnvironmentSpec],
    resolved: Resolved,
    inputs: Mapping[str, int | str],
    capability: CapabilityFile | None,
) -> dict[str, Override]:
    """Return what calibration has made of thresholds that this environment does not set itself."""
    lock = resolved.calibration.get(name)
    if lock is None or capability is None or written.spec.rollout.calibration != "enforce":
        return {}
    found = {}
    for knob, state in lock.knobs.items():
        threshold = resolved.rules.thresholds.get(knob)
        value = in_force(lock, knob, resolved.header.spec.version, capability.features)
        known = threshold is not None and threshold.spec.value == state.declared and value in threshold.spec.ladder
        if value is not None and known and knob not in written.spec.thresholds and knob in inputs:
            found[knob] = _override(value, state, lock.epoch)
    return found


def _override(value: int | str, state: KnobState, epoch: int) -> Override:
    proof = state.proof
    if proof is None or state.trial is not None:
        return Override(value, None, epoch, f"on trial beside {state.value}")
    last = proof.votes[-1]
    words = f"{last.by} {last.before:,} -> {last.after:,} (ratio {last.low} to {last.high})"
    words += f", expires at epoch {state.expires}"
    return Override(value, len(proof.runs_after) or None, last.epoch, words)


def _probed_otherwise(
    name: str, written: Written[EnvironmentSpec], resolved: Resolved, capability: CapabilityFile
) -> frozenset[str]:
    """Return the features in which this engine differs from the one that calibration trusts."""
    lock = resolved.calibration.get(name)
    if lock is None or written.spec.rollout.calibration != "enforce" or lock.engine == dict(capability.engine):
        return frozenset()
    names = lock.features.keys() | capability.features.keys()
    return frozenset(n for n in names if lock.features.get(n) != capability.features.get(n))


def _check_promises(written: Written[EnvironmentSpec], capability: CapabilityFile, report: Report) -> None:
    """Report an engine that was not seen to do what decisions without a condition rest on."""
    for name, feature in FEATURES.items():
        if feature.relied_on_by == "promise" and not capability.features.get(name, False):
            words = f"`{written.spec.engine}` was not seen to have `{name}`"
            report.error("D417", words, written.place("engine"), help=f"it would mean: {feature.summary}")


def _inputs(written: Written[EnvironmentSpec], resolved: Resolved, report: Report) -> dict[str, int | str]:
    inputs: dict[str, int | str] = {f"budget.{name}": value for name, value in written.spec.budgets.items()}
    for name, value in written.spec.budgets.items():
        if (budget := resolved.rules.budgets.get(name)) is None:
            hint = did_you_mean(name, resolved.rules.budgets)
            report.error("D403", f"there is no budget `{name}`", written.key("budgets", name), help=hint)
        elif not _enough(value, least := budget.spec.least):
            form = "a size such as `1G`" if isinstance(least, str) else "a whole number"
            words = f"`{name}` needs {form}, at least {least}"
            related = [Related(budget.place("least"), "the least")]
            report.error("D203", words, written.place("budgets", name), related=related)
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
        elif name in OBEYED:
            help = "it holds for all environments alike: write it in a rule file of the pack"
            report.error("D403", f"no environment sets `{name}`", written.key("thresholds", name), help=help)
        elif value not in (ladder := resolved.rules.thresholds[name].spec.ladder):
            report.error("D408", f"`{name}` is {value}", place, help=_rungs(ladder))
        else:
            inputs[name] = value
    return inputs


def _enough(value: int | str, least: int | str) -> bool:
    """Whether a budget is of the form of the least that it may be, and no less."""
    if isinstance(value, str) and isinstance(least, str):
        size = re.fullmatch(r"(\d+)([KMG])", value)
        return size is not None and _bytes(value) >= _bytes(least)
    return isinstance(value, int) and isinstance(least, int) and value >= least


def _bytes(size: str) -> int:
    return int(size[:-1]) << 10 * (1 + "KMG".index(size[-1]))


def _check_rollout(written: Written[EnvironmentSpec], resolved: Resolved, report: Report) -> None:
    """Report modes and exceptions of domains that are none, and exceptions whose time is over."""
    rollout = written.spec.rollout
    named = [(name, written.key("rollout", "domains", name)) for name in rollout.domains]
    for i, exception in enumerate(rollout.exception):
        place = written.place("rollout", "exception", i, "until")
        named.append((exception.domain, written.place("rollout", "exception", i, "domain")))
        version = resolved.header.spec.version
        if _version(version) >= _version(exception.until):
            words = f"the exception for `{exception.subject}` ended with version {exception.until}"
            help = f"the pack is at {version}: remove it, or give it a later end"
            report.error("D415", words, place, help=help)
    for name, place in named:
        if name not in DOMAINS:
            report.error("D205", f"unknown domain `{name}`", place, help=did_you_mean(name, DOMAINS))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _units(resolved: Resolved) -> dict[str, Unit]:
    rules = resolved.rules
    units = {name: Unit(threshold.spec.unit, threshold.place("unit")) for name, threshold in rules.thresholds.items()}
    return units | {f"budget.{name}": Unit(b.spec.unit, b.place("unit")) for name, b in rules.budgets.items()}


def _rungs(ladder: list[int | str]) -> str:
    return "its ladder is " + ", ".join(str(rung) for rung in ladder)


def _bindings(written: Written[EnvironmentSpec], resolved: Resolved, report: Report) -> Bindings:
    spec = written.spec
    _check_places(written, report)
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


def _check_places(written: Written[EnvironmentSpec], report: Report) -> None:
    """Report places that are written with credentials: the policy carries places as they stand."""
    tables = [(binding.table, ("bindings", name, "table")) for name, binding in written.spec.bindings.items()]
    for place, path in [(written.spec.lake, ("lake",)), *tables]:
        if place is not None and _WITH_CREDENTIALS.match(place):
            help = "write s3://BUCKET/PATH; the credentials stand in the environment of who runs it"
            report.error("D203", "a place is named without credentials", written.place(*path), help=help)


def _plain(value: Any) -> Any:
    """Return an adapter's option as policy carries it: decimals as text."""
    return str(value) if isinstance(value, Decimal) else value
