"""Results never depend on cost decisions: any policy within the ladders gives the rows of the committed one."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import ROOT, edit_policy, rows_of

import decreta_runtime
from decreta.diagnostics import Report
from decreta.pipeline import compile_pack
from decreta.project import Project

QUIET = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
Decision = dict[str, Any]


def ladders(pack: str) -> dict[str, list[Any]]:
    """Return each threshold's ladder as the rule files have them."""
    report = Report()
    compiled = compile_pack(Project(ROOT), pack, report)
    assert compiled is not None
    thresholds = compiled.program.checked.resolved.rules.thresholds
    return {name: list(threshold.spec.ladder) for name, threshold in thresholds.items()}


LADDERS = ladders("code_graph")
ENGINE = version("datafusion")


def drawn(section: str, decision: Decision, draw: Callable[..., Any], columns: list[str]) -> Decision:
    """Return a decision whose every field is drawn from what the field may be, under guards that hold or fail."""
    value = drawn_value(section, decision["value"], draw, columns)
    requires = draw(st.lists(st.sampled_from(GUARDS[section]), max_size=2, unique=True))
    otherwise = drawn_value(section, decision["value"], draw, columns) if requires else None
    if section == "cache_policy_by_view" and otherwise is not None and otherwise["placement"] == "memory":
        otherwise["placement"] = "spill"  # what does not fit may not be kept in memory all the same
    if section == "write_policy_by_dataset" and otherwise is not None:
        otherwise["staging"] = "spill"
    return decision | {"value": value, "requires": requires, "otherwise": otherwise}


GUARDS = {
    "scan_policy_by_dataset": ["engine_as_probed", "schema_as_compiled", "no_deletion_vectors", "unpartitioned"],
    "cache_policy_by_view": ["engine_as_probed", "within_memory_budget"],
    "write_policy_by_dataset": ["engine_as_probed", "within_memory_budget"],
    "session_profile_by_workload": ["engine_as_probed"],
    "index_policy_by_dataset": ["index_readable"],
    "maintenance_policy_by_dataset": ["engine_as_probed", "no_deletion_vectors", "safe_to_rewrite", "unpartitioned"],
    "refresh_policy_by_view": ["compiled_as_last_run", "engine_as_probed"],
}


def drawn_value(section: str, given: Decision, draw: Callable[..., Any], columns: list[str]) -> Decision:
    value = dict(given)
    pick = lambda choices: draw(st.sampled_from(choices))  # noqa: E731
    if section == "scan_policy_by_dataset":
        value["path"] = pick(["native", "delta"])
        value["columns"] = pick(["required", "all"])
        for name in ("log_pruning", "pushdown", "page_index", "bloom_filters"):
            value[name] = pick([True, False])
        value |= {"step_files": pick([0, 2, 8]), "step_values": pick([0, 1, 32])}
    elif section == "cache_policy_by_view" and value["placement"] != "none":
        value |= {"placement": pick(["memory", "spill"]), "pushdown": pick([True, False])}
    elif section == "write_policy_by_dataset":
        value["sort"] = draw(st.lists(st.sampled_from(columns), max_size=2, unique=True))
        value["bloom_columns"] = draw(st.lists(st.sampled_from(columns), max_size=2, unique=True))
        value["bloom_fpp"] = pick(LADDERS["write.bloom_fpp"])
        value["staging"] = pick(["memory", "spill"])
        value["target_file_bytes"] = pick([1, *LADDERS["write.target_file_bytes"]])
        value["row_group_rows"] = pick([100, *LADDERS["write.sorted_row_group_rows"]])
        value["compression"] = pick(["snappy", "zstd", "uncompressed"])
    elif section == "refresh_policy_by_view":
        # Without the guard that it stands under, a decision may only be the whole.
        value |= {"kind": pick(["stale", "full"]), "at_most_groups": pick([0, 1, 2000])}
    elif section == "index_policy_by_dataset":
        value |= {"build": pick([True, False]), "memory_bytes": pick(LADDERS["index.memory_bytes"])}
        value["row_group_rows"] = pick(LADDERS["index.row_group_rows"])
        value["compression"] = pick(["snappy", "zstd", "uncompressed"])
    elif section == "maintenance_policy_by_dataset":
        value["sort"] = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=2, unique=True))
        value["bloom_columns"] = draw(st.lists(st.sampled_from(columns), max_size=2, unique=True))
        value["target_file_bytes"] = pick([1, *LADDERS["write.target_file_bytes"]])
        value["small_file_bytes"] = pick([1, *LADDERS["facts.small_file_bytes"]])
        value["amplification"] = pick(LADDERS["maintenance.amplification"])
        value["at_most_times"] = pick(LADDERS["maintenance.at_most_times"])
        value["triggers"] = pick([{}, ALWAYS])
    elif section == "session_profile_by_workload":
        value["source_workers"] = 1
        value["ordered_writes"] = pick([False, True])
        value["spill_buffer_bytes"] = pick([1, *LADDERS["session.spill_buffer_bytes"]])
        chosen = {name: dict(setting) for name, setting in value["settings"].items()}
        for name, choices in SETTINGS.items():
            chosen[name] = {"value": pick(choices), "because": "drawn"}
        value["settings"] = chosen
    return value


