"""Rollout: `off` and `warn` run the baseline, `warn` says what the decision would have changed, `enforce` obeys it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.conftest import Command, compiled, edit_policy, rows_of, sales

import decreta_runtime
from decreta_runtime.contract.errors import PolicyIncomplete

SECTIONS = {
    "scan": "scan_policy_by_dataset",
    "cache": "cache_policy_by_view",
    "write": "write_policy_by_dataset",
    "maintenance": "maintenance_policy_by_dataset",
    "refresh": "refresh_policy_by_view",
    "session": "session_profile_by_workload",
}
IN_MEMORY = """
[[decision]]
domain = "cache"
subject = "{view}"
then = {{ placement = "memory", pushdown = false }}
requires = ["within_memory_budget"]
otherwise = {{ placement = "spill", pushdown = false }}
because = "It is small."
"""


def add_to(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def modes(**domains: str) -> str:
    return "\n[rollout.domains]\n" + "".join(f'{name} = "{mode}"\n' for name, mode in domains.items())


def every(mode: str) -> str:
    return modes(**dict.fromkeys(SECTIONS, mode))


CACHED = '\n[thresholds]\n"session.metadata_cache" = "256M"\n'
"""Another cache than the engine's own, so that a session's decision differs from its baseline."""


@dataclass
class Seen:
    """What an observer sees of one run and one query."""

    rows: dict[str, list[tuple[Any, ...]]]
    answer: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    layout: dict[str, tuple[int, int, str]]
    """Dataset → files, row groups, compression."""
    settings: dict[str, str]
    policy: dict[str, Any]

    def did(self, kind: str) -> dict[str, str]:
        """Subject → action of the run itself."""
        return {r["subject"]: r["action"] for r in self.ledger if r["kind"] == kind and r["run_seq"] is not None}

    def shadows(self) -> list[dict[str, Any]]:
        return [{**row, **json.loads(row["detail"])} for row in self.ledger if row["kind"] == "shadow"]

    def shadow(self, domain: str, subject: str) -> dict[str, Any]:
        found = [s for s in self.shadows() if (s["domain"], s["subject"]) == (domain, subject) and s["run_seq"]]
        assert len(found) == 1
        return found[0]


def look(pack: Path, lake: Path, sources: dict[str, str], shape: str, **given: Any) -> Seen:
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run(sources)
        answer = opened.query(shape, **given).to_pylist()
        found = opened.sql("SELECT name, value FROM information_schema.df_settings").rows.to_pylist()
        names = [n for n in opened.manifest.datasets() if (lake / opened.manifest.pack / n).exists()]
        name = opened.manifest.pack
    layout = {}
    for dataset in names:
        files = DeltaTable(str(lake / name / dataset)).file_uris()
        footers = [pq.ParquetFile(path.removeprefix("file://")).metadata for path in files]
        compression = footers[0].row_group(0).column(0).compression
        layout[dataset] = (len(footers), sum(f.num_row_groups for f in footers), compression)
    return Seen(
        {n: rows_of(lake / name / n) for n in names},
        sorted(answer, key=repr),
        ledger(lake),
        layout,
        {row["name"]: row["value"] for row in found},
        json.loads((pack / "policy/local.json").read_bytes()),
    )


def ledger(lake: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    return rows


@pytest.fixture
def shop_modes(shop: Path) -> dict[str, Seen]:
    """The shop over many sales, once a mode."""
    many = sales([(i, i * 7919 % 20_000, 7 + i % 2, 1) for i in range(40_000)])
    write_deltalake(str(shop / "tables/sale"), many, mode="overwrite")
    env = shop / "specs/shop/env/local.toml"
    written = env.read_text().replace("cache_bytes = 1048576", "cache_bytes = 8388608")
    found = {}
    for mode in ("off", "warn", "enforce"):
        env.write_text(written + every(mode) + CACHED + IN_MEMORY.format(view="paired"))
        found[mode] = look(compiled(shop, "shop"), shop / mode, {}, "revenue_of", customer=1)
    return found


@pytest.fixture
def graph_modes(project: Path, source: Path) -> dict[str, Seen]:
    """The code graph over a small source, once a mode."""
    env = project / "specs/code_graph/env/local.toml"
    written = env.read_text()
    found = {}
    for mode in ("off", "warn", "enforce"):
        env.write_text(written + every(mode) + CACHED + IN_MEMORY.format(view="module_definition"))
        pack = compiled(project, "code_graph")
        found[mode] = look(pack, project / mode, {"python": str(source)}, "symbol_lookup", name="run")
    return found


def check_modes(found: dict[str, Seen]) -> None:
    """What holds of every pack: rows are equal, `off` and `warn` do the same, `enforce` does not, all is recorded."""
    off, warn, enforce = found["off"], found["warn"], found["enforce"]
    assert off.rows == warn.rows == enforce.rows and all(off.rows.values())
    assert off.answer == warn.answer == enforce.answer and off.answer
    assert (off.layout, off.settings) == (warn.layout, warn.settings)
    for kind in ("scan", "step", "write"):
        assert off.did(kind) == warn.did(kind)
        assert kind == "write" or off.did(kind) != enforce.did(kind), f"{kind} is the same in off and enforce"
    assert off.layout != enforce.layout and off.settings != enforce.settings
    assert not off.shadows() and not enforce.shadows()
    check_records(warn)
    check_foretold(warn, enforce)


def check_records(warn: Seen) -> None:
    """Beside each action of a decision stands its shadow, which resolves in the policy and says what stands there."""
    ways = {f"/{section}/": domain for domain, section in SECTIONS.items()}

    def domain_of(row: dict[str, Any]) -> str | None:
        return next((domain for way, domain in ways.items() if (row["pointer"] or "").startswith(way)), None)

    # Staging is a step of a write decision, extraction and queries are steps of a session: their action is counted once.
    acted = Counter(
        (domain_of(row), row["subject"])
        for row in warn.ledger
        if (row["kind"], domain_of(row))
        in {
            ("scan", "scan"),
            ("step", "cache"),
            ("write", "write"),
            ("refresh", "refresh"),
            ("maintenance", "maintenance"),
        }
        or (row["kind"], row["action"]) == ("step", "session")
    )
    shadows = warn.shadows()
    in_readers = {"interactive_query"}
    noted = Counter((s["domain"], s["subject"]) for s in shadows if s["subject"] not in in_readers)
    assert noted == acted and {domain for domain, _ in noted} == set(SECTIONS)
    assert [s["subject"] for s in shadows if s["subject"] in in_readers] == ["interactive_query"]
    for shadow in shadows:
        section, subject = shadow["pointer"].strip("/").split("/")
        decision = warn.policy[section][subject]
        assert section == SECTIONS[shadow["domain"]] and subject == shadow["subject"]
        assert shadow["choice_id"] == decision["choice_id"] and decision["mode"] == "warn"
        assert (shadow["decision"], shadow["baseline"]) == (decision["value"], decision["baseline"])
        assert shadow["agree"] == (decision["value"] == decision["baseline"])
        assert set(shadow["guards"]) == set(decision["requires"])
        stands = decision[shadow["stands"]]  # a first run builds on none, so refreshes come to what they take otherwise
        assert bool(shadow["would"]["changes"]) == (stands != decision["baseline"])


def check_foretold(warn: Seen, enforce: Seen) -> None:
    """What a shadow foretells is what the enforced decision then does."""
    done = {(r["kind"], r["subject"]): r for r in enforce.ledger if r["run_seq"] is not None}
    told = 0
    for shadow in warn.shadows():
        if shadow["run_seq"] is None:
            continue
        would, subject = {n: p["decision"] for n, p in shadow["would"]["figures"].items()}, shadow["subject"]
        if shadow["domain"] == "scan":
            assert done["scan", subject]["files"] == would["files"]
            stands = shadow["decision"]["path"]
            assert done["scan", subject]["action"] == stands
            assert would["memory_bytes"] == 0 or stands == "delta"
        elif shadow["domain"] == "cache":
            placement = shadow["decision"]["placement"]
            assert done["step", subject]["action"] == placement
            for name in ("memory", "spill") if placement != "none" else ():
                expected = done["step", subject]["bytes"] if name == placement else 0
                # Rows come in any order, and a file of them is a byte or two longer or shorter.
                assert would[f"{name}_bytes"] in (pytest.approx(expected, rel=0.02), None), subject
        elif shadow["domain"] == "write":
            files, groups, _ = enforce.layout[subject]
            assert (would["files"], would["row_groups"]) == (files, groups), subject
            if would["file_bytes"] is not None:
                assert would["file_bytes"] == pytest.approx(done["write", subject]["bytes"], rel=0.02)
            if "memory_bytes" in would:
                assert would["memory_bytes"] == done["step", subject]["bytes"]
        told += 1
    assert told


def test_three_modes_of_the_shop(shop_modes: dict[str, Seen]) -> None:
    check_modes(shop_modes)
    off, warn, enforce = shop_modes["off"], shop_modes["warn"], shop_modes["enforce"]
    assert set(off.did("scan").values()) == {"delta"}
    assert enforce.did("scan")["sale"] == "native" and enforce.did("scan")["best_sale"] == "delta"
    assert (off.did("step")["paired"], enforce.did("step")["paired"]) == ("spill", "memory")
    # 20,000 customers in one file: 131,072 rows a group by the baseline, 8,192 by the decision.
    assert off.layout["revenue"] == (1, 1, "ZSTD") and enforce.layout["revenue"] == (1, 3, "SNAPPY")
    name = "datafusion.runtime.metadata_cache_limit"
    assert off.settings[name] != enforce.settings[name] == "256M"
    assert warn.shadow("write", "revenue")["would"]["figures"]["row_groups"] == {"baseline": 1, "decision": 3}
    assert warn.shadow("cache", "paired")["guards"] == {"within_memory_budget": True}


def test_three_modes_of_the_code_graph(graph_modes: dict[str, Seen]) -> None:
    check_modes(graph_modes)
    off, enforce = graph_modes["off"], graph_modes["enforce"]
    assert (off.did("step")["reference"], enforce.did("step")["reference"]) == ("spill", "memory"), "staging"
    assert (off.did("step")["module_definition"], enforce.did("step")["module_definition"]) == ("spill", "memory")


def test_a_shadow_is_asked_its_guards_and_obeys_none(shop: Path) -> None:
    """Too little memory, a table that others have changed: recorded, without effect."""
    product = shop / "tables/product"
    rows = pa.table(DeltaTable(str(product)).scan().read_all())
    write_deltalake(
        str(product), rows.append_column("size", pa.array(["S", "M"])), mode="overwrite", schema_mode="overwrite"
    )
    env = shop / "specs/shop/env/local.toml"
    env.write_text(env.read_text().replace("cache_bytes = 1048576", "cache_bytes = 10"))
    add_to(env, every("warn") + IN_MEMORY.format(view="paired"))
    seen = look(compiled(shop, "shop"), shop / "lake", {}, "revenue_of", customer=1)
    assert not [row for row in seen.ledger if row["kind"] == "guard"]
    scan, cache = seen.shadow("scan", "product"), seen.shadow("cache", "paired")
    assert scan["guards"] == {
        "engine_as_probed": True, "no_column_mapping": True, "no_deletion_vectors": True, "schema_as_compiled": False,
        "plain_protocol": True,
        "unpartitioned": True,
    }  # fmt: skip
    assert (scan["stands"], scan["would"]["changes"]) == ("otherwise", {}), "otherwise is what the baseline is"
    assert seen.shadow("scan", "sale")["stands"] == "value"
    assert (cache["guards"], cache["stands"]) == ({"within_memory_budget": False}, "otherwise")
    assert cache["would"]["figures"]["memory_bytes"] == {"baseline": 0, "decision": 0}
    assert seen.answer == [{"name": "Ada", "paid": seen.answer[0]["paid"], "sales": 2}]


def test_budgets_are_counted_as_if_all_decisions_were_obeyed(shop: Path) -> None:
    """Two views that fit alone and not together: the second one's shadow fails."""
    env = shop / "specs/shop/env/local.toml"
    written = env.read_text()
    add_to(env, every("warn") + IN_MEMORY.format(view="paired") + IN_MEMORY.format(view="priced"))
    seen = look(compiled(shop, "shop"), shop / "lake", {}, "revenue_of", customer=1)
    held = {v: seen.shadow("cache", v)["would"]["figures"]["memory_bytes"]["decision"] for v in ("priced", "paired")}
    room = max(held.values()) + 1
    for mode, found in (("warn", "shadow"), ("enforce", "guard")):
        text = written.replace("cache_bytes = 1048576", f"cache_bytes = {room}")
        env.write_text(text + every(mode) + IN_MEMORY.format(view="paired") + IN_MEMORY.format(view="priced"))
        seen = look(compiled(shop, "shop"), shop / mode, {}, "revenue_of", customer=1)
        if found == "shadow":
            fits = {v: seen.shadow("cache", v)["guards"]["within_memory_budget"] for v in held}
        else:
            asked = [
                r for r in seen.ledger if r["kind"] == "guard" and r["subject"] in held and "memory" in r["action"]
            ]
            fits = {r["subject"]: r["action"].endswith("holds") for r in asked}
        assert fits == {"priced": True, "paired": False}, mode


