"""What people write, key by key. These models are the language: a key that is not here is an error."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from decreta_runtime.contract.calibration import Metric

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
"""A name becomes a file, an SQL and a Python name; 63 is the shortest limit among the engines we print for."""
Subject = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$", max_length=127)]
"""A dataset, view or workload class; an index is named `dataset.index`."""
Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*@\d+$")]


class _InSchema:
    """Says in a JSON Schema what `_once` asks for."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "uniqueItems": True}


def _once(values: list[str]) -> list[str]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"`{value}` stands in it twice")
    return values


Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_once), _InSchema()]
"""A list of columns, such as a key; an empty one would say nothing."""


class Spec(BaseModel):
    """Base of all models: closed, exact, unchanging."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FileText(Spec):
    """Text in a `.sql` file beside the spec."""

    file: str
    """The file's name, in the folder of the spec."""


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
    """bool, int8 to int64, float32, float64, decimal(p,s), string, binary, date, timestamp,
    timestamp_local or `list<T>`."""
    nullable: bool = False
    """Whether the column may be null."""
    role: str | None = None
    """What templates look for, such as identity or file."""
    domain: Domain | None = None
    """Whose key the column holds: keys of different domains are never compared."""
    values: Annotated[list[str], Field(min_length=1), AfterValidator(_once), _InSchema()] | None = None
    """All that a string column may hold; checked in each run."""
    length: int | None = Field(default=None, gt=0)
    """The bytes of each value of a binary column."""
    renamed_from: Name | None = None
    """What the column was called before; a run takes it for the same column."""


class OutputSpec(Spec):
    """What a relation declares of one of its output columns; `as` renames what the template calls it."""

    as_: Name | None = Field(default=None, alias="as")
    """The column's name in this relation, where the template calls it otherwise."""
    type: str | None = None
    """A contract: compiling fails if the statement gives another type."""
    nullable: bool | None = None
    """false promises that the column is never null: proven, or checked in each run."""
    role: str | None = None
    """What templates look for, such as identity or file."""
    domain: Domain | None = None
    """Whose key the column holds, where it does not follow from the statement."""
    renamed_from: Name | None = None
    """What the column was called before; a run takes it for the same column."""


class SourceSpec(Spec):
    """The adapter's stream that fills an object."""

    name: Name
    """The name under which environments and `--source` bind the source."""
    adapter: Name
    """The pack's `code/<adapter>.py`."""
    stream: Name
    """Which of the adapter's streams holds the rows."""


class TableSpec(Spec):
    """The object is a Delta table of others, bound by the environment under the object's name."""

    table: Literal[True]
    """Always true: the table belongs to others."""
    on_upstream_change: Literal["refuse", "ignore_new"] = "ignore_new"
    """Whether columns that others add stop a run. What is missing, or of another type, always does."""


def _source_form(value: Any) -> str:
    return "table" if isinstance(value, TableSpec) or (isinstance(value, dict) and "table" in value) else "stream"


ObjectSource = Annotated[
    Annotated[SourceSpec, Tag("stream")] | Annotated[TableSpec, Tag("table")],
    Discriminator(_source_form),
]


class ChangesSpec(Spec):
    """How the rows of an object come and go: a promise by which runs recompute only what a change touches."""

    kind: Literal["static", "append", "replace_by", "cdf", "rebuild"]
    """`static`: hardly ever; `append`: rows only come; `replace_by`: the rows with one value of `column` together;
    `cdf`: a table of others keeps a change data feed; `rebuild`: in no way that helps."""
    column: Name | None = None
    """Of `replace_by`: the column whose values are replaced one by one; a whole number, a string or a date."""
    lateness: Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,4} days?$")] | None = None
    """Of a column of dates: how far before the newest day rows still change; a run refuses what comes later."""
    visible: Name | None = None
    """Of `replace_by`: the column whose change alone makes relations stale that read other groups."""


class LayoutSpec(Spec):
    """The order of the rows inside a dataset's files."""

    sort: Names
    """The columns that rows are sorted by, the first first: look-ups by it read few files and pages."""


