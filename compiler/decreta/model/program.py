"""What specs mean, as each stage leaves it: resolved → bound → checked → decided. Plain, frozen, one type a stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Generic, Literal, TypeVar

from sqlglot import exp

from decreta.model.spec import (
    BudgetSpec,
    CheckSpec,
    ConfidenceSpec,
    DecisionSpec,
    EnvironmentSpec,
    ExampleSpec,
    ObjectTemplateSpec,
    OutputSpec,
    PackSpec,
    ProvidesSpec,
    QuerySpec,
    RelationSpec,
    RelationTemplateSpec,
    RuleSpec,
    ScalarFunctionSpec,
    TableFunctionSpec,
    ThresholdSpec,
)
from decreta.source import Document, Embedded, Path, SourceText, Span
from decreta_runtime.contract.calibration import CalibrationLock, Metric
from decreta_runtime.contract.capabilities import CapabilityFile, Volatility
from decreta_runtime.contract.evidence import EvidenceLock
from decreta_runtime.contract.manifest import (
    Ask,
    Changes,
    Check,
    Column,
    Groups,
    IndexEntry,
    Join,
    Key,
    Locality,
    Source,
    Step,
)
from decreta_runtime.contract.policy import FactSource, PolicyFile

S = TypeVar("S", covariant=True)


@dataclass(frozen=True)
class Written(Generic[S]):
    """A validated spec with its file, and the path inside the file at which it stands."""

    spec: S
    doc: Document
    path: Path = ()

    def place(self, *path: str | int) -> Span:
        """Return the place of the value at `path` inside this spec."""
        return self.doc.place(*self.path, *path)

    def key(self, *path: str | int) -> Span:
        """Return the place of the key at `path` inside this spec."""
        return self.doc.key(*self.path, *path)

    def entry(self, *path: str | int) -> Span:
        """Return the place of the key at `path` inside this spec with all that it holds."""
        return self.doc.entry(*self.path, *path)

    def text(self, *path: str | int) -> Embedded:
        """Return the string at `path` inside this spec with its places."""
        return self.doc.embedded(*self.path, *path)


@dataclass(frozen=True)
class Object:
    """An object with the columns of its template merged in."""

    name: str
    version: str
    summary: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    source: Source | None
    sort: tuple[str, ...]
    checks: Mapping[str, CheckSpec]
    doc: Document
    on_change: Literal["refuse", "add_nullable", "rebuild", "ignore_new"]
    extends: Written[ObjectTemplateSpec] | None = None
    indexes: Mapping[str, IndexEntry] = field(default_factory=dict)
    changes: Changes = field(default_factory=lambda: Changes(kind="rebuild"))

    def columns_at(self) -> tuple[Span, ...]:
        """Return the places where its columns are written: its own, and those of the template it extends."""
        own = (self.doc.entry("columns"),)
        return (*own, self.extends.entry("columns")) if self.extends else own


@dataclass(frozen=True)
class Template:
    """A relation template with the text of each branch of its body; `""` names a body without branches."""

    name: str
    """With library and major: `std/equi_join@1`."""
    written: Written[RelationTemplateSpec]
    bodies: Mapping[str, Embedded]
    branch: str | None
    """The parameter whose value, or whose presence, picks the branch."""


@dataclass(frozen=True)
class RelationArgument:
    """A relation given to a template's parameter: local column name → the column or columns it stands for."""

    relation: str
    columns: Mapping[str, str | tuple[str, ...]]
    place: Span


@dataclass(frozen=True)
class Expressions:
    """Expressions that the caller writes over one relation parameter; `""` names the one of a plain `expression`."""

    over: str
    texts: Mapping[str, Embedded]


@dataclass(frozen=True)
class Arguments:
    """Everything given to the parameters of a template or table function."""

    relations: Mapping[str, RelationArgument]
    united: Mapping[str, tuple[RelationArgument, ...]]
    """Parameter → the relations that the body is repeated for."""
    choices: Mapping[str, str]
    scalars: Mapping[str, bool | int | str | Decimal]
    durations: Mapping[str, str]
    columns: Mapping[str, tuple[str, ...]]
    expressions: Mapping[str, Expressions]
    absent: frozenset[str]
    """Parameters that may be left out and were."""

    def inputs(self) -> tuple[str, ...]:
        """Return the names of all relations given."""
        many = (argument for united in self.united.values() for argument in united)
        return tuple(sorted({argument.relation for argument in (*self.relations.values(), *many)}))


@dataclass(frozen=True)
class Application:
    """A template with all of its arguments."""

    template: Template
    arguments: Arguments
    branch: str
    """The branch of the body that the arguments pick; `""` for a body without branches."""
    provides: ProvidesSpec
    carry: Mapping[str, tuple[tuple[str, str], ...]]
    """Parameter → (column of the given relation, name in the output); `("*", "*")` carries all."""


@dataclass(frozen=True)
class Function:
    """A declared function of the pack with the text of the module that holds it."""

    name: str
    written: Written[ScalarFunctionSpec] | Written[TableFunctionSpec]


