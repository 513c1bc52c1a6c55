"""The manifest: what a compiled pack consists of and what the compiler proved of it.

Plain data, written by the compiler and read by the runtime; unknown fields are refused on both sides.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

FORMAT = 2  # of the manifest and policy files; raised when a reader of the old form would misread the new


RUN_WORKLOAD = "batch_ingest"
"""The workload class of runs, a word of the language."""
SQL_WORKLOAD = "interactive_query"
"""The workload class of statements that a person types, a word of the language."""


QUARANTINE = "__quarantine"
"""What a dataset's name is followed by in the name of the table of the rows that were set aside; no spec's name has
two underscores together."""
VIOLATED = "violated"
"""The column of such a table with the names of the checks that a row violates."""


ANY = "any"
"""The tolerance of a column whose values no two runs need share."""


class Column(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One column of a contract. `domain` holds one name, several for a sum of domains, none if it is no key."""

    name: str
    type: str
    nullable: bool = False
    role: str | None = None
    domain: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    length: int | None = None
    """Exact length in bytes of a binary column."""
    renamed_from: str | None = None
    """What the column was called before."""


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Columns that are unique together, and how that is known: by proof, or by a check in each run."""

    columns: tuple[str, ...]
    known: Literal["proven", "checked"]


class Locality(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A relation is the disjoint union of itself over each group of its inputs: proven while compiling."""

    column: str
    """The output column that says which group a row belongs to."""
    inputs: dict[str, str]
    """Input -> its column with the same groups."""