@pytest.mark.parametrize("gone", ["value", "otherwise", "budget"])
def test_a_shadow_is_whole_or_refused(shop: Path, gone: str) -> None:
    add_to(shop / "specs/shop/env/local.toml", every("warn") + IN_MEMORY.format(view="paired"))
    pack = compiled(shop, "shop")

    def change(policy: dict[str, Any]) -> None:
        if gone == "budget":
            del policy["inputs"]["budget.cache_bytes"]
        else:
            del policy["cache_policy_by_view"]["paired"][gone]

    edit_policy(pack, change)
    with pytest.raises(PolicyIncomplete, match=gone):
        run(pack)
    assert not (shop / "lake").exists(), "no data is touched"


EXCEPTION = """
[[rollout.exception]]
domain = "scan"
subject = "product"
mode = "{mode}"
because = "Its files are being rewritten."
until = "0.2.0"
"""


def test_an_exception_is_narrower_than_its_domain(shop: Path) -> None:
    add_to(shop / "specs/shop/env/local.toml", modes(scan="warn") + EXCEPTION.format(mode="enforce"))
    seen = look(compiled(shop, "shop"), shop / "lake", {}, "revenue_of", customer=1)
    assert seen.did("scan")["product"] == "native" and seen.did("scan")["sale"] == "delta"
    shadowed = {s["subject"] for s in seen.shadows()}
    assert "sale" in shadowed and "product" not in shadowed
    assert seen.policy["scan_policy_by_dataset"]["product"]["exemption"] == {
        "reason": "Its files are being rewritten.", "until": "0.2.0",
    }  # fmt: skip


