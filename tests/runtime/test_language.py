"""Rounds, closures, declared functions, locality and cardinality, run over real tables beside plain Python."""

from __future__ import annotations

import re
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from tests.conftest import ROOT, compiled, edit_policy, run_command

import decreta_runtime
from decreta_runtime.contract.errors import CheckViolated, DecretaError, FunctionFailed, SchemaMismatch

EDGES = [(1, 10, 11), (1, 11, 12), (1, 12, 13), (1, 13, 10), (2, 20, 21), (2, 20, 22), (2, 22, 21)]
NODES = [(m, n, f"n{n}") for m, n in sorted({(m, n) for m, s, t in EDGES for n in (s, t)})]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    folder = tmp_path / "graph"
    shutil.copytree(ROOT / "tests/packs/graph", folder, ignore=shutil.ignore_patterns("generated", ".decreta"))
    write_tables(folder, EDGES)
    return compiled(folder, "graph")


def write_tables(folder: Path, edges: list[tuple[int, int, int]]) -> None:
    columns = list(zip(*edges, strict=True))
    edge = pa.table(dict(zip(("map_id", "source", "target"), map(pa.array, columns), strict=True)))
    write_deltalake(str(folder / "tables/edge"), edge, mode="overwrite")
    maps, ids, labels = map(list, zip(*NODES, strict=True))
    node = pa.table({"map_id": maps, "node_id": ids, "label": labels})
    write_deltalake(str(folder / "tables/node"), node, mode="overwrite")


def rows(pack: decreta_runtime.Pack, sql: str) -> list[tuple[object, ...]]:
    return sorted(tuple(row.values()) for row in pack.sql(sql).rows.to_pylist())


def hops(edges: list[tuple[int, int, int]]) -> dict[tuple[int, int], int]:
    found = {(s, t): 1 for _, s, t in edges}
    for hop in range(2, len(edges) + 1):
        for (a, b), h in list(found.items()):
            if h == hop - 1:
                for _, s, t in edges:
                    if s == b:
                        found.setdefault((a, t), hop)
    return found


def test_rows_are_those_of_plain_python(graph: Path, tmp_path: Path) -> None:
    with decreta_runtime.open(graph, lake=str(tmp_path / "graph/lake")) as pack:
        pack.run()
        paths = hops(EDGES)
        assert rows(pack, "SELECT source, target FROM reaches") == sorted(paths)
        assert rows(pack, "SELECT source, target, hop FROM near") == sorted((*p, h) for p, h in paths.items())
        within_two = {(n, n) for _, n, _ in NODES} | {p for p, h in paths.items() if h <= 2}
        assert rows(pack, "SELECT start, reached FROM spread") == sorted(within_two)
        depth = rows(pack, "SELECT map_id, node_id, depth FROM depth")
        assert depth == [(1, 10, 0), (1, 11, 1), (1, 12, 2), (1, 13, 3), (2, 20, 0), (2, 21, 1), (2, 22, 1)]
        assert rows(pack, "SELECT map_id, depth FROM deepest") == [(1, 3), (2, 1)]
        labels = rows(pack, "SELECT source, target_label, source_label FROM labelled WHERE map_id = 2")
        assert labels == [(20, "N21!", "N20!"), (20, "N22!", "N20!"), (22, "N21!", "N22!")]
        assert rows(pack, "SELECT shout('a') AS a") == [("A!",)]


def test_values_given_to_a_template_are_of_their_types(graph: Path, tmp_path: Path) -> None:
    specs = tmp_path / "graph/specs/graph"
    (specs / "templates").mkdir()
    (specs / "templates/valued.yaml").write_text(
        "template: valued\nversion: 1.0.0\nkind: relation\nsummary: Rows with values.\nparameters:\n"
        '  input: {relation: {id: "@identity", label: column}}\n  label: {type: string}\n  share: {type: decimal}\n'
        "  within: {type: duration, default: 7 days}\n  live: {type: bool}\nbody: |\n"
        "  SELECT i.id, $label AS label, $share AS share, DATE '2024-01-01' + $within AS day, $live AS live\n"
        "  FROM input AS i\n  WHERE i.label <> $label AND $share < 0.5\n"
    )
    relation = specs / "relations/given.yaml"
    given = '  input: {relation: node, columns: {label: label}}\n  label: "it\'s; -- $x"\n  live: false\n'
    text = f"relation: given\nstore: true\nuse: graph/valued@1\nwith:\n{given}"
    relation.write_text(f'{text}  share: "much"\n')
    done = run_command("check", cwd=tmp_path / "graph")
    assert "given.yaml:8:10: error[D209]: `share` needs a decimal in quotes" in done.stderr
    relation.write_text(f'{text}  share: "-0.25"\n')
    with decreta_runtime.open(compiled(tmp_path / "graph", "graph"), lake=str(tmp_path / "graph/lake")) as pack:
        pack.run()
        columns = pack.manifest.relations["given"].columns
        assert [c.type for c in columns] == ["int64", "string", "decimal(2,2)", "date", "bool"]
        found = rows(pack, "SELECT DISTINCT label, share, day, live FROM given")
        assert found == [("it's; -- $x", Decimal("-0.25"), date(2024, 1, 8), False)]


