"""Each field of each policy section has an effect in each pack: on plans, counters, settings, processes or files.

A record in the ledger alone is no effect. What only informs is listed by name.
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from tests.conftest import ROOT, compiled, edit_policy
from tests.packs.retail.conftest import generate

import decreta_runtime
from decreta_runtime import checks, place, sources
from decreta_runtime import write as writer
from decreta_runtime.contract import policy as contract
from decreta_runtime.contract.errors import PolicyIncomplete

Policy = dict[str, Any]
INFORMS = {
    ("WriteValue", "mode"): "it has one value so far",
    ("RefreshValue", "why_not_better"): "what stands in the way of recomputing less",
    ("Setting", "because"): "a reason",
    ("RuleText", "when"): "for `policy diff`",
    ("RuleText", "inputs"): "for `policy diff`",
    ("RuleText", "because"): "a reason",
    ("PolicyFile", "rules"): "their texts",
    ("Exemption", "reason"): "a reason",
    ("Exemption", "until"): "asked by the compiler",
    ("Capabilities", "features"): "what the compiler has relied on; `engine_as_probed` holds them by the versions",
    **{("Evidence", name): "evidence" for name in msgspec.structs.asdict(
        contract.Evidence(fact="", value=None, source="declared", confidence="0.00"))},
    **{("Decision", name): "what explains it" for name in (
        "exemption", "origin", "rule", "passed_over", "confidence_score", "fallback_reason", "evidence_sources")},
    ("Decision", "choice_id"): "what outcomes are joined by: tests/runtime/test_rollout.py",
}  # fmt: skip
"""What only informs, by name, and for what."""
ELSEWHERE = {
    ("PolicyFile", "format"): "test_policy.py::test_another_format_environment_or_pack_is_refused",
    ("PolicyFile", "pack"): "test_policy.py::test_another_format_environment_or_pack_is_refused",
    ("PolicyFile", "environment"): "test_rollout.py::test_the_report_counts",
    ("PolicyFile", "inputs"): "test_policy.py::test_no_memory_turns_places_to_spills",
    ("Bindings", "lake"): "test_policy.py::test_bindings_have_an_effect",
    ("Bindings", "sources"): "test_policy.py::test_bindings_have_an_effect",
    ("SourceBinding", "roots"): "test_policy.py::test_bindings_have_an_effect",
    ("SourceBinding", "options"): "test_policy.py::test_bindings_have_an_effect",
    ("Bindings", "tables"): "test_policy.py::test_a_bound_table_is_where_its_binding_says",
    ("TableBinding", "uri"): "test_policy.py::test_a_bound_table_is_where_its_binding_says",
    ("Capabilities", "engine"): "test_policy.py::test_another_engine_turns_every_scan_to_delta",
    ("ScanValue", "step_files"): "test_field_effect.py::test_each_field_of_steps_has_an_effect",
    ("ScanValue", "step_values"): "test_field_effect.py::test_each_field_of_steps_has_an_effect",
    ("Decision", "value"): "test_field_effect.py::test_each_field_has_an_effect",
    ("Decision", "baseline"): "test_rollout.py::test_three_modes_of_the_code_graph",
    ("Decision", "mode"): "test_rollout.py::test_three_modes_of_the_code_graph",
    ("Decision", "requires"): "test_policy.py::test_another_engine_turns_every_scan_to_delta",
    ("Decision", "otherwise"): "test_policy.py::test_another_engine_turns_every_scan_to_delta",
    ("FunctionRequirement", "arguments"): "test_functions_required.py::test_a_pack_function_is_the_one_that_the_policy_names",
    ("FunctionRequirement", "returns"): "test_functions_required.py::test_a_pack_function_is_the_one_that_the_policy_names",
    ("FunctionRequirement", "volatility"): "test_functions_required.py::test_a_pack_function_is_the_one_that_the_policy_names",
    ("FunctionRequirement", "digest"): "test_functions_required.py::test_a_pack_function_is_the_one_that_the_policy_names",
    **{("WriteValue", name): "test_conflicts.py::test_bound_and_wait_are_the_policys" for name in (
        "conflict_retries", "conflict_wait_ms")},
    **{("MaintenanceValue", name): "test_maintenance.py::test_each_field_has_an_effect" for name in (
        "triggers", "small_file_bytes", "sort", "target_file_bytes", "row_group_rows", "compression", "bloom_columns",
        "bloom_fpp", "amplification", "at_most_times", "retention_hours", "time_limit_seconds", "lease_seconds")},
    ("MaintenanceValue", "pin_seconds"): "test_maintenance.py::test_a_pin_lasts_as_long_as_the_policy_says",
    **{("Trigger", name): "test_maintenance.py::test_each_field_has_an_effect" for name in (
        "action", "metric", "comparison", "threshold")},
    ("Trigger", "unknown"): "test_maintenance.py::test_an_unknown_metric_does_what_the_policy_says",
    ("SessionValue", "source_alone_bytes"): "test_refresh.py::test_few_bytes_are_read_by_the_run_itself",
    ("SessionValue", "source_limit_seconds"): "test_refresh.py::test_an_adapter_that_hangs_is_ended",
    ("SessionValue", "refresh"): "test_refresh.py::test_a_class_that_repeats_computes_everything",
    ("RefreshValue", "kind"): "test_refresh.py::test_how_is_obeyed",
    ("RefreshValue", "by"): "test_refresh.py::test_groups_are_those_that_were_proven",
    ("RefreshValue", "at_most_groups"): "test_refresh.py::test_with_more_groups_the_whole_is_computed",
    ("SchemaChangeValue", "mode"): "test_evolve.py::test_every_mode_meets_every_change",
}  # fmt: skip
"""What the two packs have no subject for, or what has a test of its own."""


class Subject:
    """A pack with its data, and whose decisions are changed: a dataset, a view, and a shape that reads the dataset."""

    def __init__(self, name: str, project: Path, sources: dict[str, str]) -> None:
        self.name, self.sources = name, sources
        self.pack = compiled(project, name)
        self.committed = {path: path.read_bytes() for path in self.pack.rglob("*") if path.is_file()}
        dataset, view, shape, arguments, looked_up, sort, index = SUBJECTS[name]
        self.index = f"{dataset}.{index}"
        self.dataset, self.view, self.shape, self.arguments = dataset, view, shape, arguments
        self.looked_up, self.sort = looked_up, sort
        self.seen: dict[str, Any] = {}

    def prepare(self, policy: Policy) -> None:
        """Give the decisions that are changed something to bear on: several row groups, bloom filters, a spill."""
        write = policy["write_policy_by_dataset"][self.dataset]["value"]
        write |= {"row_group_rows": 2_000, "bloom_columns": [self.looked_up], "sort": self.sort}
        for name in ("bloom_columns", "sort", "row_group_rows"):
            policy["write_policy_by_dataset"][self.dataset]["otherwise"][name] = write[name]
        write["target_file_bytes"] = 1
        policy["session_profile_by_workload"]["batch_ingest"]["value"]["source_alone_bytes"] = 0
        policy["write_policy_by_dataset"][self.dataset]["otherwise"]["target_file_bytes"] = 1
        policy["maintenance_policy_by_dataset"][self.dataset]["value"][
            "triggers"
        ] = {}  # files stay as they are written
        policy["index_policy_by_dataset"][self.index]["value"] = {
            "build": True, "shapes": [self.shape], "memory_bytes": 1 << 26, "row_group_rows": 1 << 20, "compression": "zstd",
        }  # fmt: skip
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


SUBJECTS: dict[str, tuple[str, str, str, dict[str, Any], str, list[str], str]] = {
    "code_graph": (
        "definition", "module_definition", "symbol_lookup", {"name": "name_7_70"}, "name", ["file_id"], "by_name",
    ),
    "retail": (
        "order_state", "kept_order", "orders_of",
        {"customer": 700, "first": date(1992, 1, 1), "last": date(1998, 12, 31)},
        "o_custkey", ["o_orderkey"], "by_customer",
    ),
}  # fmt: skip


WIDE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "code_graph": ("definition", "symbol_lookup", {"name": "name_7_70"}),
    "retail": ("supplier", "who_offers", {"nation": 7, "brand": "Brand#23"}),
}
"""A dataset of which no shape reads all columns, and a shape that reads it."""


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
    given = spy_on_writes(monkeypatch)
    dealt, plans, asked = spy_on_dealing(monkeypatch), spy_on_spills(monkeypatch), spy_on_checks(monkeypatch)
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
        pack.query(*WIDE[subject.name][1:2], **WIDE[subject.name][2])
        columns = reading.context.table(WIDE[subject.name][0]).schema().names
        plan = reading.context.sql(f"SELECT * FROM {subject.dataset}").optimized_logical_plan().display_indent()
        flushed = DeltaTable(str(lake / "_decreta/ledger")).version()
        settings = pack.sql("SELECT name, value FROM information_schema.df_settings").rows.to_pylist()
        path = pack.lake.dataset(pack.manifest.pack, subject.dataset)
    own = groups_of((lake / "_decreta/index" / subject.name).rglob("*.parquet"))
    stats = {k: v for k, v in msgspec.to_builtins(answer.stats).items() if k != "seconds"}
    return {
        "rows": rows_of(lake / subject.name, subject.pack),
        "processes": max(processes),
        "dealt": dealt.get("ahead"),
        "chunks": sum(chunks),
        "several batches": max(given) > 1,
        "spills": len(spilled),
        "spilled": sorted({name.split("/")[0] for name in spilled}),
        "spill plans": plans,
        "columns": sorted(columns),
        "plan": plan,
        "stats": stats,
        "listed": listed,
        "indexed": sorted(p.name for p in (lake / "_decreta/index").glob("*/*/*")),
        "index held": held,
        "index groups": len(own),
        "index compression": sorted({group.column(0).compression for group in own}),
        "flushed": flushed,
        "settings": {row["name"]: row["value"] for row in settings},
        "tables": sorted(path.name for path in (lake / subject.name).iterdir()),
        "checks asked": sorted(asked),
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


def spy_on_writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many batches the writer is given for each commit."""
    found: list[int] = []
    commit = writer.write_deltalake

    def spying(target: Any, reader: Any, **kwargs: Any) -> Any:
        def counted() -> Iterator[Any]:
            for batch in reader:
                found[-1] += 1
                yield batch

        found.append(0)
        return commit(target, pa.RecordBatchReader.from_batches(reader.schema, counted()), **kwargs)

    monkeypatch.setattr(writer, "write_deltalake", spying)
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