class IndexSpec(Spec):
    """An external index of a dataset: which of its files hold a term."""

    kind: Literal["term"]
    """`term`: the values of one column, or of several together."""
    column: Name | None = None
    """The column looked up; by its values, or by texts that they begin with."""
    columns: list[Name] | None = Field(default=None, min_length=1)
    """Several columns, the first of which a look-up names."""


class CoverageSpec(Spec):
    """The share of the distinct values of `of` (`relation.column`) that occur in the column `by`."""

    of: str
    """`relation.column`: the values that are to be reached."""
    by: Name
    """The column of this relation in which they are to occur."""
    at_least: float = Field(ge=0, le=1)
    """The share that must be reached, from 0 to 1."""


OnViolation = Literal["refuse", "quarantine", "record"]
"""What a violated check does: the run is refused, the rows go to a table beside, or the violation is recorded."""


class WhereCheck(Spec):
    """A predicate that every row satisfies."""

    where: str
    """A predicate over the columns; a row for which it is not true violates it."""
    on_violation: OnViolation = "refuse"
    """What a run does when the check fails."""
    relaxed: OnViolation | None = None
    """What it does where an environment's `validation_mode` is `relaxed`; without it the contract allows no less."""


class CoverageCheck(Spec):
    """A share of another relation's values that must be reached."""

    coverage: CoverageSpec
    """Whose values must occur, where, and how many of them."""
    on_violation: Literal["refuse", "record"] = "refuse"
    """What a run does when the check fails."""
    relaxed: Literal["record"] | None = None
    """What it does where an environment's `validation_mode` is `relaxed`; without it the contract allows no less."""


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
    """The table's name, and that of the file."""
    version: Version
    """Three numbers; another first one says that readers have to change."""
    summary: str
    """One sentence: what a row is."""
    extends: Reference | None = None
    """An object template, `library/name@major`, whose columns are taken over."""
    columns: dict[Name, ColumnSpec] = Field(default_factory=dict)
    """The columns by name, never null unless they say so."""
    key: Names | None = None
    """Columns that are unique together; checked in each run."""
    source: ObjectSource
    """The adapter's stream that fills the table, or `{table: true}` for a table of others."""
    on_schema_change: OnSchemaChange = "rebuild"
    """What a run does when the table has another schema than this contract."""
    changes: ChangesSpec = ChangesSpec(kind="rebuild")
    """How rows come and go; without it the table is written anew whenever its source has changed."""
    layout: LayoutSpec | None = None
    """How the rows lie in their files."""
    indexes: dict[Name, IndexSpec] = Field(default_factory=dict)
    """External indexes, by name; the policy decides whether one is built and who uses it."""
    checks: dict[Name, CheckSpec] = Field(default_factory=dict)
    """What must hold of the rows, by name."""


class ObjectTemplateSpec(Spec):
    """`templates/<name>.yaml` with `kind: object`: columns that objects take over by `extends`."""

    template: Name
    """The template's name, and that of the file."""
    version: Version
    """Three numbers; the first is part of each reference."""
    kind: Literal["object"]
    """`object`: columns to take over by `extends`."""
    summary: str
    """One sentence: what the columns are for."""
    columns: dict[Name, ColumnSpec] = Field(min_length=1)
    """The columns by name."""


class RelationParameter(Spec):
    """A relation parameter: its local names, each `@role`, `column`, `columns` or `columns?` (may be left out)."""

    relation: dict[Name, str]
    """Local name of each column → its role (`@role`), `column`, `columns`, or `columns?` for a list that
    may be left out."""
    summary: str | None = None
    """What is to be given."""


class RelationsParameter(Spec):
    """A list of relations; the body is one SELECT, repeated for each of them and united."""

    relations: dict[Name, str]
    """Local name of each column → its role (`@role`), `column`, `columns`, or `columns?` for a list that
    may be left out."""
    united: Literal["all", "distinct"]
    """`all` keeps repeated rows, `distinct` drops them."""
    summary: str | None = None
    """What is to be given."""


