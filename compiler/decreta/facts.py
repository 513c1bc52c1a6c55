"""The fact base: for each policy domain one table of typed, documented facts, a row a subject.

Facts come from declarations and lineage, from the committed capability file, and from the evidence lock of the
environment. None is measured while compiling; what nobody has looked at is unknown and worth nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from msgspec import structs

from decreta.estimates import Estimates, kind_of, lineage_depth
from decreta.model.facts import Fact, FactBase, FactInfo, FactValue, Rows
from decreta.model.program import Checked, CheckedQuery, Worth
from decreta_runtime.contract.capabilities import VOLATILITIES
from decreta_runtime.contract.evidence import DatasetEvidence, EvidenceLock, Seen
from decreta_runtime.contract.policy import RECORDS

KINDS = ("aggregate", "filter", "join", "project", "recursive", "table_function", "union", "window")
"""What a view's statement does last, of all that costs."""

DATASET_FACTS = {
    "kind": FactInfo(
        "string",
        "declared",
        "whether it is an object, a stored relation, or a table of what runs and look-ups did: `_ledger`, `_runs`",
        None,
        ("object", "record", "relation"),
    ),
    "bound": FactInfo("bool", "declared", "whether others write it and the environment binds it"),
    "sorted": FactInfo("bool", "declared", "whether its layout declares a sort"),
    "layout_sort": FactInfo("list<string>", "declared", "the columns its layout is sorted by"),
    "columns": FactInfo("int64", "declared", "its columns", "columns"),
    "observed": FactInfo("bool", "declared", "whether the evidence lock tells of its table"),
    "readers": FactInfo("int64", "lineage", "relations and query shapes that read it", "readers"),
    "selective_readers": FactInfo("int64", "lineage", "query shapes of selective workloads that read it", "readers"),
    "equality_columns": FactInfo(
        "list<string>", "lineage", "columns that selective shapes compare by equality, the first of its sort apart"
    ),
    "looked_up": FactInfo("bool", "lineage", "whether there are such columns"),
    "rows": FactInfo("int64", "statistics", "rows of the table", "rows"),
    "bytes": FactInfo("int64", "statistics", "bytes of its data files", "bytes"),
    "files": FactInfo("int64", "statistics", "its data files", "files"),
    "small_file_share": FactInfo("decimal", "statistics", "share of its files below `facts.small_file_bytes`", "share"),
    "statistics_coverage": FactInfo(
        "decimal", "statistics", "least share of files with statistics, over the columns that shapes filter by", "share"
    ),
    "statistics_age": FactInfo(
        "int64", "statistics", "most versions since a file with statistics was added, over those columns", "versions"
    ),
    "null_share": FactInfo("decimal", "statistics", "largest share of nulls, over those columns", "share"),
    "distinct": FactInfo(
        "int64", "statistics", "least upper bound of distinct values, over its equality columns", "values", bound=True
    ),
    "clustering_depth": FactInfo(
        "int64", "statistics", "most files that overlap at one value of the first column of its sort", "files"
    ),
    "deleted_rows": FactInfo("int64", "statistics", "rows that deletion vectors hide", "rows"),
    "deletion_vectors": FactInfo("bool", "statistics", "whether deletion vectors hide rows"),
    "column_mapping": FactInfo("bool", "statistics", "whether files name columns otherwise than the table"),
    "partition_columns": FactInfo("list<string>", "statistics", "the columns it is partitioned by"),
    "partitioned": FactInfo("bool", "statistics", "whether it is partitioned"),
    "partitions": FactInfo("int64", "statistics", "distinct values of its partition columns together", "partitions"),
    "features": FactInfo("list<string>", "statistics", "table features that its protocol names"),
    "writes_since_compaction": FactInfo(
        "int64", "statistics", "data-changing commits since one that only rewrote files, or all of them", "versions"
    ),
}
COLUMN_FACTS = ("clustering_depth", "distinct", "null_share", "statistics_age", "statistics_coverage")
"""Those of a dataset that are observed of its columns, one by one; the row has what decides for those that matter."""
VIEW_FACTS = {
    "declared_output": FactInfo("bool", "declared", "whether it is stored, so that readers read its table"),
    "cut_point": FactInfo("bool", "lineage", "whether it must be computed once a run and kept"),
    "kind": FactInfo("string", "lineage", "what its statement does last, of all that costs", None, KINDS),
    "consumers": FactInfo("int64", "lineage", "relations that read it", "relations"),
    "columns": FactInfo("int64", "lineage", "its output columns", "columns"),
    "required_columns": FactInfo("int64", "lineage", "columns of its inputs that it reads", "columns"),
    "lineage_depth": FactInfo("int64", "lineage", "relations on the longest way down to an object", "relations"),
    "local": FactInfo("bool", "lineage", "whether it is proven to fall apart into groups of its inputs"),
    "volatility": FactInfo(
        "string", "lineage", "how far its rows would be the same if a run computed it again", None, VOLATILITIES
    ),
    "rows": FactInfo("int64", "outcome", "rows of earlier runs", "rows"),
    "bytes": FactInfo(
        "int64", "outcome", "bytes that its rows took in memory in earlier runs, wherever they were put", "bytes"
    ),
    "milliseconds": FactInfo("int64", "outcome", "time it took in earlier runs", "milliseconds"),
    "bytes_scanned": FactInfo("int64", "outcome", "bytes that it read from files in earlier runs", "bytes"),
    "output_ratio": FactInfo("decimal", "outcome", "rows that came out for each that was read", "ratio"),
    "estimated_rows": FactInfo("int64", "outcome", "its rows: seen, or derived from its inputs", "rows"),
    "estimated_bytes": FactInfo("int64", "outcome", "its bytes in memory: seen, or derived from rows", "bytes"),
}
INDEX_FACTS = {
    "index_columns": FactInfo("list<string>", "declared", "the columns whose terms it has"),
    "serves": FactInfo(
        "list<string>",
        "lineage",
        "selective query shapes that look its first column up in each scan, or are given it by a look-up",
    ),
    "served": FactInfo("bool", "lineage", "whether there are such shapes"),
    "leads_sort": FactInfo("bool", "declared", "whether the files are sorted by its first column"),
    **{name: DATASET_FACTS[name] for name in ("bound", "rows", "bytes", "files", "clustering_depth", "partitioned")},
}
CHANGE_KINDS = ("append", "cdf", "derived", "rebuild", "replace_by", "static")
"""What an object promises of its changes; those of a relation are derived."""
REFRESH_FACTS = {
    "subject": FactInfo(
        "string",
        "declared",
        "who writes it: a source or others, or a statement whose rows are stored or not",
        None,
        ("relation", "source", "table", "view"),
    ),
    "changes": FactInfo(
        "string", "declared", "what its object promises of changes; of a relation `derived`", None, CHANGE_KINDS
    ),
    "by_column": FactInfo("string", "lineage", "the column by which its groups are told apart; empty if none"),
    "apart": FactInfo("bool", "lineage", "whether it is proven to fall apart into groups of its inputs"),
    "tracked": FactInfo("bool", "lineage", "whether each input that falls apart with it says which rows changed"),
    "static_below": FactInfo("bool", "lineage", "whether all objects that it is made from are static"),
    "volatility": FactInfo(
        "string", "lineage", "how far its rows would be the same if they were computed again", None, VOLATILITIES
    ),
    "cut_levels": FactInfo("int64", "lineage", "views read several times below it, one above the other", "views"),
    "why_not": FactInfo("string", "lineage", "what keeps changes from recomputing their groups alone; or empty"),
}
WORKLOAD_FACTS = {
    "reads": FactInfo(
        "string", "declared", "whether its statements read whole tables or few rows", None, ("whole", "selective")
    ),
    "repeatable": FactInfo("bool", "declared", "whether results must come out the same each time, order included"),
    "shapes": FactInfo("int64", "declared", "query shapes that belong to it", "shapes"),
}
TABLES: dict[str, Mapping[str, FactInfo]] = {
    "scan": DATASET_FACTS,
    "write": DATASET_FACTS,
    "cache": VIEW_FACTS,
    "refresh": REFRESH_FACTS,
    "index": INDEX_FACTS,
    "maintenance": DATASET_FACTS,
    "session": WORKLOAD_FACTS,
}
"""Domain → the facts of its subjects. Every domain also reads `capability.<feature>`."""


