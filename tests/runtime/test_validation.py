"""Checks at run time: asked where the policy says, and a violated one does what its contract allows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import ROOT, Command, compiled, edit_policy, reseal, rows_of, run_command

import decreta_runtime
from decreta_runtime.contract.errors import CheckViolated, InputInvalid, PolicyIncomplete

Row = dict[str, int | None]
RIGHT: Row = {"reading_id": 1, "station_id": 1, "level": 5, "order": 1}
READINGS: list[Row] = [
    RIGHT,
    {"reading_id": 2, "station_id": 1, "level": -5, "order": 11},
    {"reading_id": 3, "station_id": 1, "level": None, "order": 1},
    {"reading_id": 4, "station_id": 2, "level": 600, "order": 1},
    {"reading_id": 5, "station_id": 2, "level": 2000, "order": 1},
    {"reading_id": 6, "station_id": 2, "level": 60, "order": 1},
]


@pytest.fixture(scope="module")
def gauge_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gauge")
    shutil.copytree(
        ROOT / "tests/packs/gauge", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("generated", "lake")
    )
    stations = pa.table({"station_id": [1, 2, 3], "river": ["Elbe", None, ""]})
    write_deltalake(str(folder / "tables/station"), stations)
    report(folder, READINGS)
    compiled(folder, "gauge")
    return folder


@pytest.fixture
def gauge(gauge_compiled: Path, tmp_path: Path) -> Path:
    """The gauge project, compiled, with readings of which some are wrong."""
    folder = tmp_path / "gauge"
    shutil.copytree(gauge_compiled, folder)
    return folder


def report(project: Path, rows: list[Row]) -> None:
    """Make these the readings that the gauges have reported."""
    (project / "readings").mkdir(exist_ok=True)
    (project / "readings/all.json").write_text(json.dumps(rows))


def opened(project: Path) -> decreta_runtime.Pack:
    return decreta_runtime.open(str(project / "generated/gauge"))


def run(project: Path, select: tuple[str, ...] = ()) -> Any:
    with opened(project) as pack:
        return pack.run({"log": str(project / "readings")}, select=select)


def ask(project: Path, sql: str) -> list[dict[str, Any]]:
    with opened(project) as pack:
        rows: list[dict[str, Any]] = pack.sql(sql).rows.to_pylist()
        return rows


def ids(project: Path, table: str) -> list[int]:
    return [row["reading_id"] for row in ask(project, f'SELECT reading_id FROM "{table}" ORDER BY reading_id')]


def ledger(project: Path, kind: str, subject: str) -> list[dict[str, Any]]:
    """Return the rows of the lake's ledger of one kind and subject, the details decoded."""
    table = pa.table(DeltaTable(str(project / "lake/_decreta/ledger")).scan().read_all())
    rows = [r for r in table.to_pylist() if (r["kind"], r["subject"]) == (kind, subject)]
    for row in rows:
        row["detail"] = json.loads(row["detail"]) if row["detail"] else None
    return sorted(rows, key=lambda row: row["at"])


def validation(subject: str, check: str, **changed: str) -> Callable[[dict[str, Any]], None]:
    """Return an edit of a policy that changes what is done with one check."""
    return lambda policy: policy["validation"][subject][check].update(changed)


def recompiled(project: Path, *edits: tuple[str, str, str]) -> None:
    """Change specs, `(file, old, new)`; an empty `old` is the beginning of the file. Compile again."""
    for name, old, new in edits:
        path = project / "specs/gauge" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    compiled(project, "gauge")


# -- while rows are written


def test_rows_that_a_quarantine_takes_out_stand_beside_with_their_reasons(gauge: Path) -> None:
    result = run(gauge)
    assert ids(gauge, "reading") == [1, 4, 5, 6]
    assert ask(gauge, "SELECT * FROM reading__quarantine ORDER BY reading_id") == [
        READINGS[1] | {"violated": ["level_is_shown", "order_is_small"]},
        READINGS[2] | {"violated": ["level_is_shown", "level_is_plausible"]},
    ]
    found = {(v.subject, v.check): (v.outcome, v.rows) for v in result.violations}
    assert found["reading", "level_is_shown"] == ("quarantined", 2)
    assert found["reading", "order_is_small"] == ("quarantined", 1)
    assert result.quarantine["reading"].rows == 2
    (write,) = ledger(gauge, "write", "reading")
    assert apart(write) == (6, 2) and write["rows"] == 4
    (beside,) = ledger(gauge, "write", "reading__quarantine")
    assert (beside["rows"], beside["pointer"]) == (2, "/write_policy_by_dataset/reading")
    schema = DeltaTable(str(gauge / "lake/gauge/reading__quarantine")).schema()
    assert [f.name for f in schema.fields] == ["reading_id", "station_id", "level", "order", "violated"]
    assert all(f.nullable for f in schema.fields)


