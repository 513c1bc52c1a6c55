"""What people write, key by key. These models are the language: a key that is not here is an error."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
"""A name becomes a file, an SQL and a Python name; 63 is the shortest limit among the engines we print for."""
Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*@\d+$")]


class Spec(BaseModel):
    """Base of all models: closed, exact, unchanging."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FileText(Spec):
    """Text in a `.sql` file beside the spec."""

    file: str


def _text_or_file(value: Any) -> str:
    return "file" if isinstance(value, dict | FileText) else "text"


def _body_form(value: Any) -> str:
    if isinstance(value, dict) and set(value) != {"file"}:
        return "choices"
    return _text_or_file(value)


Text = Annotated[
    Annotated[str, Tag("text")] | Annotated[FileText, Tag("file")],
    Discriminator(_text_or_file),
]
Body = Annotated[
    Annotated[str, Tag("text")] | Annotated[FileText, Tag("file")] | Annotated[dict[str, Text], Tag("choices")],
    Discriminator(_body_form),
]


def _one_or_list(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "one"


Domain = Annotated[
    Annotated[Name, Tag("one")] | Annotated[list[Name], Tag("list")],
    Discriminator(_one_or_list),
]


def domains(declared: str | list[str] | None) -> tuple[str, ...]:
    """Return a declared domain as the tuple that contracts carry, sorted when it is a sum."""
    if declared is None:
        return ()
    return (declared,) if isinstance(declared, str) else tuple(sorted(declared))


OnSchemaChange = Literal["refuse", "add_nullable", "rebuild"]
"""What a run does when a dataset's table has another schema than its contract."""


class ColumnSpec(Spec):
    """A column of an object."""

    type: str
    nullable: bool = False
    role: str | None = None
    domain: Domain | None = None
    values: list[str] | None = None
    length: int | None = Field(default=None, gt=0)
    renamed_from: Name | None = None


class OutputSpec(Spec):
    """What a relation declares of one of its output columns; `as` renames what the template calls it."""

    as_: Name | None = Field(default=None, alias="as")
    type: str | None = None
    nullable: bool | None = None
    role: str | None = None
    domain: Domain | None = None
    renamed_from: Name | None = None


class SourceSpec(Spec):
    """The adapter's stream that fills an object."""

    name: Name
    adapter: Name
    stream: Name


class TableSpec(Spec):
    """The object is a Delta table of others, bound by the environment under the object's name."""

    table: Literal[True]
    on_upstream_change: Literal["refuse", "ignore_new"] = "ignore_new"
    """Whether columns that others add stop a run. What is missing, or of another type, always does."""


def _source_form(value: Any) -> str:
    return "table" if isinstance(value, TableSpec) or (isinstance(value, dict) and "table" in value) else "stream"


ObjectSource = Annotated[
    Annotated[SourceSpec, Tag("stream")] | Annotated[TableSpec, Tag("table")],
    Discriminator(_source_form),
]


class LayoutSpec(Spec):
    """The order of the rows inside a dataset's files."""

    sort: list[Name] = Field(min_length=1)


class CoverageSpec(Spec):
    """The share of the distinct values of `of` (`relation.column`) that occur in the column `by`."""

    of: str
    by: Name
    at_least: float = Field(ge=0, le=1)


OnViolation = Literal["refuse", "quarantine", "record"]
"""What a violated check does: the run is refused, the rows go to a table beside, or the violation is recorded."""


class WhereCheck(Spec):
    """A predicate that every row satisfies."""

    where: str
    on_violation: OnViolation = "refuse"
    relaxed: OnViolation | None = None
    """What it does where an environment's `validation_mode` is `relaxed`; without it the contract allows no less."""


class CoverageCheck(Spec):
    """A share of another relation's values that must be reached."""

    coverage: CoverageSpec
    on_violation: Literal["refuse", "record"] = "refuse"
    relaxed: Literal["record"] | None = None


def _check_form(value: Any) -> str:
    return (
        "coverage" if isinstance(value, CoverageCheck) or (isinstance(value, dict) and "coverage" in value) else "where"
    )


CheckSpec = Annotated[
    Annotated[WhereCheck, Tag("where")] | Annotated[CoverageCheck, Tag("coverage")],
    Discriminator(_check_form),
]


class ObjectSpec(Spec):
    """`objects/<name>.yaml`: a stored table with a contract."""

    object: Name
    version: Version
    summary: str
    extends: Reference | None = None
    columns: dict[Name, ColumnSpec] = Field(default_factory=dict)
    key: list[Name] | None = None
    source: ObjectSource
    on_schema_change: OnSchemaChange = "rebuild"
    layout: LayoutSpec | None = None
    checks: dict[Name, CheckSpec] = Field(default_factory=dict)


class ObjectTemplateSpec(Spec):
    """`templates/<name>.yaml` with `kind: object`: columns that objects take over by `extends`."""

    template: Name
    version: Version
    kind: Literal["object"]
    summary: str
    columns: dict[Name, ColumnSpec] = Field(min_length=1)


class RelationParameter(Spec):
    """A relation parameter: its local names, each `@role`, `column`, `columns` or `columns?` (may be left out)."""

    relation: dict[Name, str]
    summary: str | None = None


class RelationsParameter(Spec):
    """A list of relations; the body is one SELECT, repeated for each of them and united."""

    relations: dict[Name, str]
    united: Literal["all", "distinct"]
    summary: str | None = None


class OneOfParameter(Spec):
    """A parameter with listed values; `body` may have a branch for each."""

    one_of: list[Name] = Field(min_length=1)
    default: Name | None = None
    summary: str | None = None


class PicksSpec(Spec):
    """The branches of `body` that hold when a parameter is given and when it is not."""

    given: Name
    absent: Name


class ScalarParameter(Spec):
    """A plain value: where the body says `$name` it becomes a literal, a list of columns or an expression."""

    type: Literal["bool", "int", "decimal", "string", "duration", "columns", "expression", "expressions"]
    default: bool | int | str | list[Name] | None = None
    over: Name | None = None
    """The relation parameter whose columns an expression names."""
    picks: PicksSpec | None = None
    summary: str | None = None


def _parameter_form(value: Any) -> str:
    for form, model in (
        ("relation", RelationParameter),
        ("relations", RelationsParameter),
        ("one_of", OneOfParameter),
    ):
        if isinstance(value, model) or (isinstance(value, dict) and form in value):
            return form
    return "scalar"


ParameterSpec = Annotated[
    Annotated[RelationParameter, Tag("relation")]
    | Annotated[RelationsParameter, Tag("relations")]
    | Annotated[OneOfParameter, Tag("one_of")]
    | Annotated[ScalarParameter, Tag("scalar")],
    Discriminator(_parameter_form),
]


class ProvidesSpec(Spec):
    """What every application of a template provides; `$name` in the key stands for a list of columns."""

    key: list[Annotated[str, StringConstraints(pattern=r"^\$?[a-z][a-z0-9_]*$")]] | None = None
    local_to: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] | None = None
    """`parameter.column`: the relation falls apart into the groups of that column, wherever that can be proven."""
    checks: dict[Name, WhereCheck] = Field(default_factory=dict)


