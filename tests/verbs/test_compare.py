"""`decreta compare` as a user runs it: what differs, the cause, each effect, the gate."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from tests.conftest import ROOT, compiled, run_command, sales, shop_tables


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two revisions of the shop: B reads nothing natively any more, and its revenue is another."""
    folder = tmp_path_factory.mktemp("compare")
    a, b = folder / "a", folder / "b"
    for side in (a, b):
        shutil.copytree(ROOT / "tests/packs/shop", side, ignore=shutil.ignore_patterns("generated", ".decreta"))
        shutil.copytree(ROOT / "specs/std", side / "specs/std")
    rules = b / "specs/std/rules/scan.toml"
    rules.write_text(
        rules.read_text().replace('id = "scan.min_readers"\nvalue = 1', 'id = "scan.min_readers"\nvalue = 4')
    )
    for query in (b / "specs/shop/queries").glob("*.yaml"):
        query.write_text(query.read_text().replace("summary: ", "summary: Now "))
    shop_tables(folder / "tables")
    for i in range(8):  # as many small files as make a compaction due
        write_deltalake(str(folder / "tables/sale"), sales([(1_000 + i, 1, 1, 1)]), mode="append")
    return folder


def tables(sides: Path) -> list[str]:
    names = ("customer", "product", "sale")
    return [word for name in names for word in ("--source", f"{name}={sides / 'tables' / name}")]


