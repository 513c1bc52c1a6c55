"""What changed is recomputed, and nothing else; the tables are those of a run that computes everything."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.conftest import ROOT, compiled, edit_policy, rows_of, undecided
from tests.packs.retail.batches import write_batches
from tests.packs.retail.conftest import generate

import decreta_runtime
from decreta_runtime import execute, maintain, sources
from decreta_runtime.contract.errors import InputInvalid, PolicyIncomplete, PreconditionFailed, TimeLimitReached
from decreta_runtime.contract.manifest import Groups
from decreta_runtime.maintain import Maintainer
from decreta_runtime.scan import Pinned
from decreta_runtime.testing import RelationTest, machine

QUICK = settings(
    max_examples=3, stateful_step_count=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
STATEMENTS = (
    "import os\n",
    "import app.core\n",
    "from app import core\n",
    "from .core import run\n",
    "from lib.x import run as other\n",
    "def run(x):\n    y = x\n    return y\n",
    "def run(x):\n    return run(x)\n",
    "class Box:\n    def run(self):\n        return core\n",
    "core = 1\n",
    "print(run, core, os)\n",
    "# nothing\n",
    "def broken(:\n",
)
"""What files are put together from: imports that meet, names bound once, twice or not at all."""
RETAIL = ROOT / "generated/retail"
FILES = ("app/__init__.py", "app/core.py", "app/core/__init__.py", "lib/x.py", "main.py", "x.pyi", "x.py")


def tables(pack: Path, lake: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table as a reader sees them."""
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        found = opened.versions()
    own = {name: lake / pack.name / name for name in found}
    return {name: rows_of(path, found[name]) for name, path in own.items() if path.exists()}


def same(pack: Path, lake: Path, other: Path) -> bool:
    """Whether two lakes hold the same rows, as readers see them."""
    sides = []
    for at in (lake, other):
        with decreta_runtime.open(str(pack), lake=str(at)) as opened:
            found = opened.versions()
        sides.append({n: DeltaTable(str(at / pack.name / n), version=v).to_pyarrow_table() for n, v in found.items()})
    for name in sides[0]:
        database = duckdb.connect()
        for side, found in zip(("ours", "theirs"), sides, strict=True):
            database.register(side, found[name])
        apart = "(FROM ours EXCEPT ALL FROM theirs) UNION ALL (FROM theirs EXCEPT ALL FROM ours)"
        assert not database.execute(apart).fetchall(), name
    return True


def run(pack: Path, lake: Path, source: dict[str, str], **how: Any) -> dict[str, str]:
    """Run a pack; return what was done to each table."""
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        result = opened.run(source, **how)
    return {name: table.action for name, table in result.tables.items()}


def noted(lake: Path, kind: str) -> list[dict[str, Any]]:
    """Return the newest run's rows of a kind in the ledger."""
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    last = max(row["run_seq"] for row in rows if row["run_seq"] is not None)
    return [row for row in rows if row["kind"] == kind and row["run_seq"] == last]


class Killed(BaseException):
    """What a process that is killed in the middle of a run comes to."""


@contextlib.contextmanager
def dying(after: int) -> Iterator[None]:
    """Let a run die before the commit to a table that comes after so many."""
    left, write = after, execute.write

    def written(*args: Any, **how: Any) -> Any:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        return write(*args, **how)

    execute.write = written
    try:
        yield
    finally:
        execute.write = write