class Groups(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a relation falls apart, so that a change recomputes only the groups it touches: proven while compiling.

    Over its `inputs` restricted to some groups, and the others whole, its statement gives exactly its rows of those
    groups, as long as what it reads whole has not changed.
    """

    column: str
    """The output column that says which group a row belongs to; never null."""
    inputs: dict[str, str]
    """Input -> its column with the same groups."""
    whole: tuple[str, ...]
    """Inputs that every group may read all of."""


class Changes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an object's rows come and go, as its spec promises."""

    kind: Literal["static", "append", "replace_by", "cdf", "rebuild"]
    column: str | None = None
    """Of `replace_by`: rows with one value are replaced together."""
    lateness_days: int | None = None
    """Of a column of days: how far before the newest a day still changes."""
    visible: str | None = None
    """The column whose change alone makes readers in other groups stale."""


class Join(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A join of a relation's statement: what it equates, and how many rows meet, `left:right`."""

    table: str
    """The alias of the joined table; the left side is what stands before it."""
    on: dict[str, str]
    """Column of the joined table -> the `alias.column` that equals it."""
    cardinality: Literal["1:1", "n:1", "1:n", "n:m"]
    known: Literal["proven", "checked"]


class CallInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input of a table function."""

    relation: str
    columns: dict[str, str]
    """What the function calls a column -> the relation's column."""


class Call(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table function of the pack that computes a relation outside SQL: `code/<module>.py`, `<function>`."""

    module: str
    function: str
    inputs: dict[str, CallInput]
    arguments: dict[str, bool | int | str | tuple[str, ...]]


class FunctionEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scalar function of the pack that its statements call."""

    module: str
    arguments: tuple[str, ...]
    """Spec types, in order."""
    returns: str
    volatility: Literal["immutable", "stable", "volatile"]


class Check(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A statement that returns the rows which violate a promise: no row, no violation."""

    name: str
    kind: Literal["columns", "key", "where", "coverage", "cardinality"]
    summary: str
    sql: str
    predicate: str | None = None
    """Of a check on single rows: the condition that a right row satisfies, over the columns of its own dataset."""
    proven: bool = False
    """Whether the compiler has shown that it cannot be violated while the checks of its inputs hold."""


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stream of a pack's source adapter that fills an object."""

    name: str
    """The name that `--source NAME=PATH` and the environment bind."""
    adapter: str
    """The pack's module `code/<adapter>.py`."""
    stream: str


class IndexEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An external index of a dataset: which of its files hold a term."""

    kind: Literal["term"]
    columns: tuple[str, ...]
    """One term or several together; looked up by the first, or by a text that it begins with."""


class ObjectEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stored table with a contract. Without `source` it is a Delta table that the environment binds by `table`."""

    version: str
    summary: str
    columns: tuple[Column, ...]
    key: Key | None
    source: Source | None
    table: str | None
    """The binding's name of a table that others write; None when `source` fills the object."""
    checks: tuple[Check, ...]
    indexes: dict[str, IndexEntry]
    changes: Changes


class RelationEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A relation: its builder's file, its contract, and what the compiler found of it."""

    version: str
    summary: str
    file: str
    inputs: tuple[str, ...]
    columns: tuple[Column, ...]
    key: Key | None
    stored: bool
    export: bool
    cut_point: Literal["used_twice", "deep_filters", "round", "read_by_function", "function_result", "volatile"] | None
    """Why it must be computed once a run and placed in memory or a spill (`engine-facts` 12); None: it is inlined."""
    lineage: dict[str, tuple[str, ...]]
    """Output column -> the `input.column` names that its values are made from."""
    required: dict[str, tuple[str, ...]]
    """Input -> the columns of it that this relation reads."""
    joins: tuple[Join, ...]
    local_to: Locality | None
    groups: Groups | None
    stratum: int
    """How many results that are not monotone in their inputs lie at or below this relation."""
    call: Call | None
    functions: tuple[str, ...]
    """The functions of engine and pack that its statement calls; a table function's own name."""
    checks: tuple[Check, ...]
    indexes: dict[str, IndexEntry]
    varies: dict[str, str] = {}
    """Column -> the share of its value by which two runs may differ, or `any`: packages compare by it."""


class AskValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One side of a condition: a parameter of the shape, or a literal."""

    parameter: str | None = None
    literal: bool | int | str | None = None
    """As JSON has it: dates and decimals as text, timestamps as microseconds since the epoch."""


class Ask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition that every row satisfies which a scan can give to the result."""

    column: str
    op: Literal["=", "<", "<=", ">", ">=", "in", "like"]
    values: tuple[AskValue, ...]


class Step(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scan needs only rows that meet a look-up of another dataset: an inner or semi join, or the side that may lack.

    Proven while compiling: rows whose `column` has none of the look-up's values give nothing to the result.
    """

    column: str
    """The column of the dataset that is narrowed."""
    dataset: str
    """The dataset that is looked up first."""
    gives: str
    """The column of it whose values are wanted."""
    where: tuple[Ask, ...]
    """What all rows of it satisfy that can meet."""


class Bound(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that a query shape may cost, as a share of what something else costs."""

    of: Literal["baseline", "full_scan"]
    at_most: str


class Margin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least that the decisions of a domain must save against its baselines."""

    unit: Literal["share", "bytes", "milliseconds"]
    margin: str


class QueryEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query shape; its SQL stands in the generated `queries.py` under `SQL[name]`."""

    summary: str
    workload: str
    parameters: dict[str, str]
    """Parameter -> spec type."""
    example: dict[str, bool | int | str]
    """Values to try the shape with; empty if the spec gives none."""
    columns: tuple[Column, ...]
    datasets: dict[str, tuple[str, ...]]
    """Dataset -> the columns of it that the shape reads, directly or through views."""
    asks: dict[str, tuple[tuple[Ask, ...], ...]]
    """Dataset -> for each scan of it the conditions that all hold; a dataset whose scans do not all ask is not here."""
    steps: dict[str, tuple[Step, ...]]
    """Dataset -> for each scan of it the look-up that must come first; one whose scans have not all one is not here."""
    functions: tuple[str, ...]
    """The functions of engine and pack that its statement calls."""
    views: tuple[str, ...]
    """Relations that are not stored, in the order in which they must be registered."""
    payoff: dict[str, Bound] = {}
    """Measure -> the most that it may come to; tools compare, nothing acts by it."""


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a domain must show in `warn` before a person sets it to `enforce`. A report compares; nothing acts by it."""

    runs: int
    """Complete runs that these very decisions were recorded or obeyed in, at least."""
    agreement: str
    """The share of decisions that are what the baseline is, at least."""
    failures: int
    """Guards that failed where a decision stands or would have stood, at most."""
    payoff: dict[str, Margin] = {}
    """Measure -> what the decisions must save against their baselines."""


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A compiled pack. `files` maps each generated file but this one to its `sha256:` digest."""

    format: int
    language: str
    pack: str
    version: str
    toolchain: dict[str, str]
    workloads: tuple[str, ...]
    objects: dict[str, ObjectEntry]
    relations: dict[str, RelationEntry]
    queries: dict[str, QueryEntry]
    functions: dict[str, FunctionEntry]
    order: tuple[str, ...]
    """Relations, each after its inputs."""
    gates: dict[str, Gate]
    """Domain -> what it must show before it is enforced; a domain that is not named has no such promise."""
    files: dict[str, str]

    def checks(self) -> dict[str, tuple[Check, ...]]:
        """Return the checks of every object and relation that has some."""
        found = {name: entry.checks for name, entry in self.objects.items()}
        found |= {name: entry.checks for name, entry in self.relations.items()}
        return {name: checks for name, checks in found.items() if checks}

    def checks_of(self, name: str) -> tuple[Check, ...]:
        """Return the checks of an object or relation; KeyError if the pack has none of that name."""
        return self.objects[name].checks if name in self.objects else self.relations[name].checks

    def key_of(self, name: str) -> Key | None:
        """Return the key of an object or relation, if it has one; KeyError if the pack has none of that name."""
        return self.objects[name].key if name in self.objects else self.relations[name].key

    def columns_of(self, name: str) -> tuple[Column, ...]:
        """Return the columns of an object or relation; KeyError if the pack has none of that name."""
        entry = self.objects[name] if name in self.objects else self.relations[name]
        return entry.columns

    def quarantine_columns_of(self, name: str) -> tuple[Column, ...]:
        """Return the columns of the rows set aside of a dataset: its own, which may all be null, and the reasons."""
        own = (Column(name=column.name, type=column.type, nullable=True) for column in self.columns_of(name))
        return (*own, Column(name=VIOLATED, type="list<string>", nullable=True))

    def indexes_of(self, dataset: str) -> dict[str, IndexEntry]:
        """Return the indexes that a dataset declares."""
        entry = self.objects[dataset] if dataset in self.objects else self.relations[dataset]
        return entry.indexes

    def index_columns_of(self, dataset: str, index: str) -> tuple[Column, ...]:
        """Return the columns of an index, as the dataset's contract has them."""
        columns = {column.name: column for column in self.columns_of(dataset)}
        return tuple(columns[name] for name in self.indexes_of(dataset)[index].columns)

    def read_by_shapes(self, dataset: str, workload: str) -> tuple[Column, ...]:
        """Return the columns of a dataset that the query shapes of a workload read, directly or through views."""
        shapes = (query for query in self.queries.values() if query.workload == workload)
        wanted = {column for query in shapes for column in query.datasets.get(dataset, ())}
        return self._narrowed(dataset, wanted)

    def read_by_run(self, dataset: str) -> tuple[Column, ...]:
        """Return the columns of a dataset that relations read; all of them if a check looks at it too."""
        if any(f'"{dataset}"' in check.sql for checks in self.checks().values() for check in checks):
            return self.columns_of(dataset)
        readers = (relation.required.get(dataset, ()) for relation in self.relations.values())
        return self._narrowed(dataset, {column for used in readers for column in used} | self._grouped_by(dataset))

    def _grouped_by(self, dataset: str) -> set[str]:
        """Return the columns by which changes of a dataset are found."""
        if dataset in self.objects:
            found = self.objects[dataset].changes
            return {name for name in (found.column, found.visible) if name is not None}
        groups = self.relations[dataset].groups
        return set() if groups is None else {groups.column}

    def _narrowed(self, dataset: str, wanted: set[str]) -> tuple[Column, ...]:
        columns = self.columns_of(dataset)
        # A table has at least one column, also for those who only count its rows.
        return tuple(column for column in columns if column.name in wanted) or columns[:1]

    def everything(self) -> tuple[str, ...]:
        """Return the names of all objects and relations."""
        return (*self.objects, *self.relations)

    def datasets(self) -> tuple[str, ...]:
        """Return the names of all Delta tables that the pack writes or binds, in the order they come to be."""
        return (*self.objects, *(name for name in self.order if self.relations[name].stored))