def apart(write: dict[str, Any]) -> tuple[int, int]:
    return write["detail"]["given"], write["detail"]["quarantined"]


def test_a_stored_relation_sees_no_row_set_aside_and_sets_its_own_aside(gauge: Path) -> None:
    run(gauge)
    assert ids(gauge, "doubled") == [1, 6]
    with opened(gauge) as pack:
        shown = pack.show("doubled__quarantine", limit=9, where="level > 2000").rows.to_pylist()
    assert shown == [{"reading_id": 5, "station_id": 2, "level": 4000, "violated": ["below_the_bridge"]}]
    (write,) = ledger(gauge, "write", "doubled")
    assert apart(write) == (4, 2), "the readings set aside were not read"


def test_what_is_recorded_stays_in_the_dataset(gauge: Path) -> None:
    result = run(gauge)
    assert ids(gauge, "reading") == [1, 4, 5, 6], "5 is not plausible"
    (row,) = [r for r in ledger(gauge, "check", "reading") if r["action"] == "level_is_plausible"]
    assert (row["rows"], row["pointer"]) == (2, "/validation/reading/level_is_plausible")
    assert row["detail"] == {"when": "write", "on_violation": "record", "outcome": "recorded"}
    assert ("reading", "level_is_plausible", "recorded", 2) in {v[:4] for v in result.violations}


def test_what_a_stored_relation_records_stays_in_it_and_it_has_no_quarantine(gauge: Path) -> None:
    edit_policy(gauge / "generated/gauge", validation("doubled", "below_the_bridge", on_violation="record"))
    result = run(gauge)
    assert ("doubled", "below_the_bridge", "recorded", 2) in {v[:4] for v in result.violations}
    assert ids(gauge, "doubled") == [1, 4, 5, 6] and set(result.quarantine) == {"reading"}
    with pytest.raises(InputInvalid, match="doubled__quarantine"):
        ask(gauge, "SELECT * FROM doubled__quarantine")
    assert not (gauge / "lake/gauge/doubled__quarantine").exists()


def test_a_refused_write_counts_all_rows_and_commits_none(gauge: Path) -> None:
    run(gauge)
    before = rows_of(gauge / "lake/gauge/reading")
    # More than one batch, the wrong ones at both ends and in the middle.
    many: list[Row] = [RIGHT | {"reading_id": i, "station_id": 0 if i % 7000 == 0 else 1} for i in range(30_001)]
    report(gauge, many)
    done = run_command("run", "gauge", cwd=gauge)
    assert done.returncode == 4, done.stderr
    assert "check `station_is_numbered` of `reading` (station_id > 0) is violated, rows: 5\n" in done.stderr
    assert "'reading_id': 28000" in done.stderr and "Traceback" not in done.stderr
    assert DeltaTable(str(gauge / "lake/gauge/reading")).version() == 0
    assert rows_of(gauge / "lake/gauge/reading") == before
    assert ids(gauge, "reading") == [1, 4, 5, 6], "readers still see the last complete run"


def test_a_refusal_stands_in_the_ledger_of_an_attempt_that_no_run_names(gauge: Path) -> None:
    run(gauge)
    report(gauge, [RIGHT | {"station_id": -1}, RIGHT | {"reading_id": 2, "level": -1}])
    with pytest.raises(CheckViolated):
        run(gauge)
    last = ledger(gauge, "check", "reading")[-4:]
    assert {row["action"]: (row["detail"]["outcome"], row["rows"]) for row in last} == {
        "level_is_shown": ("quarantined", 1),
        "order_is_small": ("holds", 0),
        "level_is_plausible": ("holds", 0),
        "station_is_numbered": ("refused", 1),
    }
    (attempt,) = {row["attempt"] for row in last}
    runs = pa.table(DeltaTable(str(gauge / "lake/_decreta/runs")).scan().read_all())
    assert attempt not in runs["attempt"].to_pylist() and runs.num_rows == 1


