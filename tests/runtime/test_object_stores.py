"""Tables and lakes in an object store behave as in folders, and no credential comes to lie anywhere.

The store is moto's S3 server in a process of its own, asked by the three clients that a run has.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import obstore
import pyarrow as pa
import pytest
from datafusion import SessionContext
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import S3Store
from tests.conftest import ROOT, compiled, run_command, sales, shop_tables
from tests.object_store import CANARIES, make_bucket, objects, relay, server
from tests.runtime.test_scan_paths import LAW, PAIR, Case, cases, ids, same_in, value_of

import decreta_runtime
from decreta_runtime.contract.errors import InputInvalid, LakeUnusable, WriteConflict
from decreta_runtime.contract.manifest import Ask, AskValue, Column
from decreta_runtime.contract.policy import Choice, IndexValue
from decreta_runtime.guards import ask
from decreta_runtime.index import narrowed_by, open_index, update_index
from decreta_runtime.kpi import key_figures
from decreta_runtime.lake import Lake
from decreta_runtime.locations import Stored
from decreta_runtime.metrics import scan_stats
from decreta_runtime.narrow import matching
from decreta_runtime.scan import Pinned, register_scan

_numbers = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An object store that the environment gives access to: its endpoint, and the file of its requests."""
    log = tmp_path_factory.mktemp("store") / "requests.log"
    with server(log) as endpoint, pytest.MonkeyPatch.context() as environment:
        for name, value in CANARIES.items():
            environment.setenv(name, value)
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        environment.setenv("AWS_REGION", "us-east-1")
        environment.setenv("AWS_ALLOW_HTTP", "true")
        yield endpoint, log


@pytest.fixture
def bucket(store: tuple[str, Path]) -> str:
    name = f"bucket{next(_numbers)}"
    make_bucket(store[0], name)
    return name


def put_tables(bucket: str) -> None:
    """Write the tables of the shop into a bucket."""
    with tempfile.TemporaryDirectory() as folder:
        shop_tables(Path(folder))
        for name in ("customer", "product", "sale"):
            write_deltalake(f"s3://{bucket}/tables/{name}", pa.table(DeltaTable(f"{folder}/{name}").scan()))