class OneOfParameter(Spec):
    """A parameter with listed values; `body` may have a branch for each."""

    one_of: Names
    """The values to choose from."""
    default: Name | None = None
    """The value taken when none is given."""
    summary: str | None = None
    """What is to be chosen."""


class PicksSpec(Spec):
    """The branches of `body` that hold when a parameter is given and when it is not."""

    given: Name
    """The branch taken when the parameter is given."""
    absent: Name
    """The branch taken when it is not."""


class ScalarParameter(Spec):
    """A plain value: where the body says `$name` it becomes a literal, a list of columns or an expression."""

    type: Literal["bool", "int", "decimal", "string", "duration", "columns", "expression", "expressions"]
    """What may be given; `duration` is text such as `7 days`, `expression` is SQL over the columns of `over`."""
    default: bool | int | str | list[Name] | None = None
    """What is taken when nothing is given; without it the parameter is needed."""
    over: Name | None = None
    """The relation parameter whose columns an expression names."""
    picks: PicksSpec | None = None
    """The branches of `body` that its presence and its absence pick."""
    summary: str | None = None
    """What is to be given."""


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
    """Columns that are unique together in each application."""
    local_to: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] | None = None
    """`parameter.column`: the relation falls apart into the groups of that column, wherever that can be proven."""
    checks: dict[Name, WhereCheck] = Field(default_factory=dict)
    """What holds of each row, by name."""


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
    """What the example shows; the name of its test."""
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    """Arguments other than the relation's own; of a template's example, its arguments."""
    carry: dict[str, Any] = Field(default_factory=dict)
    """What is carried, for a template's example."""
    given: dict[str, list[ExampleRows]]
    """The rows of each input; columns left out are filled in."""
    expect: list[dict[str, Any]]
    """The rows that must come out, in any order."""


class RelationTemplateSpec(Spec):
    """`templates/<name>.yaml` with `kind: relation`: a recipe in SQL over local names."""

    template: Name
    """The template's name, and that of the file."""
    version: Version
    """Three numbers; the first is part of each reference."""
    kind: Literal["relation"]
    """`relation`: a recipe that relations apply by `use`."""
    summary: str
    """One sentence: what a row of the result is."""
    parameters: dict[Name, ParameterSpec]
    """What is to be given, by name; a relation among them is a table of the body."""
    provides: Provides = Field(default_factory=ProvidesSpec)
    """What holds of each application, by branch if it differs."""
    body: Body
    """One SELECT over the parameters, each column with its alias; or one for each branch."""
    examples: list[ExampleSpec] = Field(default_factory=list)
    """Rows given and expected; they become tests of each relation that uses the template alike."""


def _template_form(value: Any) -> str:
    return "object" if isinstance(value, dict) and value.get("kind") == "object" else "relation"


TemplateSpec = Annotated[
    Annotated[ObjectTemplateSpec, Tag("object")] | Annotated[RelationTemplateSpec, Tag("relation")],
    Discriminator(_template_form),
]


class RelationArgument(Spec):
    """A relation given to a parameter, with the columns that its roles do not fit."""

    relation: Name
    """The object or relation that is given."""
    columns: dict[Name, Any] = Field(default_factory=dict)
    """Local name → column, where roles do not fit."""


Tolerance = Annotated[str, StringConstraints(pattern=r"^(any|0\.[0-9]*[1-9])$")]