# -- the report


GATES = """
[gates.scan]
runs = 2
agreement = "0.20"
failures = 0

[gates.cache]
runs = 2
agreement = "0.26"
failures = 0
"""


def report(decreta: Command, root: Path, *more: str) -> tuple[int, dict[str, Any]]:
    done = decreta("rollout", "report", "shop", "--lake", str(root / "lake"), "--format", "json", *more, cwd=root)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, {found["domain"]: found for found in json.loads(done.stdout)["domains"]}


@pytest.fixture
def watched(shop: Path) -> Path:
    """The shop after one run with scan and cache in `warn`."""
    env = modes(scan="warn", cache="warn") + EXCEPTION.format(mode="off") + IN_MEMORY.format(view="paired")
    add_to(shop / "specs/shop/env/local.toml", env)
    add_to(shop / "specs/shop/pack.toml", GATES)
    run(compiled(shop, "shop"))
    return shop


def run(pack: Path) -> None:
    with decreta_runtime.open(str(pack)) as opened:
        assert not opened.run().unchanged


def sell(shop: Path, sale: int) -> None:
    write_deltalake(str(shop / "tables/sale"), sales([(sale, 1, 7, 1)]), mode="append")


def test_the_report_counts(watched: Path, decreta: Command) -> None:
    status, found = report(decreta, watched)
    assert status == 0
    scan, cache = found["scan"], found["cache"]
    # customer, product, sale, revenue, best_sale; only best_sale, which nobody reads, is read as the baseline says.
    assert (scan["decisions"], scan["agreeing"], scan["agreement"]) == (5, 1, "0.20")
    assert (scan["modes"], scan["runs"], scan["shadows"]) == ({"off": 1, "warn": 4}, 1, 4)
    selective = ("bloom_filters", "log_pruning", "page_index", "pushdown", "step_files", "step_values")
    assert scan["changes"] == {"columns": 3, "path": 3, **dict.fromkeys(selective, 2)}
    assert scan["exceptions"] == [
        {"subject": "product", "mode": "off", "because": "Its files are being rewritten.", "until": "0.2.0"}
    ]
    files = [path for name in ("tables/customer", "tables/sale", "lake/shop/revenue", "lake/shop/best_sale")
             for path in (watched / name).glob("*.parquet")]  # fmt: skip
    total = sum(path.stat().st_size for path in files)
    assert scan["effects"]["files"] == {"baseline": 4, "decision": 4, "unknown": 0}
    assert scan["effects"]["file_bytes"] == {"baseline": total, "decision": total, "unknown": 0}
    held = scan["effects"]["memory_bytes"]
    assert held["baseline"] > held["decision"] > 0, "best_sale stays in memory"
    # paired in memory instead of a spill, priced in a spill; revenue and best_sale are tables and kept nowhere.
    assert (cache["decisions"], cache["agreeing"], cache["agreement"]) == (4, 1, "0.25")
    assert (cache["shadows"], cache["changes"]) == (2, {"placement": 1})
    assert cache["effects"]["rows"] == {"baseline": 6, "decision": 6, "unknown": 0}
    assert (found["write"]["modes"], found["write"]["shadows"], found["write"]["gate"]) == ({"enforce": 2}, 0, None)


