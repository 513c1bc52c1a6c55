"""Each field of each policy section has an effect in each pack: on plans, counters, settings, processes or files.

A record in the ledger alone is no effect. What only informs is listed by name.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from tests.conftest import ROOT, compiled, edit_policy
from tests.packs.retail.conftest import generate

import decreta_runtime
from decreta_runtime import place, sources
from decreta_runtime.contract import policy as contract

Policy = dict[str, Any]
INFORMS = {
    "ScanValue": set[str](),
    "CacheValue": set[str](),
    "IndexValue": set[str](),
    "WriteValue": {"mode"},
    "SessionValue": set[str](),
}
"""`mode` has one value so far."""


class Subject:
    """A pack with its data, and whose decisions are changed: a dataset, a view, and a shape that reads the dataset."""

    def __init__(self, name: str, project: Path, sources: dict[str, str]) -> None:
        self.name, self.sources = name, sources
        self.pack = compiled(project, name)
        self.committed = {path: path.read_bytes() for path in self.pack.rglob("*") if path.is_file()}
        dataset, view, shape, arguments, looked_up, sort = SUBJECTS[name]
        self.dataset, self.view, self.shape, self.arguments = dataset, view, shape, arguments
        self.looked_up, self.sort = looked_up, sort
        self.seen: dict[str, Any] = {}

    def prepare(self, policy: Policy) -> None:
        """Give the decisions that are changed something to bear on: several row groups, bloom filters, a spill."""
        write = policy["write_policy_by_dataset"][self.dataset]["value"]
        write |= {"row_group_rows": 2_000, "bloom_columns": [self.looked_up], "sort": self.sort}
        for name in ("bloom_columns", "sort", "row_group_rows"):
            policy["write_policy_by_dataset"][self.dataset]["otherwise"][name] = write[name]
        cache = policy["cache_policy_by_view"][self.view]
        cache |= {"value": {"placement": "spill", "pushdown": False}, "requires": [], "otherwise": None}

    def observe(
        self, change: Callable[[Policy], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> dict[str, Any]:
        for path, content in self.committed.items():
            path.write_bytes(content)
        edit_policy(self.pack, self.prepare)
        edit_policy(self.pack, change)
        return observed(self, tmp_path / "lake", monkeypatch)


SUBJECTS: dict[str, tuple[str, str, str, dict[str, Any], str, list[str]]] = {
    "code_graph": ("definition", "module_definition", "symbol_lookup", {"name": "name_7_70"}, "name", ["file_id"]),
    "retail": ("customer_history", "kept_order", "history_of", {"customer": 700}, "c_custkey", ["c_nationkey"]),
}


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    project = tmp_path_factory.mktemp("effect")
    shutil.copytree(ROOT / "specs", project / "specs")
    (project / "decreta.toml").touch()
    source = project / "source"
    source.mkdir()
    for i in range(9):
        lines = [f"name_{i}_{k} = {k}" for k in range(1_500)]
        (source / f"m{i}.py").write_text("\n".join(["import m0", *lines, f"print(m0.name_0_{i})"]) + "\n")
    tpch = generate(project / "tpch", "0.01")
    return {
        "code_graph": Subject("code_graph", project, {"python": str(source)}),
        "retail": Subject("retail", project, {"tpch": str(tpch)}),
    }


def observed(subject: Subject, lake: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a pack and ask its shape; return everything that an observer from outside sees of it."""
    processes, spilled, chunks = set[int](), set[str](), list[int]()
    dealt, plans = spy_on_dealing(monkeypatch), spy_on_spills(monkeypatch)
    with decreta_runtime.open(str(subject.pack), lake=str(lake)) as pack:

        def look(stage: str, words: str) -> None:
            processes.add(len(multiprocessing.active_children()))
            spilled.update(part(p, lake) for p in (lake / "_decreta/spill").rglob("*.parquet"))
            chunks.append(stage == "extract")

        pack.run(subject.sources, look)
        answer = pack.answer(subject.shape, subject.arguments)
        assert answer.rows.num_rows
        for _ in range(20):
            pack.query(subject.shape, **subject.arguments)
        reading = pack._readings["interactive_query"]
        listed = len(reading.scans[subject.dataset].listed)
        found = [index for _, index in reading._indexes.values() if index is not None]
        held = sum(index.rows.nbytes for index in found if index.rows is not None)
        indexed = sorted(p.parent.name for p in (lake / "_decreta/index").rglob("_delta_log"))
        columns = reading.context.table(subject.dataset).schema().names
        plan = reading.context.sql(f"SELECT * FROM {subject.dataset}").optimized_logical_plan().display_indent()
        flushed = DeltaTable(str(lake / "_decreta/ledger")).version()
        settings = pack.sql("SELECT name, value FROM information_schema.df_settings").rows.to_pylist()
        path = pack.lake.dataset(pack.manifest.pack, subject.dataset)
    stats = {k: v for k, v in msgspec.to_builtins(answer.stats).items() if k != "seconds"}
    return {
        "rows": rows_of(lake / subject.name, subject.pack),
        "processes": max(processes),
        "dealt": dealt.get("ahead"),
        "chunks": sum(chunks),
        "spills": len(spilled),
        "spilled": sorted({name.split("/")[0] for name in spilled}),
        "spill plans": plans,
        "columns": sorted(columns),
        "plan": plan,
        "stats": stats,
        "flushed": flushed,
        "listed": listed,
        "indexed": indexed,
        "index held": held,
        "settings": {row["name"]: row["value"] for row in settings},
        **layout(path),
    }


