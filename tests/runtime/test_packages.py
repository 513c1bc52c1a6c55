"""Execution packages and replays: the same bytes each time, every flipped bit found, every cause of another result named."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time
import tomllib
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.conftest import ROOT, Command, compiled, edit_policy, reseal, sales, shop_tables
from tests.packs.retail.conftest import generate

import decreta_runtime
from decreta_runtime import archive
from decreta_runtime.archive import sealed
from decreta_runtime.contract.errors import DecretaError, DigestMismatch, InputInvalid, LakeUnusable, PackageInvalid
from decreta_runtime.contract.policy import DOMAINS
from decreta_runtime.kept import drop
from decreta_runtime.lake import Lake
from decreta_runtime.load import digest_of
from decreta_runtime.package import Package, archived, make_package, read_package
from decreta_runtime.packages import keep
from decreta_runtime.replay import replay
from decreta_runtime.rowdigest import loose_values, quick_digest, rows_digest

VARYING = {
    "weighed": """\
summary: How much each customer carried home.
body: SELECT customer_id, SUM(CAST(pieces AS DOUBLE) * 0.1) AS weight FROM sale GROUP BY customer_id
key: [customer_id]
varies: {weight: "0.000001"}
""",
    "some_sale": """\
summary: Two of the sales, whichever.
body: SELECT sale_id, pieces FROM sale LIMIT 2
varies: {sale_id: any, pieces: any}
""",
}
"""Relations of which two runs over the same data may give other rows, and say so."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages") / "shop"
    shutil.copytree(ROOT / "tests/packs/shop", folder, ignore=shutil.ignore_patterns("generated", ".decreta"))
    shop_tables(folder / "tables")
    for name, text in VARYING.items():
        (folder / f"specs/shop/relations/{name}.yaml").write_text(f"relation: {name}\nstore: true\n{text}")
    with decreta_runtime.open(str(compiled(folder, "shop"))) as pack:
        pack.run()
    return folder