def test_reserved_words_are_names_and_a_sum_beside_a_distinct_count_keeps_its_type(graph: Path, tmp_path: Path) -> None:
    """DataFusion plans such a sum as decimal(20,2) and runs it, rewritten, as decimal(30,2)."""
    specs = tmp_path / "graph/specs/graph"
    (specs / "objects/order.yaml").write_text(
        "object: order\nversion: 1.0.0\nsummary: Words.\ncolumns:\n  select: {type: int64}\n  group: {type: string}\n"
        '  end: {type: "decimal(10,2)", nullable: true}\n  limit: {type: bool}\nkey: [select]\nsource: {table: true}\n'
    )
    (specs / "relations/from.yaml").write_text(
        "relation: from\nstore: true\nuse: std/aggregate@1\nwith:\n  input: order\n  group: [group, limit]\n"
        "  measures: {table: 'SUM(\"end\")', having: 'COUNT(DISTINCT \"select\")'}\n"
    )
    env = specs / "env/local.toml"
    env.write_text(env.read_text() + 'order = { table = "../tables/order" }\n')
    ends = pa.array([Decimal("1.00"), Decimal("2.50"), None], pa.decimal128(10, 2))
    table = pa.table({"select": [1, 2, 3], "group": ["a", "a", "b"], "end": ends, "limit": [True, True, False]})
    write_deltalake(str(tmp_path / "graph/tables/order"), table)
    folder = compiled(tmp_path / "graph", "graph")
    with decreta_runtime.open(folder, lake=str(tmp_path / "graph/lake")) as pack:
        pack.run()
        found = rows(pack, 'SELECT "group", "table", "having" FROM "from"')
        assert found == [("a", Decimal("3.50"), 2), ("b", None, 1)]
    done = run_command("test", "graph", cwd=tmp_path / "graph")
    assert done.returncode == 0, done.stdout + done.stderr


def test_with_clauses_neither_capture_nor_get_lost(graph: Path, tmp_path: Path) -> None:
    specs = tmp_path / "graph/specs/graph/relations"
    # `reached` is the name of a WITH clause in the body of `std/closure`.
    (specs / "reached.yaml").write_text("relation: reached\nbody: SELECT e.source, e.target FROM edge AS e\n")
    for name, bound in (("again", ""), ("again_near", "  max_hops: 4\n")):
        given = "  edge: {relation: reached, columns: {source: source, target: target}}\n"
        text = f"relation: {name}\nstore: true\nuse: std/closure@1\nwith:\n{given}{bound}"
        (specs / f"{name}.yaml").write_text(text)
    (specs / "signal.yaml").write_text(
        "relation: signal\nstore: true\nrounds: 3\nbody: |\n"
        "  WITH start AS (SELECT n.node_id AS start, n.node_id AS reached FROM node AS n),\n"
        "  step AS (SELECT s.start, e.target AS reached FROM signal AS s JOIN edge AS e ON e.source = s.reached)\n"
        "  SELECT b.start, b.reached FROM start AS b\n  UNION\n  SELECT s.start, s.reached FROM step AS s\n"
    )
    with decreta_runtime.open(compiled(tmp_path / "graph", "graph"), lake=str(tmp_path / "graph/lake")) as pack:
        pack.run()
        assert rows(pack, "SELECT * FROM again") == rows(pack, "SELECT * FROM reaches")
        assert rows(pack, "SELECT * FROM again_near") == rows(pack, "SELECT * FROM near")
        assert rows(pack, "SELECT * FROM signal") == rows(pack, "SELECT * FROM spread")