def gather(checked: Checked, lock: EvidenceLock | None, worth: Worth) -> FactBase:
    """Return the facts that a checked pack and an environment's evidence give."""
    datasets = _datasets(checked, lock, worth)
    written = {name: row for name, row in datasets.items() if not row["bound"].value}
    return FactBase(
        {
            "scan": datasets,
            "write": written,
            "cache": _views(checked, datasets, lock, worth),
            "refresh": _refresh(checked, worth),
            "index": _indexes(checked, datasets, worth),
            "maintenance": {**datasets, **_records(worth)},
            "session": _workloads(checked, worth),
        }
    )


class _Row(dict[str, Fact]):
    """Facts in the making: each takes its source from the table that documents it."""

    def __init__(self, table: Mapping[str, FactInfo], worth: Worth) -> None:
        super().__init__({name: Fact(None, info.source, Worth.NOTHING) for name, info in table.items()})
        self._table, self._worth = table, worth

    def know(self, **values: FactValue) -> None:
        for name, value in values.items():
            source = self._table[name].source
            self[name] = Fact(value, source, self._worth.of(source))

    def seen(self, name: str, seen: Seen | None) -> None:
        if seen is None:
            return
        source = self._table[name].source
        if source == "outcome":
            confidence = self._worth.outcome(seen.runs)
        else:
            worth = self._worth.bound if self._table[name].bound else self._worth.share
            confidence = worth(seen.share)
        value = Decimal(str(seen.value)) if self._table[name].type == "decimal" else seen.value
        self[name] = Fact(value, source, confidence, seen.version, seen.runs)


