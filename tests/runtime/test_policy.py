"""The runtime obeys the policy, whole, and derives nothing: completeness, field effect, guards, pointers, digests."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import ROOT, edit_policy, reseal, rows_of, sales

import decreta_runtime
from decreta.diagnostics import Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from decreta_runtime import verify
from decreta_runtime.contract.errors import DecretaError, DigestMismatch, PolicyIncomplete
from decreta_runtime.contract.policy import DOMAINS, Policy, pointer_to
from decreta_runtime.foreign import delete_by_vector
from decreta_runtime.load import load
from decreta_runtime.tally import Tally

SECTIONS = (
    "scan_policy_by_dataset", "cache_policy_by_view", "write_policy_by_dataset", "index_policy_by_dataset", "maintenance_policy_by_dataset",
    "session_profile_by_workload", "refresh_policy_by_view",
)  # fmt: skip


def run(pack: Path) -> Path:
    """Run a compiled shop into its lake; return the lake."""
    with decreta_runtime.open(str(pack)) as opened:
        opened.run()
    return pack.parents[1] / "lake"


Way = tuple[str, ...]


def ways(part: Any, way: Way = ()) -> Iterator[Way]:
    """Yield the way to every key at whatever depth of plain data."""
    for name, inner in part.items() if isinstance(part, dict) else ():
        yield (*way, name)
        yield from ways(inner, (*way, name))


def without(policy: dict[str, Any], way: Way) -> dict[str, Any]:
    found = copy.deepcopy(policy)
    holder = found
    for part in way[:-1]:
        holder = holder[part]
    del holder[way[-1]]
    return found


def explains(policy: dict[str, Any], way: Way) -> bool:
    """Whether an entry only explains what stands elsewhere, is what nothing looks up in its mode, or is a choice of many.

    The engine's settings are a map that has those which matter; of thresholds the policy has filled in the values.
    """
    section, *rest = way
    if section in SECTIONS and len(rest) > 1:
        unseen = rest[1] == "baseline" and len(rest) > 2 and policy[section][rest[0]]["mode"] == "enforce"
        return unseen or (rest[2:3] in (["settings"], ["triggers"]) and len(rest) == 4)
    return (
        (section == "rules" and len(rest) == 1)
        or (section == "inputs" and rest not in ([], ["budget.cache_bytes"]))
        or (section == "capabilities" and len(rest) == 2)
        or (section == "bindings" and "options" in rest[:-1])
    )


def names(pointer: str, way: Way) -> bool:
    """Whether a pointer is that of an entry. Of a subject without any check, the first that it lacks is named."""
    of_subject = way[0] == "validation" and len(way) == 2
    return pointer == pointer_to(*way) or (of_subject and pointer.startswith(pointer_to(*way) + "/"))


@pytest.mark.parametrize("pack", ["code_graph", "retail"])
@pytest.mark.parametrize("mode", ["enforce", "warn"])
def test_each_key_that_goes_missing_is_refused_by_its_very_pointer(pack: str, mode: str) -> None:
    folder = ROOT / "generated" / pack
    loaded, whole = load(folder, Tally()), json.loads((folder / "policy/local.json").read_bytes())
    for section in SECTIONS:
        for decision in whole[section].values():
            decision["mode"] = mode
    tried, accepted = 0, set()
    for way in ways(whole):
        try:
            assert list(verify.entries(loaded, Policy(json.dumps(without(whole, way)).encode())))
        except PolicyIncomplete as refused:
            assert names(refused.pointer, way)
            tried += 1
        else:
            accepted.add(way)
    assert accepted == {way for way in ways(whole) if explains(whole, way)}
    assert tried > 500


def test_nothing_is_touched_before_each_entry_is_there(shop_pack: Path) -> None:
    """One key of each kind, in a run from outside."""
    whole = json.loads((shop_pack / "policy/local.json").read_bytes())
    tried = set()
    for way in ways(whole):
        kind = (way[0], *way[2:])
        if explains(whole, way) or kind in tried:
            continue
        tried.add(kind)
        (shop_pack / "policy/local.json").write_text(json.dumps(without(whole, way)))
        reseal(shop_pack)
        with pytest.raises(PolicyIncomplete) as refused:
            run(shop_pack)
        assert names(refused.value.pointer, way) and refused.value.exit_status == 4
        assert not (shop_pack.parents[1] / "lake").exists()
    assert len(tried) > 60


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("write_policy_by_dataset/revenue/value/colour", "red"),
        ("write_policy_by_dataset/revenue/value/compression", "brotli"),
        ("write_policy_by_dataset/revenue/colour", "red"),
        ("scan_policy_by_dataset/sale/mode", "never"),
        ("scan_policy_by_dataset/sale/requires", ["full_moon"]),
        ("session_profile_by_workload/batch_ingest/value/settings/datafusion.execution.batch_size", "7"),
        ("validation/sale/key/when", "later"),
        ("inputs/budget.cache_bytes", None),
        ("colour", {}),
    ],
)
def test_an_unknown_entry_or_form_is_refused_by_its_pointer(shop_pack: Path, way: str, value: Any) -> None:
    *holders, last = way.split("/")

    def change(policy: dict[str, Any]) -> None:
        for name in holders:
            policy = policy[name]
        policy[last] = value

    edit_policy(shop_pack, change)
    with pytest.raises(PolicyIncomplete) as refused:
        run(shop_pack)
    assert refused.value.pointer == "/" + way


def test_a_changed_byte_in_any_file_is_refused(shop_pack: Path) -> None:
    files = sorted(p for p in shop_pack.rglob("*") if p.is_file())
    kinds = {path.relative_to(shop_pack).parts[0] for path in files}
    assert kinds == {"manifest.json", "manifest.sha256", "policy", "queries.py", "relations", "tests"}
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
        with pytest.raises(DigestMismatch):
            decreta_runtime.open(str(shop_pack))
        path.unlink()
        with pytest.raises(DecretaError):
            decreta_runtime.open(str(shop_pack))
        path.write_bytes(data)
    decreta_runtime.open(str(shop_pack)).verify()


def test_a_pinned_digest_is_asked_for(shop_pack: Path) -> None:
    digest = (shop_pack / "manifest.sha256").read_text().strip()
    decreta_runtime.open(str(shop_pack), expect=digest)
    edit_policy(shop_pack, lambda p: p.update(environment="other"))
    with pytest.raises(DigestMismatch, match="was asked for"):
        decreta_runtime.open(str(shop_pack), expect=digest)


def test_code_runs_from_verified_bytes_only(code_graph: Path, source: Path, tmp_path: Path) -> None:
    """A stale compiled file of the same name and time beside a builder is never run."""
    builder = code_graph / "relations/defines.py"
    cache = builder.parent / "__pycache__"
    cache.mkdir()
    evil = tmp_path / "defines.py"
    evil.write_text("raise SystemExit('ran a cached file')\n")
    import py_compile

    for tag in ("cpython-311", "cpython-312", "cpython-313"):
        py_compile.compile(str(evil), str(cache / f"defines.{tag}.pyc"), doraise=True)
    with decreta_runtime.open(str(code_graph), lake=str(tmp_path / "lake")) as pack:
        pack.run({"python": str(source)})


def test_settings_reach_the_engine(shop_pack: Path) -> None:
    settings = {"datafusion.execution.batch_size": "123", "datafusion.runtime.metadata_cache_limit": "7M"}
    edit_policy(
        shop_pack,
        lambda p: p["session_profile_by_workload"]["interactive_query"]["value"]["settings"].update(put(settings)),
    )
    run(shop_pack)
    with decreta_runtime.open(str(shop_pack)) as pack:
        found = pack.sql("SELECT name, value FROM information_schema.df_settings").rows.to_pylist()
    values = {row["name"]: row["value"] for row in found}
    assert {name: values[name] for name in settings} == settings


def test_a_setting_that_the_engine_refuses_is_named(shop_pack: Path) -> None:
    settings = {"datafusion.execution.batch_size": "many"}
    edit_policy(
        shop_pack, lambda p: p["session_profile_by_workload"]["batch_ingest"]["value"]["settings"].update(put(settings))
    )
    with pytest.raises(PolicyIncomplete, match="/session_profile_by_workload/batch_ingest/value/settings"):
        run(shop_pack)


# -- guards


def guard_rows(lake: Path) -> dict[tuple[str, str], set[str]]:
    """Return the guard outcomes of the ledger: (subject, guard) → holds or fails."""
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row["kind"] == "guard":
            guard, _, outcome = row["action"].partition(": ")
            found.setdefault((row["subject"], guard), set()).add(outcome)
    return found


def scans(lake: Path) -> dict[str, set[str]]:
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    return {s: {r["action"] for r in rows if r["kind"] == "scan" and r["subject"] == s} for s in ("sale", "product")}


def test_all_guards_hold_on_plain_tables(shop_pack: Path) -> None:
    lake = run(shop_pack)
    found = guard_rows(lake)
    first = {guard for (_, guard), outcomes in found.items() if outcomes == {"fails"}}
    assert first == {"compiled_as_last_run"}, "there is no run before the first"
    assert all(outcomes == {"holds"} for (_, guard), outcomes in found.items() if guard not in first)
    assert scans(lake)["sale"] == {"native"}


def test_a_deletion_vector_turns_the_scan_to_delta(shop_pack: Path) -> None:
    expected = rows_of(run(shop_pack) / "shop/revenue")
    shutil.rmtree(shop_pack.parents[1] / "lake")
    add_deletion_vector(shop_pack.parents[1] / "tables/sale")
    lake = run(shop_pack)
    assert guard_rows(lake)[("sale", "no_deletion_vectors")] == {"fails"}
    assert scans(lake)["sale"] == {"delta"}
    assert rows_of(lake / "shop/revenue") == expected, "the rows that the vector deletes are not read"


def add_deletion_vector(path: Path) -> None:
    """Append two rows and delete them by a vector, as other engines do."""
    write_deltalake(str(path), sales([(90, 3, 7, 100), (91, 3, 7, 100)]), mode="append")
    delete_by_vector(path)


def test_column_mapping_turns_the_scan_to_delta(shop_pack: Path) -> None:
    table = shop_pack.parents[1] / "tables/product"
    rows = pa.table(DeltaTable(str(table)).scan().read_all())
    shutil.rmtree(table)
    write_deltalake(str(table), rows, configuration={"delta.columnMapping.mode": "name"})
    lake = run(shop_pack)
    assert guard_rows(lake)[("product", "no_column_mapping")] == {"fails"}
    assert scans(lake)["product"] == {"delta"}
    assert len(rows_of(lake / "shop/revenue")) == 2


def test_a_column_of_others_turns_the_scan_to_delta(shop_pack: Path) -> None:
    expected = rows_of(run(shop_pack) / "shop/revenue")
    assert guard_rows(shop_pack.parents[1] / "lake")[("product", "schema_as_compiled")] == {"holds"}
    shutil.rmtree(shop_pack.parents[1] / "lake")
    table = shop_pack.parents[1] / "tables/product"
    rows = pa.table(DeltaTable(str(table)).scan().read_all())
    wider = rows.append_column("size", pa.array(["S"] * rows.num_rows))
    write_deltalake(str(table), wider, mode="overwrite", schema_mode="overwrite")
    lake = run(shop_pack)
    assert guard_rows(lake)[("product", "schema_as_compiled")] == {"fails"}
    assert guard_rows(lake)[("sale", "schema_as_compiled")] == {"holds"}
    assert scans(lake) == {"sale": {"native"}, "product": {"delta"}}
    assert rows_of(lake / "shop/revenue") == expected
    with decreta_runtime.open(str(shop_pack)) as pack:
        assert pack.sql("SELECT * FROM product").rows.column_names == ["product_id", "title", "price"]


def test_partitions_turn_the_scan_to_delta(shop_pack: Path) -> None:
    table = shop_pack.parents[1] / "tables/sale"
    rows = pa.table(DeltaTable(str(table)).scan().read_all())
    shutil.rmtree(table)
    write_deltalake(str(table), rows, partition_by=["customer_id"])
    lake = run(shop_pack)
    assert guard_rows(lake)[("sale", "unpartitioned")] == {"fails"}
    assert len(rows_of(lake / "shop/revenue")) == 2


def test_another_engine_turns_every_scan_to_delta(shop_pack: Path) -> None:
    edit_policy(shop_pack, lambda p: p["capabilities"]["engine"].update(datafusion="54.0.0"))
    lake = run(shop_pack)
    assert {o for (_, g), o in _flat(guard_rows(lake)) if g == "engine_as_probed"} == {"fails"}
    assert scans(lake) == {"sale": {"delta"}, "product": {"delta"}}
    assert len(rows_of(lake / "shop/revenue")) == 2


def _flat(found: dict[tuple[str, str], set[str]]) -> list[tuple[tuple[str, str], str]]:
    return [(key, outcome) for key, outcomes in found.items() for outcome in outcomes]


def test_another_format_environment_or_pack_is_refused(shop_pack: Path) -> None:
    edit_policy(shop_pack, lambda p: p.update(format=p["format"] + 1))
    with pytest.raises(PolicyIncomplete, match="has format") as refused:
        run(shop_pack)
    assert refused.value.pointer == "/format"
    edit_policy(shop_pack, lambda p: p.update(format=p["format"] - 1, pack="other"))
    with pytest.raises(PolicyIncomplete, match="is of pack `other`") as refused:
        run(shop_pack)
    assert refused.value.pointer == "/pack"
    assert not (shop_pack.parents[1] / "lake").exists()


def test_bindings_have_an_effect(code_graph: Path, source: Path, tmp_path: Path) -> None:
    def change(policy: dict[str, Any]) -> None:
        policy["bindings"]["lake"] = "elsewhere"
        policy["bindings"]["sources"]["python"] = {"roots": [f"mine:{source}"], "options": {"exclude": ["app"]}}

    edit_policy(code_graph, change)
    with decreta_runtime.open(str(code_graph)) as pack:
        pack.run()
        mine = pack.sql("SELECT file_id, path FROM file ORDER BY path").rows.to_pylist()
        pack.run({"python": str(source)})
        main = pack.sql("SELECT file_id, path FROM file ORDER BY path").rows.to_pylist()
    assert pack.lake.root == tmp_path / "elsewhere"
    assert [row["path"] for row in mine] == [row["path"] for row in main] == ["broken.py", "main.py"]
    assert not {row["file_id"] for row in mine} & {row["file_id"] for row in main}, "the root is a part of ids"


def test_a_bound_table_is_where_its_binding_says(shop_pack: Path) -> None:
    tables = shop_pack.parents[1] / "tables"
    shutil.move(tables / "sale", tables / "moved")
    edit_policy(shop_pack, lambda p: p["bindings"]["tables"]["sale"].update(uri="../tables/moved"))
    assert len(rows_of(run(shop_pack) / "shop/revenue")) == 2


def test_no_memory_turns_places_to_spills(code_graph: Path, source: Path, tmp_path: Path) -> None:
    results = {}
    for name, budget in (("roomy", 1 << 30), ("tight", 0)):
        edit_policy(code_graph, lambda p, b=budget: p["inputs"].update({"budget.cache_bytes": b}))  # type: ignore[misc]
        lake = tmp_path / name
        with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
            pack.run({"python": str(source)})
            results[name] = {t: rows_of(lake / "code_graph" / t) for t in pack.versions()}
        outcomes = {o for (_, g), o in _flat(guard_rows(lake)) if g == "within_memory_budget"}
        assert outcomes == {"holds" if name == "roomy" else "fails"}
        assert not list((lake / "_decreta/spill").rglob("*.parquet")), "a spill lives no longer than its run"
    assert results["roomy"] == results["tight"]


# -- nothing is derived


def test_every_action_names_an_entry_of_the_policy_it_ran_with(code_graph: Path, source: Path, tmp_path: Path) -> None:
    with decreta_runtime.open(str(code_graph), lake=str(tmp_path / "lake")) as pack:
        pack.run({"python": str(source)})
        pack.query("symbol_lookup", name="run")
    policy = json.loads((code_graph / "policy/local.json").read_bytes())
    rows = pa.table(DeltaTable(str(tmp_path / "lake/_decreta/ledger")).scan().read_all()).to_pylist()
    assert {row["kind"] for row in rows} == {
        "step", "scan", "write", "refresh", "maintenance", "guard", "check", "query", "cache",
    }  # fmt: skip
    for row in rows:
        entry = policy
        for part in row["pointer"].strip("/").split("/"):
            entry = entry[part]
        assert entry is not None
    assert len({row["policy_digest"] for row in rows}) == 1
    (record,) = pa.table(DeltaTable(str(tmp_path / "lake/_decreta/runs")).scan().read_all()).to_pylist()
    assert (record["pack_loads"], record["bindings"], record["sessions"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("pattern", "home"),
    [(r"SessionContext\(", "session.py"), (r"\bBinding\(", "pin.py"), (r"\bLoadedPack\(", "load.py")],
)
def test_one_place_for_each_resource(pattern: str, home: str) -> None:
    runtime = ROOT / "runtime/decreta_runtime"
    # `probe` is a developer's tool: it measures engines and is no part of a run.
    found = {p.name for p in runtime.rglob("*.py") if re.search(pattern, p.read_text()) and p.name != "probe.py"}
    assert found - {"policy.py"} == {home}


def test_a_second_session_binding_or_load_raises() -> None:
    tally = Tally()
    tally.once("session batch_ingest")
    tally.once("session interactive_query")
    with pytest.raises(RuntimeError):
        tally.once("session batch_ingest")


@pytest.mark.parametrize("what", ["load", "binding", "session"])
def test_a_second_one_within_a_run_is_counted_where_it_is_made_and_raises(
    shop_pack: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect that makes one of them twice, in the midst of a run."""
    from decreta_runtime import run as order

    begin = order._begin

    def twice(*args: Any) -> Any:
        found = begin(*args)
        pack, policy, lake, tally = args[0], args[1], args[2], args[5]
        if what == "load":
            load(shop_pack, tally)
        elif what == "binding":
            order.bind_inputs(pack.manifest, policy, lake, {}, tally)
        else:
            order.build_session("batch_ingest", policy.session("batch_ingest"), tally, ())
        return found

    monkeypatch.setattr(order, "_begin", twice)
    with pytest.raises(RuntimeError, match=f"{what}.* was made 2 times"):
        run(shop_pack)
    assert not DeltaTable.is_deltatable(str(shop_pack.parents[1] / "lake/_decreta/runs"))