class RelationSpec(Spec):
    """`relations/<name>.yaml`: a template applied, a body of its own, or a function of the pack called."""

    relation: Name
    """The relation's name, and that of the file."""
    kind: Literal["table_function"] | None = None
    """`table_function` for a relation that a function of the pack computes."""
    version: Version | None = None
    """Three numbers; an exported relation has them."""
    summary: str | None = None
    """One sentence: what a row is."""
    export: bool = False
    """Whether others may build on it."""
    store: bool = False
    """Whether it is a table of its own; otherwise it is computed where it is read."""
    use: Reference | None = None
    """The template, `library/name@major`, that is applied."""
    with_: dict[Name, Any] = Field(default_factory=dict, alias="with")
    """The template's or function's arguments, by parameter."""
    carry: dict[Name, Any] = Field(default_factory=dict)
    """Parameter → columns of it that are passed through; `"*"` for all, `{column: new_name}` to rename."""
    body: Text | None = None
    """One SELECT over objects and relations of the pack, or `{file: name.sql}`."""
    function: Name | None = None
    """The table function of the pack that is called."""
    rounds: Annotated[int, Field(ge=1, le=16)] | None = None
    """How often a relation that reads itself, or is read by what it reads, is unrolled. 16: plans grow with each."""
    columns: dict[Name, OutputSpec] = Field(default_factory=dict)
    """What is declared of output columns, by name."""
    key: Names | None = None
    """Columns that are unique together: proven where that can be, else checked in each run."""
    varies: dict[Name, Tolerance] = Field(default_factory=dict)
    """Column → how far two runs over the same data may differ in it: a share of its value, of a float, or `any`."""
    cardinality: dict[Name, Literal["1:1", "n:1", "1:n", "n:m"]] = Field(default_factory=dict)
    """The join with a parameter or alias → how many rows meet: proven from keys, else checked in each run."""
    local_to: Name | None = None
    """A column whose groups do not depend on each other; must be proven."""
    layout: LayoutSpec | None = None
    """How the rows lie in their files, of a stored relation."""
    indexes: dict[Name, IndexSpec] = Field(default_factory=dict)
    """External indexes of a stored relation, by name."""
    on_schema_change: OnSchemaChange = "rebuild"
    """What a run does when the table has another schema than this contract."""
    checks: dict[Name, CheckSpec] = Field(default_factory=dict)
    """What must hold of the rows, by name."""
    examples: list[ExampleSpec] = Field(default_factory=list)
    """Rows of the inputs and the rows expected; they become tests."""


Share = Annotated[str, StringConstraints(pattern=r"^\d+\.\d\d$")]


class LatencyBoundSpec(Spec):
    """The most time that a query shape may take."""

    of: Literal["baseline"]
    """What it is held against: the shape under the baselines of all domains."""
    at_most: Share
    """The share, a decimal of two places in quotes, such as "1.10"."""


class BytesBoundSpec(Spec):
    """The most bytes that a query shape may read."""

    of: Literal["baseline", "full_scan"]
    """What it is held against: the shape under the baselines of all domains, or the files of its tables whole."""
    at_most: Share
    """The share, a decimal of two places in quotes, such as "0.20"."""


class PromiseSpec(Spec):
    """What a query shape may cost at most: `decreta compare --gate` replays it and decides."""

    latency: LatencyBoundSpec | None = None
    """Of its time."""
    bytes_scanned: BytesBoundSpec | None = None
    """Of the bytes that it reads."""


class QuerySpec(Spec):
    """`queries/<name>.yaml`: a typed, parameterised query in a workload class."""

    query: Name
    """The shape's name, that of the file, and of the Python function."""
    summary: str
    """One sentence: what the answer is."""
    class_: Name = Field(alias="class")
    """The workload class, one of pack.toml's."""
    parameters: dict[Name, str] = Field(default_factory=dict)
    """Name → type of each `$name` in the body."""
    example: dict[Name, bool | int | str] = Field(default_factory=dict)
    """A value for each parameter to try the shape with."""
    body: Text
    """One SELECT, or `{file: name.sql}`."""
    payoff: PromiseSpec = Field(default_factory=PromiseSpec)
    """What it may cost at most; a gate of its own."""