def spy_on_checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the checks that are asked by a statement of their own."""
    found: list[str] = []
    stream = checks._stream

    def spying(context: Any, sql: str, subject: str) -> Any:
        found.append(subject)
        return stream(context, sql, subject)

    monkeypatch.setattr(checks, "_stream", spying)
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


def groups_of(files: Iterable[Path]) -> list[Any]:
    footers = [pq.ParquetFile(file).metadata for file in files]
    return [footer.row_group(i) for footer in footers for i in range(footer.num_row_groups)]


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


def index(**values: Any) -> Callable[[Subject], Callable[[Policy], None]]:
    return _change("index_policy_by_dataset", lambda s: s.index, values)


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


def validation(**values: str) -> Callable[[Subject], Callable[[Policy], None]]:
    """Change what is done with a check of single rows, and when."""

    def make(subject: Subject) -> Callable[[Policy], None]:
        name, check = CHECKS[subject.name]
        return lambda policy: policy["validation"][name][check].update(values)

    return make


CHECKS = {
    "code_graph": ("definition", "span_is_ordered"),
    "retail": ("customer_history", "periods_have_a_length"),
}


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
    ("ScanValue", "columns"): (
        _change("scan_policy_by_dataset", lambda s: WIDE[s.name][0], {"columns": "required"}),
        {"columns"},
    ),
    ("ScanValue", "log_pruning"): (scan(log_pruning=False), {"listed"}),
    ("IndexValue", "build"): (index(build=False), {"indexed"}),
    ("IndexValue", "shapes"): (index(shapes=[]), {"listed"}),
    ("IndexValue", "memory_bytes"): (index(memory_bytes=0), {"index held"}),
    ("IndexValue", "row_group_rows"): (index(row_group_rows=1_000), {"index groups"}),
    ("IndexValue", "compression"): (index(compression="uncompressed"), {"index compression"}),
    ("CacheValue", "placement"): (cache(placement="memory"), {"spilled", "spills"}),
    ("CacheValue", "pushdown"): (cache(pushdown=True), {"spill plans"}),
    ("WriteValue", "sort"): (write(sort=[]), {"order", "stats"}),
    ("WriteValue", "staging"): (staged_elsewhere, {"spilled", "spills"}),
    ("WriteValue", "target_file_bytes"): (write(target_file_bytes=1 << 25), {"files"}),
    ("WriteValue", "row_group_rows"): (write(row_group_rows=500), {"groups"}),
    ("WriteValue", "compression"): (write(compression="uncompressed"), {"compression"}),
    ("WriteValue", "bloom_columns"): (write(bloom_columns=[]), {"blooms", "bloom bytes"}),
    ("WriteValue", "bloom_fpp"): (write(bloom_fpp="0.50"), {"bloom bytes"}),
    ("ValidationValue", "on_violation"): (validation(on_violation="quarantine"), {"tables"}),
    ("ValidationValue", "when"): (validation(when="run"), {"checks asked"}),
    ("Setting", "value"): (another_setting, {"settings"}),
    ("SessionValue", "settings"): (another_setting, {"settings"}),
    ("SessionValue", "source_workers"): (session("batch_ingest", source_workers=1), {"processes"}),
    ("SessionValue", "source_chunks_per_worker"): (session("batch_ingest", source_chunks_per_worker=1), {"chunks"}),
    ("SessionValue", "source_chunks_ahead"): (session("batch_ingest", source_chunks_ahead=1), {"dealt"}),
    ("SessionValue", "spill_buffer_bytes"): (small_buffer, {"spills"}),
    ("SessionValue", "ordered_writes"): (session("batch_ingest", ordered_writes=True), {"several batches"}),
    ("SessionValue", "ledger_buffer_rows"): (session("interactive_query", ledger_buffer_rows=10), {"flushed"}),
}
"""Field → the change of it, and what of it must be seen from outside."""


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
                for side in ("value", "otherwise"):
                    policy["write_policy_by_dataset"][dataset][side][name] = value
            policy["scan_policy_by_dataset"][dataset]["value"] |= {"step_files": 2, "step_values": 1_000, **change}
            policy["maintenance_policy_by_dataset"][dataset]["value"]["triggers"] = {}  # files stay as they are written

        edit_policy(subject.pack, stand)
        with decreta_runtime.open(str(subject.pack), lake=str(tmp_path / f"lake{i}")) as opened:
            opened.run(subject.sources)
            rows = opened.query(shape, **arguments).to_pylist()
            reading = opened._readings[opened.manifest.queries[shape].workload]
            seen.append((rows, len(reading.scans[dataset].listed)))
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] < seen[1][1]


@pytest.mark.parametrize("pack", sorted(SUBJECTS))
def test_where_a_function_is_from_has_an_effect(subjects: dict[str, Subject], pack: str, tmp_path: Path) -> None:
    """Neither pack has functions of its own: one that is said to be is looked for and not found."""
    subject = subjects[pack]
    for path, content in subject.committed.items():
        path.write_bytes(content)

    def change(policy: Policy) -> None:
        functions, *_ = policy["udf_requirements_by_view"].values()
        next(iter(functions.values()))["origin"] = "pack"

    edit_policy(subject.pack, change)
    with decreta_runtime.open(str(subject.pack), lake=str(tmp_path)) as opened, pytest.raises(PolicyIncomplete):
        opened.run(subject.sources)


@pytest.mark.parametrize("pack", sorted(SUBJECTS))
def test_every_action_of_a_full_run_of_each_pack_names_its_entry(
    subjects: dict[str, Subject], pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects[pack].observe(lambda _: None, tmp_path, monkeypatch)
    opened = decreta_runtime.open(str(subjects[pack].pack), lake=str(tmp_path / "lake"))
    rows = pa.table(DeltaTable(str(tmp_path / "lake/_decreta/ledger")).scan().read_all()).to_pylist()
    assert {row["kind"] for row in rows} == {
        "step", "scan", "write", "refresh", "index", "maintenance", "guard", "check", "query", "cache",
    }  # fmt: skip
    pointers = {row["pointer"] for row in rows}
    assert None not in pointers and not opened.policy.unresolved(pointers)


def structs(kind: Any, found: set[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    """Return the forms that a policy is made of."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
        found.add(kind)
        for field in msgspec.structs.fields(kind):
            structs(field.type, found)
    for inner in get_args(kind):
        structs(inner, found)
    return found