def test_every_run_of_an_open_pack_has_its_own_binding_and_session_and_the_one_load(shop_pack: Path) -> None:
    tables = shop_pack.parents[1] / "tables"
    with decreta_runtime.open(str(shop_pack)) as pack:
        for sale in (11, 12):
            write_deltalake(str(tables / "sale"), sales([(sale, 1, 7, 1)]), mode="append")
            assert not pack.run().unchanged
            pack.sql("SELECT count(*) AS n FROM revenue")
    records = pa.table(DeltaTable(str(tables.parent / "lake/_decreta/runs")).scan().read_all()).to_pylist()
    assert [(r["pack_loads"], r["bindings"], r["sessions"]) for r in records] == [(1, 1, 1)] * 2


@pytest.mark.parametrize("pack", ["code_graph", "retail"])
def test_the_committed_policies_have_rules_that_decide_and_baselines_that_stand(pack: str) -> None:
    """Of `local` somebody has seen enough to place every view; of `prod` nobody has seen anything yet."""
    policies = {
        env: json.loads((ROOT / f"generated/{pack}/policy/{env}.json").read_bytes()) for env in ("local", "prod")
    }
    for section in SECTIONS:
        for env, policy in policies.items():
            origins = {decision["origin"] for decision in policy[section].values()}
            expected = {"derived", "baseline"}
            if (section, env) == ("cache_policy_by_view", "local") or section == "refresh_policy_by_view":
                expected = {"derived"}  # nor does a relation of the packs call what answers otherwise each time
            elif section == "index_policy_by_dataset":
                expected = {"baseline"}  # no table of the packs has files enough for an index
            assert origins == expected, (section, env)
    reasons = {d["fallback_reason"] for d in policies["prod"]["cache_policy_by_view"].values()}
    assert reasons == {None, "unknown_fact"}
    rules = [{d["rule"] for d in policy["cache_policy_by_view"].values()} for policy in policies.values()]
    assert "cache.shared_and_small@1" in rules[0] - rules[1] and "cache.baseline@2" in rules[1] - rules[0]