def test_overflow_of_a_bounded_closure_refuses_the_run(graph: Path, tmp_path: Path) -> None:
    write_tables(graph.parents[1], [(1, n, n + 1) for n in range(10, 16)])
    with (
        decreta_runtime.open(graph, lake=str(tmp_path / "graph/lake")) as pack,
        pytest.raises(CheckViolated, match="within_max_hops"),
    ):
        pack.run()


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("return pa.table({'map_id': [1]})", FunctionFailed, "returned a Table, not a RecordBatchReader"),
        ("return None", FunctionFailed, "returned a NoneType, not a RecordBatchReader"),
        ("raise KeyError('oh')", FunctionFailed, "`depths` raised KeyError: 'oh'"),
        (
            "return pa.table({'m': [1]}).to_reader()",
            SchemaMismatch,
            "`(far|depth)` came with the columns `m`, its contract has `map_id`, `node_id`, `depth`",
        ),
    ],
)
def test_what_a_table_function_returns_is_held_against_its_contract(
    graph: Path, tmp_path: Path, code: str, error: type[DecretaError], words: str
) -> None:
    module = tmp_path / "graph/specs/graph/code/walks.py"
    module.write_text(module.read_text().replace('    """Walk each group', f'    {code}\n    """Walk each group'))
    folder = compiled(tmp_path / "graph", "graph")
    with decreta_runtime.open(folder, lake=str(tmp_path / "graph/lake")) as pack, pytest.raises(error, match=words):
        pack.run()


def test_rows_do_not_depend_on_where_cut_points_are_kept(graph: Path, tmp_path: Path) -> None:
    found = []
    for placement in ("memory", "spill"):

        def place(policy: dict, placement: str = placement) -> None:
            for entry in policy["cache_policy_by_view"].values():
                if entry["value"]["placement"] != "none":
                    entry |= {"value": {"placement": placement, "pushdown": False}, "requires": [], "otherwise": None}

        edit_policy(graph, place)
        with decreta_runtime.open(graph, lake=str(tmp_path / "graph" / placement)) as pack:
            pack.run()
            found.append([rows(pack, f"SELECT * FROM {name}") for name in ("spread", "deepest", "depth", "labelled")])
    assert found[0] == found[1]


def test_manifest_says_what_was_found(graph: Path) -> None:
    with decreta_runtime.open(graph) as pack:
        relations = pack.manifest.relations
    assert relations["labelled"].local_to is not None
    assert relations["labelled"].local_to.inputs == {"edge": "map_id", "node": "map_id"}
    assert [(j.table, j.cardinality, j.known) for j in relations["labelled"].joins] == [
        ("s", "n:1", "proven"),
        ("t", "n:1", "proven"),
    ]
    assert {name: r.cut_point for name, r in relations.items() if r.cut_point} == {
        "far": "function_result",
        "known_edge": "read_by_function",
        **{f"spread__r{i}": "round" for i in (1, 2)},
        **{f"relay__r{i}": "round" for i in (1, 2)},
    }
    assert relations["near"].stratum == 1
    assert relations["reaches"].stratum == 0
    assert relations["deepest"].stratum == 2