@pytest.fixture(scope="module")
def packed(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "shop.package"
    with decreta_runtime.open(str(shop / "generated/shop")) as pack:
        path.write_bytes(make_package(pack, {}, with_data=True))
    return path


def with_more(packed: Path, bad: Path, name: str, mode: int = stat.S_IFREG) -> Path:
    """Write a package with one more member, sealed again."""
    shutil.copy(packed, bad)
    with zipfile.ZipFile(bad, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (mode | stat.S_IRUSR) << 16
        archive.writestr(info, b"x")
    bad.write_bytes(sealed(bad.read_bytes()))
    return bad


CONCURRENCY = "datafusion.execution.planning_concurrency"


def with_index(package: Package, **fields: Any) -> Package:
    return dataclasses.replace(package, index=structs.replace(package.index, **fields))


def test_a_package_is_the_same_each_time(shop: Path, packed: Path) -> None:
    with decreta_runtime.open(str(shop / "generated/shop")) as pack:
        assert make_package(pack, {}, with_data=True) == packed.read_bytes()
        without = make_package(pack, {})
    assert len(without) < packed.stat().st_size


def test_a_package_runs_anywhere_and_gives_the_same(packed: Path, decreta: Command, tmp_path: Path) -> None:
    done = decreta("replay", str(packed), "--times", "2", cwd=tmp_path)
    assert (done.returncode, done.stdout.count("equal:")) == (0, 2), done.stderr


def test_the_verb_packages_and_refuses_what_was_not_asked_for(shop: Path, decreta: Command, tmp_path: Path) -> None:
    file = tmp_path / "a.package"
    made = decreta("package", "shop", "--json", "-o", str(file), cwd=shop)
    told = json.loads(made.stdout)
    assert set(told["parts"]) == {
        "semantic_manifest", "execution_policy", "runtime_capability", "plan_bundle", "session_config",
    }  # fmt: skip
    refused = decreta("replay", str(file), "--expect", "sha256:0", cwd=tmp_path)
    assert refused.returncode == DigestMismatch.exit_status and told["fingerprint"] in refused.stderr
    lost = decreta("replay", str(file), cwd=tmp_path)
    assert (lost.returncode == 2 and "--source sale=PATH" in lost.stderr + lost.stdout) or "no data" in lost.stderr
    for words in (["package", "shop", "--run", "7", "-o", str(file)], ["replay", str(tmp_path / "none")]):
        done = decreta(*words, cwd=shop)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_replays_are_noted(shop: Path, packed: Path, decreta: Command, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(shop / "lake", tmp_path / "lake"))
    assert decreta("replay", str(packed), "--lake", str(lake), cwd=tmp_path).returncode == 0
    with decreta_runtime.open(str(shop / "generated/shop"), lake=str(lake)) as pack:
        (row,) = pack.ledger("SELECT fingerprint, outcome FROM ledger_replay").to_pylist()
    assert row == {"fingerprint": read_package(packed).fingerprint, "outcome": "equal"}
    told = decreta(
        "kpi", "shop", "--lake", str(lake), "--json", "--fail-under", "artifact_replay_success_rate.share=1", cwd=shop
    )
    assert told.returncode == 0, told.stderr
    replays = json.loads(told.stdout)["artifact_replay_success_rate"]
    assert (replays["count"], replays["of"], replays["by_outcome"]) == (1, 1, {"equal": 1})


def test_a_replay_that_cannot_be_noted_says_so(shop: Path, packed: Path, decreta: Command, tmp_path: Path) -> None:
    """A lake that is none is an error before anything runs; one that is not written to tells so, beside the outcome."""
    for lake in (tmp_path / "none", tmp_path):
        done = decreta("replay", str(packed), "--lake", str(lake), cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "") and "error[R106]" in done.stderr
    lake = Path(shutil.copytree(shop / "lake", tmp_path / "lake"))
    shutil.rmtree(lake / "_decreta/ledger")
    (lake / "_decreta/ledger").write_text("in the way")  # who may do everything can write to any folder
    done = decreta("replay", str(packed), "--lake", str(lake), cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("equal:")
    assert "the replay is not in the ledger: " in done.stderr


def test_a_table_in_a_store_is_not_looked_for_in_a_folder(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "somewhere")
    with pytest.raises(InputInvalid, match="lies in an object store, at s3://bucket/sale"):
        replay(read_package(packed), {"sale": ["s3://bucket/sale"]})


def test_a_package_is_the_same_after_a_checkpoint_and_kept_beyond_its_log(shop: Path, tmp_path: Path) -> None:
    """Its owner's writer may clean the log: what the kept version is read from stands in the lake, until it is dropped."""
    project = Path(shutil.copytree(shop, tmp_path / "shop", ignore=shutil.ignore_patterns("lake")))
    table, lake, path = str(project / "tables/sale"), Lake(str(project / "lake")), tmp_path / "a.package"
    write_deltalake(table, sales([(4, 3, 8, 2)]), mode="append")
    at_once = {f"delta.{what}RetentionDuration": "interval 0 seconds" for what in ("log", "deletedFile")}
    DeltaTable(table).alter.set_table_properties(at_once, raise_if_not_exists=False)
    edit_policy(project / "generated/shop", vacuum_at_once)
    with decreta_runtime.open(str(project / "generated/shop")) as pack:
        pack.run()
        before = [make_package(pack, {}), make_package(pack, {}, with_data=True)]
        DeltaTable(table).create_checkpoint()
        assert [make_package(pack, {}), make_package(pack, {}, with_data=True)] == before
    path.write_bytes(before[0])
    package = read_package(path)
    keep(lake, package)
    write_deltalake(table, sales([(9, 3, 8, 2)]), mode="overwrite")
    DeltaTable(table).create_checkpoint()
    time.sleep(1.1)
    DeltaTable(table).cleanup_metadata()
    with pytest.raises(DeltaError):
        DeltaTable(table, version=package.index.tables["sale"].version)
    with decreta_runtime.open(str(project / "generated/shop")) as pack:
        pack.run()

        def maintained() -> str | None:
            found = {done.table: done.found for done in pack.maintain()}["sale"]
            assert found is not None
            return found.detail.why

        assert maintained() is None
        assert replay(package, {}, lake).equal
        keep(lake, package)
        logs = lake.own / "packages/logs"
        assert isinstance(logs, Path)
        moved = logs.rename(logs.with_name("elsewhere"))
        assert "is in its log no more" in str(maintained())
        moved.rename(logs)
        drop(lake, package.fingerprint)
        assert not list(logs.glob("*/*"))


def test_a_kept_package_outlives_every_vacuum(shop: Path, decreta: Command, tmp_path: Path) -> None:
    """Its inputs are still there to replay from; once it is dropped they may go, and the replay says what has gone."""
    project = Path(shutil.copytree(shop, tmp_path / "shop", ignore=shutil.ignore_patterns("lake")))
    at_once = {"delta.deletedFileRetentionDuration": "interval 0 hours"}
    DeltaTable(str(project / "tables/sale")).alter.set_table_properties(at_once, raise_if_not_exists=False)
    edit_policy(project / "generated/shop", vacuum_at_once)

    def verb(*words: str, status: int = 0) -> str:
        done = decreta(*words, cwd=project)
        assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def files() -> set[str]:
        return {path.name for path in (project / "tables/sale").glob("*.parquet")}

    def run_and_vacuum() -> tuple[str, ...]:
        """Put others in the place of all sales, and say what was done to the table then."""
        write_deltalake(str(project / "tables/sale"), sales([(9, 3, 8, 2)]), mode="overwrite")
        time.sleep(0.01)
        with decreta_runtime.open(str(project / "generated/shop")) as pack:
            pack.run()
            found = {done.table: done.found for done in pack.maintain()}["sale"]
        assert found is not None
        return found.detail.done

    with decreta_runtime.open(str(project / "generated/shop")) as pack:
        pack.run()
        (project / "a.package").write_bytes(make_package(pack, {}))
    verb("packages", "keep", "a.package", "--lake", "lake")
    needed, fingerprint = files(), read_package(project / "a.package").fingerprint
    assert run_and_vacuum() == ("vacuum",) and needed < files()
    assert "equal:" in verb("replay", "a.package", "--lake", "lake")
    assert [k["fingerprint"] for k in json.loads(verb("packages", "list", "--lake", "lake", "--json"))] == [fingerprint]
    named = next((project / "lake/_decreta/packages").glob("*.json"))
    whole = named.read_bytes()
    named.write_bytes(whole[:-9])
    assert run_and_vacuum() == () and needed < files(), "what is kept is not known: nothing is vacuumed"
    assert "cannot be read" in verb("packages", "list", "--lake", "lake", status=2)
    named.write_bytes(whole)
    verb("packages", "drop", fingerprint, "--lake", "lake")
    assert run_and_vacuum() == ("vacuum",) and not needed & files()
    package, lake = read_package(project / "a.package"), Lake(str(project / "lake"))
    with pytest.raises(InputInvalid, match=r"version 1 of the table `sale` .* is gone"):
        replay(package, {}, lake)
    with pytest.raises(LakeUnusable, match="is gone"):
        keep(lake, package)
    with pytest.raises(InputInvalid, match="keeps no package"):
        drop(lake, fingerprint)
    verb("packages", "keep", "--lake", "lake", status=2)


def vacuum_at_once(policy: dict[str, Any]) -> None:
    dead = {"action": "vacuum", "metric": "expired_bytes", "comparison": "at_least", "threshold": 1, "unknown": "pass"}
    policy[DOMAINS["maintenance"][0]]["sale"]["value"] |= {"triggers": {"dead": dead}, "retention_hours": 0}


def test_a_table_is_taken_from_a_lake_as_it_was(shop: Path, tmp_path: Path) -> None:
    """Later commits do not matter, a log that has been cleaned neither; a file with other bytes is refused."""
    project = Path(shutil.copytree(shop, tmp_path / "shop"))
    with decreta_runtime.open(str(project / "generated/shop")) as pack:
        path = tmp_path / "a.package"
        path.write_bytes(make_package(pack, {}))
    package, lake = read_package(path), Lake(str(project / "lake"))
    with pytest.raises(InputInvalid, match="holds no data"):
        replay(package, {})
    sale = project / "tables/sale"
    write_deltalake(str(sale), sales([(9, 3, 8, 2)]), mode="append")
    DeltaTable(str(sale)).create_checkpoint()
    assert replay(package, {}, lake).equal
    (first,) = DeltaTable(str(sale), version=0).file_uris()
    Path(first).write_bytes(Path(first).read_bytes() + b"x")
    with pytest.raises(InputInvalid, match="is not what the package names"):
        replay(package, {}, lake)
    shutil.rmtree(sale)
    write_deltalake(str(sale), sales([(9, 3, 8, 2)]))
    with pytest.raises(InputInvalid, match="there is another now"):
        replay(package, {}, lake)
    other = with_index(package, tables={n: structs.replace(t, table_id="x") for n, t in package.index.tables.items()})
    with pytest.raises(InputInvalid, match="has read the package's table"):
        replay(other, {}, lake)


Hostile = Callable[[Package, Path], None]
"""Writes such a package as a hostile one."""


def resealed(change: Callable[[bytearray], object]) -> Hostile:
    """Change bytes of the archive itself."""

    def write(package: Package, path: Path) -> None:
        data = bytearray(archived(package.index, package.whole))
        change(data)
        path.write_bytes(sealed(bytes(data)))

    return write


def indexed(change: Callable[[dict[str, Any]], object]) -> Hostile:
    """Say something else in the index."""

    def write(package: Package, path: Path) -> None:
        index = msgspec.to_builtins(package.index)
        change(index)
        path.write_bytes(archive.archived({"index.json": json.dumps(index).encode(), **package.whole}))

    return write


def deep(package: Package, path: Path) -> None:
    path.write_bytes(archive.archived({"index.json": b'{"format":3,"x":' + b"[" * 100_000, **package.whole}))


def with_members(**bodies: bytes) -> Hostile:
    """Put other members in, and name them in the index; `__` is a slash."""

    def write(package: Package, path: Path) -> None:
        more = {name.replace("__", "/"): body for name, body in bodies.items()}
        digests = package.index.members | {name: digest_of(body) for name, body in more.items()}
        path.write_bytes(archived(structs.replace(package.index, members=digests), {**package.whole, **more}))

    return write


def flagged(data: bytearray) -> None:
    """Say that the first member is encrypted."""
    data[data.find(b"PK\x01\x02") + 8] |= 1
    data[data.find(b"PK\x03\x04") + 6] |= 1


def packed_by(method: int) -> Hostile:
    def write(package: Package, path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as whole:
            whole.writestr("index.json", msgspec.json.encode(package.index))
            for name, body in package.whole.items():
                whole.writestr(name, body)
            whole.comment = bytes(len(digest_of(b"")))
        path.write_bytes(sealed(path.read_bytes()))

    return write


def with_share(share: str) -> Hostile:
    """Let the pack itself say by what share a column may vary."""

    def write(package: Package, path: Path) -> None:
        manifest = json.loads(package.members["pack/manifest.json"])
        manifest["relations"]["weighed"]["varies"]["weight"] = share
        body = json.dumps(manifest).encode()
        more = {"pack/manifest.json": body, "pack/manifest.sha256": digest_of(body).encode() + b"\n"}
        digests = package.index.members | {name: digest_of(data) for name, data in more.items()}
        varies = package.index.varies | {"weighed": {"weight": share}}
        index = structs.replace(package.index, manifest_digest=digest_of(body), members=digests, varies=varies)
        path.write_bytes(archived(index, {**package.whole, **more}))

    return write


HOSTILE: dict[str, Hostile] = {
    "an index without end": deep,
    "encrypted": resealed(flagged),
    "packed by LZMA": packed_by(zipfile.ZIP_LZMA),
    "packed by bzip2": packed_by(zipfile.ZIP_BZIP2),
    "bytes before": resealed(lambda data: data.__setitem__(slice(0, 0), b"#!/bin/sh\n")),
    "bytes behind": resealed(lambda data: data.extend(bytes(71))),
    "a digest of other letters": indexed(lambda index: index["members"].update({"pack/manifest.json": "sha256:é"})),
    "a file that is a folder too": with_members(pack__zz=b"x", pack__zz__b=b"y"),
    "input that is a folder too": with_members(data__sale__main__zz=b"x", data__sale__main__zz__b=b"y"),
    "a long name": with_members(**{"pack__" + "a" * 300: b"x"}),
    "a deep name": with_members(**{"data__sale__main__" + "a__" * 3000 + "b": b"x"}),
    "a name that ends early": with_members(**{"data__sale__main__a%00b": b"x"}),
    "a name that hides": with_members(**{"data__sale__main__%2E%2E": b"x"}),
    "a place that no package has": with_members(etc__x=b"x"),
    "no place": with_members(**{".": b"x"}),
    "a root of no files": indexed(lambda index: index["roots"].update(sale=["elsewhere"])),
    "inputs of no root": with_members(data__sale__other__x=b"x"),
    "a root twice": indexed(lambda index: index["roots"].update(sale=["main", "main"])),
    "no roots": indexed(lambda index: index["roots"].update(sale=[])),
    "a root outside": indexed(lambda index: index["roots"].update(sale=["../../../etc"])),
    "a source of no pack": indexed(lambda index: index["sources"].update(zz="sha256:1")),
    "another pack": indexed(lambda index: index.update(pack="other")),
    "results of nothing": indexed(lambda index: index["results"].update(zz={"count": 1, "digest": "x"})),
    "a share that is none": with_share("abc"),
    "a share of all": with_share("inf"),
    "another share than the pack's": indexed(lambda index: index["varies"]["weighed"].update(weight="1")),
    "values without end": with_members(**{"results__weighed.json": b"[" * 200_000}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_a_hostile_file_says_is_refused_in_words(packed: Path, tmp_path: Path, kind: str) -> None:
    bad = tmp_path / "bad.package"
    HOSTILE[kind](read_package(packed), bad)
    with pytest.raises(PackageInvalid, match="package"):
        replay(read_package(bad), {})


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a\\b", "C:/out", "a//b"])
def test_no_member_leaves_its_folder(packed: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageInvalid, match="leave its folder"):
        read_package(with_more(packed, tmp_path / "bad.package", name))


def test_links_twins_and_strangers_are_refused(packed: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.package"
    for name, mode, words in (
        ("link", stat.S_IFLNK, "no files"),
        ("PACK/manifest.json", stat.S_IFREG, "two members"),
        ("pack/more.py", stat.S_IFREG, "not as it was written"),
    ):
        with pytest.raises(PackageInvalid, match=words):
            read_package(with_more(packed, bad, name, mode))
    for data in (b"", b"PK", packed.read_bytes()[:-30], os.urandom(4096)):
        for body in (data, sealed(data)):
            bad.write_bytes(body)
            with pytest.raises(PackageInvalid):
                read_package(bad)


def test_a_package_of_another_format_says_so(packed: Path, tmp_path: Path) -> None:
    package = read_package(packed)
    other = tmp_path / "other.package"
    other.write_bytes(archived(structs.replace(package.index, format=1), dict(package.whole)))
    with pytest.raises(PackageInvalid, match="has format 1"):
        read_package(other)


def test_a_bomb_is_refused_before_it_is_unpacked(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_BYTES", "_HELD", "_INDEXED"):
        with monkeypatch.context() as patch, pytest.raises(PackageInvalid, match=r"(unpack to|take) more"):
            patch.setattr(f"decreta_runtime.archive.{limit}", 1000)
            read_package(packed)


def test_inputs_never_stand_in_memory_whole(packed: Path, tmp_path: Path) -> None:
    """A small file may unpack to much: it is written a part at a time, and only if it is the one that was asked for."""
    big = tmp_path / "big.package"
    with_members(data__sale__main__zero=bytes(200 << 20))(read_package(packed), big)
    tracemalloc.start()
    try:
        with pytest.raises(DigestMismatch):
            read_package(big, "sha256:0")
        places = read_package(big).inputs(tmp_path / "inputs")["sale"]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert places == [str(tmp_path / "inputs/sale/main")]
    assert (tmp_path / "inputs/sale/main/zero").stat().st_size == 200 << 20
    assert most < 64 << 20


def test_each_cause_of_another_result_is_named(shop: Path, packed: Path, tmp_path: Path) -> None:
    package = read_package(packed)
    revenue = package.index.results["revenue"]
    other = package.index.results | {"revenue": structs.replace(revenue, digest="sha256:0")}
    tables = Path(shutil.copytree(shop / "tables", tmp_path / "tables"))
    write_deltalake(str(tables / "sale"), sales([(9, 3, 8, 2)]), mode="append")
    given = {name: [str(tables / name)] for name in package.index.tables}
    found = replay(package, given)
    assert (found.kind, found.equal) == ("input", False)
    assert {d.subject for d in found.differences if d.what == "rows"} >= {"weighed", "revenue"}
    assert found.first is not None and (found.first.what, found.first.subject) == ("rows", "weighed"), (
        "the pack's order"
    )
    engine = package.index.engine | {"datafusion": "1.0"}
    assert replay(with_index(package, results=other, engine=engine), {}).kind == "engine"
    settings = package.index.settings | {"datafusion.execution.target_partitions": "7"}
    assert replay(with_index(package, results=other, settings=settings), {}).kind == "settings"
    # What the engine takes from the number of cores and no policy sets is told, and explains nothing.
    cores = package.index.settings | {CONCURRENCY: "64"}
    elsewhere = replay(with_index(package, results=other, settings=cores), {})
    assert elsewhere.kind == "nondeterminism"
    assert [d.subject for d in elsewhere.differences if d.what == "setting"] == [CONCURRENCY]
    plans = {n: structs.replace(p, logical="sha256:0") for n, p in package.index.plans.items()}
    assert replay(with_index(package, results=other, plans=plans), {}).kind == "builder"
    assert replay(with_index(package, results=other), {}).kind == "nondeterminism"
    only = replay(with_index(package, settings=settings), {})
    assert only.equal and only.first is not None and only.first.what == "setting"


def test_what_is_declared_to_vary_is_compared_by_its_tolerance(packed: Path) -> None:
    package = read_package(packed)
    assert package.index.varies == {
        "weighed": {"weight": "0.000001"},
        "some_sale": dict.fromkeys(("pieces", "sale_id"), "any"),
    }
    (values,) = json.loads(package.members["results/weighed.json"]).values()
    assert sorted(values) == pytest.approx([0.3, 0.5])

    def with_values(*values: Any) -> Package:
        body = json.dumps({"weight": values}).encode()
        members = package.index.members | {"results/weighed.json": digest_of(body)}
        return dataclasses.replace(
            with_index(package, members=members), members={**package.members, "results/weighed.json": body}
        )

    close = replay(with_values(values[0] * (1 + 1e-9), values[1]), {})
    assert close.equal, close.differences
    for others in ((values[0], values[1] * 1.001), (values[0],), (values[0], None), (values[0], float("nan"))):
        far = replay(with_values(*others), {})
        assert (far.kind, far.first and far.first.subject) == ("nondeterminism", "weighed.weight")
    with pytest.raises(PackageInvalid, match="values of `weighed`"):
        replay(with_values("0.3", "0.5"), {})
    fewer = {n: structs.replace(r, count=1) if n == "some_sale" else r for n, r in package.index.results.items()}
    found = replay(with_index(package, results=fewer), {})
    assert found.first and found.first.subject == "some_sale"


def test_a_run_of_another_policy_or_source_is_no_package(shop: Path, tmp_path: Path) -> None:
    generated = ROOT / "generated/code_graph"
    source = Path(shutil.copytree(ROOT / "tests/packs/shop", tmp_path / "source"))
    (source / "a.py").write_text("def f():\n    return 1\n")
    places = {"python": [f"main:{source}"]}
    with decreta_runtime.open(str(generated), lake=str(tmp_path / "lake")) as pack:
        pack.run(places)
        data = make_package(pack, places, with_data=True)
        (source / "a.py").write_text("def g():\n    return 2\n")
        with pytest.raises(InputInvalid, match="is not what run 1 read"):
            make_package(pack, places, with_data=True)
    path = tmp_path / "code.package"
    path.write_bytes(data)
    found = replay(read_package(path), {})
    assert found.equal, found.differences
    assert {d.what for d in found.differences} <= {"plan"}
    changed = replay(read_package(path), places)
    assert changed.kind == "input"


def tree(folder: Path, *names: str) -> Path:
    """Write small Python files, each with another text."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"name = {name!r}\n")
    return folder


def a_package(folder: Path) -> str:
    return f"main:{tree(folder / 'own', '__init__.py', 'sub/b.py')}"


def an_installed_one(folder: Path) -> str:
    return "main:json"


def one_file(folder: Path) -> str:
    return f"main:{tree(folder, 'only.py') / 'only.py'}"


def odd_names(folder: Path) -> str:
    """Names that another system, zip or an encoding takes for something else."""
    top = tree(folder / "my %dir", "b:c.py", "b\\c.py", "b.py", "B.py", "%2e.py", "é.py", "a b/c.py")
    (top / os.fsdecode(b"caf\xe9.py")).write_text("x = 1\n")
    return f"main:{top}"


def links(folder: Path) -> str:
    """A link to a file is read as its content; one to a folder is not followed."""
    top = tree(folder / "linked", "a.py")
    (top / "b.py").symlink_to(tree(folder / "elsewhere", "real.py") / "real.py")
    (top / "more").symlink_to(folder / "elsewhere")
    return f"main:{top}"


@pytest.mark.parametrize("place", [a_package, an_installed_one, one_file, odd_names, links])
def test_a_packed_source_is_read_as_the_run_read_it(tmp_path: Path, place: Callable[[Path], str]) -> None:
    places = {"python": [place(tmp_path), f"more:{tree(tmp_path / 'more', 'm.py')}"]}
    with decreta_runtime.open(str(ROOT / "generated/code_graph"), lake=str(tmp_path / "lake")) as pack:
        pack.run(places)
        data = make_package(pack, places, with_data=True)
    shutil.rmtree(tmp_path / "lake")
    path = tmp_path / "code.package"
    path.write_bytes(data)
    found = replay(read_package(path), {})
    assert found.equal and {d.what for d in found.differences} <= {"plan"}, found.differences


def test_only_what_a_run_reads_is_packed(tmp_path: Path, decreta: Command) -> None:
    """No secrets that lie beside it; and a file that stood at the package's place stays until the new one is whole."""
    top = tree(tmp_path / "source", "a.py", "sub/b.py")
    for name in (".env", ".git/config", "__pycache__/a.cpython-311.pyc", "sub/notes.txt"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text("secret")
    words = [str(ROOT / "generated/code_graph"), "--lake", "lake", "--source", f"python={top}"]
    assert decreta("run", *words, cwd=tmp_path).returncode == 0
    file = tmp_path / "a.package"
    file.write_text("older")
    link = tmp_path / "link.package"
    link.symlink_to(file)
    (top / "more.py").write_text("x = 2\n")
    refused = decreta("package", *words, "--with-data", "-o", str(link), cwd=tmp_path)
    assert refused.returncode == 2 and file.read_text() == "older" and "is not what run 1 read" in refused.stderr
    (top / "more.py").unlink()
    made = decreta("package", *words, "--with-data", "-o", str(link), cwd=tmp_path)
    assert made.returncode == 0 and link.is_symlink(), made.stderr
    inside = {name for name in read_package(file).index.members if name.startswith("data/")}
    assert inside == {"data/python/main/source/a.py", "data/python/main/source/sub/b.py"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.package", "lake", "link.package", "source"]
    pipe = decreta("package", *words, "-o", "/dev/stdout", cwd=tmp_path)
    assert pipe.returncode == 2 and "is no file that a package can be written to" in pipe.stderr


def test_what_cannot_be_packed_is_said(tmp_path: Path) -> None:
    """An adapter that does not name its files, or whose units are others in a copy of them."""
    pack = Path(shutil.copytree(ROOT / "generated/code_graph", tmp_path / "generated/code_graph"))
    adapter, places = pack / "code/python_source.py", {"python": [str(tree(tmp_path / "source", "a.py"))]}
    whole = adapter.read_text()
    for at, (old, new, words) in enumerate(
        (
            ("def file_of", "def no_file_of", "does not say which file"),
            ("_plain(relative)", "_plain(str(file))", "is not what run 1 read of it"),
            ('unit.location.rpartition("\\n")[0]', '"/etc/hosts"', "which is not below its place"),
            ('unit.location.rpartition("\\n")[0]', "unit.nothing", "AttributeError"),
        )
    ):
        assert old in whole
        adapter.write_text(whole.replace(old, new, 1))
        reseal(pack)
        with decreta_runtime.open(str(pack), lake=str(tmp_path / f"lake{at}")) as opened:
            opened.run(places)
            with pytest.raises(DecretaError, match=words):
                make_package(opened, places, with_data=True)
            assert make_package(opened, places), "without data it is"


COLUMNS = {
    "i": (pa.int64(), st.integers(-5, 5)),
    "s": (pa.string(), st.text(alphabet="ab:;-0\0é", max_size=3)),
    "f": (pa.float64(), st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")])),
    "b": (pa.binary(), st.binary(max_size=2)),
    "y": (pa.bool_(), st.booleans()),
    "d": (pa.decimal128(20, 2), st.sampled_from([Decimal("0.00"), Decimal("-1.10"), Decimal("999999999999999999.99")])),
    "t": (pa.timestamp("us", "UTC"), st.sampled_from([datetime(1969, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])),
    "l": (pa.list_(pa.string()), st.lists(st.one_of(st.none(), st.text(alphabet="a,'", max_size=2)), max_size=2)),
    "g": (pa.list_(pa.list_(pa.int8())), st.lists(st.lists(st.integers(0, 1), max_size=2), max_size=2)),
    "h": (pa.list_(pa.float32()), st.lists(st.sampled_from([0.0, -0.0, float("nan")]), max_size=2)),
    "r": (pa.struct([("x", pa.int8()), ("y", pa.string())]), st.fixed_dictionaries({"x": st.none(), "y": st.just("x")})),
}  # fmt: skip
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])
ROWS = st.lists(st.tuples(*(st.one_of(st.none(), values) for _, values in COLUMNS.values())), max_size=6)


def table(rows: list[Any]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)


def shown(rows: list[Any]) -> list[str]:
    """Return rows as text in one order, each value as the table has it: a struct may be drawn with its fields turned."""
    return sorted(map(repr, table(rows).to_pylist()))


def other_layout(rows: pa.Table) -> pa.Table:
    """Return the same rows as an engine may hand them over: views, dictionaries, wide offsets, slices."""
    kinds = {"s": pa.string_view(), "l": pa.large_list(pa.large_string()), "b": pa.large_binary()}
    cast = rows.cast(pa.schema([field.with_type(kinds.get(field.name, field.type)) for field in rows.schema]))
    cast = cast.set_column(0, "i", cast["i"].dictionary_encode())
    return pa.concat_tables([cast, cast]).slice(len(rows), len(rows))


@settings(max_examples=40, deadline=None)
@given(a=ROWS, b=ROWS, data=st.data())
def test_a_digest_is_of_the_rows_alone(a: list[Any], b: list[Any], data: st.DataObject) -> None:
    """Equal for the same rows in any order, batches and layout, unlike for any others; the quick one too."""
    shuffled = table(data.draw(st.permutations(a)))
    digest, quick = rows_digest(table(a).to_batches(), SCHEMA), quick_digest(table(a))
    assert rows_digest(shuffled.to_batches(max_chunksize=1), SCHEMA) == digest
    laid = other_layout(shuffled)
    assert rows_digest(laid.to_batches(), laid.schema) == digest
    assert quick_digest(shuffled) == quick == quick_digest(laid)
    same = shown(a) == shown(b)
    assert (rows_digest(table(b).to_batches(), SCHEMA) == digest) is same
    assert (quick_digest(table(b)) == quick) is same


@settings(max_examples=40, deadline=None)
@given(rows=ROWS.filter(bool), data=st.data())
def test_a_digest_tells_one_value_and_one_row(rows: list[Any], data: st.DataObject) -> None:
    """Changed, missing and doubled rows are seen, also where two changes would even out."""
    at = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, len(SCHEMA) - 1))
    value = data.draw(st.one_of(st.none(), COLUMNS[SCHEMA.names[column]][1]))
    changed = [*rows[:at], (*rows[at][:column], value, *rows[at][column + 1 :]), *rows[at + 1 :]]
    for other in (changed, rows[:at] + rows[at + 1 :], [*rows, rows[at]], [*rows, rows[at], rows[at]]):
        same = shown(rows) == shown(other)
        for digest in (lambda t: rows_digest(t.to_batches(), SCHEMA).digest, quick_digest):
            assert (digest(table(rows)) == digest(table(other))) is same


@given(rows=ROWS, data=st.data())
@settings(max_examples=30, deadline=None)
def test_values_that_vary_come_in_an_order_of_the_rows(rows: list[Any], data: st.DataObject) -> None:
    whole, shuffled = table(rows), table(data.draw(st.permutations(rows)))
    assert repr(loose_values(whole, ["f"])).replace("-0.0", "0.0") == repr(loose_values(shuffled, ["f"])).replace(
        "-0.0", "0.0"
    )


def test_a_digest_knows_where_a_null_stands() -> None:
    """A hash passes over nulls: rows that it would take for each other are told apart, and put in one order."""
    rows = pa.table({"a": pa.array([None, 7, 7], pa.int64()), "b": pa.array([7, None, 7], pa.int64())})
    turned, first = rows.take([1, 0, 2]), rows.take([0, 0, 2])
    assert quick_digest(rows) == quick_digest(turned) != quick_digest(first)
    digests = [rows_digest(t.to_batches(), t.schema) for t in (rows, turned, first)]
    assert digests[0] == digests[1] != digests[2]


def test_a_digest_is_of_names_and_types_too() -> None:
    whole = pa.table({"a": pa.array([1, 2], pa.int32())})
    others = [whole.rename_columns(["b"]), whole.cast(pa.schema([("a", pa.int64())])), whole.slice(0, 0)]
    others += [
        pa.table({"a": pa.array([1, 2], pa.timestamp(unit, zone))}) for unit in ("us", "ms") for zone in (None, "UTC")
    ]
    assert len({rows_digest(t.to_batches(), t.schema).digest for t in [whole, *others]}) == len(others) + 1
    assert len({quick_digest(t) for t in [whole, *others]}) == len(others) + 1


VARIED = {
    "datafusion.execution.target_partitions": ("1", "2", "3"),
    "datafusion.execution.batch_size": ("1000", "8192", "20000"),
    "datafusion.runtime.metadata_cache_limit": ("0", "50M"),
    "datafusion.runtime.file_statistics_cache_limit": ("0", "20M"),
}
COMPACT = {"action": "compact", "metric": "small_files", "comparison": "at_least", "threshold": 2, "unknown": "pass"}


def varied(package: Package, choose: random.Random) -> Package:
    """Return a package whose policy runs it otherwise: partitions, batches, caches, scan paths, layout, compaction."""
    name = f"pack/policy/{package.index.environment}.json"
    policy = json.loads(package.members[name])

    def values(domain: str) -> list[dict[str, Any]]:
        """Return what the decisions of a domain may come to, whatever their mode."""
        found = policy[DOMAINS[domain][0]].values()
        return [v for decision in found for v in (decision["value"], decision["baseline"]) if v is not None]

    settings = {s: {"value": choose.choice(found), "because": "varied"} for s, found in VARIED.items()}
    for value in values("session"):
        value["settings"] |= settings
        value["source_workers"] = 1
    for decision in policy[DOMAINS["scan"][0]].values():
        if choose.random() < 0.5 and decision["otherwise"] is not None:
            decision["value"] = decision["otherwise"]  # through delta-rs
    for value in values("write"):
        value["row_group_rows"] = choose.choice((7, 100, 8192))
        value["target_file_bytes"] = choose.choice((2000, 33554432))
    triggers = choose.choice(({}, {"few": COMPACT}))
    for value in values("maintenance"):
        value |= {"triggers": triggers, "small_file_bytes": choose.choice((100, 8388608))}
    data = json.dumps(policy).encode()
    manifest = json.loads(package.members["pack/manifest.json"])
    manifest["files"][name.removeprefix("pack/")] = digest_of(data)
    body = json.dumps(manifest).encode()
    digest = digest_of(body)
    more = {name: data, "pack/manifest.json": body, "pack/manifest.sha256": digest.encode() + b"\n"}
    members = {**package.members, **more}
    digests = package.index.members | {name: digest_of(body) for name, body in more.items()}
    index = structs.replace(package.index, manifest_digest=digest, policy_digest=digest_of(data), members=digests)
    return Package(index, members, package.whole)


REPLAY = """
import sys
from pathlib import Path
from decreta_runtime.package import read_package
from decreta_runtime.replay import replay

if __name__ == "__main__":
    for path in sys.argv[1:]:
        found = replay(read_package(Path(path)), {})
        assert found.equal, (path, found.first)
        print("equal")
"""


def parity(package: Package, times: int, seed: int, folder: Path, pythons: Sequence[Path] = ()) -> None:
    """Replay so often, each time run otherwise, by each Python in its turn; this one is one of them."""
    choose, here, others = random.Random(seed), len(pythons) + 1, list[list[Path]]([] for _ in pythons)
    for turn in range(times):
        other = varied(package, choose)
        if turn % here < len(pythons):
            path = folder / f"{seed}-{turn}.package"
            path.write_bytes(archived(other.index, {**other.whole, **other.members}))
            others[turn % here].append(path)
        else:
            found = replay(other, {})
            assert found.equal, (turn, seed, found.first)
    script = folder / "replays.py"
    script.write_text(REPLAY)
    for python, paths in zip(pythons, others, strict=True):
        told = subprocess.run(
            [python, script, *paths],
            env={**os.environ, "PYTHONPATH": str(ROOT / "runtime")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (told.returncode, told.stdout.count("equal")) == (0, len(paths)), (python, told.stderr)


@pytest.fixture(scope="module")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Environments of other Pythons that stand under pyenv, with the engines as this one has them."""
    found = []
    for minor in ("3.12", "3.13"):
        bases = sorted((Path.home() / ".pyenv/versions").glob(f"{minor}.*/bin/python"))
        if bases and f"{sys.version_info.major}.{sys.version_info.minor}" != minor:
            folder = tmp_path_factory.mktemp("pythons") / minor
            subprocess.run([bases[-1], "-m", "venv", folder], check=True)
            wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
            pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run(
                [*pip, "-c", str(ROOT / "constraints.txt"), *wanted], check=False, capture_output=True
            )
            assert done.returncode == 0, f"Python {minor} stands here without engines: {done.stderr.decode()[-300:]}"
            found.append(folder / "bin/python")
    return found


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return of_pack(
        tmp_path_factory.mktemp("code"), "code_graph", {"python": [f"main:{ROOT / 'specs/code_graph/code'}"]}
    )


def of_pack(folder: Path, name: str, places: dict[str, list[str]]) -> Package:
    with decreta_runtime.open(str(ROOT / "generated" / name), lake=str(folder / "lake")) as pack:
        pack.run(places)
        path = folder / "a.package"
        path.write_bytes(make_package(pack, places, with_data=True))
    return read_package(path)


def test_runs_repeat_however_they_are_run(packed: Path, code: Package, tmp_path: Path) -> None:
    parity(read_package(packed), 4, 1, tmp_path)
    parity(code, 1, 2, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", ["code_graph", "retail"])
def test_many_replays_of_both_packs(code: Package, pythons: list[Path], tmp_path: Path, name: str) -> None:
    """A hundred, half of each pack; DECRETA_REPLAYS=500 asks for the figure of the promise."""
    times = int(os.environ.get("DECRETA_REPLAYS", "100")) // 2
    if name == "code_graph":
        parity(code, times, 4, tmp_path, pythons)
    else:
        load = generate(tmp_path / "load", "0.01")
        parity(of_pack(tmp_path, name, {"tpch": [f"main:{load}"]}), times, 3, tmp_path, pythons)