def test_a_gate_is_met_by_runs_of_the_same_decisions(watched: Path, decreta: Command) -> None:
    status, found = report(decreta, watched, "--gate", "scan")
    assert (status, found["scan"]["met"]) == (1, False)
    assert found["scan"]["gate"] == {
        "runs": {"asked": 2, "found": 1, "met": False},
        "agreement": {"asked": "0.20", "found": "0.20", "met": True},
        "failures": {"asked": 0, "found": 0, "met": True},
    }
    # Another policy with the same decisions of this domain: what they have shown is theirs still.
    add_to(watched / "specs/shop/env/local.toml", '\n[thresholds]\n"write.target_file_bytes" = 8388608\n')
    sell(watched, 4)
    run(compiled(watched, "shop"))
    status, found = report(decreta, watched, "--gate", "scan")
    assert (status, found["scan"]["met"], found["scan"]["runs"]) == (0, True, 2)
    assert found["scan"]["effects"]["files"]["baseline"] == 9, "two files of sales in the second run"
    assert report(decreta, watched, "--gate", "cache")[0] == 1, "its agreement is 0.25, 0.26 is asked"
    done = decreta("rollout", "report", "shop", "--gate", "cache", cwd=watched)
    assert done.returncode == 1
    assert "gate       not met: runs 2 (at least 2), agreement 0.25 (at least 0.26) ✗, failures 0" in done.stdout
    assert "exception  product: off until 0.2.0: Its files are being rewritten." in done.stdout