@pytest.fixture(scope="module")
def shop_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shop: its tables lie beside its lake, so that a lake in a bucket takes them from there."""
    folder = tmp_path_factory.mktemp("compiled") / "shop"
    shutil.copytree(ROOT / "tests/packs/shop", folder)
    return compiled(folder, "shop")


def canaries_in(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [name for name, value in CANARIES.items() if value.encode() in data]


def no_canary(folder: Path, bucket: str, printed: str) -> None:
    """Look through everything that was written and printed."""
    assert not canaries_in(printed)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if canaries_in(path.read_bytes())] == []
    found = objects(bucket)
    assert found and [key for key, data in found.items() if canaries_in(data)] == []


def test_tables_in_a_store_and_a_lake_in_a_folder(shop: Path, bucket: str) -> None:
    put_tables(bucket)
    shutil.rmtree(shop / "tables")
    environment = shop / "specs/shop/env/local.toml"
    environment.write_text(environment.read_text().replace('"../tables/', f'"s3://{bucket}/tables/'))
    printed = ""
    for verb in (
        ["generate"],
        ["run", "shop", "--plan"],
        ["run", "shop"],
        ["query", "shop", "revenue_of", "--param", "customer=1", "--format", "json", "--stats"],
        ["observe", "shop"],
        ["profile", "shop"],
        ["ledger", "shop", "SELECT * FROM ledger"],
        ["kpi", "shop", "--json"],
        ["report", "shop", "-o", "page.html"],
        ["package", "shop", "-o", "shop.package"],
    ):
        done = run_command(*verb, cwd=shop, RUST_LOG="debug")
        assert done.returncode == (2 if verb[0] == "package" else 0), done.stderr  # packages are of folders
        assert verb[0] != "query" or "DEBUG" in done.stderr, "what the engines log is looked through as well"
        printed += done.stdout + done.stderr
        if verb[0] == "query":
            answer = json.loads(done.stdout)
            assert answer["rows"] == [{"name": "Ada", "paid": "20.00", "sales": 2}]
            assert set(answer["stats"]["scans"].values()) == {"native"}
            assert 0 < answer["stats"]["bytes_scanned"] < answer["stats"]["bytes_eligible"]
    lock = json.loads((shop / "specs/shop/locks/local.evidence.json").read_bytes())
    assert lock["datasets"]["sale"]["facts"]["rows"]["value"] == 3
    assert lock["datasets"]["sale"]["facts"]["writes_since_compaction"]["value"] == 1, "read from the log's commits"
    no_canary(shop, bucket, printed)


def test_a_lake_in_a_store(shop_compiled: Path, bucket: str, tmp_path: Path) -> None:
    put_tables(bucket)
    lake = f"s3://{bucket}/lake"
    with decreta_runtime.open(str(shop_compiled), lake=lake) as pack:
        with pytest.raises(LakeUnusable, match="does not exist"):
            pack.query("revenue_of", customer=1)
        assert (pack.run().run_seq, pack.run().unchanged) == (1, True)
        write_deltalake(f"s3://{bucket}/tables/sale", sales([(4, 3, 7, 2)]), mode="append")
        assert (pack.run().run_seq, pack.run().unchanged) == (2, True)
        assert pack.query("revenue_of", customer=3).to_pylist() == [{"name": "Cy", "paid": Decimal("5.00"), "sales": 1}]
        assert pack.show("priced", limit=10).rows.num_rows == 4
        assert pack.observe(1).datasets["revenue"].rows == 3
    where = ["shop", "--lake", lake, "--generated", str(shop_compiled.parent)]
    done = run_command("verify", *where, cwd=tmp_path, module="decreta_runtime")
    assert done.returncode == 0 and "found          nothing" in done.stdout, done.stderr
    refused = run_command("verify", *where, "--data", cwd=tmp_path, module="decreta_runtime")
    assert refused.returncode == 2 and "no digests are kept" in refused.stderr
    maintained = run_command("maintain", *where, cwd=tmp_path, module="decreta_runtime")
    assert maintained.returncode == 1 and "refused" in maintained.stdout, maintained.stderr
    assert "the guard local_files fails" in maintained.stdout
    counted = json.loads(run_command("kpi", *where, "--json", cwd=tmp_path, module="decreta_runtime").stdout)
    assert counted["writes_using_outcome_based_maintenance"]["share"] == "1.00"
    asked = run_command("ledger", *where, "--ready", "slowest_relations", cwd=tmp_path, module="decreta_runtime")
    assert asked.returncode == 0 and "revenue" in asked.stdout, asked.stderr
    calibrated = run_command("calibrate", "shop", "--lake", lake, "--check", cwd=shop_compiled.parents[1])
    assert "epoch 1" in calibrated.stdout, calibrated.stderr
    found = objects(bucket)
    assert not [key for key in found if "/locks/" in key or "/spill/" in key], "freed, and spilled on this machine"
    assert len(found) > 20 and [key for key, data in found.items() if canaries_in(data)] == []
    assert not canaries_in(done.stdout + done.stderr)
    assert not (shop_compiled.parents[1] / "lake").exists()


def test_what_changed_is_refreshed_in_a_store(code_graph_compiled: Path, source: Path, bucket: str) -> None:
    """Parts of tables are replaced there as in a folder, over an attempt that died too; one listing of units stays."""
    lake, given = f"s3://{bucket}/lake", {"python": str(source)}
    died: list[str] = []

    def die(stage: str, words: str) -> None:
        if stage == "write" and words.startswith("import:"):
            died.append(words)
            raise KeyboardInterrupt

    with decreta_runtime.open(str(code_graph_compiled), lake=lake) as pack:
        pack.run(given)
        (source / "main.py").write_text("from app.core import run\nmine = run\n")
        with pytest.raises(KeyboardInterrupt):
            pack.run(given, die)
        (source / "main.py").write_text("from app.core import run\nyours = run\n")
        done = pack.run(given)
        assert (done.tables["definition"].action, done.tables["defines"].action) == ("replaced", "replaced") and died
        names = {row["name"] for row in pack.show("definition", limit=1000).rows.to_pylist()}
        assert "yours" in names and "mine" not in names
        assert not pack.verify_lake().findings
        assert pack.run(given).unchanged
    assert len([key for key in objects(bucket) if "/_decreta/units/" in key]) == 1


def test_objects_are_written_for_tables_in_a_store(bucket: str, tmp_path: Path) -> None:
    rows = pa.table({"order_id": range(5), "day": [date(2024, 1, i + 1) for i in range(5)]})
    write_deltalake(f"s3://{bucket}/raw data/orders", rows)
    url = f"s3://{bucket}/raw data/orders"
    done = run_command("init", "p", "--pack", "adopted", "--from-delta", url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "order_id" in (tmp_path / "p/specs/adopted/objects/orders.yaml").read_text()
    assert json.dumps(url) in (tmp_path / "p/specs/adopted/env/local.toml").read_text()
    compiled(tmp_path / "p", "adopted")
    with decreta_runtime.open(str(tmp_path / "p/generated/adopted")) as pack:
        assert any(url in line for line in pack.verify_tables())
    no_canary(tmp_path, bucket, done.stdout + done.stderr)


@pytest.mark.parametrize("path", ["native", "delta"])
def test_a_table_in_a_store_reads_the_same_by_each_path(bucket: str, path: str) -> None:
    numbers = itertools.count()

    @settings(LAW, max_examples=3)
    @given(case=cases(partitioned=path == "delta"), data=st.data())
    def law(case: Case, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(["t", "a table", "p=1", "é'&;+"]))
        root = Stored(bucket, f"law{next(numbers)}")
        same_in(root, path, case._replace(folder=name), data, partitions=2)

    law()


def many(bucket: str, files: int = 30) -> Pinned:
    """Write a table of ten rows a file; the ids are in order."""
    place = Stored(bucket, "a table")
    for i in range(files):
        rows = pa.table({"id": range(10 * i, 10 * i + 10), "word": [f"w{j % 3}" for j in range(10)]})
        write_deltalake(str(place), rows, mode="append")
    table = DeltaTable(str(place))
    return Pinned("t", place, table.version(), table)


def session() -> SessionContext:
    return SessionContext()


def test_what_the_log_leaves_is_looked_up_by_one_listing(bucket: str, store: tuple[str, Path]) -> None:
    pinned = many(bucket, 12)
    asked = Ask(column="id", op="=", values=(AskValue(literal=57),))
    files = matching(pinned, [[asked]], {})
    assert len(files) == 1

    def requests() -> list[str]:
        return store[1].read_text().splitlines()

    for listed in (files, pinned.files):
        before = len(requests())
        pinned.require_files(listed)
        assert [line.split('"')[1].split("?")[0] for line in requests()[before:]] == [f"GET /{bucket}"]
    context = session()
    register_scan(context, pinned, PAIR, value_of("native"), files)
    before = len(requests())
    assert ids(context, "id = 57") == [57]
    asked_for = {line.split(" /")[1].split(" ")[0] for line in requests()[before:] if ".parquet" in line}
    assert len(asked_for) <= 1, "one file is opened"


def test_what_each_table_read_is_told_apart(bucket: str, store: tuple[str, Path]) -> None:
    """The engine's plans write keys without their bucket, and one key may end another."""
    make_bucket(store[0], f"{bucket}-other")
    places = {"a": Stored(bucket, "sale"), "b": Stored(bucket, "old sale"), "c": Stored(f"{bucket}-other", "sale")}
    context, scans = session(), {}
    for rows, (name, place) in enumerate(places.items(), 1):
        write_deltalake(str(place), pa.table({"id": range(rows), "word": ["w"] * rows}))
        pinned = Pinned(name, place, 0, DeltaTable(str(place)))
        scans[name] = register_scan(context, pinned, PAIR, value_of("native"))
    frame = context.sql("SELECT count(*) AS n FROM a CROSS JOIN b CROSS JOIN c WHERE a.word = b.word OR c.id = 7")
    assert frame.to_pylist() == [{"n": 6}]
    stats = scan_stats(frame.execution_plan(), scans, 0.0)
    assert {name: (each.scans, each.rows_out) for name, each in stats.ladder.items()} == {
        "a": (1, 1),
        "b": (1, 2),
        "c": (1, 3),
    }
    assert stats.files_total == 3 and stats.bytes_eligible == sum(each.bytes for each in scans.values())