CAPABILITIES = "specs/std/capabilities/datafusion-55.0.0+deltalake-1.6.6.json"


def replace(file: str, find: str, put: str) -> Callable[[Path], None]:
    """Change one fact where it is written."""

    def edit(project: Path) -> None:
        text = (project / file).read_text()
        assert text.count(find) == 1, (file, find)
        (project / file).write_text(text.replace(find, put))

    return edit


def reader_of(pack: str, relation: str, column: str) -> Callable[[Path], None]:
    """Add a query shape that reads a relation."""
    text = f"query: reader\nsummary: Reads it.\nclass: batch_ingest\nbody: SELECT r.{column} FROM {relation} AS r\n"
    return lambda project: (project / f"specs/{pack}/queries/reader.yaml").write_text(text) and None


def looked_at(pack: str) -> Callable[[Path], None]:
    """Have seen in `prod` what has been seen in `local`."""

    def edit(project: Path) -> None:
        locks = project / f"specs/{pack}/locks"
        shutil.copy(locks / "local.evidence.json", locks / "prod.evidence.json")

    return edit


SORTED_BY_FILE = ("key: [definition_id]\nchecks:", "key: [definition_id]\nlayout: {sort: [file_id]}\nchecks:")
SORTED_BY_ORDER = ("key: [o_orderkey]\nexamples:", "key: [o_orderkey]\nlayout: {sort: [o_orderkey]}\nexamples:")