def test_a_refusal_is_told_though_the_ledger_cannot_be_written(gauge: Path) -> None:
    run(gauge)
    report(gauge, [RIGHT | {"station_id": -1}])
    shutil.rmtree(gauge / "lake/_decreta/ledger/_delta_log")
    (gauge / "lake/_decreta/ledger/_delta_log").write_text("no folder\n")
    done = run_command("run", "gauge", cwd=gauge)
    assert done.returncode == 4 and "check `station_is_numbered` of `reading`" in done.stderr, done.stderr
    assert "nor could the ledger be written: " in done.stderr and "Traceback" not in done.stderr


def test_a_refused_first_run_leaves_no_table(gauge: Path) -> None:
    report(gauge, [RIGHT | {"station_id": -1}, RIGHT | {"reading_id": 2, "level": -1}])
    with pytest.raises(CheckViolated, match="station_is_numbered"):
        run(gauge)
    assert not DeltaTable.is_deltatable(str(gauge / "lake/gauge/reading"))
    assert not DeltaTable.is_deltatable(str(gauge / "lake/gauge/reading__quarantine"))


def test_a_stored_relation_is_refused_while_it_is_written(gauge: Path) -> None:
    edit_policy(gauge / "generated/gauge", validation("doubled", "below_the_bridge", on_violation="refuse"))
    with pytest.raises(CheckViolated, match="`below_the_bridge` of `doubled`") as refused:
        run(gauge)
    assert "rows: 2" in refused.value.message and refused.value.exit_status == 4
    assert not DeltaTable.is_deltatable(str(gauge / "lake/gauge/doubled"))


def test_a_null_that_a_contract_excludes_is_refused_whatever_checks_say(gauge: Path) -> None:
    report(gauge, [RIGHT | {"station_id": None}])
    with pytest.raises(CheckViolated, match=r"`reading.station_id` has 1 nulls"):
        run(gauge)


def test_all_rows_set_aside_and_none(gauge: Path) -> None:
    report(gauge, [RIGHT | {"level": -1}])
    run(gauge)
    assert (ids(gauge, "reading"), ids(gauge, "reading__quarantine")) == ([], [1])
    report(gauge, [RIGHT])
    run(gauge)
    assert (ids(gauge, "reading"), ids(gauge, "reading__quarantine")) == ([1], []), "replaced as a whole"