def test_other_decisions_begin_anew(watched: Path, decreta: Command) -> None:
    env = watched / "specs/shop/env/local.toml"
    env.write_text(env.read_text() + '\n[thresholds]\n"scan.min_readers" = 4\n')
    compiled(watched, "shop")
    _, found = report(decreta, watched)
    assert (found["scan"]["runs"], found["scan"]["shadows"]) == (0, 0)
    assert (found["cache"]["runs"], found["cache"]["shadows"]) == (1, 2), "only the scans are others"


@pytest.mark.parametrize("mode", ["warn", "enforce"])
def test_failures_are_counted_where_a_decision_stands_or_would_have(watched: Path, decreta: Command, mode: str) -> None:
    pack = watched / "generated/shop"

    def change(policy: dict[str, Any]) -> None:
        policy["capabilities"]["engine"].update(datafusion="54.0.0")
        for decision in policy["scan_policy_by_dataset"].values():
            decision["mode"] = mode

    edit_policy(pack, change)
    sell(watched, 4)
    run(pack)
    status, found = report(decreta, watched, "--gate", "scan")
    # customer, product, sale and revenue stand under the guard; best_sale's baseline does not.
    assert found["scan"]["failed"] == {"engine_as_probed": 4}
    assert (status, found["scan"]["gate"]["failures"]) == (1, {"asked": 0, "found": 4, "met": False})


def test_readers_are_counted_and_are_no_runs(watched: Path, decreta: Command) -> None:
    assert decreta("query", "shop", "revenue_of", "--param", "customer=1", cwd=watched).returncode == 0
    scan = report(decreta, watched)[1]["scan"]
    assert (scan["runs"], scan["shadows"]) == (1, 6), "revenue and customer, once more"
    assert scan["effects"]["files"]["baseline"] == 6
    plan = decreta("run", "shop", "--plan", cwd=watched).stdout
    assert "/scan_policy_by_dataset/sale  in warn: {" in plan and plan.count("in warn") == 6


def test_a_run_that_is_refused_shows_nothing(watched: Path, decreta: Command) -> None:
    write_deltalake(str(watched / "tables/sale"), sales([(9, 1, 7, 0)]), mode="append")
    assert decreta("run", "shop", cwd=watched).returncode == 4
    assert report(decreta, watched)[1]["scan"]["runs"] == 1


def test_the_report_without_a_lake_or_a_gate(watched: Path, decreta: Command) -> None:
    done = decreta("rollout", "report", "shop", "--lake", "nowhere", cwd=watched)
    assert done.returncode == 2 and "run the pack first" in done.stderr
    done = decreta("rollout", "report", "shop", "--gate", "write", cwd=watched)
    assert done.returncode == 2 and "[gates.write]" in done.stderr
    done = decreta("rollout", "report", "shop", cwd=watched, module="decreta_runtime")
    assert done.returncode == 0 and done.stdout.startswith("shop in `local`: 1 complete run")
