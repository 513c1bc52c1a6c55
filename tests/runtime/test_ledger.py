"""The ledger: each action once, readable by any Delta reader, at any version of its schema, asked by SQL alone."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from tests.conftest import ROOT, Command, compiled, sales, shop_tables

import decreta_runtime
from decreta_runtime import record
from decreta_runtime.contract.errors import CheckViolated, InputInvalid, LakeUnusable
from decreta_runtime.contract.records import Kind, LedgerRow
from decreta_runtime.lake import Lake
from decreta_runtime.ledger import ready_queries, typed, views
from decreta_runtime.record import LEDGER, Ledger, commit_run, last_run, ledger_version


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's project, compiled, run and looked up in: to be copied, never changed."""
    folder = tmp_path_factory.mktemp("once") / "shop"
    shutil.copytree(ROOT / "tests/packs/shop", folder, ignore=shutil.ignore_patterns("generated", ".decreta"))
    shop_tables(folder / "tables")
    with decreta_runtime.open(str(compiled(folder, "shop"))) as pack:
        pack.run()
        pack.query("revenue_of", customer=1)
    return folder


@pytest.fixture
def ran(once: Path, tmp_path: Path) -> Path:
    shutil.copytree(once, tmp_path / "shop")
    return tmp_path / "shop/generated/shop"


@pytest.fixture
def fresh(ran: Path) -> Path:
    """The same, not run yet."""
    shutil.rmtree(lake_of(ran))
    return ran


def lake_of(pack: Path) -> Path:
    return pack.parents[1] / "lake"