class Source(RuleBasedStateMachine):
    """A Python source under random edits: after each the lake is that of a first run over the same files."""

    pack: Path
    folder: Path

    @initialize()
    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.source = self.folder / "source"
        self._write("app/core.py", [4, 1])
        self._write("main.py", [2, 9])
        self._same()

    def _write(self, name: str, parts: list[int]) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(STATEMENTS[i] for i in parts))

    def _files(self) -> list[Path]:
        return sorted(self.source.rglob("*.py*"))

    @rule(name=st.sampled_from(FILES), parts=st.lists(st.integers(0, len(STATEMENTS) - 1), max_size=4))
    def write(self, name: str, parts: list[int]) -> None:
        self._write(name, parts)
        self._same()

    @precondition(lambda self: len(self._files()) > 1)
    @rule(draw=st.data())
    def delete(self, draw: st.DataObject) -> None:
        draw.draw(st.sampled_from(self._files())).unlink()
        self._same()

    @rule(draw=st.data(), name=st.sampled_from(FILES))
    def rename(self, draw: st.DataObject, name: str) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw.draw(st.sampled_from(self._files())).replace(path)
        self._same()

    @rule(
        name=st.sampled_from(FILES),
        parts=st.lists(st.integers(0, len(STATEMENTS) - 1), max_size=4),
        after=st.integers(0, 8),
    )
    def die(self, name: str, parts: list[int], after: int) -> None:
        """Write a file; the run that meets it dies after some commits. Readers see the run before."""
        before = tables(self.pack, self.folder / "lake")
        self._write(name, parts)
        with dying(after), contextlib.suppress(Killed):
            run(self.pack, self.folder / "lake", {"python": str(self.source)})
            before = tables(self.pack, self.folder / "lake")
        assert tables(self.pack, self.folder / "lake") == before

    def teardown(self) -> None:
        if (self.folder / "lake").exists():
            self._same()

    def _same(self) -> None:
        given = {"python": str(self.source)}
        run(self.pack, self.folder / "lake", given)
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        run(self.pack, self.folder / "fresh", given)
        assert tables(self.pack, self.folder / "lake") == tables(self.pack, self.folder / "fresh")


def test_a_lake_of_edits_is_that_of_one_run(code_graph_compiled: Path, tmp_path: Path) -> None:
    case: Any = type("Case", (Source,), {"pack": code_graph_compiled, "folder": tmp_path / "case"})
    case.TestCase.settings = QUICK
    case.TestCase("runTest").runTest()


class Load(RuleBasedStateMachine):
    """A shop's load to which daily batches come, from which they go, and whose files are written anew."""

    pack: Path
    folder: Path
    full: Path

    @initialize()
    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.load = self.folder / "load"
        shutil.copytree(self.full, self.load, ignore=shutil.ignore_patterns("batches"))
        run(self.pack, self.folder / "lake", {"tpch": str(self.load)})

    @rule(day=st.sampled_from([0, 1, 2]))
    def turn(self, day: int) -> None:
        """Let a day's batch come, or go if it is there."""
        batch = sorted((self.full / "batches").iterdir())[day]
        here = self.load / "batches" / batch.name
        shutil.rmtree(here) if here.exists() else shutil.copytree(batch, here)
        self._same()

    @rule(table=st.sampled_from(["supplier", "partsupp", "customer"]))
    def shorten(self, table: str) -> None:
        """Write a table's file anew without its last row: a unit that changes, which was promised only to be added to."""
        path = self.load / f"{table}.parquet"
        rows = pq.read_table(path)
        pq.write_table(rows.slice(0, rows.num_rows - (1 if table == "partsupp" else 0)), path)
        self._same()

    def _same(self) -> None:
        given = {"tpch": str(self.load)}
        run(self.pack, self.folder / "lake", given)
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        run(self.pack, self.folder / "fresh", given)
        assert same(self.pack, self.folder / "lake", self.folder / "fresh")
        assert not undecided(self.folder / "lake")


@pytest.mark.slow
def test_a_shop_of_batches_is_that_of_one_run(tmp_path: Path) -> None:
    full = generate(tmp_path / "full", "0.01")
    write_batches(full, 3)
    case: Any = type("Case", (Load,), {"pack": RETAIL, "folder": tmp_path / "case", "full": full})
    case.TestCase.settings = settings(QUICK, max_examples=1, stateful_step_count=3)
    case.TestCase("runTest").runTest()


DAYS = ("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-06")


@pytest.fixture(scope="module")
def traffic_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traffic") / "project"
    shutil.copytree(ROOT / "tests/packs/traffic", folder)
    return compiled(folder, "traffic")