class ScalarFunctionSpec(Spec):
    """`functions/<name>.yaml` with `kind: scalar`: a function of arrays, called in SQL; Arrow in, Arrow out."""

    function: Name
    """The function's name, that of the file, and in SQL."""
    kind: Literal["scalar"]
    """`scalar`: called in SQL with Arrow arrays."""
    summary: str
    """One sentence: what it returns."""
    module: Name
    """The pack's `code/<module>.py`, which holds a function of this name."""
    arguments: dict[Name, str] = Field(min_length=1)
    """Name → type of each argument, in their order."""
    returns: str
    """The type of what it returns."""
    volatility: Literal["immutable", "stable", "volatile"]
    """Whether equal arguments give equal results: always, within a statement, or not."""


class TableFunctionSpec(Spec):
    """`functions/<name>.yaml` with `kind: table`: called between relations with a reader for each of its inputs."""

    function: Name
    """The function's name, and that of the file."""
    kind: Literal["table"]
    """`table`: called between relations with a reader for each input."""
    summary: str
    """One sentence: what a row of the result is."""
    module: Name
    """The pack's `code/<module>.py`, which holds a function of this name."""
    parameters: dict[Name, ParameterSpec] = Field(min_length=1)
    """What is to be given, as templates have it."""
    volatility: Literal["immutable", "stable", "volatile"]
    """Whether equal inputs give equal results: always, within a run, or not."""


def _function_form(value: Any) -> str:
    return "table" if isinstance(value, dict) and value.get("kind") == "table" else "scalar"


FunctionSpec = Annotated[
    Annotated[ScalarFunctionSpec, Tag("scalar")] | Annotated[TableFunctionSpec, Tag("table")],
    Discriminator(_function_form),
]


class DomainSpec(Spec):
    """The order in which a domain's rules are tried, and the confidence below which its baseline stands."""

    order: list[str]
    """The ids of the domain's rules in the order in which they are tried."""
    min_confidence: Annotated[str, StringConstraints(pattern=r"^(0\.\d\d|1\.00)$")]
    """The confidence below which the baseline stands, such as "0.60"."""


Whole = Annotated[int, Field(ge=0, lt=2**53)]
"""A number that JSON and the engine hold exactly, with room beside it."""


class CalibrationSpec(Spec):
    """How a threshold is turned by what comes of it: `decreta calibrate` tries its ladder rung by rung."""

    objective: Metric
    """The counter that is to fall."""
    guards: list[Metric] = Field(default_factory=list)
    """Counters that may not rise by more than `calibration.class_percent`."""
    samples: int = Field(ge=1)
    """Runs, or openings of a pack, that an epoch must have for the objective to count."""
    dead_band: Annotated[str, StringConstraints(pattern=r"^0\.\d\d$")]
    """A share such as "0.02": what changes by less is as it was."""
    cool_down: int = Field(ge=0)
    """Epochs that it rests after a trial that came to nothing."""
    lasts: int = Field(ge=1)
    """Epochs that an override holds unless it is verified before."""


class ThresholdSpec(Spec):
    """A number that decides something: its value is one rung of its ladder."""

    id: str
    """`domain.name`; rules write `$domain.name`."""
    value: Whole | str
    """One rung of the ladder."""
    unit: str
    """What the number counts."""
    ladder: list[Whole | str] = Field(min_length=1)
    """All values that the threshold may have, in order."""
    because: str
    """Why this value."""
    calibration: CalibrationSpec | None = None
    """Makes it a knob; left out, people alone turn it."""


class RuleSpec(Spec):
    """`when` all its predicates hold, the decision is `then`; without `when` it always holds."""

    id: str
    """`domain.name`."""
    version: int
    """Counts the rule's changes."""
    when: str | None = None
    """A conjunction of predicates over the subject's facts; left out, the rule always holds."""
    then: dict[str, Any]
    """The value decided; `$fact` and `$threshold` are filled in."""
    requires: list[str] = Field(default_factory=list)
    """Guards that the runtime asks before it obeys."""
    otherwise: dict[str, Any] | None = None
    """The value to take when a guard fails."""
    because: str
    """Why."""


