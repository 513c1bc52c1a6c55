"""`decreta compare` as a user runs it: what differs, the cause, each effect, the gate."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake

import decreta_runtime
from decreta_runtime.contract.policy import DOMAINS
from decreta_runtime.package import make_package, read_package
from tests.conftest import ROOT, compiled, edit_policy, run_command, sales, shop_tables
from tests.packs.retail.conftest import generate


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


@pytest.fixture(scope="module")
def packs(sides: Path) -> tuple[Path, Path]:
    """Both sides compiled."""
    return compiled(sides / "a", "shop"), compiled(sides / "b", "shop")


@pytest.fixture(scope="module")
def packages(sides: Path, packs: tuple[Path, Path]) -> Path:
    """A run of each side as a package with its data; `later`, of A with more sales, once with and once without."""
    folder = sides / "packages"
    folder.mkdir()
    given = {name: [str(sides / "tables" / name)] for name in ("customer", "product", "sale")}
    for name, compiled_pack in zip("ab", packs, strict=True):
        with decreta_runtime.open(str(compiled_pack), lake=str(sides / f"lake-{name}")) as pack:
            pack.run(given)
            (folder / f"{name}.package").write_bytes(make_package(pack, given, with_data=True))
    more = sides / "more"
    shutil.copytree(sides / "tables/sale", more)
    write_deltalake(str(more), sales([(9, 3, 8, 2)]), mode="append")
    with decreta_runtime.open(str(packs[0]), lake=str(sides / "lake-later")) as pack:
        pack.run({**given, "sale": [str(more)]})
        for name, whole in (("later", True), ("later-bare", False)):
            data = make_package(pack, {**given, "sale": [str(more)]}, with_data=whole)
            (folder / f"{name}.package").write_bytes(data)
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


@pytest.mark.calm
def test_a_slowdown_that_no_counter_shows_is_named_by_the_clock(sides: Path, tmp_path: Path) -> None:
    """Batches of few rows, beside what takes no time: the same rows and bytes, and ten times as long."""
    slow = tmp_path / "slow"
    shutil.copytree(sides / "a", slow)
    for query in (slow / "specs/shop/queries").glob("*.yaml"):
        query.write_text(query.read_text().replace("summary: ", "summary: Now "))
    lease = slow / "specs/std/rules/maintenance.toml"  # acts, and takes no time
    lease.write_text(re.sub(r'(id = "maintenance.lease_seconds"\nvalue = )\d+', r"\g<1>5400", lease.read_text()))
    rules, setting = slow / "specs/std/rules/session.toml", "datafusion.execution.batch_size"
    head, mark, tail = rules.read_text().partition('id = "session.baseline"')
    planted = f'[rule.then.settings]\n"{setting}" = {{ value = 10, because = "tried" }}\n'
    rules.write_text(head + mark + tail.replace("[rule.then.settings]\n", planted, 1))
    sale = tmp_path / "sale"
    shutil.copytree(sides / "tables/sale", sale)
    write_deltalake(
        str(sale), sales([(10_000 + i, 1 + i % 3, 7 + i % 2, 1 + i % 5) for i in range(20_000)]), mode="append"
    )
    asked = ("--find-cause", "latency", "--format", "json", *tables(sides)[:4], "--source", f"sale={sale}")
    done = run_command("compare", ".", str(slow), *asked, cwd=sides / "a", timeout=3000)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert not told["too_noisy"], told
    assert told["certainty"] >= 0.99 and told["by_counters"] == []
    (cause,) = told["causes"]
    assert cause["key"] == f"rule.session.baseline.then.settings.{setting}"
    file, _, line = cause["place"].partition(":")
    assert setting in (slow / file).read_text().split("\n")[int(line) - 1]
    assert told["slower"]["run"] == 1


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
    header, query = tmp_path / "c/specs/shop/pack.toml", tmp_path / "c/specs/shop/queries/revenue_of.yaml"
    header.write_text(header.read_text() + GATE.format(margin=margin))
    promised = '\npayoff: {bytes_scanned: {of: full_scan, at_most: "1.00"}}\n'
    query.write_text(query.read_text().rstrip() + promised)
    done = compare(sides, ".", str(tmp_path / "c"), "--gate", *tables(sides))
    assert done.returncode == status, done.stdout + done.stderr
    assert f"{answer:<12} domain scan bytes_scanned" in done.stdout
    assert "pays         rows digest: the same" in done.stdout
    assert "pays         shape revenue_of bytes_scanned: " in done.stdout


@pytest.mark.parametrize("name", ["code_graph", "retail"])
def test_the_packs_keep_what_their_gates_promise(name: str, tmp_path: Path) -> None:
    source = f"python=main:{Path(json.__file__).parent}"
    if name == "retail":
        source = f"tpch=main:{generate(tmp_path / 'load', '0.01')}"
    done = run_command("compare", ".", ".", "--pack", name, "--gate", "--source", source, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.partition(":")[0].split() for line in done.stdout.splitlines()]
    shape = {"code_graph": "symbol_lookup", "retail": "who_offers"}[name]
    subjects = [["rows", "digest"], *([*words, "bytes_scanned"] for words in (["domain", "cache"], ["domain", "scan"]))]
    assert told == [["pays", *words] for words in (*subjects, ["shape", shape, "bytes_scanned"])]


@pytest.mark.long
def test_every_domain_and_shape_is_held_to_its_own_promise(sides: Path, tmp_path: Path) -> None:
    shutil.copytree(sides / "a", tmp_path / "c")
    header, query = tmp_path / "c/specs/shop/pack.toml", tmp_path / "c/specs/shop/queries/revenue_of.yaml"
    promises = {
        "bytes_scanned": '{ unit = "share", margin = "0.00" }',
        "maintenance_cost": '{ unit = "bytes", margin = "0" }',
        "latency": '{ unit = "milliseconds", margin = "60000" }',
    }
    for domain in DOMAINS:
        criteria = f'\n[gates.{domain}]\nruns = 1\nagreement = "0.00"\nfailures = 0\n[gates.{domain}.payoff]\n'
        lines = [f"{name} = {text}\n" for name, text in promises.items() if name != "latency" or domain == "cache"]
        header.write_text(header.read_text() + criteria + "".join(lines))
    promised = '\npayoff: {bytes_scanned: {of: baseline, at_most: "1.00"}}\n'
    query.write_text(query.read_text().rstrip() + promised)
    asked = ("--gate", "--rounds", "9", "--format", "json", *tables(sides))
    done = run_command("compare", ".", str(tmp_path / "c"), *asked, cwd=sides / "a", timeout=900)
    told = json.loads(done.stdout)
    answers = {(it["subject"], it["measure"]): it["answer"] for it in told["verdicts"]}
    expected = {(f"domain {domain}", name) for domain in DOMAINS for name in promises if name != "latency"}
    assert answers.keys() == expected | {
        ("domain cache", "latency"), ("shape revenue_of", "bytes_scanned"), ("rows", "digest"),
    }  # fmt: skip
    assert answers["domain cache", "latency"] == "does not pay"  # nobody saves a minute of half a second
    assert answers["domain scan", "bytes_scanned"] == answers["shape revenue_of", "bytes_scanned"] == "pays"
    assert done.returncode == 1 and told["answer"] == "failed"


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
        (("lake:shop@1", "."), "lake does not exist"),
        ((".", ".", "--pack", "shed"), "no pack `shed` in both"),
        (("", "."), "A is empty"),
        ((".", ".", "--env", "moon"), "no environment `moon`"),
    ],
)
def test_what_cannot_be_compared(words: tuple[str, ...], said: str, sides: Path) -> None:
    done = compare(sides, *words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


Texts = tuple[tuple[str, str, str], ...]
HARMLESS: Texts = (
    ("relations/revenue.yaml", "summary: What each", "summary: All that each"),
    ("relations/priced.yaml", "summary: Sales with", "summary: All sales with"),
    ("queries/revenue_of.yaml", "summary: What one", "summary: All that one"),
)
PLANTED: dict[str, tuple[str, Texts, str, str]] = {
    "rows that a shape gives": (
        "rows",
        (("queries/revenue_of.yaml", "WHERE r.customer_id = $customer", "WHERE r.customer_id = $customer AND r.sales < 0"),),
        "specs/shop/queries/revenue_of.yaml:10",
        "body",
    ),
    "the second line of two that changed": (
        "digest",
        (("relations/revenue.yaml", "AS sales\n", "AS sales -- so many\n"),
         ("relations/revenue.yaml", "  GROUP BY", "  WHERE p.pieces > 1 GROUP BY")),
        "specs/shop/relations/revenue.yaml:9",
        "body",
    ),
}  # fmt: skip


def edited(sides: Path, folder: Path, *changes: tuple[str, str, str]) -> Path:
    shutil.copytree(sides / "a", folder)
    for name, old, new in changes:
        path = folder / "specs/shop" / name
        assert old in path.read_text(), name
        path.write_text(path.read_text().replace(old, new, 1))
    return folder


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_causes_among_harmless_edits(name: str, sides: Path, tmp_path: Path) -> None:
    kind, changes, place, key = PLANTED[name]
    b = edited(sides, tmp_path / "c", *HARMLESS, *changes)
    done = compare(sides, ".", str(b), "--find-cause", kind, "--format", "json", *tables(sides))
    assert done.returncode == 1, done.stdout + done.stderr
    assert [(cause["place"], cause["key"]) for cause in json.loads(done.stdout)["causes"]] == [(place, key)]


def test_the_order_of_columns_is_a_cause(sides: Path, tmp_path: Path) -> None:
    stored = ("relations/priced.yaml", "key: [sale_id]", "key: [sale_id]\nstore: true")
    moved = ("relations/priced.yaml", "[sale_id, customer_id, pieces]", "[pieces, sale_id, customer_id]")
    a, b = edited(sides, tmp_path / "one", stored), edited(sides, tmp_path / "two", stored, moved, *HARMLESS)
    done = compare(sides, str(a), str(b), "--find-cause", "digest", *tables(sides))
    assert done.returncode == 1 and "relations/priced.yaml:8  carry.left: " in done.stdout, done.stdout + done.stderr
    assert "A with this change is as B" in done.stdout


def test_a_parameter_may_be_called_as_what_no_run_shows(sides: Path, tmp_path: Path) -> None:
    """Names are left out at their own places alone: of a shape's parameters none is a version or a summary."""
    named = (
        ("queries/revenue_of.yaml", "{customer: int64}", "{version: int64}"),
        ("queries/revenue_of.yaml", "$customer", "$version"),
    )
    one, other = (
        edited(sides, tmp_path / str(n), *named, ("queries/revenue_of.yaml", "{customer: 1}", f"{{version: {n}}}"))
        for n in (1, 2)
    )
    done = compare(sides, str(one), str(other), "--find-cause", "digest", *tables(sides))
    assert done.returncode == 1 and "revenue_of.yaml:5  example.version: 1 → 2" in done.stdout, (
        done.stdout + done.stderr
    )