def _provides_form(value: Any) -> str:
    return "all" if isinstance(value, ProvidesSpec) or set(value or ()) & set(ProvidesSpec.model_fields) else "branches"


Provides = Annotated[
    Annotated[ProvidesSpec, Tag("all")] | Annotated[dict[Name, ProvidesSpec], Tag("branches")],
    Discriminator(_provides_form),
]


def _rows_form(value: Any) -> str:
    return "rows" if isinstance(value, list) else "row"


ExampleRows = Annotated[
    Annotated[dict[str, Any], Tag("row")] | Annotated[list[dict[str, Any]], Tag("rows")],
    Discriminator(_rows_form),
]
"""One row of a relation; for a list of relations the rows of one of them."""


class ExampleSpec(Spec):
    """Rows given and the rows expected of them; becomes a generated test."""

    name: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    carry: dict[str, Any] = Field(default_factory=dict)
    given: dict[str, list[ExampleRows]]
    expect: list[dict[str, Any]]


class RelationTemplateSpec(Spec):
    """`templates/<name>.yaml` with `kind: relation`: a recipe in SQL over local names."""

    template: Name
    version: Version
    kind: Literal["relation"]
    summary: str
    parameters: dict[Name, ParameterSpec]
    provides: Provides = Field(default_factory=ProvidesSpec)
    body: Body
    examples: list[ExampleSpec] = Field(default_factory=list)


