"""Key figures: counted from policy, run records and ledger, in a form that has a schema."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import ROOT, compiled, edit_policy, run_command, shop_tables

import decreta_runtime
from decreta_runtime.kpi import key_figures

SCHEMA = json.loads((ROOT / "generated/schemas/kpi.schema.json").read_bytes())


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kpi") / "shop"
    shutil.copytree(ROOT / "tests/packs/shop", folder, ignore=shutil.ignore_patterns("generated", ".decreta"))
    shop_tables(folder / "tables")
    with decreta_runtime.open(str(compiled(folder, "shop"))) as opened:
        opened.run()
        opened.sql("SELECT count(*) AS n FROM revenue")
    return folder


@pytest.fixture
def ran(once: Path, tmp_path: Path) -> Path:
    """The shop's project after one run and one look-up."""
    return Path(shutil.copytree(once, tmp_path / "shop"))


def figures(project: Path) -> dict[str, Any]:
    pack = decreta_runtime.open(str(project / "generated/shop"), lake=str(project / "lake"))
    found: dict[str, Any] = msgspec.to_builtins(key_figures("shop", pack.policy, pack.lake), str_keys=True)
    return found


def printed(project: Path, module: str) -> dict[str, Any]:
    done = run_command("kpi", "shop", "--lake", "lake", "--json", cwd=project, module=module)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def policy(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "generated/shop/policy/local.json").read_bytes())
    return found


def rewrite(path: Path, change: dict[str, str], where: str) -> None:
    """Change a table of the runtime's own, as a defect of it might have."""
    DeltaTable(str(path)).update(updates=change, predicate=where)


def test_a_run_that_obeys_its_policy_has_nothing_to_count(ran: Path) -> None:
    found = figures(ran)
    assert found["runs"] == 1
    assert found["actions"] == DeltaTable(str(ran / "lake/_decreta/ledger")).scan().read_all().num_rows
    assert found["compile_context_fallback_callsites"] == 0
    assert found["dataset_bindings_fallback_callsites"] == 0
    assert found["runtime_policy_derivation_points"] == 0
    assert not found["derivation_points"]
    share = found["inference_decisions_with_confidence"]
    assert (share["share"], share["count"]) == ("1.00", share["of"])


def test_the_printed_form_has_a_schema_and_needs_no_compiler(ran: Path) -> None:
    found = printed(ran, "decreta_runtime")
    jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert found | {"overrides": {"alive": 0, "expired": 0}} == printed(ran, "decreta"), "the specs have no lock"
    assert found == json.loads(msgspec.json.encode(figures(ran)))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"pruning": 1}, SCHEMA, cls=jsonschema.Draft202012Validator)
    code = f"import sys; sys.argv = {['decreta-run', 'kpi', 'shop', '--lake', 'lake']}\n" + (
        "from decreta_runtime.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {m.split('.')[0] for m in sys.modules} & {'decreta', 'sqlglot', 'pydantic'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ran, env={"PYTHONPATH": str(ROOT / "runtime")})


def test_decisions_are_counted_as_the_policy_has_them(ran: Path) -> None:
    sections = {
        domain: policy(ran)[section]
        for domain, section in (
            ("scan", "scan_policy_by_dataset"),
            ("cache", "cache_policy_by_view"),
            ("write", "write_policy_by_dataset"),
            ("session", "session_profile_by_workload"),
        )
    }
    counts = figures(ran)["decisions"]
    assert {d: n for d, n in counts["by_domain"].items() if d in sections} == {d: len(s) for d, s in sections.items()}
    every = sum(counts["by_domain"].values())
    assert {sum(table.values()) for table in counts.values()} == {every}
    unknown = sum(d["fallback_reason"] == "unknown_fact" for s in sections.values() for d in s.values())
    assert counts["by_fallback_reason"].get("unknown_fact", 0) >= unknown


def test_loads_and_bindings_beyond_one_are_counted(ran: Path) -> None:
    rewrite(ran / "lake/_decreta/runs", {"pack_loads": "3", "bindings": "2"}, "run_seq = 1")
    found = figures(ran)
    assert found["compile_context_fallback_callsites"] == 2
    assert found["dataset_bindings_fallback_callsites"] == 1


def test_what_no_entry_caused_is_named(ran: Path) -> None:
    ledger = ran / "lake/_decreta/ledger"
    rewrite(ledger, {"pointer": "'/write_policy_by_dataset/gone'"}, "kind = 'write' AND subject = 'revenue'")
    rewrite(ledger, {"pointer": "NULL"}, "kind = 'scan' AND subject = 'revenue' AND run_seq = 1")
    rewrite(ledger, {"pointer": "NULL"}, "kind = 'step'")
    found = figures(ran)
    points = {(p["kind"], p["subject"], p["pointer"]) for p in found["derivation_points"]}
    assert points == {("write", "revenue", "/write_policy_by_dataset/gone"), ("scan", "revenue", None)}
    assert found["runtime_policy_derivation_points"] == sum(p["count"] for p in found["derivation_points"])
    words = run_command("kpi", "shop", "--lake", "lake", cwd=ran, module="decreta_runtime").stdout
    assert "write revenue: replace (no such entry /write_policy_by_dataset/gone, 1 times)" in words


def test_another_policy_counts_its_own_runs(ran: Path) -> None:
    edit_policy(ran / "generated/shop", lambda p: p["inputs"].update({"budget.cache_bytes": 4096}))
    found = figures(ran)
    assert (found["runs"], found["actions"]) == (0, 0)
    assert found["compile_context_fallback_callsites"] is None
    assert found["runtime_policy_derivation_points"] is None
    words = run_command("kpi", "shop", "--lake", "lake", cwd=ran).stdout
    assert "runtime_policy_derivation_points       unknown: no run under this policy" in words
    figures_in_words = [line for line in words.split("\n\n")[1].splitlines() if not line.startswith(" ")]
    names = [re.match(r"\w+ +", line) for line in figures_in_words]
    assert len({name.end() for name in names if name}) == 1 and all(names), "figures stand in one column"


def test_decisions_without_evidence_are_missed_and_declared_ones_are_not(ran: Path) -> None:
    def change(found: dict[str, Any]) -> None:
        for decision, origin in zip(found["scan_policy_by_dataset"].values(), ("derived", "declared"), strict=False):
            decision.update(evidence_sources=[], origin=origin)

    before = figures(ran)["inference_decisions_with_confidence"]
    edit_policy(ran / "generated/shop", change)
    share = figures(ran)["inference_decisions_with_confidence"]
    assert (share["count"], share["declared"]) == (before["of"] - 1, before["declared"] + 1)
    assert share["share"] < "1.00"


def test_other_packs_in_the_lake_do_not_count(ran: Path) -> None:
    ledger = DeltaTable(str(ran / "lake/_decreta/ledger"))
    before = figures(ran)["actions"]
    rows = pa.table(ledger.scan().read_all())
    others = rows.set_column(rows.schema.get_field_index("pack"), "pack", pa.array(["other"] * rows.num_rows))
    write_deltalake(ledger, others, mode="append")
    assert figures(ran)["actions"] == before > 0


def test_a_lake_that_is_none_is_said(ran: Path) -> None:
    done = run_command("kpi", "shop", "--lake", "nowhere", cwd=ran, module="decreta_runtime")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