def test_sides_that_act_as_one_need_no_clock(sides: Path, tmp_path: Path) -> None:
    b = edited(sides, tmp_path / "c", *HARMLESS)
    done = compare(sides, ".", str(b), "--find-cause", "latency", *tables(sides))
    assert done.returncode == 0 and "no difference in latency" in done.stdout, done.stderr


def test_a_side_that_does_not_compile_says_where(sides: Path, tmp_path: Path) -> None:
    b = edited(sides, tmp_path / "c", ("relations/revenue.yaml", "p.pieces", "p.parts"))
    done = compare(sides, ".", str(b))
    assert done.returncode == 2
    assert "B does not compile: specs/shop/relations/revenue.yaml:7:" in done.stderr and ": D303: " in done.stderr


def test_a_compiled_pack_that_was_edited_is_refused(packs: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(packs[0], tmp_path / "edited")
    builder = tmp_path / "edited/relations/revenue.py"
    builder.write_text(builder.read_text() + "\n")
    done = run_command("compare", str(packs[0]), str(tmp_path / "edited"), cwd=tmp_path)
    assert done.returncode == 2 and "was changed after it was generated" in done.stderr


def test_what_a_pack_promises_is_told(sides: Path, tmp_path: Path) -> None:
    b = edited(sides, tmp_path / "c", ("pack.toml", 'version = "', 'version = "1'))
    header = b / "specs/shop/pack.toml"
    header.write_text(header.read_text() + GATE.format(margin="0"))
    done = compare(sides, str(compiled(sides / "a", "shop")), str(compiled(b, "shop")))
    assert (
        done.returncode == 1
        and "manifest version: " in done.stdout
        and "manifest gates.scan.runs: none → 1" in done.stdout
    )


@pytest.mark.parametrize(("margin", "status", "answer"), [("0", 0, "pays"), ("0.01", 1, "does not pay")])
def test_a_domain_that_decides_nothing_has_nothing_to_show(
    margin: str, status: int, answer: str, sides: Path, tmp_path: Path
) -> None:
    header = edited(sides, tmp_path / "c") / "specs/shop/pack.toml"
    header.write_text(header.read_text() + GATE.format(margin=margin).replace("gates.scan", "gates.index"))
    done = compare(sides, ".", str(tmp_path / "c"), "--gate", *tables(sides))
    assert done.returncode == status and "no decision is another than its baseline" in done.stdout, done.stdout
    assert f"{answer:<12} domain index" in done.stdout


def test_a_shape_without_an_example_cannot_pass(sides: Path, tmp_path: Path) -> None:
    promised = 'payoff: {latency: {of: baseline, at_most: "9.00"}}'
    b = edited(sides, tmp_path / "c", ("queries/revenue_of.yaml", "example: {customer: 1}", promised))
    done = compare(sides, ".", str(b), "--gate", *tables(sides))
    assert done.returncode == 1 and "it has no example" in done.stdout, done.stderr


def test_compiled_packs_are_mixed_by_their_decisions(sides: Path, packs: tuple[Path, Path]) -> None:
    done = compare(sides, *map(str, packs), "--find-cause", "bytes", *tables(sides))
    assert done.returncode == 1, done.stderr
    assert "/scan_policy_by_dataset/" in done.stdout and "(by scan.min_readers 1 → 4)" in done.stdout
    assert "path native → delta" in done.stdout


QUIET = {
    "write_policy_by_dataset": "conflict_wait_ms",
    "maintenance_policy_by_dataset": "lease_seconds",
    "session_profile_by_workload": "ledger_buffer_rows",
}
"""Values of decisions that act, and on nothing that is counted."""


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_one_of_thirty_decisions_takes_twelve_runs(
    seed: int, code_graph_compiled: Path, source: Path, tmp_path: Path
) -> None:
    rng, planted = random.Random(seed), list[str]()

    def change(policy: dict[str, Any]) -> None:
        quiet = []
        for section in (*QUIET, "refresh_policy_by_view"):
            quiet += [(section, name) for name in policy[section]]
        written = [name for section, name in quiet if section == "write_policy_by_dataset"]
        planted.append(rng.choice(sorted(written)))
        quiet.remove(("write_policy_by_dataset", planted[0]))
        for section, name in rng.sample(sorted(quiet), 29):
            entry = policy[section][name]
            if section == "refresh_policy_by_view":  # a first run computes all whole, whatever guards say
                entry["otherwise"] = entry["value"]
            else:
                entry["value"][QUIET[section]] += 1
        value = policy["write_policy_by_dataset"][planted[0]]["value"]
        value["compression"] = "snappy" if value["compression"] == "zstd" else "zstd"

    b = tmp_path / "b"
    shutil.copytree(code_graph_compiled, b)
    edit_policy(b, change)
    words = (str(code_graph_compiled), str(b), "--find-cause", "bytes", "--format", "json")
    done = run_command("compare", *words, "--source", f"python=main:{source}", cwd=tmp_path, timeout=900)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["changes"], told["undone"]) == (30, True)
    assert [cause["key"] for cause in told["causes"]] == [f"/write_policy_by_dataset/{planted[0]}"]
    assert told["runs"] <= 12


