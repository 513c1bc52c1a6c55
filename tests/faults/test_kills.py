"""Processes that are really killed: nothing is lost or doubled, readers see whole runs, the next run completes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import decreta_runtime
from decreta_runtime.contract.errors import LakeUnusable
from tests.conftest import ROOT, edit_policy, rows_of, sales
from tests.faults import kills
from tests.faults.kills import KILLS, Attempts, children_of
from tests.runtime.test_maintenance import small_files


def start(pack: Path, lake: Path, source: Path) -> subprocess.Popen[str]:
    """Start a run in a process of its own."""
    return kills.start("run", str(pack), "--lake", str(lake), "--source", f"python={source}")


def finish(pack: Path, lake: Path, source: Path) -> None:
    """Run to the end."""
    process = start(pack, lake, source)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def tables(pack: Path, lake: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of every table as a reader sees them."""
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        versions = opened.versions()
    return {name: rows_of(lake / "code_graph" / name, version) for name, version in versions.items()}


def sequence(lake: Path) -> list[int]:
    runs = pa.table(DeltaTable(str(lake / "_decreta/runs")).scan().read_all())
    return sorted(runs["run_seq"].to_pylist())


def edit(source: Path, i: int) -> None:
    (source / "app/core.py").write_text(f"import os\n\ndef run_{i}(x):\n    return os.path.join(str(x), '{i}')\n")
    (source / "main.py").write_text(f"from app.core import run_{i}\nrun_{i}({i})\n")


def with_index(policy: dict[str, Any]) -> None:
    policy["index_policy_by_dataset"]["definition.by_name"]["value"] |= {"build": True, "shapes": ["symbol_lookup"]}


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


@pytest.mark.slow
def test_runs_killed_at_any_moment_and_repeated(code_graph: Path, source: Path, tmp_path: Path) -> None:
    edit_policy(code_graph, with_index)
    lake, expected = tmp_path / "lake", tmp_path / "undisturbed"
    holder = lake / "_decreta/locks/code_graph.pid"
    verb = ("run", str(code_graph), "--lake", str(lake), "--source", f"python={source}")
    attempts = Attempts(*verb, sign=lambda: content(holder), seed=20_261_124)
    edit(source, 0)
    attempts.finish()
    edit(source, 1)
    attempts.finish()
    done = 2
    while attempts.wanted(KILLS["run"]):
        edit(source, done)
        ended = not attempts.strike()
        assert sequence(lake)[-1] in (done, done + 1), "whole runs only"
        assert sequence(lake)[-1] == done + 1 or not ended
        attempts.finish()
        done += 1
        assert sequence(lake) == list(range(1, done + 1)), "one record a run, none lost"
        with decreta_runtime.open(str(code_graph), lake=str(expected)) as undisturbed:
            undisturbed.run({"python": str(source)})
        assert tables(code_graph, lake) == tables(code_graph, expected)
    assert attempts.met == KILLS["run"]
    with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
        assert not pack.verify_lake(data=True).findings


@pytest.mark.slow
def test_index_builds_killed_at_any_moment(code_graph: Path, source: Path, tmp_path: Path) -> None:
    """A look-up is answered alike whatever is left of the index, and the next build completes."""
    edit_policy(code_graph, with_index)
    for i in range(20):
        (source / f"many_{i}.py").write_text("".join(f"def f_{j}(x):\n    return x + {i}\n" for j in range(100)))
    lake = tmp_path / "lake"
    finish(code_graph, lake, source)
    index = lake / "_decreta/index/code_graph/definition/by_name"
    verb = ("index", str(code_graph), "--lake", str(lake))
    attempts = Attempts(*verb, "--rebuild", sign=lambda: names(index), seed=7)

    def asked() -> tuple[list[Any], str]:
        with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
            (state,) = [index.action for index in pack.index_states() if index.wanted]
            return sorted(pack.query("symbol_lookup", name="f_7").to_pylist(), key=repr), state

    attempts.finish()
    expected, before, states = asked(), tables(code_graph, lake), set()
    assert expected[1] == "current" and len(expected[0]) == 20
    while attempts.wanted(KILLS["index"]):
        attempts.strike()
        rows, state = asked()
        assert rows == expected[0] and state in ("current", "missing", "unreadable")
        states.add(state)
        attempts.finish(*verb)  # what is whole stays; else it is built
        assert asked() == expected
        attempts.finish()
    assert states - {"current"}, "some were killed between the old index and the new one"
    assert tables(code_graph, lake) == before
    with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
        assert not pack.verify_lake(data=True).findings


