"""Bits that flip, files that vanish, commits that rewrite twice: `verify` finds each, or the run refuses it."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import decreta_runtime
from decreta_runtime.contract.errors import DecretaError, LakeUnusable
from decreta_runtime.contract.integrity import Finding, Verification
from decreta_runtime.package import make_package, read_package
from tests.conftest import Command, edit_policy, rows_of
from tests.faults.extent import ALL

FLIPS = 40 if ALL else 1
"""Flips in each file."""


def run(pack: Path, lake: Path, source: Path) -> None:
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run({"python": str(source)})


def verified(pack: Path, lake: Path, data: bool = True) -> Verification:
    return decreta_runtime.open(str(pack), lake=str(lake)).verify_lake(data)


def found(pack: Path, lake: Path, data: bool = True) -> tuple[Finding, ...]:
    return verified(pack, lake, data).findings


def index_built(pack: Path) -> None:
    def build(policy: dict[str, Any]) -> None:
        policy["index_policy_by_dataset"]["definition.by_name"]["value"]["build"] = True

    edit_policy(pack, build)


@pytest.fixture(scope="module")
def kept(code_graph_compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A pack, a lake with two runs, look-ups and an index, and the source: to be copied, never changed."""
    folder = tmp_path_factory.mktemp("kept")
    pack, lake, source = folder / "code_graph", folder / "lake", folder / "source"
    shutil.copytree(code_graph_compiled, pack)
    index_built(pack)
    source.mkdir()
    for i in (1, 2):
        (source / "a.py").write_text(f"import os\n\ndef f_{i}(x):\n    return os.path.join(x, g)\n\ng = f_{i}(1)\n")
        run(pack, lake, source)
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.query("symbol_lookup", name="f_2")
    assert (lake / "_decreta/index/code_graph/definition/by_name").is_dir()
    return pack, lake, source


@pytest.fixture
def whole(kept: tuple[Path, Path, Path], tmp_path: Path) -> tuple[Path, Path, Path]:
    pack, lake, source = kept
    for folder in (pack, lake, source):
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / pack.name, tmp_path / lake.name, tmp_path / source.name


def flip(path: Path, draw: random.Random) -> bytes:
    """Flip one bit of a file; return what it held."""
    data = path.read_bytes()
    bit = draw.randrange(len(data) * 8)
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    return data


def current(lake: Path) -> Iterator[Path]:
    """Yield every file of a lake that the last complete run rests on: what is only of runs before counts for nothing."""
    for log in sorted(lake.rglob("_delta_log")):
        yield from sorted(log.iterdir())
        yield from sorted(
            map(Path, (Path(uri.removeprefix("file://")) for uri in DeltaTable(str(log.parent)).file_uris()))
        )
    yield from sorted((lake / "_decreta/digests").rglob("*.sha256"))
    yield lake / "_decreta/format.json"


def detected(pack: Path, lake: Path) -> bool:
    try:
        return bool(found(pack, lake))
    except DecretaError as error:
        assert error.help
        return True