def test_packages_are_compared_by_all_that_they_keep(packages: Path) -> None:
    done = compare_in(packages, "a.package", "b.package")
    assert done.returncode == 1, done.stderr
    parts = re.findall(r"^([a-z]+_[a-z]+) +(.+)$", done.stdout, re.M)
    assert [words for _, words in parts] == ["differs", "differs", "the same", "the same", "the same"]
    assert "scan.min_readers 1 → 4: /scan_policy_by_dataset/product" in done.stdout
    later = compare_in(packages, "a.package", "later.package", "--format", "json")
    parts = json.loads(later.stdout)["parts"]
    assert [name for name, part in parts.items() if part["differs"]] == ["plan_bundle"]
    told = "\n".join(parts["plan_bundle"]["differences"])
    (before, after) = re.findall(r"(?:input sale: |→ )version (\d+) of ", told)
    assert int(after) == int(before) + 1 and "rows of revenue: 2 " in told
    assert compare_in(packages, "a.package", "a.package").returncode == 0


def test_runs_of_two_packs_are_not_compared(packages: Path, sides: Path, tmp_path: Path) -> None:
    known = {"python": [f"main:{Path(json.__file__).parent}"]}
    with decreta_runtime.open(str(ROOT / "generated/code_graph"), lake=str(tmp_path / "lake")) as pack:
        pack.run(known)
    for other in (f"{sides / 'lake-a'}:shop@1", "a.package"):
        done = compare_in(packages, f"{tmp_path / 'lake'}:code_graph@1", other)
        assert done.returncode == 2 and "runs of two packs" in done.stderr, done.stderr