def test_a_file_that_went_from_a_store_is_refused(bucket: str) -> None:
    pinned, context = many(bucket, 3), session()
    scanned = register_scan(context, pinned, PAIR, value_of("native"))
    gone = pinned.files[1]
    obstore.delete(S3Store(bucket), gone.removeprefix(f"s3://{bucket}/"))
    assert len(ids(context, "true")) == 20, "the engine passes over it without a word"
    with pytest.raises(LakeUnusable, match=f"{gone} of `t` version 2 is gone"):
        scanned.require_files()
    with pytest.raises(LakeUnusable, match="is gone"):
        register_scan(session(), pinned, PAIR, value_of("native"))


def requests_of(store: tuple[str, Path], what: str) -> list[str]:
    return [line for line in store[1].read_text().splitlines() if what in line]


def test_an_index_in_a_store_narrows_tables_partitioned_too(store: tuple[str, Path], bucket: str) -> None:
    place = Stored(bucket, "t")
    rows = pa.table({"name": ["a", "b", "c", "a"], "kind": ["x y/%", "x y/%", None, "z"]})
    write_deltalake(str(place), rows, partition_by=["kind"])
    table, columns = DeltaTable(str(place)), (Column(name="name", type="string"),)
    pinned, where = Pinned("t", place, 0, table), Stored(bucket, "index/t")
    value = IndexValue(build=True, shapes=(), memory_bytes=0, row_group_rows=3, compression="zstd")
    assert update_index(session(), pinned, columns, where, value=value).files_added == 3
    asked = [[Ask(column="name", op="=", values=(AskValue(literal="a"),))]]
    for memory in (1 << 20, 0):
        index = open_index(where, columns, pinned, memory)
        assert index is not None and index.bytes_read == 0
        narrowed = narrowed_by(index, pinned, asked, {})
        assert narrowed is not None and len(narrowed) == 2
        assert (index.rows is None) == (memory == 0) and 0 < index.bytes_read <= index.bytes
    before, read = len(requests_of(store, ".parquet")), index.bytes_read
    assert narrowed_by(index, pinned, asked, {}) == narrowed
    assert len(requests_of(store, ".parquet")) - before == 1, "a group of a store is one request"
    assert 0 < index.bytes_read - read < index.bytes
    write_deltalake(str(place), rows.slice(2, 1), mode="append")
    newer = Pinned("t", place, 1, DeltaTable(str(place)))
    assert update_index(session(), newer, columns, where, value=value).files_added == 1
    stale = open_index(where, columns, newer, 0)
    assert stale is not None
    for own in stale.own_files:
        obstore.delete(S3Store(bucket), own.key)  # type: ignore[union-attr]
    with pytest.raises(LakeUnusable, match=r"the index at s3://.* cannot be read"):
        narrowed_by(stale, newer, asked, {})
    assert update_index(session(), newer, columns, where, value=value).anew