def part(path: Path, lake: Path) -> str:
    return path.relative_to(lake / "_decreta/spill").as_posix().split("/", 2)[2]


def spy_on_dealing(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Note how many chunks are before workers when the first of them is waited for."""
    found: dict[str, int] = {}
    wait = sources.futures.wait

    def spying(running: Any, *args: Any, **kwargs: Any) -> Any:
        found.setdefault("ahead", len(running))
        return wait(running, *args, **kwargs)

    monkeypatch.setattr(sources.futures, "wait", spying)
    return found


def spy_on_spills(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Note how a reader that filters would be planned over each spill that a run reads back."""
    found: dict[str, str] = {}
    register = place.register_scan

    def spying(context: Any, pinned: Any, columns: Any, value: Any) -> Any:
        scanned = register(context, pinned, columns, value)
        frame = context.sql(f'SELECT * FROM "{pinned.name}" WHERE "{columns[0].name}" IS NOT NULL')
        found[pinned.name] = re.sub(r"\S*/\S*", "", frame.execution_plan().display_indent())
        return scanned

    monkeypatch.setattr(place, "register_scan", spying)
    return found


def layout(path: Path) -> dict[str, Any]:
    """Return what the footers of a dataset's files say, and the order of their rows."""
    table = DeltaTable(str(path))
    footers = [pq.ParquetFile(uri.removeprefix("file://")).metadata for uri in sorted(table.file_uris())]
    groups = [f.row_group(i) for f in footers for i in range(f.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    return {
        "files": len(footers),
        "groups": len(groups),
        "compression": sorted({chunk.compression for chunk in chunks}),
        "blooms": sorted({chunk.path_in_schema for chunk in chunks if bloom(chunk)}),
        "bloom bytes": sum(bloom(chunk) for chunk in chunks),
        "order": pa.table(table.scan().read_all()).to_pylist()[:50],
    }


def bloom(chunk: Any) -> int:
    return int(getattr(chunk, "bloom_filter_length", None) or 0)


def rows_of(folder: Path, pack: Path) -> dict[str, int]:
    manifest = json.loads((pack / "manifest.json").read_bytes())
    stored = [n for n, e in manifest["relations"].items() if e["stored"]] + list(manifest["objects"])
    return {name: DeltaTable(str(folder / name)).count() for name in stored}


def scan(**values: Any) -> Callable[[Subject], Callable[[Policy], None]]:
    return _change("scan_policy_by_dataset", lambda s: s.dataset, values)


def cache(**values: Any) -> Callable[[Subject], Callable[[Policy], None]]:
    return _change("cache_policy_by_view", lambda s: s.view, values)


def write(**values: Any) -> Callable[[Subject], Callable[[Policy], None]]:
    return _change("write_policy_by_dataset", lambda s: s.dataset, values)


def session(workload: str, **values: Any) -> Callable[[Subject], Callable[[Policy], None]]:
    return _change("session_profile_by_workload", lambda _: workload, values)


def _change(
    section: str, of: Callable[[Subject], str], values: dict[str, Any]
) -> Callable[[Subject], Callable[[Policy], None]]:
    def make(subject: Subject) -> Callable[[Policy], None]:
        def change(policy: Policy) -> None:
            decision = policy[section][of(subject)]
            for name, value in values.items():
                assert decision["value"][name] != value, (section, name)
                decision["value"][name] = value
                if decision["otherwise"] is not None:
                    decision["otherwise"][name] = value

        return change

    return make


def staged_elsewhere(subject: Subject) -> Callable[[Policy], None]:
    """Stage an object, because what a relation gives is not staged."""

    def change(policy: Policy) -> None:
        name = next(n for n, e in manifest_of(subject)["objects"].items() if e["source"])
        policy["write_policy_by_dataset"][name]["value"]["staging"] = "spill"

    return change


def manifest_of(subject: Subject) -> Any:
    return json.loads((subject.pack / "manifest.json").read_bytes())


def slower_reading(subject: Subject) -> Callable[[Policy], None]:
    """Read through Delta, so that the columns that are taken are held."""

    def change(policy: Policy) -> None:
        policy["scan_policy_by_dataset"][subject.dataset]["value"] |= {"path": "delta", "columns": "all"}

    return change


def small_buffer(subject: Subject) -> Callable[[Policy], None]:
    def change(policy: Policy) -> None:
        policy["session_profile_by_workload"]["batch_ingest"]["value"]["spill_buffer_bytes"] = 1

    return change


SETTING = {"datafusion.execution.batch_size": {"value": "777", "because": "tried"}}


def another_setting(subject: Subject) -> Callable[[Policy], None]:
    def change(policy: Policy) -> None:
        policy["session_profile_by_workload"]["interactive_query"]["value"]["settings"] |= SETTING

    return change


EFFECTS: dict[tuple[str, str], tuple[Callable[[Subject], Callable[[Policy], None]], set[str]]] = {
    ("ScanValue", "path"): (scan(path="delta"), {"stats"}),
    ("ScanValue", "pushdown"): (scan(pushdown=False), {"stats"}),
    ("ScanValue", "page_index"): (scan(page_index=False), {"stats"}),
    ("ScanValue", "bloom_filters"): (scan(bloom_filters=False), {"stats"}),
    ("ScanValue", "columns"): (scan(columns="required"), {"columns", "plan"}),
    ("CacheValue", "placement"): (cache(placement="memory"), {"spilled", "spills"}),
    ("CacheValue", "pushdown"): (cache(pushdown=True), {"spill plans"}),
    ("WriteValue", "sort"): (write(sort=[]), {"order", "stats"}),
    ("WriteValue", "staging"): (staged_elsewhere, {"spilled", "spills"}),
    ("WriteValue", "target_file_bytes"): (write(target_file_bytes=1), {"files"}),
    ("WriteValue", "row_group_rows"): (write(row_group_rows=500), {"groups"}),
    ("WriteValue", "compression"): (write(compression="uncompressed"), {"compression"}),
    ("WriteValue", "bloom_columns"): (write(bloom_columns=[]), {"blooms", "bloom bytes"}),
    ("WriteValue", "bloom_fpp"): (write(bloom_fpp="0.50"), {"bloom bytes"}),
    ("SessionValue", "settings"): (another_setting, {"settings"}),
    ("SessionValue", "source_workers"): (session("batch_ingest", source_workers=1), {"processes"}),
    ("SessionValue", "source_chunks_per_worker"): (session("batch_ingest", source_chunks_per_worker=1), {"chunks"}),
    ("SessionValue", "source_chunks_ahead"): (session("batch_ingest", source_chunks_ahead=1), {"dealt"}),
    ("SessionValue", "spill_buffer_bytes"): (small_buffer, {"spills"}),
    ("SessionValue", "ledger_buffer_rows"): (session("interactive_query", ledger_buffer_rows=10), {"flushed"}),
}
"""Field → the change of it, and what of it must be seen from outside."""


def many_files(subject: Subject, policy: Policy) -> None:
    """Have the dataset in many files, sorted by another column, and an index of what its shape looks up."""
    _set(policy, "write_policy_by_dataset", subject.dataset, "target_file_bytes", 1)
    _set(policy, "write_policy_by_dataset", subject.dataset, "sort", [SCATTERING[subject.name]])
    index = policy["index_policy_by_dataset"][f"{subject.dataset}.{INDEXES[subject.name]}"]
    index |= {"value": {"build": True, "shapes": [subject.shape], "memory_bytes": 1 << 26}, "requires": []}


def sorted_files(subject: Subject, policy: Policy) -> None:
    """Have the dataset in many files that the log's statistics tell apart."""
    _set(policy, "write_policy_by_dataset", subject.dataset, "target_file_bytes", 1)
    _set(policy, "write_policy_by_dataset", subject.dataset, "sort", [subject.looked_up])


def _set(policy: Policy, section: str, name: str, field: str, value: Any) -> None:
    decision = policy[section][name]
    decision["value"][field] = value
    if decision["otherwise"] is not None:
        decision["otherwise"][field] = value


SCATTERING = {"code_graph": "span_start", "retail": "c_nationkey"}
"""A sort that leaves what is looked up in any file."""
INDEXES = {"code_graph": "by_name", "retail": "by_customer"}
PRUNING: dict[tuple[str, str], tuple[Callable[[Subject, Policy], None], dict[str, Any], set[str]]] = {
    ("ScanValue", "log_pruning"): (sorted_files, {"log_pruning": False}, {"listed"}),
    ("IndexValue", "build"): (many_files, {"build": False}, {"indexed"}),
    ("IndexValue", "shapes"): (many_files, {"shapes": []}, {"listed"}),
    ("IndexValue", "memory_bytes"): (many_files, {"memory_bytes": 0}, {"index held"}),
}
"""Field → what must stand before it can show, the change of it, and what must be seen from outside."""


@pytest.mark.parametrize("pack", sorted(SUBJECTS))
@pytest.mark.parametrize("field", sorted(PRUNING), ids=".".join)
def test_each_field_that_prunes_has_an_effect(
    subjects: dict[str, Subject],
    pack: str,
    field: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, (stand, values, expected) = subjects[pack], PRUNING[field]

    def base(policy: Policy) -> None:
        stand(subject, policy)

    def change(policy: Policy) -> None:
        stand(subject, policy)
        index = field[0] == "IndexValue"
        section, name = (
            ("index_policy_by_dataset", f"{subject.dataset}.{INDEXES[pack]}")
            if index
            else ("scan_policy_by_dataset", subject.dataset)
        )
        for key, value in values.items():
            assert policy[section][name]["value"][key] != value
            policy[section][name]["value"][key] = value

    before = subject.observe(base, tmp_path / "before", monkeypatch)
    after = subject.observe(change, tmp_path / "after", monkeypatch)
    changed = {key for key in before if before[key] != after[key]}
    assert "rows" not in changed, "a cost decision never changes a row"
    assert changed & expected, (changed, {key: (before[key], after[key]) for key in expected})


STEPPED: dict[str, tuple[str, dict[str, Any], str, list[str]]] = {
    "code_graph": ("file_outline", {"path": "m7.py"}, "definition", ["file_id"]),
    "retail": (
        "market_share",
        {"nation": "BRAZIL", "region": "AMERICA", "type": "ECONOMY ANODIZED STEEL"},
        "lineitem",
        ["l_partkey"],
    ),
}


@pytest.mark.parametrize("pack", sorted(SUBJECTS))
@pytest.mark.parametrize("field", ["step_files", "step_values"])
def test_each_field_of_steps_has_an_effect(subjects: dict[str, Subject], pack: str, field: str, tmp_path: Path) -> None:
    subject = subjects[pack]
    shape, arguments, dataset, sort = STEPPED[pack]
    seen = []
    for i, change in enumerate(({}, {field: 0 if field == "step_values" else 1 << 30})):
        for path, content in subject.committed.items():
            path.write_bytes(content)

        def stand(policy: Policy, change: dict[str, int] = change) -> None:
            for name, value in {"sort": sort, "target_file_bytes": 1, "row_group_rows": 500}.items():
                _set(policy, "write_policy_by_dataset", dataset, name, value)
            policy["scan_policy_by_dataset"][dataset]["value"] |= {"step_files": 2, "step_values": 1_000, **change}

        edit_policy(subject.pack, stand)
        with decreta_runtime.open(str(subject.pack), lake=str(tmp_path / f"lake{i}")) as opened:
            opened.run(subject.sources)
            rows = opened.query(shape, **arguments).to_pylist()
            reading = opened._readings[opened.manifest.queries[shape].workload]
            seen.append((rows, len(reading.scans[dataset].listed)))
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] < seen[1][1]


@pytest.mark.parametrize("pack", sorted(SUBJECTS))
@pytest.mark.parametrize("field", sorted(EFFECTS), ids=".".join)
def test_each_field_has_an_effect(
    subjects: dict[str, Subject],
    pack: str,
    field: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, (make, expected) = subjects[pack], EFFECTS[field]
    if not subject.seen:
        subject.seen = subject.observe(lambda _: None, tmp_path / "before", monkeypatch)
    before, after = subject.seen, subject.observe(make(subject), tmp_path / "after", monkeypatch)
    changed = {key for key in before if before[key] != after[key]}
    assert "rows" not in changed, "a cost decision never changes a row"
    assert changed & expected, (changed, {key: (before[key], after[key]) for key in expected})


def fields() -> Iterator[tuple[str, str]]:
    for _, kind in contract.DOMAINS.values():
        yield from ((kind.__name__, field.name) for field in msgspec.structs.fields(kind))


def test_no_field_is_left_out() -> None:
    informs = {(kind, name) for kind, names in INFORMS.items() for name in names}
    steps = {("ScanValue", "step_files"), ("ScanValue", "step_values")}
    assert set(fields()) == set(EFFECTS) | set(PRUNING) | steps | informs
    assert {type_.__name__ for _, type_ in contract.DOMAINS.values()} == set(INFORMS)