SECTIONED = {
    *(("PolicyFile", section) for section, _ in contract.DOMAINS.values()),
    ("PolicyFile", "validation"), ("PolicyFile", "udf_requirements_by_view"), ("PolicyFile", "schema_change_by_dataset"),
    ("PolicyFile", "bindings"), ("PolicyFile", "capabilities"),
}  # fmt: skip
"""Sections: each of their fields stands for itself."""


def fields() -> Iterator[tuple[str, str]]:
    kinds = structs(
        contract.PolicyFile, {kind for _, kind in contract.DOMAINS.values()} | {contract.Setting, contract.Trigger}
    )
    for kind in kinds:
        yield from ((kind.__name__, field.name) for field in msgspec.structs.fields(kind))


def test_no_field_of_any_section_is_left_out() -> None:
    listed = [set(EFFECTS), set(INFORMS), set(ELSEWHERE), SECTIONED, {("FunctionRequirement", "origin")}]
    assert set(fields()) == set().union(*listed)
    assert sum(map(len, listed)) == len(set().union(*listed)), "each stands in one list"


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_what_is_tested_elsewhere_is(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", Path(__file__).with_name(file).read_text(), re.MULTILINE)


def test_every_field_that_decides_is_read_by_the_runtime() -> None:
    read = {
        node.attr
        for path in (ROOT / "runtime/decreta_runtime").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    assert {name for kind, name in set(fields()) - set(INFORMS) - SECTIONED} <= read