def asked(pack: Path, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = decreta_runtime.open(str(pack)).ledger(sql).to_pylist()
    return rows


def ready(pack: Path, name: str, **values: Any) -> list[dict[str, Any]]:
    query = ready_queries()[name]
    given = {n: pa.scalar(values.get(n, query.defaults.get(n)), None) for n in query.types}
    whole = {n: v.cast(typed(query, n)) for n, v in given.items()}
    rows: list[dict[str, Any]] = decreta_runtime.open(str(pack)).ledger(query.sql, whole).to_pylist()
    return rows


def test_every_kind_has_a_typed_view_that_shows_all_of_its_rows(ran: Path) -> None:
    assert set(views()) == {f"ledger_{kind}" for kind in get_args(Kind)}
    counts = {row["kind"]: row["n"] for row in asked(ran, "SELECT kind, count(*) AS n FROM ledger GROUP BY kind")}
    assert {"step", "scan", "write", "guard", "check", "query"} <= counts.keys()
    for kind in get_args(Kind):
        assert asked(ran, f"SELECT count(*) AS n FROM ledger_{kind}")[0]["n"] == counts.get(kind, 0)
    (write,) = asked(ran, "SELECT rows, complete, given FROM ledger_write WHERE dataset = 'best_sale'")
    assert write == {"rows": 2, "complete": True, "given": None}
    fails = {row["guard"] for row in asked(ran, "SELECT guard FROM ledger_guard WHERE NOT holds")}
    assert fails == {"compiled_as_last_run"}, "there was no run before"


def test_the_schema_is_documented_column_by_column_and_kind_by_kind() -> None:
    text = (ROOT / "docs/ledger.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE))
    assert list(documented) == LEDGER.names
    for version in set(documented.values()):
        assert ledger_version([n for n, since in documented.items() if since <= version]) == int(version)
    assert {f.name.removesuffix("_us") for f in msgspec.structs.fields(LedgerRow)} == set(LEDGER.names)
    for kind in get_args(Kind):
        assert re.search(rf"^\| {kind} \|", text, re.MULTILINE), kind
    for name in ready_queries():
        assert f"`{name}`" in text


def test_an_older_ledger_is_upgraded_in_place_and_read(ran: Path) -> None:
    path = lake_of(ran) / "_decreta/ledger"
    for version, columns in ((1, 16), (2, 19)):
        kept = pa.table(DeltaTable(str(path)).scan().read_all()).select(LEDGER.names[:columns])
        shutil.rmtree(path)
        write_deltalake(str(path), kept)
        assert ledger_version(pa.schema(DeltaTable(str(path)).schema().to_arrow()).names) == version
        before = kept.num_rows
        (count,) = asked(ran, "SELECT count(*) AS n, count(files_with_statistics) AS known FROM ledger_scan")
        assert count["n"] > 0 and count["known"] == 0, "what it does not have is unknown"
        ready(ran, "slowest_relations")
        with decreta_runtime.open(str(ran)) as pack:
            pack.query("revenue_of", customer=1)
        table = DeltaTable(str(path))
        assert ledger_version(pa.schema(table.schema().to_arrow()).names) == 3
        rows = pa.table(table.scan().read_all())
        assert rows.num_rows > before and rows["files_with_statistics"].null_count < rows.num_rows
        assert table.version() == 1, "one commit"


def test_a_newer_ledger_is_read_and_written_as_far_as_it_is_known(ran: Path) -> None:
    path = lake_of(ran) / "_decreta/ledger"
    rows = pa.table(DeltaTable(str(path)).scan().read_all())
    shutil.rmtree(path)
    write_deltalake(str(path), rows.append_column("of_tomorrow", pa.nulls(rows.num_rows, pa.int64())))
    with decreta_runtime.open(str(ran)) as pack:
        pack.query("revenue_of", customer=1)
    assert asked(ran, "SELECT count(*) AS n FROM ledger")[0]["n"] > rows.num_rows


def test_any_delta_reader_reads_it(ran: Path) -> None:
    """The log names plain Parquet files with all columns; no feature of the protocol is asked of a reader."""
    path = lake_of(ran) / "_decreta/ledger"
    table = DeltaTable(str(path))
    assert table.protocol().min_reader_version == 1 and not table.protocol().reader_features
    actions = [
        json.loads(line) for log in sorted(path.glob("_delta_log/*.json")) for line in log.read_text().splitlines()
    ]
    files = [action["add"]["path"] for action in actions if "add" in action]
    rows = pa.concat_tables([pq.read_table(path / file) for file in files])
    assert rows.num_rows == asked(ran, "SELECT count(*) AS n FROM ledger")[0]["n"]
    assert set(rows.column_names) == set(LEDGER.names)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE ledger",
        "CREATE TABLE mine AS SELECT * FROM ledger",
        "INSERT INTO runs SELECT * FROM runs",
        "SET datafusion.execution.batch_size = 1",
        "COPY (SELECT 1) TO 'out.csv'",
    ],
)
def test_the_ledger_is_only_read(ran: Path, statement: str) -> None:
    with pytest.raises(InputInvalid, match="only read") as refused:
        asked(ran, statement)
    assert refused.value.help == "give one SELECT statement"


def test_a_statement_that_is_none_is_told_in_words(ran: Path) -> None:
    for statement in ("SELECT nothing FROM ledger", "SELECT 1; SELECT 2", "SELEC", "SELECT * FROM leger"):
        with pytest.raises(InputInvalid, match="the engine says"):
            asked(ran, statement)


def test_what_a_refused_first_run_did_can_be_asked(fresh: Path) -> None:
    with pytest.raises(LakeUnusable, match="does not exist"):
        asked(fresh, "SELECT 1")
    write_deltalake(str(fresh.parents[1] / "tables/sale"), sales([(4, 3, 8, 0)]), mode="append")
    with decreta_runtime.open(str(fresh)) as pack, pytest.raises(CheckViolated):
        pack.run()
    rows = asked(fresh, "SELECT check_name, violations, complete FROM ledger_check WHERE outcome = 'refused'")
    assert rows == [{"check_name": "something_is_sold", "violations": 1, "complete": False}]


def test_a_pack_sees_its_own_rows_alone(ran: Path) -> None:
    before = asked(ran, "SELECT count(*) AS n FROM ledger")
    other = Ledger("other", "sha256:00")
    other.add("step", "theirs", "session", None)
    other.write(Lake(str(lake_of(ran))))
    assert asked(ran, "SELECT count(*) AS n FROM ledger") == before