def test_a_whole_lake_has_no_findings(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, _ = whole
    seen = verified(pack, lake)
    assert seen.findings == () and seen.run_seq == 2
    assert seen.files >= sum(1 for path in current(lake) if path.suffix in (".parquet",)), "each was compared"
    assert verified(pack, lake, data=False).findings == ()
    before = {p: p.stat().st_mtime_ns for p in lake.rglob("*") if p.is_file()}
    verified(pack, lake)
    assert before == {p: p.stat().st_mtime_ns for p in lake.rglob("*") if p.is_file()}, "nothing is written"


def test_a_flipped_bit_in_any_file_of_the_lake_is_found(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, _ = whole
    draw = random.Random(int(os.environ.get("DECRETA_SEED", "7")))
    files = list(current(lake))
    if not ALL:  # each kind of file, in one table
        files = [f for f in files if {"definition", "by_name", "runs", "format.json"} & {*f.parts, f.stem}]
    missed = []
    for path in files:
        for _ in range(FLIPS):
            data = flip(path, draw)
            if not detected(pack, lake):
                missed.append(path.relative_to(lake))
            path.write_bytes(data)
    assert not missed and len(files) > 10
    assert not found(pack, lake), "put back, all is well"


def test_a_flipped_bit_in_any_generated_file_is_refused(whole: tuple[Path, Path, Path]) -> None:
    """Builders, policies, code, queries, manifest: nothing of a pack runs that is not as it was generated."""
    pack, lake, _ = whole
    draw = random.Random(int(os.environ.get("DECRETA_SEED", "7")))
    for path in sorted(p for p in pack.rglob("*") if p.is_file()):
        for _ in range(FLIPS):
            data = flip(path, draw)
            with pytest.raises(DecretaError) as refused:
                decreta_runtime.open(str(pack), lake=str(lake))
            assert refused.value.code in ("R101", "R102", "R103"), path
            path.write_bytes(data)


def test_a_flipped_bit_anywhere_in_a_package_is_refused(whole: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """In headers, members, lists and seal alike; nothing of the package is unpacked or run."""
    pack, lake, source = whole
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        package = make_package(opened, {"python": [str(source)]}, with_data=True)
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        lists = archive.start_dir
        starts = [entry.header_offset for entry in archive.infolist()]
        bodies = [at + 30 + len(entry.filename) for at, entry in zip(starts, archive.infolist(), strict=True)]
    end = package.rindex(b"PK\x05\x06")
    draw = random.Random(int(os.environ.get("DECRETA_SEED", "7")))
    classes = [
        [at + i for at in starts for i in range(30)],  # what stands before each member
        [i for at, n in zip(bodies, [*starts[1:], lists], strict=True) for i in range(at, n)],  # members
        [*range(lists, end)],
        [*range(end, end + 22)],
        [*range(end + 22, len(package))],
    ]
    path = tmp_path / "a.package"
    path.write_bytes(package)
    read_package(path)
    for positions in classes:
        for at in draw.sample(positions, min(len(positions), 800 if ALL else 8)):
            changed = bytearray(package)
            changed[at] ^= 1 << draw.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(DecretaError) as refused:
                read_package(path)
            assert refused.value.code == "R111", at


def test_a_finding_says_where_rows_come_from_and_how_to_have_them_again(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, source = whole
    before = {name: rows_of(lake / "code_graph" / name) for name in ("definition", "defines")}
    broken = {
        name: Path(DeltaTable(str(lake / "code_graph" / name)).file_uris()[0].removeprefix("file://"))
        for name in before
    }
    for path in broken.values():
        flip(path, random.Random(1))
    by_table = {finding.table: finding for finding in found(pack, lake)}
    assert by_table.keys() == broken.keys()
    read, made = by_table["definition"], by_table["defines"]
    assert (read.kind, read.file) == ("changed", broken["definition"].relative_to(lake).as_posix())
    assert read.origin.kind == "source" and "source `python`, stream `definition`" in read.origin.made_by
    assert made.origin.kind == "statement" and made.origin.made_by == "relations/defines.py"
    assert {"definition"} <= set(made.origin.inputs)
    assert "move the file out of the lake, then `decreta run code_graph" in made.rebuild
    for path in broken.values():
        path.unlink()
    run(pack, lake, source)
    assert not found(pack, lake)
    assert before == {name: rows_of(lake / "code_graph" / name) for name in before}


def test_a_broken_log_is_found_and_its_table_made_again(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, source = whole
    table = lake / "code_graph/definition"
    before = rows_of(table)
    flip(table / "_delta_log/00000000000000000001.json", random.Random(3))
    (finding,) = [f for f in found(pack, lake, data=False) if f.kind == "changed"]
    assert finding.file == "code_graph/definition/_delta_log/00000000000000000001.json"
    assert f"move {table} out of the lake" in finding.rebuild
    shutil.rmtree(table)
    run(pack, lake, source)
    assert not found(pack, lake), "a table made anew has digests of its own"
    assert rows_of(table) == before


def test_rows_of_a_changed_file_are_not_copied_into_others(whole: tuple[Path, Path, Path]) -> None:
    """A part that is written anew, and a compaction, would give them a fresh digest."""
    pack, lake, source = whole
    (source / "b.py").write_text("other = 1\n")
    run(pack, lake, source)
    (source / "a.py").write_text("changed = 2\n")
    paths = [Path(uri.removeprefix("file://")) for uri in DeltaTable(str(lake / "code_graph/definition")).file_uris()]
    for (
        path
    ) in paths:  # a name becomes another one of the same length, wherever it stands, so that nothing else shows it
        path.write_bytes(path.read_bytes().replace(b"other", b"otter").replace(b"f_2", b"f_3"))
    assert {"otter", "f_3"} <= {n for path in paths for n in pq.read_table(path)["name"].to_pylist()}
    with pytest.raises(LakeUnusable, match="is not as it was written, and its rows would be written into others"):
        run(pack, lake, source)
    for path in paths:
        path.unlink()
    run(pack, lake, source)
    assert not found(pack, lake)
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        assert {"changed", "other"} <= set(opened.show("definition", limit=1000).rows["name"].to_pylist())


def test_without_data_the_bytes_of_data_files_are_not_read(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, _ = whole
    assert verified(pack, lake, data=False).files < verified(pack, lake).files


def test_a_lost_file_is_found(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, _ = whole
    path = Path(DeltaTable(str(lake / "code_graph/definition")).file_uris()[0].removeprefix("file://"))
    path.unlink()
    (finding,) = found(pack, lake, data=False)
    assert (finding.kind, finding.table, lake / str(finding.file)) == ("missing", "definition", path)


def test_rows_that_a_stale_rewrite_doubled_are_found(whole: tuple[Path, Path, Path]) -> None:
    """Two compactions of one snapshot: the engine commits both, and every row stands there twice."""
    pack, lake, _ = whole
    path = lake / "code_graph/reference"
    table = pa.table(DeltaTable(str(path)).scan().read_all())
    write_deltalake(str(path), table.slice(0, 1), mode="overwrite")
    write_deltalake(str(path), table.slice(1), mode="append")
    stale, fresh = DeltaTable(str(path)), DeltaTable(str(path))
    fresh.optimize.compact()
    stale.optimize.compact()
    doubled = DeltaTable(str(path)).version()
    point_at(lake, "reference", doubled)
    kinds = {finding.kind for finding in found(pack, lake, data=False) if finding.table == "reference"}
    assert "removed_twice" in kinds


def point_at(lake: Path, dataset: str, version: int) -> None:
    """Make the last record name another version, as if that run had written it."""
    import msgspec

    from decreta_runtime.lake import Lake
    from decreta_runtime.record import commit_run, last_run

    last = last_run(Lake(str(lake)), "code_graph")
    assert last is not None
    changed = msgspec.structs.replace(last, run_seq=last.run_seq + 1, versions=last.versions | {dataset: version})
    commit_run(Lake(str(lake)), changed)


def test_a_key_that_is_none_and_rows_that_nobody_wrote_are_found(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, _ = whole
    path = lake / "code_graph/definition"
    rows = pa.table(DeltaTable(str(path)).scan().read_all())
    write_deltalake(str(path), rows.slice(0, 1), mode="append")
    point_at(lake, "definition", DeltaTable(str(path)).version())
    words = {f.kind: f.words for f in found(pack, lake, data=False) if f.table == "definition"}
    assert words.keys() == {"unrecorded"}, "another's file has no digest"


def test_a_table_that_is_another_than_the_runs_is_found_by_its_key(whole: tuple[Path, Path, Path]) -> None:
    from decreta_runtime.digests import record
    from decreta_runtime.lake import Lake

    pack, lake, _ = whole
    path = lake / "code_graph/definition"
    rows = pa.table(DeltaTable(str(path)).scan().read_all())
    write_deltalake(str(path), rows.slice(0, 1), mode="append")
    record(Lake(str(lake)), "code_graph", path, DeltaTable(str(path)))
    point_at(lake, "definition", DeltaTable(str(path)).version())
    words = {f.kind: f.words for f in found(pack, lake, data=False) if f.table == "definition"}
    assert words.keys() == {"key"} and "(definition_id) stands 1 times more than once" in words["key"]


def test_runs_that_do_not_follow_each_other_are_found(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, _ = whole
    table = DeltaTable(str(lake / "_decreta/runs"))
    table.delete("run_seq = 1")
    from decreta_runtime.lake import Lake
    from decreta_runtime.record import note_digests

    note_digests(Lake(str(lake)), "code_graph")
    (finding,) = found(pack, lake)
    assert finding.kind == "run_record" and "[1] lack" in finding.words


def test_a_lake_of_before_gets_its_digests_by_the_next_run(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, source = whole
    shutil.rmtree(lake / "_decreta/digests")
    kinds = {finding.kind for finding in found(pack, lake)}
    assert kinds == {"unrecorded"}
    assert all("notes the digests that lack" in f.rebuild for f in found(pack, lake))
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        assert opened.run({"python": str(source)}).unchanged
    assert not found(pack, lake)


def test_the_verb_prints_findings_and_exits_with_one(
    whole: tuple[Path, Path, Path], decreta: Command, tmp_path: Path
) -> None:
    pack, lake, _ = whole
    args = ["verify", str(pack), "--lake", str(lake), "--data"]
    clean = decreta(*args, module="decreta_runtime", cwd=tmp_path)
    assert clean.returncode == 0 and "found          nothing" in clean.stdout, clean.stderr
    path = Path(DeltaTable(str(lake / "code_graph/scope")).file_uris()[0].removeprefix("file://"))
    flip(path, random.Random(5))
    told = decreta(*args, module="decreta_runtime", cwd=tmp_path)
    assert told.returncode == 1 and "Traceback" not in told.stderr
    assert path.name in told.stdout and "rebuild: move the file" in told.stdout and "source `python`" in told.stdout
    whole_json = decreta(*args, "--json", module="decreta_runtime", cwd=tmp_path)
    (finding,) = json.loads(whole_json.stdout)["findings"]
    assert whole_json.returncode == 1 and finding["kind"] == "changed" and finding["origin"]["kind"] == "source"


def test_the_lists_are_those_of_sha256sum(whole: tuple[Path, Path, Path]) -> None:
    _, lake, _ = whole
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum")
    lists = sorted(map(str, (lake / "_decreta/digests").rglob("*.sha256")))
    done = subprocess.run(
        ["sha256sum", "--strict", "--quiet", "-c", *lists], check=False, cwd=lake, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_what_a_dead_attempt_left_is_taken_over_only_if_it_is_as_it_was_written(whole: tuple[Path, Path, Path]) -> None:
    pack, lake, source = whole
    (source / "a.py").write_text("def anew():\n    return 1\n")

    class Died(Exception):
        pass

    def die(stage: str, words: str) -> None:
        if stage == "write" and words.startswith("import:"):
            raise Died

    with pytest.raises(Died), decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        opened.run({"python": str(source)}, die)
    path = Path(DeltaTable(str(lake / "code_graph/definition")).file_uris()[0].removeprefix("file://"))
    flip(path, random.Random(9))
    with decreta_runtime.open(str(pack), lake=str(lake)) as opened:
        result = opened.run({"python": str(source)})
    assert (result.tables["definition"].action, result.tables["file"].action) == ("replaced", "kept")
    assert not found(pack, lake)


def test_every_kind_of_finding_is_documented() -> None:
    from typing import get_args

    from decreta_runtime.contract.integrity import FindingKind
    from tests.conftest import ROOT

    page = (ROOT / "docs/integrity.md").read_text()
    assert all(f"| `{kind}` |" in page for kind in get_args(FindingKind))