def _template_form(value: Any) -> str:
    return "object" if isinstance(value, dict) and value.get("kind") == "object" else "relation"


TemplateSpec = Annotated[
    Annotated[ObjectTemplateSpec, Tag("object")] | Annotated[RelationTemplateSpec, Tag("relation")],
    Discriminator(_template_form),
]


class RelationArgument(Spec):
    """A relation given to a parameter, with the columns that its roles do not fit."""

    relation: Name
    columns: dict[Name, Any] = Field(default_factory=dict)


class RelationSpec(Spec):
    """`relations/<name>.yaml`: a template applied, a body of its own, or a function of the pack called."""

    relation: Name
    kind: Literal["table_function"] | None = None
    version: Version | None = None
    summary: str | None = None
    export: bool = False
    store: bool = False
    use: Reference | None = None
    with_: dict[Name, Any] = Field(default_factory=dict, alias="with")
    carry: dict[Name, Any] = Field(default_factory=dict)
    body: Text | None = None
    function: Name | None = None
    rounds: Annotated[int, Field(ge=1, le=16)] | None = None
    """How often a relation that reads itself, or is read by what it reads, is unrolled. 16: plans grow with each."""
    columns: dict[Name, OutputSpec] = Field(default_factory=dict)
    key: list[Name] | None = None
    cardinality: dict[Name, Literal["1:1", "n:1", "1:n", "n:m"]] = Field(default_factory=dict)
    local_to: Name | None = None
    layout: LayoutSpec | None = None
    on_schema_change: OnSchemaChange = "rebuild"
    checks: dict[Name, CheckSpec] = Field(default_factory=dict)
    examples: list[ExampleSpec] = Field(default_factory=list)


class QuerySpec(Spec):
    """`queries/<name>.yaml`: a typed, parameterised query in a workload class."""

    query: Name
    summary: str
    class_: Name = Field(alias="class")
    parameters: dict[Name, str] = Field(default_factory=dict)
    example: dict[Name, bool | int | str] = Field(default_factory=dict)
    body: Text


class ScalarFunctionSpec(Spec):
    """`functions/<name>.yaml` with `kind: scalar`: a function of arrays, called in SQL; Arrow in, Arrow out."""

    function: Name
    kind: Literal["scalar"]
    summary: str
    module: Name
    """The pack's `code/<module>.py`, which holds a function of this name."""
    arguments: dict[Name, str] = Field(min_length=1)
    returns: str
    volatility: Literal["immutable", "stable", "volatile"]


class TableFunctionSpec(Spec):
    """`functions/<name>.yaml` with `kind: table`: called between relations with a reader for each of its inputs."""

    function: Name
    kind: Literal["table"]
    summary: str
    module: Name
    parameters: dict[Name, ParameterSpec] = Field(min_length=1)
    volatility: Literal["immutable", "stable", "volatile"]


def _function_form(value: Any) -> str:
    return "table" if isinstance(value, dict) and value.get("kind") == "table" else "scalar"


FunctionSpec = Annotated[
    Annotated[ScalarFunctionSpec, Tag("scalar")] | Annotated[TableFunctionSpec, Tag("table")],
    Discriminator(_function_form),
]


class DomainSpec(Spec):
    """The order in which a domain's rules are tried, and the confidence below which its baseline stands."""

    order: list[str]
    min_confidence: Annotated[str, StringConstraints(pattern=r"^[01]\.\d\d$")]


class ThresholdSpec(Spec):
    """A number that decides something: its value is one rung of its ladder."""

    id: str
    value: int | str
    unit: str
    ladder: list[int | str] = Field(min_length=1)
    because: str


class RuleSpec(Spec):
    """`when` all its predicates hold, the decision is `then`; without `when` it always holds."""

    id: str
    version: int
    when: str | None = None
    then: dict[str, Any]
    requires: list[str] = Field(default_factory=list)
    otherwise: dict[str, Any] | None = None
    because: str


class DecisionSpec(Spec):
    """A decision that a person makes for one subject: it stands above what rules derive."""

    domain: Name
    subject: Name
    then: dict[str, Any]
    requires: list[str] = Field(default_factory=list)
    otherwise: dict[str, Any] | None = None
    because: str


class BudgetSpec(Spec):
    """A budget that environments set, and its unit."""

    id: Name
    unit: str
    because: str