def names(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if p.suffix == ".parquet")
    except FileNotFoundError:  # the build puts another folder in its place
        return []


def grow(table: Path, count: int) -> None:
    """Append small files enough to make a compaction due."""
    for i in range(8):
        first = 10_000 + 8_000 * count + 1_000 * i
        write_deltalake(str(table), sales([(first + k, 1 + k % 3, 7, 1) for k in range(1_000)]), mode="append")


@pytest.mark.slow
def test_maintenance_killed_at_any_moment(shop_pack: Path) -> None:
    """Of a table of others that the last run has read: rows stay, and the run and the next maintenance complete."""
    table = shop_pack.parents[1] / "tables/sale"
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
    lease = table / "_decreta/lease.json"
    attempts = Attempts("maintain", str(shop_pack), sign=lambda: content(lease), seed=7)
    grow(table, 0)
    attempts.finish()
    assert len(DeltaTable(str(table)).file_uris()) == 1
    count = 0
    while attempts.wanted(KILLS["maintain"]):
        count += 1
        grow(table, 2 * count)
        expected = rows_of(table)
        attempts.strike()
        assert rows_of(table) == expected
        grow(table, 2 * count + 1)
        expected = rows_of(table)
        attempts.finish()
        assert rows_of(table) == expected
        assert len(DeltaTable(str(table)).file_uris()) < 8
    assert not list((table / "_decreta").glob("rewrite-*")), "what the dead have left is tidied up"
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        assert not pack.verify_lake(data=True).findings


@pytest.mark.slow
def test_maintenance_of_the_packs_own_tables_killed_at_any_moment(
    code_graph: Path, source: Path, tmp_path: Path
) -> None:
    """Readers see the last complete run, whatever of it was rewritten; the next one takes over what it finds."""
    lake, plain = tmp_path / "lake", tmp_path / "plain"
    edit_policy(code_graph, small_files)
    shutil.copytree(code_graph, plain)

    def leave(pack: Path, but: tuple[str, ...]) -> None:
        entries = lambda policy: policy["maintenance_policy_by_dataset"].items()  # noqa: E731
        edit_policy(pack, lambda p: [d["value"].update(triggers={}) for n, d in entries(p) if n not in but])

    leave(code_graph, ("definition", "scope"))
    leave(plain, ())

    def written(i: int) -> dict[str, list[tuple[object, ...]]]:
        edit(source, i)
        with decreta_runtime.open(str(plain), lake=str(lake)) as pack:
            pack.run({"python": str(source)})
        return tables(plain, lake)

    leases = lambda: [content(p) for p in sorted(lake.glob("code_graph/*/_decreta/lease.json"))]  # noqa: E731
    attempts = Attempts("maintain", str(code_graph), "--lake", str(lake), sign=leases, seed=11)
    written(0)
    attempts.finish()
    count = 0
    while attempts.wanted(KILLS["maintain own"]):
        count += 1
        expected = written(count)
        attempts.strike()
        assert tables(plain, lake) == expected
        attempts.finish()
        assert tables(plain, lake) == expected
        with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
            now = {name: DeltaTable(str(lake / "code_graph" / name)).version() for name in expected}
            assert pack.versions() == now, "nothing is left that no record names"
            assert len(pack.pinned("definition").files) == len(pack.pinned("scope").files) == 1
    with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
        assert not pack.verify_lake(data=True).findings


def test_killed_between_two_tables_then_edited_is_never_a_mixture(
    code_graph: Path, source: Path, tmp_path: Path
) -> None:
    lake, before, after = tmp_path / "lake", tmp_path / "before", tmp_path / "after"
    edit(source, 1)
    finish(code_graph, lake, source)
    finish(code_graph, before, source)
    edit(source, 2)
    process = start(code_graph, lake, source)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("write") and "import:" in line:
            break
    process.kill()
    process.wait()
    written = DeltaTable(str(lake / "code_graph/definition"))
    assert written.transaction_version("decreta/code_graph/definition") == 2, "it was killed after some tables"
    assert sequence(lake) == [1], "and before the others"
    assert tables(code_graph, lake) == tables(code_graph, before), "a reader in between sees the run before"
    edit(source, 3)
    finish(code_graph, lake, source)
    finish(code_graph, after, source)
    assert tables(code_graph, lake) == tables(code_graph, after), "the source as it was the second time, whole"