AT_RANDOM = ("  FROM file AS f\n", "  FROM file AS f\n  WHERE EXISTS (SELECT random() AS lot)\n")
SEMI_AT_RANDOM = ("s.s_nationkey = n.n_nationkey\n", "s.s_nationkey = n.n_nationkey\n  ORDER BY random()\n")
"""What calls something volatile, and keeps each row all the same."""


def reads(pack: str, workload: str, how: str) -> Callable[[Path], None]:
    """Let the statements of a workload class read otherwise."""
    line, other = f"[workloads.{workload}]\nreads = ", {"whole": "selective", "selective": "whole"}[how]
    return replace(f"specs/{pack}/pack.toml", f'{line}"{other}"', f'{line}"{how}"')


def files_of(pack: str, dataset: str, files: int) -> Callable[[Path], None]:
    """Say in the evidence lock how many files a dataset has."""

    def edit(project: Path) -> None:
        path = project / f"specs/{pack}/locks/local.evidence.json"
        lock = json.loads(path.read_bytes())
        lock["datasets"][dataset]["facts"]["files"]["value"] = files
        path.write_text(json.dumps(lock))

    return edit


MANY_FILES: dict[tuple[str, str, str], Callable[[Path], None]] = {
    ("code_graph", "index", "derived"): files_of("code_graph", "definition", 64),
    ("retail", "index", "derived"): files_of("retail", "order_state", 64),
    ("code_graph", "refresh", "baseline"): replace("specs/code_graph/relations/module_file.yaml", *AT_RANDOM),
    ("retail", "refresh", "baseline"): replace("specs/retail/relations/supplier_nation.yaml", *SEMI_AT_RANDOM),
}
"""What is edited first, where the committed evidence has no decided subject: no table of the packs has many files,
and no relation of them calls what answers otherwise each time."""
FLIPS: dict[tuple[str, str, str], tuple[str, str, Callable[[Path], None]]] = {
    ("code_graph", "scan", "derived"): ("local", "scope", replace(CAPABILITIES, '"row_filters": true', '"row_filters": false')),
    ("code_graph", "scan", "baseline"): ("local", "defines", reader_of("code_graph", "defines", "name")),
    ("code_graph", "cache", "derived"): (
        "local", "module_definition",
        replace("specs/code_graph/locks/local.evidence.json", '"value": 430142', '"value": 4301420000'),
    ),
    ("code_graph", "cache", "baseline"): ("prod", "module_file", looked_at("code_graph")),
    ("code_graph", "write", "derived"): (
        "local", "scope", replace("specs/code_graph/objects/scope.yaml", "layout: {sort: [file_id, span_start]}\n", ""),
    ),
    ("code_graph", "write", "baseline"): (
        "local", "defines", replace("specs/code_graph/relations/defines.yaml", *SORTED_BY_FILE),
    ),
    ("code_graph", "index", "derived"): ("local", "definition.by_name", files_of("code_graph", "definition", 1)),
    ("code_graph", "index", "baseline"): ("local", "definition.by_name", files_of("code_graph", "definition", 64)),
    ("retail", "index", "derived"): ("local", "order_state.by_customer", files_of("retail", "order_state", 1)),
    ("retail", "index", "baseline"): ("local", "order_state.by_customer", files_of("retail", "order_state", 64)),
    ("code_graph", "maintenance", "derived"): (
        "local", "scope", replace(CAPABILITIES, '"own_compaction": true', '"own_compaction": false'),
    ),
    ("code_graph", "maintenance", "baseline"): ("local", "defines", reader_of("code_graph", "defines", "name")),
    ("retail", "maintenance", "derived"): (
        "local", "order_state", replace("specs/retail/relations/order_state.yaml", "layout: {sort: [o_orderdate, o_orderkey]}\n", ""),
    ),
    ("retail", "maintenance", "baseline"): ("local", "order_segment", reader_of("retail", "order_segment", "c_mktsegment")),
    ("code_graph", "session", "derived"): ("local", "interactive_query", reads("code_graph", "interactive_query", "whole")),
    ("code_graph", "session", "baseline"): ("local", "batch_ingest", reads("code_graph", "batch_ingest", "selective")),
    ("retail", "scan", "derived"): (
        "local", "customer_history", replace(CAPABILITIES, '"native_scan": true', '"native_scan": false'),
    ),
    ("retail", "scan", "baseline"): ("local", "order_segment", reader_of("retail", "order_segment", "c_mktsegment")),
    ("retail", "cache", "derived"): (
        "local", "line_of_order",
        replace("specs/retail/locks/local.evidence.json", '"value": 48045840', '"value": 4804584000'),
    ),
    ("retail", "cache", "baseline"): ("prod", "line_of_order", looked_at("retail")),
    ("retail", "write", "derived"): (
        "local", "order_state", replace("specs/retail/relations/order_state.yaml", "layout: {sort: [o_orderdate, o_orderkey]}\n", ""),
    ),
    ("retail", "write", "baseline"): (
        "local", "order_segment", replace("specs/retail/relations/order_segment.yaml", *SORTED_BY_ORDER),
    ),
    ("retail", "session", "derived"): ("local", "compile_replay", replace("specs/retail/pack.toml", "repeatable = true\n", "")),
    ("code_graph", "refresh", "derived"): (
        "local", "module_definition", replace("specs/code_graph/objects/scope.yaml", "changes: {kind: replace_by, column: file_id}\n", ""),
    ),
    ("code_graph", "refresh", "baseline"): (
        "local", "module_file", replace("specs/code_graph/relations/module_file.yaml", *AT_RANDOM[::-1]),
    ),
    ("retail", "refresh", "derived"): (
        "local", "first_order", replace("specs/retail/objects/orders.yaml", "changes: {kind: append}\n", ""),
    ),
    ("retail", "refresh", "baseline"): (
        "local", "supplier_nation", replace("specs/retail/relations/supplier_nation.yaml", *SEMI_AT_RANDOM[::-1]),
    ),
    ("retail", "session", "baseline"): ("local", "report", reads("retail", "report", "selective")),
}  # fmt: skip
"""Pack, domain and what decides → environment, subject, and the one fact that flips its decision."""


@pytest.mark.parametrize(("pack", "domain", "origin"), sorted(FLIPS))
def test_one_fact_flips_its_decision(tmp_path: Path, pack: str, domain: str, origin: str) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    environment, subject, edit = FLIPS[pack, domain, origin]

    def decision() -> dict[str, Any]:
        report = Report()
        compiled = compile_pack(Project(tmp_path), pack, report)
        assert compiled is not None, report.diagnostics()
        section, _ = DOMAINS[domain]
        found: dict[str, Any] = json.loads(compiled.files[f"policy/{environment}.json"])[section][subject]
        return found

    MANY_FILES.get((pack, domain, origin), lambda _: None)(tmp_path)
    before = decision()
    edit(tmp_path)
    after = decision()
    assert before["origin"] == origin
    assert before["rule"] != after["rule"]
    assert before["value"] != after["value"]


def test_flips_are_shown_of_every_domain_of_every_pack() -> None:
    assert {(p, d, o) for p in ("code_graph", "retail") for d in DOMAINS for o in ("derived", "baseline")} == set(FLIPS)


def put(settings: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return settings as a policy carries them."""
    return {name: {"value": value, "because": "tried"} for name, value in settings.items()}