class Traffic:
    """A pack over days of a source and tables of others, beside the same computed at once."""

    def __init__(self, pack: Path, folder: Path) -> None:
        self.pack, self.folder, self.lake = pack, folder, folder / "lake"
        self.counters = folder / "counters"
        self.counters.mkdir()
        for i, day in enumerate(DAYS):
            self.count(day, (1 + i % 2, "AB", 60 + i), (3, "CD", 120))
        gates = pa.table({"gate_id": pa.array([1, 2, 3]), "road": ["A1", "A2", "A1"], "allowed": int32([50, 80, 100])})
        feed = {"delta.enableChangeDataFeed": "true"}
        write_deltalake(str(folder / "gate"), gates, configuration=feed)
        write_deltalake(str(folder / "fine"), pa.table({"plate": ["AB", "CD"], "amount": int32([30, 90])}))
        write_deltalake(str(folder / "zone"), pa.table({"road": ["A1", "A2"], "zone": ["north", "south"]}))

    def count(self, day: str, *rows: tuple[int, str, int]) -> None:
        (self.counters / f"{day}.csv").write_text("".join(f"{g},{p},{s}\n" for g, p, s in rows))

    def table(self, name: str) -> DeltaTable:
        return DeltaTable(str(self.folder / name))

    def places(self) -> dict[str, str]:
        bound = {name: str(self.folder / name) for name in ("gate", "fine", "zone")}
        return {"counters": str(self.counters), **bound}

    def run(self, **how: Any) -> dict[str, str]:
        """Run, and hold the lake against one computed at once; return what was done to the pack's own tables."""
        found = run(self.pack, self.lake, self.places(), **how)
        fresh = self.folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        run(self.pack, fresh, self.places())
        others = ("gate", "fine", "zone")
        kept, anew = (
            {n: of for n, of in tables(self.pack, at).items() if n not in others} for at in (self.lake, fresh)
        )
        assert kept == anew
        return {name: done for name, done in found.items() if name not in others}

    def aside(self, name: str) -> list[tuple[Any, ...]]:
        """Return the rows that the last complete run has set aside of a dataset, and hold them against those of one run."""
        kept, anew = self._aside(self.lake, name), self._aside(self.folder / "fresh", name)
        assert kept == anew
        return kept

    def _aside(self, lake: Path, name: str) -> list[tuple[Any, ...]]:
        with decreta_runtime.open(str(self.pack), lake=str(lake)) as opened:
            rows = opened.sql(f"SELECT * FROM {name}__quarantine").rows.to_pylist()
        return sorted(tuple(map(str, row.values())) for row in rows)


def int32(values: list[int]) -> pa.Array:
    return pa.array(values, pa.int32())


@pytest.fixture
def traffic(traffic_compiled: Path, tmp_path: Path) -> Traffic:
    return Traffic(traffic_compiled, tmp_path)


CARRIED = dict.fromkeys(("passage", "by_day", "too_fast", "owed", "record", "road_zone"), "carried")


def test_each_kind_of_change_reaches_what_it_touches_and_no_more(traffic: Traffic) -> None:
    assert set(traffic.run().values()) == {"written"}
    assert set(traffic.run().values()) == {"unchanged"}
    traffic.count("2024-01-06", (2, "EF", 200), (3, "CD", 120))  # a day that changes
    replaced = {"passage": "replaced", "by_day": "replaced", "too_fast": "replaced", "record": "written"}
    assert traffic.run() == CARRIED | replaced | {"owed": "replaced"}
    traffic.count("2024-01-07", (1, "AB", 20))  # one that comes
    assert traffic.run() == CARRIED | {
        "passage": "replaced",
        "by_day": "replaced",
        "too_fast": "replaced",
        "record": "written",
    }
    traffic.table("gate").update(updates={"allowed": "10"}, predicate="gate_id = 2")  # by the change data feed
    assert traffic.run() == CARRIED | {"too_fast": "replaced", "owed": "replaced"}
    traffic.table("gate").update(updates={"road": "'A1'"}, predicate="gate_id = 2")
    assert traffic.run() == CARRIED | {"too_fast": "replaced"}
    write_deltalake(traffic.table("fine"), pa.table({"plate": ["EF"], "amount": int32([300])}), mode="append")
    assert traffic.run() == CARRIED | {"owed": "replaced"}
    traffic.table("fine").delete(
        "plate = 'AB'"
    )  # what was promised to be appended to: the rows are compared all the same
    assert traffic.run() == CARRIED | {"owed": "replaced"}
    traffic.table("fine").optimize.compact()  # other files, the same rows
    assert traffic.run() == CARRIED
    write_deltalake(traffic.table("zone"), pa.table({"road": ["A1"], "zone": ["east"]}), mode="overwrite")
    assert traffic.run() == CARRIED | {"too_fast": "written", "owed": "written", "road_zone": "written"}, (
        "static, it was said"
    )