@pytest.mark.parametrize(
    ("relation", "text", "code", "line"),
    [
        (
            "bad",
            "relation: bad\nbody: |\n  WITH RECURSIVE r AS (\n    SELECT e.source, e.target FROM edge AS e\n    UNION ALL\n"
            "    SELECT r.source, e.target FROM r JOIN edge AS e ON e.source = r.target\n  )\n  SELECT r.source FROM r\n",
            "D315",
            4,
        ),
        (
            "bad",
            "relation: bad\nbody: |\n  WITH RECURSIVE r AS (\n    SELECT e.source, e.target FROM edge AS e\n    UNION\n"
            "    SELECT MIN(r.source) AS source, e.target FROM r JOIN edge AS e ON e.source = r.target GROUP BY e.target\n"
            "  )\n  SELECT r.source FROM r\n",
            "D315",
            6,
        ),
        ("bad", "relation: bad\nrounds: 2\nbody: SELECT e.source FROM edge AS e\n", "D316", 2),
        (
            "relay",
            "relation: relay\nbody: SELECT s.start, e.target FROM spread AS s JOIN edge AS e ON e.source = s.reached\n"
            "rounds: 2\n",
            "D316",
            None,
        ),
        (
            "bad",
            "relation: bad\nbody: |\n  SELECT n.node_id, e.target FROM node AS n\n"
            '  JOIN edge AS e ON e.source = n.node_id\ncardinality: {e: "n:1"}\n',
            "D317",
            5,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT e.source, n.label FROM edge AS e JOIN node AS n ON n.node_id = e.source\n"
            "local_to: source\ncolumns: {source: {domain: node}}\n",
            None,
            None,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT e.map_id, n.label FROM edge AS e JOIN node AS n ON n.node_id = e.source\n"
            "local_to: map_id\n",
            "D318",
            3,
        ),
        (
            "bad",
            "relation: bad\nbody: |\n  SELECT NULLIF(e.source, 1) AS s, x.target FROM edge AS e\n"
            "  LEFT JOIN edge AS x ON x.source = e.source\nlocal_to: target\n",
            "D318",
            5,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT e.map_id FROM edge AS e EXCEPT SELECT n.node_id AS map_id FROM node AS n\n",
            "D309",
            2,
        ),
        (
            "bad",
            "relation: bad\nbody: |\n  SELECT x.c FROM (SELECT e.map_id AS c FROM edge AS e) AS x\n"
            "  JOIN (SELECT n.node_id AS c FROM node AS n) AS y USING (c)\n",
            "D309",
            4,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT CASE e.map_id WHEN e.source THEN 1 ELSE 2 END AS c FROM edge AS e\n",
            "D309",
            2,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT e.map_id FROM edge AS e WHERE (e.map_id, e.source) IN ((1, 'a'))\n",
            "D308",
            2,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT e.map_id FROM edge AS e WHERE e.source IN (SELECT n.label FROM node AS n)\n",
            "D308",
            2,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT e.source AS x FROM edge AS e UNION ALL SELECT n.label AS x FROM node AS n\n",
            "D308",
            2,
        ),
        ("bad", "relation: bad\nbody: SELECT * FROM edge AS e JOIN edge AS f ON e.target = f.source\n", "D306", 2),
        ("bad", "relation: bad\nbody: SELECT * FROM edge AS e JOIN node AS n USING (map_id)\n", None, None),
        (
            "bad",
            "relation: bad\nuse: std/equi_join@1\nwith:\n  left: {relation: edge, columns: {equal: [target]}}\n"
            '  right: {relation: edge, columns: {equal: [source]}}\ncarry: {left: "*", right: "*"}\n',
            "D306",
            None,
        ),
        ("bad", "relation: bad\nbody: SELECT e.source FROM edge AS e NATURAL JOIN node AS n\n", "D313", 2),
        (
            "bad",
            "relation: bad\nbody: SELECT e.source FROM edge AS e\nchecks:\n"
            "  a: {coverage: {of: node.label, by: source, at_least: 1}}\n",
            "D308",
            4,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT e.source FROM edge AS e\nchecks:\n"
            "  a: {coverage: {of: node.map_id, by: source, at_least: 1}}\n",
            "D309",
            4,
        ),
        ("bad", "relation: bad\nbody: WITH edge AS (SELECT 1 AS c) SELECT e.c FROM edge AS e\n", "D206", 2),
        (
            "bad",
            "relation: bad\nuse: std/closure@1\nwith:\n"
            "  edge: {relation: edge, columns: {source: source, target: target}}\n  max_hops: 2\nchecks:\n"
            "  within_max_hops: {where: hop < 9}\n",
            "D206",
            7,
        ),
        (
            "bad",
            "relation: bad\nuse: std/equi_join@1\nwith:\n  left: {relation: edge, columns: {equal: [target]}}\n"
            "  right: {relation: edge, columns: {equal: [source]}}\n",
            "D209",
            2,
        ),
        (
            "bad",
            "relation: bad\nbody: SELECT e.map_id, COUNT(*) OVER (PARTITION BY e.source) AS c FROM edge AS e\n"
            "local_to: map_id\n",
            "D318",
            3,
        ),
    ],
)
def test_what_cannot_hold_is_refused(
    tmp_path: Path, relation: str, text: str, code: str | None, line: int | None
) -> None:
    folder = tmp_path / "graph"
    shutil.copytree(ROOT / "tests/packs/graph", folder)
    (folder / f"specs/graph/relations/{relation}.yaml").write_text(text)
    done = run_command("check", cwd=folder)
    if code is None:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1
    assert set(re.findall(r"error\[(\w+)\]", done.stderr)) == {code}, "one cause, one code"
    if line:
        assert f"relations/{relation}.yaml:{line}:" in done.stderr