def add(pack: Path, *rows: tuple[str, str, str, dict[str, Any]]) -> None:
    ledger = Ledger("shop", decreta_runtime.open(str(pack)).policy.digest)
    for kind, subject, action, figures in rows:
        ledger.add(kind, subject, action, figures.pop("pointer", None), **figures)  # type: ignore[arg-type]
    ledger.write(Lake(str(lake_of(pack))))


def test_slowest_relations(ran: Path) -> None:
    found = ready(ran, "slowest_relations")
    assert {row["subject"] for row in found} >= {"best_sale", "revenue"}
    assert [row["seconds"] for row in found] == sorted((row["seconds"] for row in found), reverse=True)
    assert len(ready(ran, "slowest_relations", limit=1)) == 1
    add(ran, ("write", "best_sale", "replace", {"seconds": 1000.0, "rows": 1}))
    assert ready(ran, "slowest_relations")[0]["seconds"] < 1000, "an attempt that completed nothing does not count"


def test_scans_without_statistics(ran: Path) -> None:
    assert ready(ran, "scans_without_statistics") == []
    add(ran, ("scan", "sale", "native", {"files": 3, "files_with_statistics": 2, "bytes": 10}))
    (row,) = ready(ran, "scans_without_statistics")
    assert (row["dataset"], row["files"], row["files_with_statistics"]) == ("sale", 3, 2)
    add(ran, ("scan", "sale", "native", {"files": 3, "files_with_statistics": 3, "bytes": 10}))
    assert ready(ran, "scans_without_statistics") == [], "the newest scan counts"


def test_scans_note_how_many_files_the_log_counts_rows_of(fresh: Path) -> None:
    table = fresh.parents[1] / "tables/sale"
    log = table / "_delta_log/00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line.get("add", {}).pop("stats", None)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with decreta_runtime.open(str(fresh)) as pack:
        pack.run()
    assert [row["dataset"] for row in ready(fresh, "scans_without_statistics")] == ["sale"]


def test_maintenance_that_did_not_pay(ran: Path) -> None:
    def rewritten(left: int) -> dict[str, Any]:
        detail = {"cause": ["many_small_files"], "done": ["compact"], "after": {"files": left}}
        return {"bytes": 1000, "seconds": 1.0, "files_total": 9, "files": 9, "detail": detail}

    add(
        ran,
        ("maintenance", "paid", "acted", rewritten(1)),
        ("scan", "paid", "native", {"files": 1, "bytes": 1}),
        ("maintenance", "unread", "acted", rewritten(1)),
        ("maintenance", "vain", "acted", rewritten(9)),
        ("scan", "vain", "native", {"files": 9, "bytes": 1}),
        ("maintenance", "_runs", "acted", rewritten(1)),
        ("maintenance", "idle", "none", {"detail": {"cause": [], "after": None}}),
    )
    found = {row["dataset"]: row["why"] for row in ready(ran, "maintenance_that_did_not_pay")}
    assert found == {"unread": "nobody read it", "vain": "as many files as before"}
    (row,) = asked(ran, "SELECT cause, files_after FROM ledger_maintenance WHERE dataset = 'paid'")
    assert row == {"cause": '["many_small_files"]', "files_after": 1}


def test_decisions_that_fell_back(ran: Path) -> None:
    policy = json.loads((ran / "policy/local.json").read_bytes())
    fell = {
        (domain, subject)
        for section, domain in (("scan_policy_by_dataset", "scan"), ("write_policy_by_dataset", "write"))
        for subject, entry in policy[section].items()
        if entry["fallback_reason"] is not None
    }
    found = {(row["domain"], row["subject"]) for row in ready(ran, "decisions_that_fell_back")}
    assert fell <= found
    standing = next(
        (name for name, entry in policy["scan_policy_by_dataset"].items() if entry["fallback_reason"] is None), "sale"
    )
    pointer = f"/scan_policy_by_dataset/{standing}"
    add(ran, ("guard", standing, "no_deletion_vectors: fails", {"pointer": pointer}))
    again = {
        row["subject"]: row["guards_failed"]
        for row in ready(ran, "decisions_that_fell_back")
        if row["domain"] == "scan"
    }
    assert again[standing] == 1


