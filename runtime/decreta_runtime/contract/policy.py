"""The `CompiledExecutionPolicy` as data, and the one way to read it.

Every accessor of `Policy` returns a `Choice`: the value together with the JSON pointer it stands at, so that an action
can always be recorded with the entry that caused it. A missing entry is `PolicyIncomplete`; there is no default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from decreta_runtime.contract.errors import PolicyIncomplete
from decreta_runtime.contract.form import astray
from decreta_runtime.contract.manifest import FORMAT

V = TypeVar("V", covariant=True)

Guard = Literal[
    "engine_as_probed",
    "local_files",
    "no_column_mapping",
    "index_readable",
    "no_deletion_vectors",
    "no_hidden_nan",
    "plain_protocol",
    "safe_to_rewrite",
    "schema_as_compiled",
    "unpartitioned",
    "within_memory_budget",
    "compiled_as_last_run",
]
Mode = Literal["off", "warn", "enforce"]
Origin = Literal["declared", "calibrated", "derived", "baseline"]
FallbackReason = Literal["unknown_fact", "low_confidence"]
FactSource = Literal["declared", "lineage", "statistics", "outcome", "capability", "assumed", "calibrated"]
OnViolation = Literal["refuse", "quarantine", "record"]
CheckTime = Literal["compile", "write", "run"]


class ScanValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one table is read. All but `path` and `columns` bear on the paths that read files, `native` and `linked`."""

    path: Literal["native", "linked", "delta"]
    """One scan of the snapshot's files; the same by links, of a partitioned table; or rows that delta-rs has read."""
    log_pruning: bool
    """Whether a query shape lists only the files that the log's statistics, then indexes, leave for its parameters."""
    pushdown: bool
    page_index: bool
    bloom_filters: bool
    columns: Literal["required", "all"]
    """Which columns a session takes: those that the statements of its workload read, or all of the contract."""
    step_files: int
    """Files that a query shape would have to read from which on a joined look-up is asked which of them are wanted."""
    step_values: int
    """Most values that such a look-up may give; 0: none is asked."""


class IndexValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether an external index is built with its dataset, and the query shapes that use it."""

    build: bool
    shapes: tuple[str, ...]
    memory_bytes: int
    """What its rows may take in memory while a pack is open; a larger index is asked anew by each look-up."""
    row_group_rows: int
    """Rows of a row group of its own files: the least that a look-up reads of it."""
    compression: Literal["snappy", "zstd", "uncompressed"]


class CacheValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a view's rows are kept for the length of a run; `none` computes it where it is used."""

    placement: Literal["none", "memory", "spill"]
    pushdown: bool
    """Whether readers of a spill filter inside its scan."""


class WriteValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a dataset is written; `staging` is where rows wait between their source and the sort."""

    mode: Literal["replace"]
    sort: tuple[str, ...]
    staging: Literal["memory", "spill"]
    target_file_bytes: int
    row_group_rows: int
    compression: Literal["snappy", "zstd", "uncompressed"]
    bloom_columns: tuple[str, ...]
    bloom_fpp: str
    """The share of false answers that a bloom filter may give, a decimal."""
    conflict_retries: int
    """How often a commit is tried again, on a fresh look at the table, where another writer was faster."""
    conflict_wait_ms: int
    """What the first of these tries waits; the second waits twice as long, and so on."""


class RefreshValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the rows of an object or relation are brought up to date with what has changed since the last run."""

    kind: Literal["none", "groups", "append", "cdf", "stale", "full"]
    """Not at all while nothing static changes; the changed groups; new rows alone; by a change data feed; whole, where
    something has changed that it reads; whole, in each run."""
    by: str
    """The column by which groups are replaced; empty where there is none."""
    at_most_groups: int
    """With more changed groups than these the whole is cheaper."""
    why_not_better: str
    """What stands in the way of recomputing less; empty where nothing does."""