def keep_compact(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every table of a pack be compacted as soon as it has two files, and in this very process."""
    act = {"action": "compact", "metric": "small_files", "comparison": "at_least", "threshold": 2, "unknown": "pass"}

    def always(policy: dict[str, Any]) -> None:
        for decision in policy["maintenance_policy_by_dataset"].values():
            decision["value"] |= {"triggers": {"small": act}, "amplification": "1000.00"}

    edit_policy(pack, always)
    monkeypatch.setattr(maintain, "within", lambda seconds, function, *args: function(*args))


@pytest.fixture
def maintained(traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traffic:
    shutil.copytree(traffic.pack.parents[1], tmp_path / "project")
    traffic.pack = tmp_path / "project/generated/traffic"
    keep_compact(traffic.pack, monkeypatch)
    return traffic


REPLACED, APPENDED = "{kind: replace_by, column: day, lateness: 3 days}", "{kind: append}"


def edited(tmp_path: Path, changes: str, *, more: dict[str, str] | None = None) -> Path:
    """Return a compiled pack of passages that change in some way, with more text after that of some files."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "tests/packs/traffic", project)
    specs = project / "specs/traffic"
    for name, text in {"objects/passage.yaml": "", **(more or {})}.items():
        path = specs / name
        path.write_text((path.read_text().replace(REPLACED, changes) if path.exists() else "") + text)
    return compiled(project, "traffic")


@pytest.fixture
def appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Passages that are only added to, in tables that are always compacted."""
    pack = edited(tmp_path, APPENDED)
    keep_compact(pack, monkeypatch)
    return Traffic(pack, tmp_path)


@pytest.mark.parametrize("changes", ["replaced", "appended"])
def test_what_builds_on_a_maintained_version_is_that_of_one_run(request: pytest.FixtureRequest, changes: str) -> None:
    """Rows that maintenance has put into other files, old ones among new, are no change."""
    traffic: Traffic = request.getfixturevalue("maintained" if changes == "replaced" else "appended")
    traffic.run()
    for day in ("2024-01-07", "2024-01-08"):
        traffic.count(day, (1, "EF", 200), (3, "CD", 120))
        found = traffic.run()
        assert (found["passage"], found["by_day"]) == (changes, "replaced")
        acted = {row["subject"]: json.loads(row["detail"]) for row in noted(traffic.lake, "maintenance")}
        wrote = {row["subject"]: row for row in noted(traffic.lake, "write")}
        own = {name: detail["written_version"] for name, detail in acted.items() if name in wrote}
        assert own == {
            name: row["table_version"] for name, row in wrote.items()}, "one for each write"  # fmt: skip
        assert acted["passage"]["done"] == acted["by_day"]["done"] == ["compact"]
        assert wrote["by_day"]["rows"] == 1, "the day that came, and none of those that lie in its file now"
        with decreta_runtime.open(str(traffic.pack), lake=str(traffic.lake)) as opened:
            assert opened.versions()["passage"] == wrote["passage"]["table_version"] + 1
            assert not opened.verify_lake(data=True).findings
    assert set(traffic.run().values()) == {"unchanged"}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_maintenance_of_a_dead_attempt_is_undone_with_it(
    maintained: Traffic, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    maintained.run()
    for after in range(5):
        maintained.count(f"2024-01-{7 + after:02}", (1, "EF", 200 + after), (2, "GH", 120))
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(Maintainer, "after_write", dying_at(after, moment))
            run(maintained.pack, maintained.lake, maintained.places())
        if after % 2:  # the same attempt goes on, or another undoes what it has left
            maintained.count(f"2024-01-{6 + after:02}", (3, "KL", 10 + after))
        assert maintained.run()["passage"] == "replaced" if after % 2 else "kept"
    with decreta_runtime.open(str(maintained.pack), lake=str(maintained.lake)) as opened:
        assert not opened.verify_lake(data=True).findings


def dying_at(after: int, moment: str) -> Any:
    """Return a maintenance that dies after so many tables, before or after it has acted."""
    keep, seen = Maintainer.after_write, iter(range(after + 1))

    def kept(self: Maintainer, dataset: str, pinned: Pinned) -> Any:
        if (last := next(seen) == after) and moment == "before":
            raise Killed
        found = keep(self, dataset, pinned)
        if last:
            raise Killed
        return found

    return kept


SET_ASIDE = {
    "objects/passage.yaml": "checks: {speed_is_known: {where: speed < 250, on_violation: quarantine}}\n",
    "relations/too_fast.yaml": "checks: {above_is_little: {where: above < 100, on_violation: quarantine}}\n",
}
"""Checks of a dataset that is read and of one that is computed."""


@pytest.mark.parametrize(("changes", "done"), [(REPLACED, "replaced"), (APPENDED, "appended")])
def test_a_quarantine_is_written_as_its_dataset_is(tmp_path: Path, changes: str, done: str) -> None:
    traffic = Traffic(edited(tmp_path, changes, more=SET_ASIDE), tmp_path)
    traffic.count("2024-01-05", (1, "AB", 999), (2, "GH", 190))
    traffic.run()
    assert (len(traffic.aside("passage")), len(traffic.aside("too_fast"))) == (1, 1)
    traffic.count("2024-01-07", (1, "AB", 998), (1, "EF", 170), (2, "GH", 60))
    found = traffic.run()
    assert (found["passage"], found["too_fast"], found["record"]) == (done, "replaced", "written")
    assert (len(traffic.aside("passage")), len(traffic.aside("too_fast"))) == (2, 2)
    wrote = {row["subject"]: row for row in noted(traffic.lake, "write")}
    assert (wrote["passage"]["rows"], wrote["passage__quarantine"]["rows"]) == (2, 1), "the day that came alone"
    traffic.run()
    assert (len(traffic.aside("passage")), len(traffic.aside("too_fast"))) == (2, 2), "taken over with them"
    if changes == REPLACED:
        traffic.count("2024-01-07", (1, "AB", 60))
        assert traffic.run()["passage"] == "replaced"
        assert (len(traffic.aside("passage")), len(traffic.aside("too_fast"))) == (1, 1), "mended at their source"
    with decreta_runtime.open(str(traffic.pack), lake=str(traffic.lake)) as opened:
        assert not opened.verify_lake(data=True).findings


def test_a_part_and_its_quarantine_are_never_a_mixture(tmp_path: Path) -> None:
    traffic = Traffic(edited(tmp_path, REPLACED, more=SET_ASIDE), tmp_path)
    traffic.run()
    for after in range(4):  # the commit of the dataset, of its quarantine, and of those that follow from it
        traffic.count(f"2024-01-{7 + after:02}", (1, "AB", 990 + after), (1, "EF", 170), (2, "GH", 60))
        with dying(after), pytest.raises(Killed):
            run(traffic.pack, traffic.lake, traffic.places())
        if after % 2:  # another run than the one that died
            traffic.count(f"2024-01-{7 + after:02}", (1, "AB", 980 + after), (1, "EF", 171))
        traffic.run()
        assert len(traffic.aside("passage")) == after + 1 and len(traffic.aside("too_fast")) == after + 1


def test_rows_take_the_place_of_others_of_their_key(tmp_path: Path) -> None:
    """What is appended is merged by key: only the keys that came are written, and the rows are those of one run."""
    last = (
        "relation: last_seen\nstore: true\nsummary: Where each vehicle was seen last.\n"
        "use: std/latest_by_key@1\nwith:\n  input: {relation: passage, columns: {at: day, tie: [gate_id, speed]}}\n  key: [plate]\n"
    )
    traffic = Traffic(edited(tmp_path, APPENDED, more={"relations/last_seen.yaml": last}), tmp_path)
    assert traffic.run()["last_seen"] == "written"
    for after in range(6):
        day = f"2024-02-{1 + after:02}"
        traffic.count(day, (after % 3, "EF", 60), *([(1, "CD", 90)] if after % 2 else []))
        if after % 3 == 2:
            with dying(after // 3), pytest.raises(Killed):
                run(traffic.pack, traffic.lake, traffic.places())
        assert traffic.run()["last_seen"] in ("replaced", "kept")
        if after % 3 != 2:
            (wrote,) = [row for row in noted(traffic.lake, "write") if row["subject"] == "last_seen"]
            assert wrote["rows"] == (2 if after % 2 else 1), "the vehicles that came, and no other"


def test_a_table_of_others_that_is_maintained_has_not_changed(maintained: Traffic) -> None:
    for gate in (4, 5):
        more = pa.table({"gate_id": [gate], "road": ["A1"], "allowed": int32([50])})
        write_deltalake(maintained.table("gate"), more, mode="append")
        write_deltalake(maintained.table("fine"), pa.table({"plate": ["AB"], "amount": int32([30])}), mode="append")
    maintained.run()
    versions = {name: maintained.table(name).version() for name in ("gate", "fine")}
    with decreta_runtime.open(str(maintained.pack), lake=str(maintained.folder / "another")) as opened:
        opened.maintain(maintained.places())
    assert all(maintained.table(name).version() > version for name, version in versions.items())
    assert maintained.run() == CARRIED, "neither its feed nor its files have other rows"


def test_a_closed_day_is_refused_until_it_is_filled_again(traffic: Traffic) -> None:
    traffic.run()
    traffic.count("2024-01-02", (1, "ZZ", 99))
    with pytest.raises(PreconditionFailed, match=r"2024-01-02.*2024-01-03") as refused:
        run(traffic.pack, traffic.lake, traffic.places())
    assert "--range 2024-01-02..2024-01-02" in refused.value.help and refused.value.exit_status == 4
    found = traffic.run(days="2024-01-01..2024-01-02")
    assert found["passage"] == "replaced" and found["by_day"] == "replaced"
    (written,) = [row for row in noted(traffic.lake, "write") if row["subject"] == "passage"]
    assert written["rows"] == 3, "both days were read, though one alone had changed"
    assert set(traffic.run().values()) == {"unchanged"}
    assert traffic.run(days="2024-01-01..2024-01-02")["passage"] == "replaced", "changed or not"
    for text in ("2024-01-02", "2024-01-03..2024-01-02", "yesterday..today"):
        with pytest.raises(InputInvalid, match="no range of days"):
            run(traffic.pack, traffic.lake, traffic.places(), days=text)


def test_a_range_is_of_what_is_replaced_by_days(code_graph: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="no object that is computed is replaced by days"):
        run(code_graph, tmp_path / "lake", {"python": str(source)}, days="2024-01-01..2024-01-02")


def test_a_part_that_was_left_behind_is_computed_whole(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    (source / "main.py").write_text("from app import run\nmine = run\n")
    found = run(code_graph, lake, given, select=["definition", "scope", "import", "file", "reference"])
    assert found["definition"] == "replaced" and found["defines"] == "carried"
    found = run(code_graph, lake, given)
    assert found["definition"] == "carried" and found["defines"] == found["reference_in_scope"] == "written"
    run(code_graph, tmp_path / "fresh", given)
    assert tables(code_graph, lake) == tables(code_graph, tmp_path / "fresh")


def test_an_edit_inside_a_body_ends_where_nobody_sees_it(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    (source / "app/core.py").write_text((source / "app/core.py").read_text().replace("z = x + y", "z = y + x * 2"))
    found = run(code_graph, lake, given)
    assert {n for n, action in found.items() if action == "carried"} == {"defines", "imports"}
    assert {n for n, action in found.items() if action != "carried"} <= {
        "definition", "file", "import", "reference", "scope", "reference_in_scope", "resolves_in_module"}  # fmt: skip
    details = {row["subject"]: json.loads(row["detail"]) for row in noted(lake, "write")}
    assert all(detail.get("files_rewritten", 0) <= 1 for detail in details.values())
    kept = {row["subject"]: row for row in noted(lake, "refresh")}
    assert kept["imports"]["action"] == "unchanged" and kept["imports"]["pointer"] == "/refresh_policy_by_view/imports"
    assert "module_file" in json.loads(kept["import_reach"]["detail"])["why_not_better"]


def test_an_export_that_is_added_reaches_the_files_that_import_it(
    code_graph: Path, source: Path, tmp_path: Path
) -> None:
    lake, given = tmp_path / "lake", {"python": str(source)}
    (source / "main.py").write_text("import os\nfrom app.core import late\n")
    (source / "lib.py").write_text("import sys\nfrom app.core import *\n")
    run(code_graph, lake, given)
    core = source / "app/core.py"
    core.write_text(core.read_text() + "\ndef nobody(): pass\n")
    assert run(code_graph, lake, given)["imports"] == "carried"
    core.write_text(core.read_text() + "\ndef late(): pass\n")
    assert run(code_graph, lake, given)["imports"] == "replaced"
    (kept,) = (json.loads(row["detail"]) for row in noted(lake, "refresh") if row["subject"] == "imports")
    assert kept["groups"] == 1, "the file that imports it, and no other"
    (source / "main.py").write_text("from app.core import late\nfrom app import core\nimport os\n")
    assert run(code_graph, lake, given)["imports"] == "replaced"
    run(code_graph, tmp_path / "fresh", given)
    assert tables(code_graph, lake) == tables(code_graph, tmp_path / "fresh")
    assert not undecided(lake), "of four runs, the first whole and the others in part"


def test_another_policy_builds_on_nothing(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    edit_policy(
        code_graph, lambda policy: policy["write_policy_by_dataset"]["scope"]["value"].update(compression="zstd")
    )
    (source / "main.py").write_text("a = 1\n")
    assert set(run(code_graph, lake, given).values()) == {"written"}


def test_a_listing_that_is_broken_or_gone_reads_everything(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    (listing,) = (lake / "_decreta/units").glob("*/*/*.json")
    data = bytearray(listing.read_bytes())
    data[-10] ^= 1
    listing.write_bytes(bytes(data))
    (source / "main.py").write_text("a = 1\n")
    assert run(code_graph, lake, given)["definition"] == "written"
    (listing,) = (lake / "_decreta/units").glob("*/*/*.json")
    listing.unlink()
    (source / "main.py").write_text("a = 2\n")
    assert run(code_graph, lake, given)["definition"] == "written"
    run(code_graph, tmp_path / "fresh", given)
    assert tables(code_graph, lake) == tables(code_graph, tmp_path / "fresh")


def decide(pack: Path, name: str, **values: Any) -> None:
    """Change how one object or relation is refreshed."""
    edit_policy(pack, lambda policy: policy["refresh_policy_by_view"][name]["value"].update(values))


@pytest.mark.parametrize("kind", ["groups", "stale", "full"])
def test_how_is_obeyed(code_graph: Path, source: Path, tmp_path: Path, kind: str) -> None:
    decide(code_graph, "reference_in_scope", kind=kind)
    decide(code_graph, "imports", kind=kind)
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    (source / "app/core.py").write_text((source / "app/core.py").read_text() + "\nprint(run)\n")
    found = run(code_graph, lake, given)
    assert found["reference_in_scope"] == ("replaced" if kind == "groups" else "written")
    assert found["imports"] == ("written" if kind == "full" else "carried"), "no import has changed"


def test_groups_are_those_that_were_proven(code_graph: Path, source: Path, tmp_path: Path) -> None:
    decide(code_graph, "defines", by="name")
    with pytest.raises(PolicyIncomplete, match="`defines` is not known to fall apart by `name`") as refused:
        run(code_graph, tmp_path / "lake", {"python": str(source)})
    assert refused.value.pointer == "/refresh_policy_by_view/defines/value/by"


def test_with_more_groups_the_whole_is_computed(code_graph: Path, source: Path, tmp_path: Path) -> None:
    decide(code_graph, "defines", at_most_groups=1)
    decide(code_graph, "scope", at_most_groups=1)
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    (source / "main.py").write_text("one = 1\n")
    found = run(code_graph, lake, given)
    assert found["scope"] == found["definition"] == found["defines"] == "replaced"
    for name in ("main.py", "app/core.py"):
        (source / name).write_text("two = 2\ndef run(): pass\n")
    found = run(code_graph, lake, given)
    assert found["definition"] == "replaced" and found["scope"] == found["defines"] == "written"


def test_few_bytes_are_read_by_the_run_itself(
    code_graph: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[int] = []
    monkeypatch.setattr(sources, "_in_pool", lambda *args: pools.append(1) or iter(()))
    run(code_graph, tmp_path / "lake", {"python": str(source)})
    assert not pools
    whole = lambda policy: policy["session_profile_by_workload"]["batch_ingest"]["value"]  # noqa: E731
    edit_policy(code_graph, lambda policy: whole(policy).update(source_alone_bytes=10))
    run(code_graph, tmp_path / "other", {"python": str(source)})
    assert pools


@pytest.mark.parametrize("alone", [True, False], ids=["in the run itself", "in a worker"])
def test_an_adapter_that_hangs_is_ended(code_graph: Path, source: Path, tmp_path: Path, alone: bool) -> None:
    """One file of several makes it hang; the run is refused in time, no process is left, and the next one completes."""
    code = code_graph / "code/python_source.py"
    hang = "    import time\n    time.sleep(600 * any(unit.key.endswith('hangs.py') for unit in units))\n"
    head = "    rows = syntax.Rows()\n"
    code.write_text(code.read_text().replace(head, hang + head))

    def limit(policy: dict[str, Any]) -> None:
        value = policy["session_profile_by_workload"]["batch_ingest"]["value"]
        value |= {"source_limit_seconds": 3, "source_alone_bytes": 1 << 20 if alone else 0, "source_workers": 2}

    edit_policy(code_graph, limit)
    (source / "hangs.py").write_text("x = 1\n")
    before, start = set(multiprocessing.active_children()), time.monotonic()
    with pytest.raises(TimeLimitReached, match="nothing back in 3 s") as told:
        run(code_graph, tmp_path / "lake", {"python": str(source)})
    assert time.monotonic() - start < 60 and "session.source_limit_seconds" in told.value.help
    assert set(multiprocessing.active_children()) <= before
    (source / "hangs.py").unlink()
    edit_policy(code_graph, lambda policy: policy["session_profile_by_workload"]["batch_ingest"]["value"].update(
        source_limit_seconds=300))  # fmt: skip
    assert run(code_graph, tmp_path / "lake", {"python": str(source)})["definition"] == "written"


def test_a_class_that_repeats_computes_everything(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    (source / "main.py").write_text("one = 1\n")
    assert set(run(code_graph, lake, given, workload="compile_replay").values()) == {"written"}
    (source / "main.py").write_text("two = 2\n")
    assert run(code_graph, lake, given)["definition"] == "replaced"


def test_a_dead_attempt_is_built_on_by_nobody(code_graph: Path, source: Path, tmp_path: Path) -> None:
    """Its commits over parts of tables are undone before others are written, and its groups are none of theirs."""
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    before, kept = tables(code_graph, lake), (source / "main.py").read_text()
    (source / "main.py").write_text("lost = 1\n")
    with dying(4), pytest.raises(Killed):
        run(code_graph, lake, given)
    assert tables(code_graph, lake) == before, "readers see the last complete run"
    (source / "main.py").write_text(kept)
    assert set(run(code_graph, lake, given).values()) == {"unchanged"}, "as if nothing had been"
    (source / "app/core.py").write_text("other = 2\n")
    run(code_graph, lake, given)
    undone = {row["subject"]: json.loads(row["detail"]).get("undone") for row in noted(lake, "write")}
    assert {name for name, version in undone.items() if version is not None} == {
        "definition",
        "file",
        "import",
        "reference",
    }
    run(code_graph, tmp_path / "fresh", given)
    assert tables(code_graph, lake) == tables(code_graph, tmp_path / "fresh")


def test_the_same_attempt_goes_on_where_it_died(code_graph: Path, source: Path, tmp_path: Path) -> None:
    lake, given = tmp_path / "lake", {"python": str(source)}
    run(code_graph, lake, given)
    (source / "main.py").write_text("from app.core import run\nmine = run\nprint(mine)\n")
    with dying(6), pytest.raises(Killed):
        run(code_graph, lake, given)
    found = run(code_graph, lake, given)
    assert [n for n, action in found.items() if action == "kept"] == [
        "definition", "file", "import", "reference", "scope", "defines"]  # fmt: skip
    assert found["reference_in_scope"] == "replaced"
    run(code_graph, tmp_path / "fresh", given)
    assert tables(code_graph, lake) == tables(code_graph, tmp_path / "fresh")


def test_the_generated_machine_finds_groups_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports see what other modules bind: were that taken for nobody's, edits of them would go unseen."""
    monkeypatch.setattr(machine, "QUICK", settings(machine.QUICK, max_examples=300, phases=[Phase.generate]))
    test = RelationTest(str(RETAIL.parent / "code_graph/tests/test_imports.py"), "imports")
    entry = test.pack.manifest.relations["imports"]
    wrong = Groups(column="src_file_id", inputs={"import_reach": "file_id"}, whole=())
    test.pack.manifest.relations["imports"] = msgspec.structs.replace(entry, groups=wrong)
    with pytest.raises(AssertionError, match="src_file_id in"):
        test.refreshes()