ALWAYS = {
    action: {"action": action, "metric": metric, "comparison": "at_least", "threshold": 1, "unknown": "act"}
    for action, metric in (("compact", "small_files"), ("sort", "clustering_depth"), ("vacuum", "unreferenced_bytes"))
}
"""Triggers that are always met."""
SETTINGS = {
    "datafusion.execution.batch_size": ["7", "8192"],
    "datafusion.execution.target_partitions": ["1", "3"],
    "datafusion.execution.collect_statistics": ["true", "false"],
    "datafusion.execution.parquet.reorder_filters": ["true", "false"],
}


def plain(columns: list[dict[str, Any]]) -> list[str]:
    """Return the columns that a sort and a bloom filter may have."""
    return [c["name"] for c in columns if not c["type"].startswith(("list", "struct", "binary"))]


def digests(pack: Path, lake: Path, sources: dict[str, str]) -> dict[str, list[Any]]:
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run(sources)
        found = {name: rows_of(opened.lake.dataset(opened.manifest.pack, name)) for name in written(pack)}
        for name in opened.manifest.relations.keys() - found.keys():
            rows = opened.show(name, limit=10**9).rows.to_pylist()
            found[name] = sorted((tuple(map(repr, row.values())) for row in rows), key=repr)
        return found


def written(pack: Path) -> list[str]:
    manifest = json.loads((pack / "manifest.json").read_bytes())
    stored = [name for name, entry in manifest["relations"].items() if entry["stored"]]
    return stored + [name for name, entry in manifest["objects"].items() if entry["source"] is not None]


def vary(pack: Path, draw: Callable[..., Any]) -> None:
    manifest = json.loads((pack / "manifest.json").read_bytes())

    def change(policy: dict[str, Any]) -> None:
        for section in [name for name in policy if "_policy_by_" in name or "_profile_by_" in name]:
            for subject, decision in policy[section].items():
                entry = manifest["objects"].get(subject) or manifest["relations"].get(subject) or {"columns": []}
                policy[section][subject] = drawn(section, decision, draw, plain(entry["columns"]) or ["x"])
        policy["inputs"]["budget.cache_bytes"] = draw(st.sampled_from([0, 200, 1 << 30]))
        policy["capabilities"]["engine"]["datafusion"] = draw(st.sampled_from([ENGINE, "0.0.0"]))

    edit_policy(pack, change)


@pytest.mark.parametrize("which", ["shop_pack", "code_graph"])
def test_any_policy_gives_the_same_rows(which: str, source: Path, request: pytest.FixtureRequest) -> None:
    pack: Path = request.getfixturevalue(which)
    sources = {"python": str(source)} if which == "code_graph" else {}
    tables = pack.parents[1]
    wanted = digests(pack, tables / "lake_as_compiled", sources)
    assert all(wanted.values())
    committed = {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()}

    @QUIET
    @given(st.data())
    def law(data: st.DataObject) -> None:
        vary(pack, data.draw)
        lake = Path(tempfile.mkdtemp(dir=tables))
        try:
            assert digests(pack, lake, sources) == wanted
        finally:
            shutil.rmtree(lake)
            for path, content in committed.items():
                path.write_bytes(content)

    law()