class Setting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The value of one engine setting, and why it is that."""

    value: str
    because: str


Metric = Literal[
    "files",
    "bytes",
    "small_files",
    "small_file_share",
    "deleted_rows",
    "clustering_depth",
    "log_length",
    "expired_log_files",
    "unreferenced_bytes",
    "expired_bytes",
]
"""What a trigger may measure; each is a field of `TableOutcomes`."""
RECORDS = ("_ledger", "_runs")
"""Names of a lake's own tables beside those of datasets: what runs and look-ups did, and the complete runs."""
MaintenanceAction = Literal["compact", "sort", "checkpoint", "clean_log", "vacuum"]


class Trigger(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an action is due. The condition is true, false, or unknown where its metric is."""

    action: MaintenanceAction
    metric: Metric
    comparison: Literal["at_least", "at_most"]
    threshold: int | str
    """A share is a decimal in quotes."""
    unknown: Literal["act", "pass"]
    """What an unknown metric comes to."""


class MaintenanceValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done about a table after a write, by the outcome; without triggers it is measured and left alone."""

    triggers: dict[str, Trigger]
    """By a name of their own."""
    small_file_bytes: int
    """Files below are small: what a compaction takes."""
    sort: tuple[str, ...]
    """The order of rows that are rewritten, and the columns whose first one clustering is measured by."""
    target_file_bytes: int
    row_group_rows: int
    compression: Literal["snappy", "zstd", "uncompressed"]
    bloom_columns: tuple[str, ...]
    bloom_fpp: str
    amplification: str
    """Bytes that may be rewritten for each byte written, over the table's life; a decimal."""
    at_most_times: str
    """A file is rewritten only beside smaller ones that it is at most so many times as large as; a decimal."""
    retention_hours: int
    """What has been removed for less is never vacuumed; the table's own retention holds beside it."""
    time_limit_seconds: int
    """What the engine may take for all that one write makes due."""
    lease_seconds: int
    """How long a maintainer that has not been heard of keeps others away."""
    pin_seconds: int
    """How long a reader that asks nothing more keeps the files of its versions from being vacuumed."""


class SessionValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine settings of a workload class, by the engine's own names, and what the runtime holds beside them."""

    settings: dict[str, Setting]
    source_workers: int
    """Processes that read a source."""
    source_chunks_per_worker: int
    """Chunks of a source's units that each process is dealt."""
    source_chunks_ahead: int
    """Chunks that each process has before it."""
    source_alone_bytes: int
    """Units of so few bytes together are read by the run itself: a process takes longer to start."""
    source_limit_seconds: int
    """What a source may take to give the next chunk back before its adapter is held to hang."""
    refresh: Literal["changes", "whole"]
    """Whether runs of this class recompute what has changed, or everything, as an order that repeats needs it."""
    spill_buffer_bytes: int
    """Bytes that a spill gathers before it appends them: one commit and one file each."""
    ledger_buffer_rows: int
    """Rows of the ledger that an open pack gathers before it writes them."""
    ordered_writes: bool
    """Whether the rows of a commit are gathered in memory into one batch: the writer permutes several."""


class ValidationValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What a violated check does, and when it is asked; `compile` was answered by proof."""

    on_violation: OnViolation
    when: CheckTime


class FunctionRequirement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """One function that a view calls: of the engine, or of the pack with the digest of its module."""

    origin: Literal["engine", "pack"]
    volatility: Literal["immutable", "stable", "volatile"]
    arguments: tuple[str, ...] | None = None
    """Spec types of a pack's scalar function; absent of the engine's, which take several, and of table functions."""
    returns: str | None = None
    digest: str | None = None
    """Of the pack's module that holds it."""


class SchemaChangeValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What is done when a table and its contract differ; `ignore_new` is for tables of others."""

    mode: Literal["refuse", "add_nullable", "rebuild", "ignore_new"]


class SourceBinding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the environment says of a source: its roots (`ROOT:PATH`; the command line replaces them) and options."""

    roots: tuple[str, ...]
    options: dict[str, Any]


class TableBinding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a bound Delta table lies; a relative path starts at the lake."""

    uri: str


class Bindings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the names of a pack are, as the environment states it; never a credential."""

    lake: str
    sources: dict[str, SourceBinding]
    tables: dict[str, TableBinding]


class Capabilities(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine versions a policy was compiled for, and the probed features that its decisions rely on."""

    engine: dict[str, str]
    features: dict[str, bool]


class Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """One fact that a decision read. `value` is null when the fact is unknown."""

    fact: str
    value: bool | int | str | tuple[str, ...] | None
    source: FactSource
    confidence: str
    unit: str | None = None
    version: int | None = None
    """Table version, or `run_seq` of an outcome, at which the value was seen."""
    runs: int | None = None
    derivation: str | None = None
    """How an estimate was made."""


class RuleText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule as it was written, once for all decisions that name it."""

    when: str | None
    inputs: tuple[str, ...]
    """Thresholds and budgets that its `when`, values and guards read; they stand under `inputs` of the policy."""
    because: str


class Exemption(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a subject's mode differs from its domain's, and the pack version at which that ends."""

    reason: str
    until: str


class Decision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One decision with everything that explains it. `value`, `baseline` and `otherwise` have the domain's type.

    A baseline stands without guards: it is right for every subject.
    """

    value: dict[str, Any]
    baseline: dict[str, Any]
    requires: tuple[Guard, ...]
    otherwise: dict[str, Any] | None
    mode: Mode
    exemption: Exemption | None
    origin: Origin
    rule: str
    passed_over: tuple[str, ...]
    confidence_score: str
    fallback_reason: FallbackReason | None
    evidence_sources: tuple[Evidence, ...]
    choice_id: str


class PolicyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `policy/<env>.json`."""

    format: int
    pack: str
    environment: str
    inputs: dict[str, int | str | bool]
    bindings: Bindings
    capabilities: Capabilities
    rules: dict[str, RuleText]
    scan_policy_by_dataset: dict[str, Decision]
    cache_policy_by_view: dict[str, Decision]
    write_policy_by_dataset: dict[str, Decision]
    refresh_policy_by_view: dict[str, Decision]
    """Object or relation → how it is brought up to date."""
    index_policy_by_dataset: dict[str, Decision]
    """`dataset.index` → whether it is built and who uses it."""
    maintenance_policy_by_dataset: dict[str, Decision]
    session_profile_by_workload: dict[str, Decision]
    udf_requirements_by_view: dict[str, dict[str, FunctionRequirement]]
    """View or query shape → function → what it must be."""
    validation: dict[str, dict[str, ValidationValue]]
    schema_change_by_dataset: dict[str, SchemaChangeValue]


DOMAINS: dict[str, tuple[str, type[Struct]]] = {
    "scan": ("scan_policy_by_dataset", ScanValue),
    "cache": ("cache_policy_by_view", CacheValue),
    "write": ("write_policy_by_dataset", WriteValue),
    "refresh": ("refresh_policy_by_view", RefreshValue),
    "index": ("index_policy_by_dataset", IndexValue),
    "maintenance": ("maintenance_policy_by_dataset", MaintenanceValue),
    "session": ("session_profile_by_workload", SessionValue),
}
"""Domain -> its section of the policy and the type of its decisions' values."""


class Choice(NamedTuple, Generic[V]):
    """A policy value and where it stands. `otherwise` is what holds when a guard in `requires` fails.

    `shadow` is the decision that a domain in `warn` does not yet obey, with the guards that it would stand under:
    `value` is the baseline then.
    """

    value: V
    pointer: str
    requires: tuple[Guard, ...] = ()
    otherwise: V | None = None
    shadow: Choice[V] | None = None
    choice_id: str | None = None
    """What a decision is known by for as long as it is the same; None of entries that no rule decides."""


def pointer_to(*parts: str) -> str:
    """Return the JSON pointer (RFC 6901) of the entry reached through `parts`."""
    return "/" + "/".join([part.replace("~", "~0").replace("/", "~1") for part in parts]) if parts else ""


class Policy:
    """A policy file, decoded and closed: its entries are reached by these methods and no other way."""

    def __init__(self, data: bytes) -> None:
        """Decode `data`. Raises PolicyIncomplete when a section or field is missing, unknown or of another type."""
        self.digest = "sha256:" + hashlib.sha256(data).hexdigest()
        try:
            self.__file = msgspec.json.decode(data, type=PolicyFile)
        except msgspec.ValidationError as error:
            pointer = pointer_to(*astray(msgspec.json.decode(data), PolicyFile))
            words = f"the policy file does not have the form of format {FORMAT}: {error}"
            raise PolicyIncomplete(pointer, words) from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise PolicyIncomplete("", f"the policy file cannot be read: {error}") from None
        if self.__file.format != FORMAT:
            raise PolicyIncomplete(
                "/format", f"the policy has format {self.__file.format}, this runtime reads {FORMAT}"
            )
        self.__decisions: dict[str, Choice[Any]] = {}
        self.pack = self.__file.pack
        self.environment = self.__file.environment

    def scan(self, dataset: str) -> Choice[ScanValue]:
        """Return how `dataset` is read."""
        return self.__decided("scan", dataset, ScanValue)

    def cache(self, view: str) -> Choice[CacheValue]:
        """Return where the rows of `view` are kept during a run."""
        return self.__decided("cache", view, CacheValue)

    def write(self, dataset: str) -> Choice[WriteValue]:
        """Return how `dataset` is written."""
        return self.__decided("write", dataset, WriteValue)

    def refresh(self, name: str) -> Choice[RefreshValue]:
        """Return how the object or relation `name` is brought up to date."""
        return self.__decided("refresh", name, RefreshValue)

    def index(self, dataset: str, index: str) -> Choice[IndexValue]:
        """Return whether an index of `dataset` is built, and who uses it."""
        return self.__decided("index", f"{dataset}.{index}", IndexValue)

    def maintenance(self, dataset: str) -> Choice[MaintenanceValue]:
        """Return what is done about the table of `dataset`, or one of `RECORDS`, after a write."""
        return self.__decided("maintenance", dataset, MaintenanceValue)

    def session(self, workload: str) -> Choice[SessionValue]:
        """Return the settings of the workload class `workload`."""
        return self.__decided("session", workload, SessionValue)

    def validation(self, subject: str, check: str) -> Choice[ValidationValue]:
        """Return what a violation of `check` on `subject` does."""
        pointer = pointer_to("validation", subject, check)
        return Choice(self.__entry(self.__file.validation.get(subject, {}), check, pointer), pointer)

    def functions(self, view: str) -> Choice[dict[str, FunctionRequirement]]:
        """Return the functions that a view or query shape calls."""
        pointer = pointer_to("udf_requirements_by_view", view)
        return Choice(self.__entry(self.__file.udf_requirements_by_view, view, pointer), pointer)

    def schema_change(self, dataset: str) -> Choice[SchemaChangeValue]:
        """Return what is done when the table of `dataset` and its contract differ."""
        pointer = pointer_to("schema_change_by_dataset", dataset)
        return Choice(self.__entry(self.__file.schema_change_by_dataset, dataset, pointer), pointer)

    def budget(self, name: str) -> Choice[int]:
        """Return the budget `name` (`cache_bytes`, …) that a guard measures against."""
        pointer = pointer_to("inputs", f"budget.{name}")
        value = self.__entry(self.__file.inputs, f"budget.{name}", pointer)
        if isinstance(value, bool) or not isinstance(value, int):
            raise PolicyIncomplete(pointer, f"the budget is no integer: {value!r}")
        return Choice(value, pointer)

    def lake(self) -> Choice[str]:
        """Return where the environment keeps the lake."""
        return Choice(self.__file.bindings.lake, "/bindings/lake")

    def source(self, name: str) -> Choice[SourceBinding]:
        """Return what the environment says of the source `name`."""
        pointer = pointer_to("bindings", "sources", name)
        return Choice(self.__entry(self.__file.bindings.sources, name, pointer), pointer)

    def table(self, name: str) -> Choice[TableBinding]:
        """Return where the bound table `name` lies."""
        pointer = pointer_to("bindings", "tables", name)
        return Choice(self.__entry(self.__file.bindings.tables, name, pointer), pointer)

    def because(self, rule: str) -> str | None:
        """Return why a rule says what it does, in its own words; None of what no rule has decided. It only informs."""
        text = self.__file.rules.get(rule)
        return None if text is None else text.because

    def decisions(self, domain: str) -> dict[str, Choice[Decision]]:
        """Return the decisions of a domain with all that explains them: for reports, nothing acts by it."""
        section, _ = DOMAINS[domain]
        found: dict[str, Decision] = getattr(self.__file, section)
        return {name: Choice(decision, pointer_to(section, name)) for name, decision in found.items()}

    def engine(self) -> Choice[dict[str, str]]:
        """Return the engine versions that the policy was compiled for."""
        return Choice(self.__file.capabilities.engine, "/capabilities/engine")

    def numbers(self) -> dict[str, int | str]:
        """Return the thresholds and budgets that its decisions were made with."""
        return {name: value for name, value in self.__file.inputs.items() if not isinstance(value, bool)}

    def rule_inputs(self) -> dict[str, tuple[str, ...]]:
        """Return what each rule that a decision names reads of thresholds and budgets."""
        return {name: rule.inputs for name, rule in self.__file.rules.items()}

    def unresolved(self, pointers: Iterable[str]) -> set[str]:
        """Return those of some JSON pointers that name nothing which stands in this policy."""
        whole = msgspec.to_builtins(self.__file)
        return {pointer for pointer in pointers if not _stands(whole, pointer)}

    def __decided(self, domain: str, subject: str, kind: type[V]) -> Choice[V]:
        section, _ = DOMAINS[domain]
        pointer = pointer_to(section, subject)
        # What was verified before is looked up again by each run and session.
        if (known := self.__decisions.get(pointer)) is None:
            known = self.__decisions[pointer] = self.__decide(section, subject, pointer, kind)
        return known

    def __decide(self, section: str, subject: str, pointer: str, kind: type[V]) -> Choice[V]:
        decision: Decision = self.__entry(getattr(self.__file, section), subject, pointer)
        if decision.requires and decision.otherwise is None:
            raise PolicyIncomplete(pointer + "/otherwise", "a decision with guards has no value to take when one fails")
        otherwise = None if decision.otherwise is None else _decode(decision.otherwise, kind, pointer + "/otherwise")
        value = _decode(decision.value, kind, pointer + "/value")
        decided = Choice(value, pointer, decision.requires, otherwise, choice_id=decision.choice_id)
        if decision.mode == "enforce":
            return decided
        baseline = _decode(decision.baseline, kind, pointer + "/baseline")
        return Choice(baseline, pointer, shadow=decided if decision.mode == "warn" else None)

    @staticmethod
    def __entry(section: dict[str, V], name: str, pointer: str) -> V:
        try:
            return section[name]
        except KeyError:
            raise PolicyIncomplete(pointer, "the policy has no such entry") from None


def _stands(part: Any, pointer: str) -> bool:
    """Whether a JSON pointer, not that of the whole, names something inside plain data."""
    _, *names = pointer.split("/")
    for escaped in names:
        name = escaped.replace("~1", "/").replace("~0", "~")
        if not isinstance(part, dict) or name not in part:
            return False
        part = part[name]
    return bool(names)


def _decode(value: dict[str, Any], kind: type[V], pointer: str) -> V:
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise PolicyIncomplete(pointer + pointer_to(*astray(value, kind)), str(error)) from None