@dataclass(frozen=True)
class Call:
    """A table function with all of its arguments."""

    function: Function
    arguments: Arguments


@dataclass(frozen=True)
class Relation:
    """A relation as resolved: a template applied, a body of its own, or a table function called."""

    name: str
    written: Written[RelationSpec]
    summary: str
    application: Application | None
    body: Embedded | None
    outputs: Mapping[str, OutputSpec]
    call: Call | None = None
    round: int | None = None
    """Which round of an unrolled recursion this hidden relation computes; None for what people name."""

    @property
    def stored(self) -> bool:
        """Whether its rows are a dataset."""
        return self.written.spec.store and self.round is None

    def place(self) -> Span:
        """Return the place of what makes its rows."""
        way = "use" if self.application else "function" if self.call else "body"
        return self.written.place(way)


@dataclass(frozen=True)
class Query:
    """A query shape as resolved."""

    name: str
    written: Written[QuerySpec]
    body: Embedded
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Domain:
    """A policy domain: the written order of its rules and the confidence below which its baseline stands."""

    name: str
    order: tuple[str, ...]
    min_confidence: str
    place: Span
    places: tuple[Span, ...] = ()
    """Of each name in the order."""
    key: Span | None = None


class Worth:
    """What facts are worth by where they come from: decimals of two places, rounded down. Unsaid is nothing."""

    NOTHING = "0.00"

    def __init__(self, spec: ConfidenceSpec) -> None:
        self._spec = spec

    def of(self, source: FactSource) -> str:
        """Return what a fact of this source is worth by itself."""
        found = self._spec.outcome[-1] if source == "outcome" and self._spec.outcome else getattr(self._spec, source)
        return found if isinstance(found, str) else self.NOTHING

    def share(self, share: str | None) -> str:
        """Return what a statistic is worth that so many of the files say; None: the table itself says it."""
        return self._times(self._spec.statistics, share or "1.00")

    def bound(self, share: str | None) -> str:
        """Return what a bound is worth that statistics of so many of the files give."""
        return self._times(self._spec.bound, share or "1.00")

    @property
    def runs(self) -> int:
        """As many runs of an outcome as make a difference."""
        return len(self._spec.outcome or ())

    def outcome(self, runs: int | None) -> str:
        """Return what an outcome of so many runs is worth."""
        steps = self._spec.outcome
        return steps[min(runs, len(steps)) - 1] if steps and runs else self.NOTHING

    def estimate(self, weakest: str) -> str:
        """Return what is worth that was derived from facts of which this is the weakest."""
        return self._times(self._spec.estimate, weakest)

    def _times(self, one: str | None, other: str) -> str:
        if one is None:
            return self.NOTHING
        return str((Decimal(one) * Decimal(other)).quantize(Decimal("0.01"), rounding=ROUND_DOWN))


OBEYED = (
    "calibration.class_percent",
    "calibration.clock_runs",
    "calibration.deviations",
    "calibration.patience",
    "calibration.reversals",
    "calibration.votes",
    "check.filter_levels",
    "facts.small_file_bytes",
    "facts.text_bytes",
)
"""Whole numbers that the compiler itself obeys, so that no environment sets them."""


@dataclass(frozen=True)
class Turning:
    """How a threshold is turned by outcomes."""

    objective: Metric
    guards: tuple[Metric, ...]
    samples: int
    dead_band: float
    cool_down: int
    lasts: int


@dataclass(frozen=True)
class RuleBook:
    """All rules, thresholds and confidences that bear on a pack, the library's with the pack's laid over them."""

    domains: Mapping[str, Domain]
    rules: Mapping[str, Written[RuleSpec]]
    thresholds: Mapping[str, Written[ThresholdSpec]]
    budgets: Mapping[str, Written[BudgetSpec]]
    decisions: tuple[Written[DecisionSpec], ...]
    """What people decided for single subjects, in all environments."""
    worth: Worth
    knobs: Mapping[str, Turning] = field(default_factory=dict)
    """Thresholds that `decreta calibrate` may turn."""

    def number(self, threshold: str) -> int:
        """Return the value of an integer threshold that the compiler itself obeys."""
        value = self.thresholds[threshold].spec.value
        assert isinstance(value, int), threshold
        return value


@dataclass(frozen=True)
class Resolved:
    """A pack whose every name is bound."""

    header: Written[PackSpec]
    objects: Mapping[str, Object]
    object_templates: Mapping[str, Written[ObjectTemplateSpec]]
    templates: Mapping[str, Template]
    relations: Mapping[str, Relation]
    queries: Mapping[str, Query]
    functions: Mapping[str, Function]
    rules: RuleBook
    environments: Mapping[str, Written[EnvironmentSpec]]
    evidence: Mapping[str, EvidenceLock]
    """What was seen of each environment's lake, as far as somebody looked."""
    calibration: Mapping[str, CalibrationLock]
    """What outcomes have made of thresholds, by environment."""
    capabilities: Mapping[str, CapabilityFile]
    code: Mapping[str, SourceText]


