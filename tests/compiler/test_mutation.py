"""The generated tests of both packs notice wrong specs; a pack without examples is told so."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, compiled, run_command


@pytest.mark.parametrize("pack", ["code_graph", "retail"])
@pytest.mark.slow
def test_mutants_are_noticed(tmp_path: Path, pack: str) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "decreta.toml").touch()
    compiled(tmp_path, pack)
    done = run_command("test", pack, "--mutate", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    last = done.stdout.splitlines()[-1]
    noticed, _, of, *_ = last.removeprefix(f"{pack}: ").split()
    assert int(of) >= 50, last
    assert int(noticed) >= 0.95 * int(of), last


@pytest.mark.slow
def test_a_suggested_example_kills_its_mutant(tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    shutil.copytree(ROOT / "tests/packs/graph", folder)
    compiled(folder, "graph")
    done = run_command("test", "graph", "--mutate", "--suggest", cwd=folder)
    assert done.returncode == 1, "this pack has no examples"
    blocks = done.stdout.split("# for known_edge\n")[1:]
    assert blocks
    spec = folder / "specs/graph/relations/known_edge.yaml"
    examples = [YAML(typ="safe").load(block.split("\n\n")[0])[0] for block in blocks]
    with spec.open("a") as out:
        YAML().dump({"examples": [{**e, "name": f"case {i}"} for i, e in enumerate(examples)]}, out)
    compiled(folder, "graph")
    again = run_command("test", "graph", "--mutate", "--suggest", cwd=folder)
    assert "# for known_edge" not in again.stdout


@pytest.mark.slow
def test_what_is_not_equal_is_not_called_so(tmp_path: Path) -> None:
    """Boundaries of days, decimals, lengths of time and patterns have rows that tell them apart; arguments are mutated."""
    folder = tmp_path / "shop"
    shutil.copytree(ROOT / "tests/packs/shop", folder)
    specs = folder / "specs/shop/relations"
    for name, body in {
        "bounded": "SELECT s.sale_id, p.product_id FROM sale AS s JOIN product AS p ON p.product_id = s.product_id\n"
        "  WHERE s.sold_at < TIMESTAMP '2024-01-31 00:00:00' AND p.price >= 10.50 AND p.title LIKE 'a%'",
        "apart": "SELECT c.customer_id, d.customer_id AS other FROM customer AS c\n"
        "  JOIN customer AS d ON c.since <= d.since + INTERVAL '7' DAY\n  WHERE d.since >= DATE '2024-01-09'",
    }.items():
        (specs / f"{name}.yaml").write_text(f"relation: {name}\nstore: true\nbody: |\n  {body}\n")
    (specs / "grouped.yaml").write_text(
        "relation: grouped\nstore: true\nuse: std/aggregate@1\nwith:\n  input: sale\n  group: [customer_id]\n"
        "  measures: {least: MIN(pieces), most: MAX(pieces + 1)}\n  filter: pieces > 5 AND product_id < 2\n"
    )
    compiled(folder, "shop")
    done = run_command("test", "shop", "--mutate", cwd=folder)
    found = [line for line in done.stdout.splitlines() if re.search(r"/(bounded|apart|grouped)\.yaml", line)]
    # What a WHERE over the joined table leaves of a left join is the inner one.
    equal = {line.split(": ")[1].split(" (")[0] for line in found if line.startswith("equal")}
    assert equal <= {"the inner join becomes a left join"}
    for words in (
        "<= becomes <",
        ">= becomes >",
        "< becomes <=",
        "10.50 becomes 10.51",
        "2024-01-09 becomes 2024-01-10",
        "2024-01-31 00:00:00 becomes 2024-02-01 00:00:00",
        "'a%' becomes another text",
        "7 becomes 8",
        "MIN becomes MAX",
        "MAX becomes MIN",
        "> becomes >=",
        "5 becomes 6",
        "the condition after AND is dropped",
    ):
        assert any(f": {words} (" in line for line in found), words