def compare(sides: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command("compare", *words, cwd=sides / "a")


def test_parts_and_places(sides: Path) -> None:
    done = compare(sides, ".", "../b", "--format", "json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["parts"]["execution_policy"]["differs"] and not told["parts"]["session_config"]["differs"]
    assert any("scan.min_readers 1 → 4" in line for line in told["parts"]["execution_policy"]["differences"])
    edit = next(e for e in told["edits"] if e["key"] == "threshold.scan.min_readers.value")
    file, _, line = edit["place"].partition(":")
    assert (sides / "b" / file).read_text().split("\n")[int(line) - 1] == "value = 4"


def test_alike_sides_do_not_differ(sides: Path) -> None:
    done = compare(sides, ".", ".")
    assert done.returncode == 0 and "differs" not in done.stdout


def test_statements_are_compared_as_trees(sides: Path, tmp_path: Path) -> None:
    shutil.copytree(sides / "a", tmp_path / "c")
    relation = tmp_path / "c/specs/shop/relations/revenue.yaml"
    relation.write_text(relation.read_text().replace(" * ", " + ", 1))
    done = compare(sides, ".", str(tmp_path / "c"))
    assert done.returncode == 1, done.stderr
    assert "relations/revenue.py: " in done.stdout and "Mul" in done.stdout and "Add" in done.stdout
    assert "CAST(SUM(p.pieces + p.price) AS DECIMAL(18, …" in " ".join(done.stdout.split()), "the words that differ"


def test_the_cause_is_named_with_its_place(sides: Path) -> None:
    before = files_in(sides / "tables")
    done = compare(sides, ".", "../b", "--find-cause", "bytes", *tables(sides))
    assert done.returncode == 1, done.stderr
    assert "specs/std/rules/scan.toml:" in done.stdout and "threshold.scan.min_readers.value: 1 → 4" in done.stdout
    assert "B without it is as A" in done.stdout
    assert len(DeltaTable(str(sides / "tables/sale")).file_uris()) >= 8
    assert files_in(sides / "tables") == before, "what is due was done to a clone"


def files_in(folder: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
def test_rows_do_not_differ(sides: Path) -> None:
    done = compare(sides, ".", "../b", "--find-cause", "digest", *tables(sides))
    assert done.returncode == 0 and "no difference in digest" in done.stdout


def test_tables_that_the_environment_binds_are_found_beside_a_lake(sides: Path) -> None:
    done = compare(sides, ".", "../b", "--find-cause", "rows", "--lake", str(sides / "lake"))
    assert done.returncode in (0, 1), done.stderr


@pytest.mark.long
def test_latency_within_noise_is_not_guessed(sides: Path) -> None:
    done = compare(sides, ".", "../b", "--find-cause", "latency", "--rounds", "2", *tables(sides))
    assert done.returncode == 1 and "too noisy" in done.stdout


@pytest.mark.long
def test_each_decision_beside_the_whole(sides: Path) -> None:
    done = compare(sides, ".", "../b", "--each", "--rounds", "2", "--format", "json", *tables(sides))
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    changes = [each["change"] for each in told["each"]]
    assert changes and all(change.startswith("/scan_policy_by_dataset/") for change in changes)
    alone = sum(each["figures"]["bytes"]["middle"] for each in told["each"])
    assert told["whole"]["bytes"]["middle"] == pytest.approx(alone + told["residual"]["bytes"]["middle"])


GATE = """
[gates.scan]
runs = 1
agreement = "0.00"
failures = 0

[gates.scan.payoff]
bytes_scanned = {{ unit = "share", margin = "{margin}" }}
"""


@pytest.mark.parametrize(
    ("margin", "status", "answer"),
    [("0", 0, "pays"), pytest.param("0.99", 1, "does not pay", marks=pytest.mark.long)],
)
def test_a_gate_passes_or_not_by_counters(margin: str, status: int, answer: str, sides: Path, tmp_path: Path) -> None:
    shutil.copytree(sides / "a", tmp_path / "c")
    header = tmp_path / "c/specs/shop/pack.toml"
    header.write_text(header.read_text() + GATE.format(margin=margin))
    done = compare(sides, ".", str(tmp_path / "c"), "--gate", *tables(sides))
    assert done.returncode == status, done.stdout + done.stderr
    assert f"{answer:<12} domain scan bytes_scanned" in done.stdout
    assert "pays         rows digest: the same" in done.stdout


@pytest.mark.long
def test_too_noisy_is_no_pass(sides: Path, tmp_path: Path) -> None:
    shutil.copytree(sides / "a", tmp_path / "c")
    query = tmp_path / "c/specs/shop/queries/revenue_of.yaml"
    query.write_text(query.read_text().rstrip() + '\npayoff: {latency: {of: baseline, at_most: "9.00"}}\n')
    done = compare(sides, ".", str(tmp_path / "c"), "--gate", "--rounds", "2", "--format", "json", *tables(sides))
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["answer"] == "too noisy"


def test_a_pack_that_promises_nothing_has_no_gate(sides: Path) -> None:
    done = compare(sides, ".", "../b", "--gate", *tables(sides))
    assert done.returncode == 2 and "[gates.DOMAIN.payoff" in done.stderr


@pytest.mark.long
def test_runs_of_a_ledger(sides: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(sides / "a", project)
    pack = compiled(project, "shop")
    lake, given = tmp_path / "lake", tables(sides)
    assert run_command("run", str(pack), "--lake", str(lake), *given, cwd=project).returncode == 0
    shutil.copytree(sides / "b/specs", project / "specs", dirs_exist_ok=True)
    pack = compiled(project, "shop")
    assert run_command("run", str(pack), "--lake", str(lake), *given, cwd=project).returncode == 0
    done = run_command("compare", f"{lake}:shop@1", f"{lake}:shop@last", cwd=project)
    assert done.returncode == 1, done.stderr
    assert "execution_policy     differs" in done.stdout and "runtime_capability   not known" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonesuch", "."), "git says"),
        (("lake:shop@1", "."), "a run is compared with a run"),
        ((".", ".", "--pack", "shed"), "packs to compare"),
        ((".", ".", "--env", "moon"), "no environment `moon`"),
    ],
)
def test_what_cannot_be_compared(words: tuple[str, ...], said: str, sides: Path) -> None:
    done = compare(sides, *words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_compiled_packs_are_mixed_by_their_decisions(sides: Path, tmp_path: Path) -> None:
    packs = []
    for name in ("a", "b"):
        shutil.copytree(sides / name, tmp_path / name, ignore=shutil.ignore_patterns("generated", ".decreta"))
        packs.append(str(compiled(tmp_path / name, "shop")))
    done = compare(sides, *packs, "--find-cause", "bytes", *tables(sides))
    assert done.returncode == 1, done.stderr
    assert "/scan_policy_by_dataset/" in done.stdout and "(by scan.min_readers 1 → 4)" in done.stdout
    assert "path native → delta" in done.stdout