@dataclass(frozen=True)
class Statement:
    """One SQL statement as a syntax tree over the pack's own names, with the way back to where it was written."""

    tree: exp.Query
    text: Embedded
    origin: Span
    """Where the statement was asked for, when `text` is a template's: the relation's `use`."""
    grafts: tuple[Embedded, ...] = ()
    """Texts of a caller's expressions in a template's tree; their names say `graft: <place in this list>`."""

    def span(self, node: exp.Expr) -> Span:
        """Return the place of `node`, or of the statement's origin if it was not written out."""
        marks = [n.meta for n in node.find_all(exp.Identifier, exp.Var, exp.Star) if "start" in n.meta]
        if not marks:
            return self.origin
        graft = marks[0].get("graft")
        marks = [m for m in marks if m.get("graft") == graft]
        text = self.text if graft is None else self.grafts[graft]
        return text.span(min(m["start"] for m in marks), max(m["end"] for m in marks) + 1)

    def parameter_span(self, name: str) -> Span:
        """Return the place of `$name`, which the syntax tree does not keep."""
        return self._first(rf"[$@]{re.escape(name)}\b")

    def call_span(self, name: str) -> Span:
        """Return the place of a function's name, which the syntax tree does not keep, where it is first called."""
        bare = r"(?=\s*\()" if not name.startswith("current_") else r"\b"  # SQL calls these without parentheses too
        return self._first(rf"(?i)\b{re.escape(name)}{bare}")

    def _first(self, pattern: str) -> Span:
        found = re.search(pattern, self.text.text)
        return self.text.span(found.start(), found.end()) if found else self.origin


@dataclass(frozen=True)
class BoundRelation:
    """A relation with its statement and the datasets and views that it reads; a table function has no statement."""

    relation: Relation
    statement: Statement | None
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class BoundQuery:
    """A query shape with its statement."""

    query: Query
    statement: Statement
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Bound:
    """A pack with all statements in its own names; `order` has each relation after its inputs."""

    resolved: Resolved
    relations: Mapping[str, BoundRelation]
    queries: Mapping[str, BoundQuery]
    order: tuple[str, ...]


@dataclass(frozen=True)
class CheckedObject:
    """An object with its compiled checks."""

    object: Object
    key: Key | None
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class CheckedRelation:
    """A relation with everything that is known of its result; a table function has no SQL."""

    bound: BoundRelation
    sql: str | None
    columns: tuple[Column, ...]
    key: Key | None
    lineage: Mapping[str, tuple[str, ...]]
    required: Mapping[str, tuple[str, ...]]
    cut_point: str | None
    checks: tuple[Check, ...]
    sort: tuple[str, ...]
    examples: tuple[Written[ExampleSpec], ...] = ()
    joins: tuple[Join, ...] = ()
    local_to: Locality | None = None
    groups: Groups | None = None
    not_apart: str = ""
    """Why no change of an input, or not every one, recomputes only the groups that it touches."""
    indexes: Mapping[str, IndexEntry] = field(default_factory=dict)
    stratum: int = 0
    functions: tuple[str, ...] = ()
    """What its statement calls, sorted."""
    volatility: Volatility = "immutable"
    """How far its rows would come out the same if a run computed it again."""


@dataclass(frozen=True)
class CheckedQuery:
    """A query shape with what it reads and returns."""

    bound: BoundQuery
    sql: str
    columns: tuple[Column, ...]
    datasets: Mapping[str, tuple[str, ...]]
    views: tuple[str, ...]
    asks: Mapping[str, tuple[tuple[Ask, ...], ...]] = field(default_factory=dict)
    """Dataset → for each scan of it the conditions that the optimizer brings down to it."""
    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    """Dataset → for each scan of it the look-up of another that says which of its rows are wanted."""
    functions: tuple[str, ...] = ()

    def asked(self, dataset: str, *operators: str) -> set[str]:
        """Return the columns of a dataset that conditions name, or those with one of `operators`."""
        found = (ask for scan in self.asks.get(dataset, ()) for ask in scan)
        return {ask.column for ask in found if not operators or ask.op in operators}

    def looks_up(self, dataset: str, column: str) -> bool:
        """Whether every scan of a dataset names terms of a column, or what they begin with, or is given them."""
        scans, steps = self.asks.get(dataset, ()), self.steps.get(dataset, ())
        found = (any(a.column == column and a.op in ("=", "in", "like") for a in scan) for scan in scans)
        given = (step.column == column for step in steps)
        return (bool(scans) and all(found)) or (bool(steps) and all(given))


@dataclass(frozen=True)
class Checked:
    """A pack whose every statement is typed and proven."""

    resolved: Resolved
    objects: Mapping[str, CheckedObject]
    relations: Mapping[str, CheckedRelation]
    queries: Mapping[str, CheckedQuery]
    order: tuple[str, ...]


@dataclass(frozen=True)
class Decided:
    """A pack with a policy for each of its environments."""

    checked: Checked
    policies: Mapping[str, PolicyFile] = field(default_factory=dict)