def test_links_are_for_folders(bucket: str, tmp_path: Path) -> None:
    """A partitioned table in a store is read by delta-rs: the guard says so, and the policy what to do then."""
    found = {}
    for place in (str(tmp_path / "t"), f"s3://{bucket}/t"):
        write_deltalake(place, pa.table({"id": [1, 2], "word": ["a", "b"]}), partition_by=["word"])
        choice = Choice(value_of("linked"), "/somewhere", ("local_files",), value_of("delta"))
        found |= {place[:5]: ask(choice, DeltaTable(place), PAIR, None)}  # type: ignore[arg-type]
    assert found == {str(tmp_path)[:5]: {"local_files": True}, "s3://": {"local_files": False}}
    rules = (ROOT / "specs/std/rules/scan.toml").read_text().split("[[rule]]")
    linked = [rule for rule in rules if 'path = "linked"' in rule]
    assert linked and all('"local_files"' in rule and 'otherwise = { path = "delta"' in rule for rule in linked)


def test_a_lock_excludes_names_its_holder_and_is_taken_over_from_the_dead(bucket: str) -> None:
    lake = Lake(f"s3://{bucket}/lake")
    lake.prepare()
    lock = lake.own / "locks" / "shop.lock"
    assert isinstance(lock, Stored)
    with lake.locked("shop"):
        with (
            pytest.raises(
                WriteConflict, match="another process runs or maintains `shop` in this lake \\(process "
            ) as caught,
            lake.locked("shop"),
        ):
            pass
        assert f"delete {lock}" in caught.value.help
        with lake.locked("another pack"):
            pass
    held = "import sys, time; from decreta_runtime.lake import Lake\nwith Lake(sys.argv[1]).locked('shop'): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", held, str(lake.root)], stdout=subprocess.PIPE, env=environment()
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(WriteConflict, match=f"process {other.pid} on "), lake.locked("shop"):
            pass
        other.kill()
        other.wait()
    with lake.locked("shop"):
        pass
    elsewhere = {"pack": "shop", "host": "far", "machine": "another", "process": 1, "born": "1"}
    obstore.put(S3Store(bucket), lock.key, json.dumps(elsewhere).encode())
    with pytest.raises(WriteConflict, match="process 1 on far"), lake.locked("shop"):
        pass
    assert lock.key in objects(bucket), "whether it lives cannot be seen from here"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}


