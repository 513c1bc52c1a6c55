"""What a shape asks of its scans is what its conditions say, however they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from decreta.check.asks import conditions
from decreta.diagnostics import Report
from decreta.pipeline import compile_pack
from decreta.project import Project
from decreta_runtime.contract.manifest import Ask, AskValue

MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@pytest.mark.parametrize("operator", MIRRORED)
def test_a_value_may_stand_first(project: Path, operator: str) -> None:
    for i, condition in enumerate((f"s.span_start {operator} $at", f"$at {MIRRORED[operator]} s.span_start")):
        (project / f"specs/code_graph/queries/side_{i}.yaml").write_text(
            f"query: side_{i}\nsummary: One comparison.\nclass: interactive_query\nparameters: {{at: int64}}\n"
            f'example: {{at: 1}}\nbody: "SELECT s.scope_id FROM scope AS s WHERE {condition}"\n'
        )
    report = Report()
    compiled = compile_pack(Project(project), "code_graph", report)
    assert compiled is not None, report.diagnostics()
    asked = Ask(column="span_start", op=operator, values=(AskValue(parameter="at"),))  # type: ignore[arg-type]
    for i in range(2):
        assert compiled.program.checked.queries[f"side_{i}"].asks == {"scope": ((asked,),)}


@pytest.mark.parametrize("printed", ["Int64(-5)", "Int32(-5)", "TimestampMicrosecond(-5, None)"])
def test_a_number_keeps_its_sign(printed: str) -> None:
    value = AskValue(literal=-5)
    assert conditions(f"t.c = {printed}", {}) == (Ask(column="c", op="=", values=(value,)),)
    assert conditions(f"t.c IN ([{printed}])", {}) == (Ask(column="c", op="in", values=(value,)),)


KINDS = {"i": "int32", "s": "string", "m": "decimal(10,2)", "f": "float64", "t": "timestamp"}
KINDS |= {f"${name}": kind for name, kind in KINDS.items()}


@pytest.mark.parametrize(
    ("printed", "column"),
    [("CAST(t.i AS Int64) = $i", "i"), ("t.i = CAST($i AS Int64)", "i"), ("t.s = CAST($s AS Utf8View)", "s")],
)
def test_a_cast_that_keeps_every_value_asks_the_same(printed: str, column: str) -> None:
    assert conditions(printed, KINDS) == (Ask(column=column, op="=", values=(AskValue(parameter=column),)),)


@pytest.mark.parametrize(
    "printed",
    [
        "CAST(t.s AS Int64) = $i",
        "TRY_CAST(t.m AS Int64) = $i",
        "CAST(t.f AS Int64) = Int64(3)",
        "CAST(t.s AS Int32) IN ([Int32(1), Int32(2)])",
        "t.s = CAST($t AS Utf8)",
        "t.i = CAST($f AS Int64)",
        "t.t = CAST($i AS Timestamp(µs))",
    ],
)
def test_a_cast_that_changes_values_asks_nothing(printed: str) -> None:
    """The text `05` is the number 5, and no file of it has a text `5`."""
    assert conditions(printed, KINDS) == ()


@pytest.mark.parametrize("place", ["query", "view"])
@pytest.mark.parametrize("text", ['a""b', "a\nb"])
def test_a_text_that_the_planner_prints_otherwise_asks_nothing(project: Path, text: str, place: str) -> None:
    body = f"SELECT d.name FROM definition AS d WHERE d.name = '{text}'"
    block = "".join(f"  {line}\n" for line in body.split("\n"))
    head = "version: 1.0.0\nexport: true\nstore: false\n"
    if place == "view":
        (project / "specs/code_graph/relations/odd.yaml").write_text(
            f"relation: odd\n{head}summary: A text.\nbody: |\n{block}"
        )
        block = "  SELECT o.name FROM odd AS o\n"
    (project / "specs/code_graph/queries/odd_text.yaml").write_text(
        f"query: odd_text\nsummary: A text.\nclass: interactive_query\nbody: |\n{block}"
    )
    report = Report()
    compiled = compile_pack(Project(project), "code_graph", report)
    assert compiled is not None, report.diagnostics()
    assert compiled.program.checked.queries["odd_text"].asks == {}