def _workloads(checked: Checked, worth: Worth) -> Rows:
    shapes = Counter(query.bound.query.written.spec.class_ for query in checked.queries.values())
    rows: Rows = {}
    for name, workload in sorted(checked.resolved.header.spec.workloads.items()):
        row = _Row(WORKLOAD_FACTS, worth)
        row.know(reads=workload.reads, repeatable=workload.repeatable, shapes=shapes[name])
        rows[name] = row
    return rows


def _datasets(checked: Checked, lock: EvidenceLock | None, worth: Worth) -> Rows:
    selective = _selective(checked)
    readers = Counter(i for relation in checked.relations.values() for i in relation.bound.inputs)
    readers.update(name for query in checked.queries.values() for name in query.datasets)
    looking = Counter(name for query in selective for name in query.datasets)
    rows: Rows = {}
    for name, obj in checked.objects.items():
        row = rows[name] = _Row(DATASET_FACTS, worth)
        sort = obj.object.sort
        row.know(kind="object", bound=obj.object.source is None, layout_sort=sort, columns=len(obj.object.columns))
    for name, relation in checked.relations.items():
        if relation.bound.relation.stored:
            row = rows[name] = _Row(DATASET_FACTS, worth)
            row.know(kind="relation", bound=False, layout_sort=relation.sort, columns=len(relation.columns))
    for name, found in rows.items():
        assert isinstance(found, _Row)
        sort = checked.objects[name].object.sort if name in checked.objects else checked.relations[name].sort
        asked = sorted({c for query in selective for c in query.asked(name, "=", "in")} - set(sort[:1]))
        found.know(sorted=bool(sort), readers=readers[name], selective_readers=looking[name])
        found.know(equality_columns=tuple(asked), looked_up=bool(asked))
        found.know(observed=lock is not None and name in lock.datasets)
        filtered = {c for query in selective for c in query.asked(name)}
        if lock is not None and name in lock.datasets:
            _observed(found, lock.datasets[name], filtered, asked, sort)
    return rows


def _records(worth: Worth) -> Rows:
    """Return the facts of the tables that each lake has of its own, whatever the pack."""
    rows: Rows = {}
    for name in RECORDS:
        row = rows[name] = _Row(DATASET_FACTS, worth)
        row.know(kind="record", bound=False, sorted=False, layout_sort=(), observed=False)
        row.know(readers=0, selective_readers=0, equality_columns=(), looked_up=False)
    return rows


def _indexes(checked: Checked, datasets: Rows, worth: Worth) -> Rows:
    """Return the facts of each index, `dataset.index`, those of its dataset with them."""
    rows: Rows = {}
    for dataset, known in datasets.items():
        entry = checked.objects[dataset].object if dataset in checked.objects else checked.relations[dataset]
        for name, index in entry.indexes.items():
            first = index.columns[0]
            serves = sorted(q.bound.query.name for q in _selective(checked) if q.looks_up(dataset, first))
            row = rows[f"{dataset}.{name}"] = _Row(INDEX_FACTS, worth)
            row |= {fact: known[fact] for fact in INDEX_FACTS if fact in known}
            row.know(index_columns=index.columns, serves=tuple(serves), served=bool(serves))
            row.know(leads_sort=entry.sort[:1] == (first,))
    return rows


def _selective(checked: Checked) -> list[CheckedQuery]:
    workloads = checked.resolved.header.spec.workloads
    return [q for q in checked.queries.values() if workloads[q.bound.query.written.spec.class_].reads == "selective"]


def _observed(
    row: _Row, evidence: DatasetEvidence, filtered: Iterable[str], asked: Iterable[str], sort: tuple[str, ...]
) -> None:
    """Put what the lock knows of a dataset and its columns into its row."""
    for name, seen in evidence.facts.items():
        if name in row:
            row.seen(name, seen)
    columns = evidence.columns
    row.seen("statistics_coverage", _pick(columns, filtered, "statistics_coverage", min))
    row.seen("statistics_age", _pick(columns, filtered, "statistics_age", max))
    row.seen("null_share", _pick(columns, filtered, "null_share", max))
    row.seen("distinct", _pick(columns, asked, "distinct", min))
    row.seen("clustering_depth", _pick(columns, sort[:1], "clustering_depth", max))


