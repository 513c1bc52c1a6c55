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
    assert conditions(f"t.c = {printed}") == (Ask(column="c", op="=", values=(value,)),)
    assert conditions(f"t.c IN ([{printed}])") == (Ask(column="c", op="in", values=(value,)),)