class DecisionSpec(Spec):
    """A decision that a person makes for one subject: it stands above what rules derive."""

    domain: Name
    """`scan`, `cache`, `write` or `session`."""
    subject: Subject
    """The dataset, view or workload class."""
    then: dict[str, Any]
    """The value decided."""
    requires: list[str] = Field(default_factory=list)
    """Guards that the runtime asks before it obeys."""
    otherwise: dict[str, Any] | None = None
    """The value to take when a guard fails."""
    because: str
    """Why rules do not decide here."""


Size = Annotated[str, StringConstraints(pattern=r"^[1-9]\d*[KMG]$")]


class BudgetSpec(Spec):
    """A budget that environments set, and its unit."""

    id: Name
    """What environments call it."""
    unit: str
    """What it counts."""
    least: Whole | Size
    """The least that an environment may set; where it is text, budgets are in the engine's notation, such as `256M`."""
    because: str
    """What it bounds."""


Confidence = Annotated[str, StringConstraints(pattern=r"^(0\.\d\d|1\.00)$")]


class ConfidenceSpec(Spec):
    """What facts are worth by where they come from."""

    assumed: Confidence | None = None
    """Of what nobody has looked at."""
    capability: Confidence | None = None
    """Of what a probe saw."""
    declared: Confidence | None = None
    """Of what people wrote."""
    lineage: Confidence | None = None
    """Of what syntax trees say."""
    calibrated: Confidence | None = None
    """Of a threshold that outcomes have turned."""
    statistics: Confidence | None = None
    """Of a fact that all files of the table say; the share of those that do multiplies it."""
    bound: Confidence | None = None
    """Of a bound that statistics give where the value itself is unknown; the share of files multiplies it."""
    estimate: Confidence | None = None
    """Multiplies the weakest fact that an estimate is made from."""
    outcome: list[Confidence] | None = None
    """By the number of runs seen: the first is for one run, the last for as many or more."""


class RulesSpec(Spec):
    """`rules/<name>.toml`."""

    domain: dict[Name, DomainSpec] = Field(default_factory=dict)
    """Domain → the order of its rules."""
    threshold: list[ThresholdSpec] = Field(default_factory=list)
    """The numbers that rules compare with."""
    budget: list[BudgetSpec] = Field(default_factory=list)
    """The budgets that environments set."""
    rule: list[RuleSpec] = Field(default_factory=list)
    """The rules; laid over the library's by id."""
    decision: list[DecisionSpec] = Field(default_factory=list)
    """What people decide for single subjects, in every environment."""
    confidence: ConfidenceSpec = Field(default_factory=ConfidenceSpec)
    """Source of a fact → how far it is trusted, such as "0.95"."""


class WorkloadSpec(Spec):
    """A workload class: whether its statements read whole tables or few rows, and must come out the same each time."""

    reads: Literal["whole", "selective"]
    """`whole` tables, or few rows of them: `selective`."""
    repeatable: bool = False
    """Whether its results must come out the same each time, order included."""


Margin = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d\d)?$")]


class LatencyMarginSpec(Spec):
    """By how much the decisions of a domain must be quicker than its baselines."""

    unit: Literal["share", "milliseconds"]
    """What the margin counts: a share of what the baselines take, or milliseconds."""
    margin: Margin
    """The least that is saved, in quotes: "0" where taking no longer is enough."""


class BytesMarginSpec(Spec):
    """By how much the decisions of a domain must take fewer bytes than its baselines."""

    unit: Literal["share", "bytes"]
    """What the margin counts: a share of what the baselines take, or bytes."""
    margin: Margin
    """The least that is saved, in quotes: "0" where taking no more is enough."""


class PayoffSpec(Spec):
    """What the decisions of a domain must save: `decreta compare --gate` replays both and decides."""

    latency: LatencyMarginSpec | None = None
    """Of the time of a run and of asking each shape."""
    bytes_scanned: BytesMarginSpec | None = None
    """Of the bytes that they read and write."""
    maintenance_cost: BytesMarginSpec | None = None
    """Of the bytes that maintenance writes anew."""