def test_an_attempt_takes_over_what_the_same_run_has_committed(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    process = start(code_graph, lake, source)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("write") and "import:" in line:
            break
    process.kill()
    process.wait()
    with decreta_runtime.open(str(code_graph), lake=str(lake)) as pack:
        with pytest.raises(LakeUnusable, match="no complete run"):
            pack.query("symbol_lookup", name="run")
        result = pack.run({"python": str(source)})
    kept = {name for name, table in result.tables.items() if table.action == "kept"}
    assert {"definition", "file", "import"} <= kept
    assert DeltaTable(str(lake / "code_graph/definition")).version() == 0, "not written a second time"


def test_two_runs_at_once(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first, second = start(code_graph, lake, source), start(code_graph, lake, source)
    ends = [(p.communicate(timeout=120)[1], p.returncode) for p in (first, second)]
    assert sorted(code for _, code in ends) in ([0, 0], [0, 4]), ends
    for errors, code in ends:
        if code == 4:
            assert "error[R204]" in errors and "runs or maintains `code_graph` in this lake" in errors
    assert sequence(lake) == [1]


def listens(process: subprocess.Popen[str]) -> bool:
    """Whether the program has set what it does on SIGTERM, and so on Ctrl-C: the interpreter itself sets nothing."""
    caught = next(s for s in Path(f"/proc/{process.pid}/status").read_text().splitlines() if s.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("delay", [None, 0.0, 0.2, 0.3, 0.5, 0.9])
def test_interrupted(code_graph: Path, source: Path, tmp_path: Path, delay: float | None) -> None:
    """So many seconds after it listens, or before."""
    for i in range(200):  # enough work that it does not end by itself first
        (source / f"many_{i}.py").write_text("".join(f"def f_{j}(x):\n    return g_{j}(x) + {i}\n" for j in range(200)))
    lake = tmp_path / "lake"
    process = start(code_graph, lake, source)
    while delay is not None and not listens(process):
        time.sleep(0.005)
    time.sleep(0.05 if delay is None else delay)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - begun < 2
    # Before Python has installed any handler, the interpreter's own start-up ends on the signal.
    assert process.returncode == 130 or (delay is None and process.returncode in (1, -signal.SIGINT)), errors
    assert "Traceback" not in errors or delay is None
    deadline = time.monotonic() + 2
    while children_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not children_of(process.pid), "no worker is left behind"
    finish(code_graph, lake, source)
    assert sequence(lake) == [1]


def test_a_source_that_changes_while_it_is_read(code_graph: Path, source: Path, tmp_path: Path) -> None:
    from decreta_runtime.contract.errors import SourceUnreadable

    def meddle(stage: str, words: str) -> None:
        if stage == "read":
            (source / "main.py").write_text("changed = True\n")

    with (
        decreta_runtime.open(str(code_graph), lake=str(tmp_path / "lake")) as pack,
        pytest.raises(SourceUnreadable, match="changed while it was read"),
    ):
        pack.run({"python": str(source)}, meddle)


def test_a_script_without_a_guard_runs_once(code_graph: Path, source: Path, tmp_path: Path) -> None:
    """Workers are spawned; they must not run the caller's main program again."""
    lake, script = tmp_path / "lake", tmp_path / "script.py"
    lines = ["import decreta_runtime", f"pack = decreta_runtime.open({str(code_graph)!r}, lake={str(lake)!r})"]
    script.write_text("\n".join([*lines, f"print(pack.run({{'python': {str(source)!r}}}).run_seq)"]) + "\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=env)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_interrupted_inside_a_long_call_of_the_engine(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    finish(code_graph, lake, source)
    long = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) AS a CROSS JOIN generate_series(1, 1000000) AS b"
    command = [sys.executable, "-m", "decreta_runtime", "sql", str(code_graph), long, "--lake", str(lake)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(4)
    assert process.poll() is None, "the statement is still going"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130, errors
    assert time.monotonic() - begun < 2