def test_a_store_that_forgets_conditions_holds_no_lake(
    bucket: str, store: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with relay(store[0], forgetful=True) as (endpoint, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        lake = Lake(f"s3://{bucket}/lake")
        lake.prepare()
        with pytest.raises(LakeUnusable, match="writes over what it was asked to write only if"), lake.locked("shop"):
            pass
        assert not [key for key in objects(bucket) if "locks" in key]


@pytest.mark.parametrize("same", [True, False])
def test_of_two_runs_without_a_lock_one_is_refused(shop_compiled: Path, bucket: str, same: bool) -> None:
    """A person may delete the lock of a run that still goes on: what is committed does not rest on it."""
    put_tables(bucket)
    lake = f"s3://{bucket}/lake"

    def meanwhile(stage: str, words: str) -> None:
        if stage == "check":  # all of the first run's tables are written
            obstore.delete(S3Store(bucket), "lake/_decreta/locks/shop.lock")
            if not same:
                write_deltalake(f"s3://{bucket}/tables/sale", sales([(4, 1, 7, 2)]), mode="append")
            with decreta_runtime.open(str(shop_compiled), lake=lake) as other:
                assert other.run().run_seq == 1

    with decreta_runtime.open(str(shop_compiled), lake=lake) as first:
        with pytest.raises(WriteConflict, match="run 1 of `shop` is recorded already"):
            first.run(progress=meanwhile)
        paid = first.query("revenue_of", customer=1).to_pylist()
        assert paid == [{"name": "Ada", "paid": Decimal("20.00" if same else "25.00"), "sales": 2 if same else 3}]
        assert first.run().unchanged


def test_each_client_takes_the_credentials_of_the_environment(
    bucket: str, store: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = many(bucket, 1)
    with relay(store[0]) as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for act in (
            lambda: DeltaTable(str(pinned.path)),
            pinned.require_files,
            lambda: register_scan(session(), pinned, PAIR, value_of("native")),
        ):
            seen.clear()
            act()
            assert seen and all(CANARIES["AWS_ACCESS_KEY_ID"] in signed for signed in seen)


@pytest.mark.parametrize("refused", ["", r"^GET .*\.parquet"])
def test_a_store_that_quotes_credentials_is_not_repeated(
    shop_compiled: Path,
    bucket: str,
    store: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    refused: str,
) -> None:
    put_tables(bucket)
    pinned = many(bucket, 1)
    where = ["--lake", f"s3://{bucket}/lake", "--generated", str(shop_compiled.parent)]
    with relay(store[0], quoting=refused) as (endpoint, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        done = run_command("run", "shop", *where, cwd=tmp_path, module="decreta_runtime")
        assert done.returncode == 2 and seen
        assert "403 Forbidden" in done.stderr or "SignatureDoesNotMatch" in done.stderr
        assert not canaries_in(done.stderr + done.stdout)
        with pytest.raises(LakeUnusable, match=r"403 Forbidden|SignatureDoesNotMatch") as caught:
            if refused:
                again = Pinned("t", pinned.path, 0, DeltaTable(str(pinned.path)))
                register_scan(session(), again, PAIR, value_of("delta"))
            pinned.require_files()
    assert not canaries_in(f"{caught.value} {caught.value.message} {caught.value.help} {caught.value!r}")


def test_a_store_that_fails_while_a_pack_is_open_is_told_as_that(
    shop_compiled: Path, bucket: str, store: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tables(bucket)
    lake = f"s3://{bucket}/lake"
    with decreta_runtime.open(str(shop_compiled), lake=lake) as pack:
        pack.run()
        with relay(store[0], quoting=r"^GET .*/_decreta/.*\.parquet") as (endpoint, _):
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            for act in (lambda: pack.query("revenue_of", customer=1), lambda: pack.ledger("SELECT * FROM ledger")):
                with pytest.raises(
                    LakeUnusable, match=r"_decreta/(runs|ledger) cannot be read: .*SignatureDoesNotM"
                ) as own:
                    act()
                assert "<" not in own.value.message and "AWS_ENDPOINT_URL" in own.value.help
            with pytest.raises(LakeUnusable, match="cannot be read"):
                key_figures("shop", pack.policy, pack.lake)
        monkeypatch.setenv("AWS_ENDPOINT_URL", store[0])
        assert pack.query("revenue_of", customer=1).num_rows == 1
        with relay(store[0], quoting=r"^GET .*/revenue/part.*\.parquet") as (endpoint, _):
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            with (
                decreta_runtime.open(str(shop_compiled), lake=lake) as fresh,
                pytest.raises(
                    LakeUnusable, match=r"a table of `revenue_of` cannot be read: .*SignatureDoesNotMatch"
                ) as its,
            ):
                fresh.query("revenue_of", customer=1)
            assert "<" not in its.value.message and "AWS_ENDPOINT_URL" in its.value.help


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, "s3://b12/t", "no credentials for object stores"),
        ({"AWS_REGION": None}, "s3://b12/t", "does not say the region"),
        ({"AWS_ALLOW_HTTP": None}, "s3://b12/t", "in the clear"),
        ({"AWS_ENDPOINT_URL": "https://u:{}@host"}, "s3://b12/t", "AWS_ENDPOINT_URL has credentials in it"),
        ({}, "s3://key:{}@b12/t", "with credentials in it"),
        ({}, "s3://b12", "names no place in a bucket"),
        ({}, "s3://b12/a//b", "names no place in a bucket"),
        ({}, "s3://b12/a/../b", "names no place in a bucket"),
        ({}, "s3://b12/a%20b", "cannot work below a place with '%'"),
        ({}, "s3://b12/a?x=1", "cannot work below a place with '\\?'"),
        ({}, "s3://B[1]/t", "cannot be a bucket's name"),
        ({}, "gs://key:{}@b12/t", "scheme `gs`"),
    ],
)
def test_what_cannot_be_a_place_is_refused(
    store: object, monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], place: str, words: str
) -> None:
    secret = CANARIES["AWS_SECRET_ACCESS_KEY"]
    for name, value in change.items():
        monkeypatch.setenv(name, value.format(secret)) if value is not None else monkeypatch.delenv(name)
    with pytest.raises(InputInvalid, match=words) as caught:
        Lake(place.format(secret))
    assert not canaries_in(caught.value.message + caught.value.help)


def test_a_lake_is_not_written_to_without_conditions(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(f"s3://{bucket}/lake")
    for name, value in (("AWS_S3_ALLOW_UNSAFE_RENAME", "true"), ("AWS_CONDITIONAL_PUT", "disabled")):
        with monkeypatch.context() as environment:
            environment.setenv(name, value)
            with pytest.raises(InputInvalid, match="without a condition"):
                lake.prepare()
    assert objects(bucket) == {}


def test_relative_places_start_at_the_lake(bucket: str) -> None:
    lake = Lake(f"s3://{bucket}/lakes/one/")
    with pytest.raises(InputInvalid, match=f"`t` is bound to s3://{bucket}/tables/t, where there is no Delta table"):
        lake.bound("t", "../../tables/t")
    with pytest.raises(InputInvalid, match="names no place"):
        lake.bound("t", "../../../elsewhere")
    with pytest.raises(LakeUnusable, match=r"404 Not Found \(NoSuchBucket\)"):
        lake.bound("t", "s3://no-such-bucket/t")