def _pick(
    columns: Mapping[str, Mapping[str, Seen]],
    names: Iterable[str],
    fact: str,
    choose: Callable[..., Seen],
) -> Seen | None:
    """Return the one of some columns' facts that decides for all of them; None if one of them is unknown.

    It rests on no more files than the least known of them: another column may decide in the files not seen.
    """
    found = [columns.get(name, {}).get(fact) for name in sorted(names)]
    known = [seen for seen in found if seen is not None]
    if not known or len(known) < len(found):
        return None
    shares = [seen.share for seen in known if seen.share is not None]
    chosen = choose(known, key=lambda seen: Decimal(str(seen.value)))
    return structs.replace(chosen, share=min(shares, key=Decimal) if shares else None)


def _views(checked: Checked, datasets: Rows, lock: EvidenceLock | None, worth: Worth) -> Rows:
    consumers = Counter(i for relation in checked.relations.values() for i in relation.bound.inputs)
    depths = lineage_depth(checked)
    estimates = Estimates(checked, datasets, worth)
    rows: Rows = {}
    for name in checked.order:
        relation = checked.relations[name]
        row = _Row(VIEW_FACTS, worth)
        row.know(
            declared_output=relation.bound.relation.stored,
            cut_point=relation.cut_point is not None,
            kind=kind_of(relation),
            consumers=consumers[name],
            columns=len(relation.columns),
            required_columns=sum(len(used) for used in relation.required.values()),
            lineage_depth=depths[name],
            local=relation.local_to is not None,
            volatility=relation.volatility,
        )
        for fact, seen in (lock.views.get(name, {}) if lock is not None else {}).items():
            if fact in row:
                row.seen(fact, seen)
        row |= estimates.of(name, row)
        rows[name] = row
    return {name: rows[name] for name in checked.relations}


def _refresh(checked: Checked, worth: Worth) -> Rows:
    """Return how each object and relation changes, inputs first."""
    rows: dict[str, _Row] = {}
    levels: dict[str, int] = {}
    for name, checked_object in checked.objects.items():
        obj = checked_object.object
        row = rows[name] = _Row(REFRESH_FACTS, worth)
        static = obj.changes.kind == "static"
        row.know(subject="table" if obj.source is None else "source", changes=obj.changes.kind, static_below=static)
        row.know(by_column=obj.changes.column or "", apart=obj.changes.column is not None, volatility="immutable")
        row.know(tracked=obj.changes.kind != "rebuild", cut_levels=0)
        row.know(why_not="" if obj.changes.kind != "rebuild" else "nothing is promised of its changes")
    for name in checked.order:
        relation = checked.relations[name]
        row = rows[name] = _Row(REFRESH_FACTS, worth)
        found, inputs = relation.groups, relation.bound.inputs
        untold = [i for i in (found.inputs if found else inputs) if not _told(rows[i])]
        below = max((levels.get(i, 0) for i in inputs), default=0)
        stored = relation.bound.relation.stored
        levels[name] = 0 if stored else below + int(relation.cut_point is not None)
        words = f"{', '.join(f'`{i}`' for i in untold)} does not say which of its rows changed"
        row.know(subject="relation" if stored else "view", changes="derived", volatility=relation.volatility)
        row.know(by_column=found.column if found else "", apart=found is not None, tracked=not untold)
        row.know(static_below=bool(inputs) and all(rows[i]["static_below"].value for i in inputs))
        row.know(cut_levels=below)
        row.know(why_not=relation.not_apart if found is None or not untold else words)
    return {name: rows[name] for name in (*checked.objects, *checked.relations)}


def _told(row: Mapping[str, Fact]) -> bool:
    """Whether an input says which of its rows changed: its groups are told apart all the way down."""
    if row["static_below"].value:
        return True  # it does not change, or all is computed anew
    whole = row["volatility"].value != "immutable" or not row["tracked"].value
    return not whole and bool(row["apart"].value or row["changes"].value != "derived")


class Documented(NamedTuple):
    """A fact with the domains whose rules may read it."""

    name: str
    info: FactInfo
    domains: tuple[str, ...]


def documented() -> list[Documented]:
    """Return every fact that rules may read, for the reference."""
    found: dict[tuple[str, FactInfo], list[str]] = {}
    for domain, table in TABLES.items():
        for name, info in table.items():
            found.setdefault((name, info), []).append(domain)
    return [Documented(name, info, tuple(domains)) for (name, info), domains in found.items()]