@pytest.fixture(scope="module")
def drawn(gauge_compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "gauge"
    shutil.copytree(gauge_compiled, folder)
    return folder


LEVELS = st.none() | st.sampled_from([-1, 0, 1, 999, 1000]) | st.integers(-(2**31), 2**30 - 1)


@given(st.lists(st.tuples(LEVELS, st.none() | st.integers(8, 11)), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_and_set_aside_are_what_was_given(drawn: Path, values: list[tuple[int | None, int | None]]) -> None:
    rows: list[Row] = [
        {"reading_id": i, "station_id": 1 + i % 3, "level": level, "order": order}
        for i, (level, order) in enumerate(values)
    ]
    report(drawn, rows)
    result = run(drawn)
    written = ask(drawn, "SELECT * FROM reading")
    aside = ask(drawn, "SELECT * FROM reading__quarantine")
    holds: dict[str, Callable[[dict[str, Any]], bool]] = {
        "level_is_shown": lambda r: r["level"] is not None and r["level"] >= 0,
        "order_is_small": lambda r: r["order"] is not None and r["order"] < 10,
        "level_is_plausible": lambda r: r["level"] is not None and r["level"] < 1000,
    }
    assert all(holds["level_is_shown"](r) and holds["order_is_small"](r) for r in written)
    for row in aside:
        assert row.pop("violated") == [name for name, right in holds.items() if not right(row)]
        assert not (holds["level_is_shown"](row) and holds["order_is_small"](row))
    assert sorted([*written, *aside], key=lambda r: r["reading_id"]) == rows, "none is lost, none is twice"
    counted = {v.check: v.rows for v in result.violations if v.subject == "reading"}
    wrong = {name: sum(not right(row) for row in rows) for name, right in holds.items()}
    if not result.unchanged:
        assert counted == {name: n for name, n in wrong.items() if n}
        assert (result.tables["reading"].rows, result.quarantine["reading"].rows) == (len(written), len(aside))


@pytest.mark.parametrize("staging", ["memory", "spill"])
def test_rows_set_aside_wait_where_the_write_policy_says(gauge: Path, staging: str) -> None:
    """With one thread the engine would wait for itself for ever if it were called inside its own write."""
    many: list[Row] = [RIGHT | {"reading_id": i, "level": i % 10 - 5} for i in range(30_000)]
    report(gauge, many)

    def edit(policy: dict[str, Any]) -> None:
        policy["write_policy_by_dataset"]["reading"]["value"]["staging"] = staging
        policy["session_profile_by_workload"]["batch_ingest"]["value"]["spill_buffer_bytes"] = 20_000

    edit_policy(gauge / "generated/gauge", edit)
    done = run_command("run", "gauge", "--json", cwd=gauge, TOKIO_WORKER_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["quarantine"]["reading"]["rows"] == 15_000
    (step,) = ledger(gauge, "step", "reading__quarantine")
    assert step["action"] == staging
    assert ids(gauge, "reading__quarantine") == [r["reading_id"] for r in many if (r["level"] or 0) < 0]


def test_a_budget_that_the_rows_set_aside_exceed_sends_them_to_a_spill(gauge: Path) -> None:
    report(gauge, [RIGHT | {"reading_id": i, "level": i % 10 - 5} for i in range(30_000)])
    staged = 30_000 * (8 + 8 + 4 + 4)
    edit_policy(gauge / "generated/gauge", lambda p: p["inputs"].update({"budget.cache_bytes": staged + 100_000}))
    run(gauge)
    assert [s["action"] for s in ledger(gauge, "step", "reading")] == ["memory"]
    assert [s["action"] for s in ledger(gauge, "step", "reading__quarantine")] == ["spill"]
    assert len(ids(gauge, "reading__quarantine")) == 15_000


def peak_bytes(project: Path) -> int:
    """Run in a process of its own; return the most memory it held."""
    code = f"""
import sys, resource, decreta_runtime
with decreta_runtime.open({str(project / "generated/gauge")!r}) as pack:
    pack.run({{"log": {str(project / "readings")!r}}}, select=["wide"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_rows_stream_through_the_checks(gauge: Path) -> None:
    """A thousandth of 300 MB is set aside; the rest is never held."""
    body = "SELECT s.station_id, CONCAT(REPEAT('x', 600), CAST(s.station_id AS VARCHAR)) AS words FROM station AS s"
    check = "{where: station_id % 1000 <> 7, on_violation: quarantine}"
    wide = f"relation: wide\nversion: 1.0.0\nexport: true\nstore: true\nsummary: Much text.\nbody: {body}\n"
    (gauge / "specs/gauge/relations/wide.yaml").write_text(f"{wide}checks:\n  most: {check}\n")
    recompiled(gauge)
    run(gauge)
    peaks = []
    for count in (20_000, 500_000):
        table = pa.table({"station_id": pa.array(range(count)), "river": pa.array(["Elbe"] * count)})
        write_deltalake(str(gauge / "tables/station"), table, mode="overwrite")
        peaks.append(peak_bytes(gauge))
    assert len(ask(gauge, "SELECT station_id FROM wide__quarantine")) == 500
    assert peaks[1] - peaks[0] < 150 << 20, peaks


# -- after the run


def test_checks_after_the_run_of_objects_views_and_coverage_are_recorded(gauge: Path) -> None:
    result = run(gauge)
    found = {(v.subject, v.check): (v.outcome, v.rows) for v in result.violations}
    assert found["station", "river_is_known"] == ("recorded", 2), "null counts as a violation"
    assert found["doubled", "every_station_reports"] == ("recorded", 1)
    assert found["high", "has_a_river"] == ("recorded", 1)


@pytest.mark.parametrize(
    ("subject", "check"), [("station", "river_is_known"), ("doubled", "every_station_reports"), ("high", "has_a_river")]
)
def test_checks_after_the_run_refuse_it(gauge: Path, subject: str, check: str) -> None:
    edit_policy(gauge / "generated/gauge", validation(subject, check, on_violation="refuse"))
    with pytest.raises(CheckViolated, match=f"`{check}` of `{subject}`"):
        run(gauge)
    assert not DeltaTable.is_deltatable(str(gauge / "lake/_decreta/runs"))


def test_a_key_is_asked_of_the_rows_that_were_written(gauge: Path) -> None:
    twice = RIGHT | {"level": -1}
    report(gauge, [RIGHT, twice])
    run(gauge)
    assert ids(gauge, "reading") == [1], "the other of that key was set aside"
    report(gauge, [RIGHT, RIGHT])
    with pytest.raises(CheckViolated, match="check `key` of `reading`"):
        run(gauge)


def test_when_a_check_is_asked_has_an_effect(gauge: Path) -> None:
    report(gauge, [RIGHT | {"station_id": -1}])
    edit_policy(gauge / "generated/gauge", validation("reading", "station_is_numbered", when="run"))
    with pytest.raises(CheckViolated, match="station_is_numbered"):
        run(gauge)
    table = DeltaTable(str(gauge / "lake/gauge/reading"))
    assert table.version() == 0, "after the run all tables are committed, though no record names them"


def test_every_check_is_looked_up_and_recorded_proven_ones_too(gauge: Path) -> None:
    run(gauge)
    policy = json.loads((gauge / "generated/gauge/policy/local.json").read_bytes())
    table = pa.table(DeltaTable(str(gauge / "lake/_decreta/ledger")).scan().read_all()).to_pylist()
    recorded = {row["pointer"]: json.loads(row["detail"]) for row in table if row["kind"] == "check"}
    expected = {
        f"/validation/{s}/{c}": value for s, checks in policy["validation"].items() for c, value in checks.items()
    }
    assert {pointer: {k: d[k] for k in ("on_violation", "when")} for pointer, d in recorded.items()} == expected
    assert recorded["/validation/highest/key"]["outcome"] == "proven"


@pytest.mark.parametrize(
    ("subject", "check", "changed", "words"),
    [
        ("station", "river_is_known", {"when": "write"}, "not of rows that the pack writes"),
        ("doubled", "every_station_reports", {"when": "write"}, "not of rows that the pack writes"),
        ("station", "river_is_known", {"on_violation": "quarantine"}, "taken out only while they are written"),
        ("reading", "level_is_shown", {"when": "run"}, "taken out only while they are written"),
        ("reading", "level_is_shown", {"when": "compile"}, "has not proven it"),
    ],
)  # fmt: skip
def test_what_cannot_be_obeyed_is_refused_before_any_data_is_touched(
    gauge: Path, subject: str, check: str, changed: dict[str, str], words: str
) -> None:
    edit_policy(gauge / "generated/gauge", validation(subject, check, **changed))
    with pytest.raises(PolicyIncomplete, match=words) as refused:
        run(gauge)
    assert refused.value.pointer == f"/validation/{subject}/{check}"
    assert not (gauge / "lake").exists()


# -- how strict an environment is

MODE = 'validation_mode = "{}"\n'.format


def on_violation(project: Path) -> dict[str, str]:
    """Return what each declared check of the readings does, and each key, with when it is asked."""
    policy = json.loads((project / "generated/gauge/policy/local.json").read_bytes())
    return {check: value["on_violation"] for check, value in policy["validation"]["reading"].items()}


def test_strict_refuses_what_is_declared_milder(gauge: Path) -> None:
    recompiled(gauge, ("env/local.toml", "", MODE("strict")))
    assert set(on_violation(gauge).values()) == {"refuse"}
    with pytest.raises(CheckViolated) as refused:
        run(gauge)
    for check, rows in (("level_is_shown", 2), ("order_is_small", 1), ("level_is_plausible", 2)):
        assert f"check `{check}` of `reading`" in refused.value.message
        assert f"is violated, rows: {rows}\n" in refused.value.message
    report(gauge, [RIGHT])
    with pytest.raises(CheckViolated, match="river_is_known"):
        run(gauge)


def test_strict_asks_what_was_proven(gauge: Path) -> None:
    def doubled_rows() -> None:
        builder = gauge / "generated/gauge/relations/highest.py"
        builder.write_text(builder.read_text().replace("ctx.sql(SQL)", "ctx.sql(SQL).union(ctx.sql(SQL))"))
        reseal(gauge / "generated/gauge")

    report(gauge, [RIGHT | {"level": 60}])
    write_deltalake(str(gauge / "tables/station"), pa.table({"station_id": [1], "river": ["Elbe"]}), mode="overwrite")
    doubled_rows()
    run(gauge)
    assert len(ask(gauge, "SELECT * FROM highest")) == 2, "taken as proven, though the builder is another"
    recompiled(gauge, ("pack.toml", "", MODE("strict")))
    run(gauge)
    asked = [r for r in ledger(gauge, "check", "highest") if r["detail"]["outcome"] == "holds"]
    assert [(r["action"], r["rows"]) for r in asked] == [("key", 0)]
    doubled_rows()
    with pytest.raises(CheckViolated, match="check `key` of `highest`"):
        run(gauge)


def test_relaxed_does_what_contracts_allow_and_no_less(gauge: Path) -> None:
    declared = on_violation(gauge)
    recompiled(gauge, ("env/local.toml", "", MODE("relaxed")))
    relaxed = on_violation(gauge)
    assert {check: what for check, what in relaxed.items() if declared[check] != what} == {"level_is_shown": "record"}
    run(gauge)
    assert ids(gauge, "reading") == [1, 3, 4, 5, 6] and ids(gauge, "reading__quarantine") == [2]
    report(gauge, [RIGHT | {"station_id": 0}])
    with pytest.raises(CheckViolated, match="station_is_numbered"):
        run(gauge)


@pytest.mark.parametrize(
    ("pack", "env", "does"),
    [
        (None, None, "quarantine"), ("strict", None, "refuse"), ("relaxed", None, "record"), (None, "strict", "refuse"),
        ("strict", "relaxed", "record"), ("relaxed", "strict", "refuse"), ("strict", "declared", "quarantine"),
    ],
)  # fmt: skip
def test_an_environments_mode_stands_over_its_packs(gauge: Path, pack: str | None, env: str | None, does: str) -> None:
    edits = [(path, "", MODE(mode)) for path, mode in (("pack.toml", pack), ("env/local.toml", env)) if mode]
    recompiled(gauge, *edits)
    assert on_violation(gauge)["level_is_shown"] == does


# -- exactly once


def killed_after(project: Path, words: str) -> None:
    """Run in a process that kills itself when it tells of this."""
    code = f"""
import os, signal, decreta_runtime
def told(stage, words):
    if words.startswith({words!r}):
        os.kill(os.getpid(), signal.SIGKILL)
with decreta_runtime.open({str(project / "generated/gauge")!r}) as pack:
    pack.run({{"log": {str(project / "readings")!r}}}, told)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=env, timeout=60).returncode == -9


def tables(project: Path) -> dict[str, list[tuple[Any, ...]]]:
    names = ("reading", "reading__quarantine", "doubled", "doubled__quarantine", "highest")
    return {name: [tuple(row.values()) for row in ask(project, f"SELECT * FROM {name}")] for name in names}


@pytest.mark.parametrize(
    ("killed", "kept"), [("reading:", set()), ("reading__quarantine:", {"reading"}), ("doubled:", {"reading"})]
)
def test_killed_around_the_commit_of_the_quarantine_and_repeated(
    gauge: Path, tmp_path: Path, killed: str, kept: set[str]
) -> None:
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(gauge, undisturbed)
    expected = run(undisturbed)
    killed_after(gauge, killed)
    result = run(gauge)
    assert {name for name, table in result.tables.items() if table.action == "kept"} == kept
    assert {name for name, table in result.quarantine.items() if table.action == "kept"} == kept
    assert tables(gauge) == tables(undisturbed)
    assert set(result.violations) == set(expected.violations), "what was found is told again"


def test_killed_between_the_two_commits_then_edited_is_never_a_mixture(gauge: Path) -> None:
    run(gauge)
    report(gauge, [RIGHT, RIGHT | {"reading_id": 7, "level": -7}])
    killed_after(gauge, "reading:")
    assert ids(gauge, "reading") == [1, 4, 5, 6] and ids(gauge, "reading__quarantine") == [2, 3]
    report(gauge, [RIGHT, RIGHT | {"reading_id": 8, "level": -8}])
    run(gauge)
    assert ids(gauge, "reading") == [1] and ids(gauge, "reading__quarantine") == [8]


def test_readers_see_the_quarantine_of_the_last_complete_run(gauge: Path) -> None:
    run(gauge)
    report(gauge, [RIGHT | {"level": -1}, RIGHT | {"reading_id": 2}])
    edit_policy(gauge / "generated/gauge", validation("station", "river_is_known", on_violation="refuse"))
    with pytest.raises(CheckViolated):
        run(gauge)
    assert DeltaTable(str(gauge / "lake/gauge/reading__quarantine")).version() == 1
    assert ids(gauge, "reading__quarantine") == [2, 3]


def test_an_unchanged_run_and_a_part_keep_the_quarantine(gauge: Path) -> None:
    first = run(gauge)
    again = run(gauge)
    assert again.unchanged and again.quarantine["reading"].rows == 2
    write_deltalake(str(gauge / "tables/station"), pa.table({"station_id": [4], "river": ["Oder"]}), mode="append")
    part = run(gauge, ("doubled",))
    assert (part.run_seq, part.quarantine["reading"].action) == (first.run_seq + 1, "carried")
    assert ids(gauge, "reading__quarantine") == [2, 3]


def test_a_lost_quarantine_is_written_anew(gauge: Path) -> None:
    run(gauge)
    shutil.rmtree(gauge / "lake/gauge/reading__quarantine")
    assert not run(gauge).unchanged
    assert ids(gauge, "reading__quarantine") == [2, 3]


def test_a_run_record_from_before_there_was_a_quarantine(gauge: Path) -> None:
    run(gauge)
    runs = gauge / "lake/_decreta/runs"
    old = pa.table(DeltaTable(str(runs)).scan().read_all()).drop_columns(["quarantine"])
    shutil.rmtree(runs)
    write_deltalake(str(runs), old)
    assert ids(gauge, "reading") == [1, 4, 5, 6]
    report(gauge, [RIGHT, RIGHT | {"reading_id": 2, "level": -2}])
    assert run(gauge).run_seq == 2
    assert ids(gauge, "reading__quarantine") == [2]
    found = pa.table(DeltaTable(str(runs)).scan().read_all()).to_pylist()
    assert {row["run_seq"]: row["quarantine"] for row in found} == {1: None, 2: '{"doubled": 1, "reading": 1}'}


# -- what a person sees


def test_a_run_tells_what_it_set_aside_and_recorded(gauge: Path, decreta: Command) -> None:
    done = decreta("run", "gauge", "--json", cwd=gauge)
    assert done.returncode == 0, done.stderr
    for line in (
        "quarantined reading.level_is_shown: 2 rows",
        "recorded station.river_is_known: 2 rows",
        "2 rows of reading are set aside: SELECT * FROM reading__quarantine",
    ):
        assert line in done.stderr.splitlines()
    whole = json.loads(done.stdout)
    assert whole["quarantine"]["reading"]["rows"] == 2
    pointer = "/validation/reading/level_is_shown"
    expected = {
        "subject": "reading",
        "check": "level_is_shown",
        "outcome": "quarantined",
        "rows": 2,
        "pointer": pointer,
    }
    assert expected in whole["violations"]
    shown = decreta(
        "sql", "gauge", "SELECT reading_id, violated FROM reading__quarantine", "--format", "json", cwd=gauge
    )
    assert {row["reading_id"] for row in json.loads(shown.stdout)} == {2, 3}
    assert decreta("show", "gauge", "highest__quarantine", cwd=gauge).returncode == 2


def test_the_plan_shows_when_and_what(gauge: Path, decreta: Command) -> None:
    steps = json.loads(decreta("run", "gauge", "--plan", "--json", cwd=gauge).stdout)
    checks = {step["subject"]: step["value"] for step in steps if step["action"] == "check"}
    assert checks["reading.level_is_shown"] == {"on_violation": "quarantine", "when": "write"}
    assert checks["station.river_is_known"] == {"on_violation": "record", "when": "run"}
    assert checks["highest.key"] == {"on_violation": "refuse", "when": "compile"}
    assert ("write", "reading__quarantine") in {(step["action"], step["subject"]) for step in steps}