def test_cost_by_relation_at_a_price(ran: Path) -> None:
    once = {row["subject"]: row for row in ready(ran, "cost_by_relation", price_per_byte=1.0)}
    twice = {row["subject"]: row for row in ready(ran, "cost_by_relation", price_per_byte=2.0)}
    row = once["best_sale"]
    assert row["cost"] == (row["bytes_read"] or 0) + row["bytes_written"] > 0
    assert twice["best_sale"]["cost"] == 2 * row["cost"]


def test_caches_of_sessions_and_what_they_spare(ran: Path) -> None:
    with decreta_runtime.open(str(ran)) as pack:
        workload = pack.manifest.queries["revenue_of"].workload
        settings = pack.policy.session(workload).value.settings
        for customer in (1, 2, 1):
            pack.query("revenue_of", customer=customer)
    rows = asked(ran, f"SELECT cache, size_limit, pointer, entries FROM ledger_cache WHERE workload = '{workload}'")
    names = {"footers": "metadata_cache", "listing": "list_files_cache", "statistics": "file_statistics_cache"}
    for row in rows:
        setting = f"datafusion.runtime.{names.pop(row['cache'])}_limit" if row["cache"] in names else None
        if setting is not None:
            assert row["size_limit"] == settings[setting].value
            assert row["pointer"].endswith(setting) and row["entries"] is None
    assert not names, "each cache is told of"
    found = {(row["shape"], row["workload"]): row for row in ready(ran, "caches")}
    spared = found["revenue_of", workload]
    assert spared["later"] == 2 and spared["later_ms"] > 0
    assert spared["first_footers_ms"] is not None and spared["later_footers_ms"] is not None


def test_the_verb(ran: Path, decreta: Command, tmp_path: Path) -> None:
    def ask(*args: str) -> Any:
        return decreta("ledger", str(ran), "--lake", str(lake_of(ran)), *args, module="decreta_runtime", cwd=tmp_path)

    counted = ask("--format", "json", "SELECT count(*) AS n FROM ledger")
    assert json.loads(counted.stdout)[0]["n"] > 0, counted.stderr
    listed = ask("--ready")
    assert listed.returncode == 0 and all(name in listed.stdout for name in ready_queries())
    assert "price_per_byte=" in listed.stdout
    for args, words in (
        ((), "give one of the two"),
        (("--ready", "slowest_relation"), "did you mean `slowest_relations`"),
        (("--ready", "cost_by_relation"), "needs its parameter `price_per_byte`"),
        (("--ready", "slowest_relations", "--param", "limit=many"), "`many` is no int64"),
        (("DELETE FROM ledger",), "is only read"),
    ):
        told = ask(*args)
        assert told.returncode == 2 and words in told.stderr and "Traceback" not in told.stderr, args


def test_an_append_whose_answer_was_lost_is_not_made_twice(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine commits and then says that it failed: what stands in the log is looked up before another try."""
    lake, real, failures = Lake(str(lake_of(ran))), record.write_deltalake, iter([CommitFailedError, OSError])

    def commits_and_fails(*args: Any, **given: Any) -> None:
        real(*args, **given)
        raise next(failures)("the answer was lost")

    monkeypatch.setattr(record, "write_deltalake", commits_and_fails)
    before = asked(ran, "SELECT count(*) AS n FROM ledger")[0]["n"]
    ledger = Ledger("shop", "sha256:00")
    ledger.add("step", "once", "session", None)
    ledger.write(lake)
    assert asked(ran, "SELECT count(*) AS n FROM ledger")[0]["n"] == before + 1
    last = last_run(lake, "shop")
    assert last is not None
    commit_run(lake, msgspec.structs.replace(last, run_seq=last.run_seq + 1))
    assert [row["run_seq"] for row in asked(ran, "SELECT run_seq FROM runs ORDER BY 1")] == [1, 2]


def test_rows_carry_the_clock_of_their_action(ran: Path) -> None:
    (row,) = asked(ran, "SELECT min(at) AS first, max(at) AS last FROM ledger")
    assert row["first"] <= row["last"] <= datetime.now(UTC)