Confidence = Annotated[str, StringConstraints(pattern=r"^[01]\.\d\d$")]


class ConfidenceSpec(Spec):
    """What facts are worth by where they come from."""

    assumed: Confidence | None = Field(default=None, description="What nobody has looked at.")
    capability: Confidence | None = Field(
        default=None, description="What a probe saw with the environment's engine versions."
    )
    declared: Confidence | None = Field(default=None, description="What a person wrote and the compiler checked.")
    lineage: Confidence | None = Field(default=None, description="What is computed from the syntax trees.")
    statistics: Confidence | None = Field(
        default=None, description="What the table's log says, times the share of the files that do."
    )
    bound: Confidence | None = Field(
        default=None, description="What is at most so by statistics, times the share of the files that have some."
    )
    estimate: Confidence | None = Field(
        default=None, description="What is derived from other facts: multiplies the weakest of them."
    )
    outcome: list[Confidence] | None = Field(
        default=None, description="By the number of runs seen: the first is for one run, the last for as many or more."
    )


class RulesSpec(Spec):
    """`rules/<name>.toml`."""

    domain: dict[Name, DomainSpec] = Field(default_factory=dict)
    threshold: list[ThresholdSpec] = Field(default_factory=list)
    budget: list[BudgetSpec] = Field(default_factory=list)
    rule: list[RuleSpec] = Field(default_factory=list)
    decision: list[DecisionSpec] = Field(default_factory=list)
    confidence: ConfidenceSpec = Field(default_factory=ConfidenceSpec)


class WorkloadSpec(Spec):
    """A workload class: whether its statements read whole tables or few rows, and must come out the same each time."""

    reads: Literal["whole", "selective"]
    repeatable: bool = False


class GateSpec(Spec):
    """What a domain must show in `warn` before it may be set to `enforce`."""

    runs: int = Field(ge=1)
    agreement: Annotated[str, StringConstraints(pattern=r"^[01]\.\d\d$")]
    """The least share of decisions that are what the baseline is."""
    failures: int = Field(ge=0)
    """The most guards that failed where the decision would have stood."""


ValidationMode = Literal["strict", "declared", "relaxed"]
"""`strict` refuses on every violation and asks what was proven too; `relaxed` does what contracts allow at least."""


class PackSpec(Spec):
    """`pack.toml`."""

    name: Name
    version: Version
    summary: str
    imports: list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*@\d+$")]] = Field(default_factory=list)
    workloads: dict[Name, WorkloadSpec] = Field(default_factory=dict)
    validation_mode: ValidationMode = "declared"
    gates: dict[Name, GateSpec] = Field(default_factory=dict)


class BindingSpec(Spec):
    """Where a name is: a table's place, or a source's roots and the options of its adapter."""

    table: str | None = None
    roots: list[str] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)


Mode = Literal["off", "warn", "enforce"]
"""`off`: the baseline runs; `warn`: it runs, and the decision is recorded beside it; `enforce`: the decision runs."""


class ExceptionSpec(Spec):
    """One subject whose mode differs from its domain's, for a reason and until a version of the pack."""

    domain: Name
    subject: Name
    mode: Mode
    because: str
    until: Version


class RolloutSpec(Spec):
    """How far decisions are obeyed, by domain; a domain that is not named is enforced."""

    domains: dict[Name, Mode] = Field(default_factory=dict)
    exception: list[ExceptionSpec] = Field(default_factory=list)


class EnvironmentSpec(Spec):
    """`env/<env>.toml`: one environment."""

    lake: str
    engine: str
    budgets: dict[Name, int | str]
    bindings: dict[Name, BindingSpec] = Field(default_factory=dict)
    thresholds: dict[str, int | str] = Field(default_factory=dict)
    rollout: RolloutSpec = Field(default_factory=RolloutSpec)
    validation_mode: ValidationMode | None = None
    """Over the pack's."""
    decision: list[DecisionSpec] = Field(default_factory=list)


LATER: dict[str, tuple[str, ...]] = {
    "ObjectSpec": ("changes", "indexes", "owner"),
    "RelationSpec": ("indexes", "refresh", "owner"),
    "QuerySpec": ("payoff",),
    "LayoutSpec": ("files", "partition_by", "z_order"),
}
"""Fields of the design that nothing obeys yet: refused by name, so that nobody relies on them."""