def test_packages_bring_their_data(packages: Path) -> None:
    later = compare_in(packages, "a.package", "later.package", "--find-cause", "digest", "--format", "json")
    told = json.loads(later.stdout)
    assert [(cause["kind"], cause["name"]) for cause in told["causes"]] == [("input", "sale")] and told["undone"]


@pytest.mark.long
def test_a_package_stands_beside_any_side(sides: Path, packages: Path, packs: tuple[Path, Path]) -> None:
    """Specs are compiled where the other side has none; a ledger's run is held against what a package keeps of its own."""
    for other in (str(sides / "b"), str(packs[1])):
        done = compare(sides, str(packages / "a.package"), other, "--find-cause", "bytes")
        assert done.returncode == 1, done.stderr
        assert "/scan_policy_by_dataset/" in done.stdout
    same = compare_in(packages, "a.package", f"{sides / 'lake-a'}:shop@1")
    assert same.returncode == 0 and "not known" in same.stdout, same.stderr
    differs = compare_in(packages, f"{sides / 'lake-later'}:shop@last", "a.package")
    (later, before) = re.findall(r"(?:input sale: |→ )version (\d+) of ", differs.stdout)
    assert differs.returncode == 1 and int(later) == int(before) + 1


@pytest.mark.long
def test_each_and_the_gate_take_packages(packages: Path) -> None:
    each = compare_in(packages, "a.package", "b.package", "--each", "--rounds", "1", "--format", "json")
    assert each.returncode == 1 and json.loads(each.stdout)["each"], each.stderr
    gate = compare_in(packages, "a.package", "b.package", "--gate")
    assert gate.returncode == 2 and "promises no payoff" in gate.stderr


def test_packages_that_cannot_be_compared(packages: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.package"
    broken.write_bytes((packages / "a.package").read_bytes()[:-40])
    fingerprint = read_package(packages / "a.package").fingerprint
    for words, status, said in (
        ((str(broken), "a.package"), 2, "no execution package"),
        (("a.package", "later-bare.package", "--find-cause", "rows"), 2, "different data of `sale`, and B's"),
        (("a.package", "b.package", "--expect", fingerprint), 2, "was asked for"),
        (("a.package", "b.package", "--env", "moon"), 2, "no environment `moon`"),
    ):
        done = compare_in(packages, *words)
        assert done.returncode == status and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def compare_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command("compare", *words, cwd=folder)