class GateSpec(Spec):
    """What a domain must show in `warn` before it may be set to `enforce`."""

    runs: int = Field(ge=1)
    """Complete runs that must have been seen."""
    agreement: Annotated[str, StringConstraints(pattern=r"^(0\.\d\d|1\.00)$")]
    """The least share of decisions that are what the baseline is."""
    failures: int = Field(ge=0)
    """The most guards that failed where the decision would have stood."""
    payoff: PayoffSpec = Field(default_factory=PayoffSpec)
    """What its decisions must save against its baselines."""


ValidationMode = Literal["strict", "declared", "relaxed"]
"""`strict` refuses on every violation and asks what was proven too; `relaxed` does what contracts allow at least."""


class PackSpec(Spec):
    """`pack.toml`."""

    name: Name
    """The pack's name, and that of its folder."""
    version: Version
    """Three numbers."""
    summary: str
    """One sentence: what the pack is about."""
    imports: list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*@\d+$")]] = Field(default_factory=list)
    """Libraries with their major version, such as `std@1`."""
    workloads: dict[Name, WorkloadSpec] = Field(default_factory=dict)
    """The workload classes; runs use `batch_ingest`, `decreta sql` uses `interactive_query`."""
    validation_mode: ValidationMode = "declared"
    """How strictly checks are held, in environments that do not say."""
    gates: dict[Name, GateSpec] = Field(default_factory=dict)
    """Domain → what it must show before it is enforced."""


class BindingSpec(Spec):
    """Where a name is: a table's place, or a source's roots and the options of its adapter."""

    table: str | None = None
    """The place of a Delta table of others, a folder or `s3://BUCKET/PATH`; a relative one starts at the lake."""
    roots: list[str] = Field(default_factory=list)
    """`[ROOT:]PATH` of each root of a source."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the adapter is told."""


Mode = Literal["off", "warn", "enforce"]
"""`off`: the baseline runs; `warn`: it runs, and the decision is recorded beside it; `enforce`: the decision runs."""


class ExceptionSpec(Spec):
    """One subject whose mode differs from its domain's, for a reason and until a version of the pack."""

    domain: Name
    """The domain whose mode does not hold."""
    subject: Subject
    """The dataset, view or workload class."""
    mode: Mode
    """The mode that holds instead."""
    because: str
    """Why."""
    until: Version
    """The version of the pack at which this ends."""


class RolloutSpec(Spec):
    """How far decisions are obeyed, by domain; a domain that is not named is enforced."""

    domains: dict[Name, Mode] = Field(default_factory=dict)
    """Domain → its mode."""
    exception: list[ExceptionSpec] = Field(default_factory=list)
    """Subjects whose mode differs."""
    calibration: Mode = "warn"
    """`off`: its lock is passed over; `warn`: it proposes; `enforce`: what calibration tries and keeps is used."""


class EnvironmentSpec(Spec):
    """`env/<env>.toml`: one environment."""

    lake: str
    """The place that runs write to: a folder, or `s3://BUCKET/PATH`."""
    engine: str
    """The versions that are run with, such as `datafusion-55.0.0+deltalake-1.6.6`: selects what a probe saw of them."""
    budgets: dict[Name, Whole | str]
    """What may be used; rules write `$budget.name`."""
    bindings: dict[Name, BindingSpec] = Field(default_factory=dict)
    """Object or source → where it is."""
    thresholds: dict[str, Whole | str] = Field(default_factory=dict)
    """Threshold → its value here, one rung of its ladder."""
    rollout: RolloutSpec = Field(default_factory=RolloutSpec)
    """How far decisions are obeyed here."""
    validation_mode: ValidationMode | None = None
    """How strictly checks are held here; over the pack's."""
    decision: list[DecisionSpec] = Field(default_factory=list)
    """What people decide for single subjects, in this environment alone."""


LATER: dict[str, tuple[str, ...]] = {
    "ObjectSpec": ("owner",),
    "RelationSpec": ("refresh", "owner"),
    "LayoutSpec": ("files", "partition_by", "z_order"),
}
"""Fields of the design that nothing obeys yet: refused by name, so that nobody relies on them."""
