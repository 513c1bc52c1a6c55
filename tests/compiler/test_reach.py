"""Rules that never decide: what boxes say is what trying every combination of facts says."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from decreta.decide.predicates import Predicate
from decreta.decide.reach import unreached, values_of
from decreta.engine import Engine
from decreta.model.facts import FactInfo, FactValue

FACTS = {
    "bound": FactInfo("bool", "declared", ""),
    "sorted": FactInfo("bool", "declared", ""),
    "kind": FactInfo("string", "declared", "", None, ("object", "relation")),
    "rows": FactInfo("int64", "statistics", "", "rows"),
}
INPUTS: dict[str, int | str] = {"scan.few": 3, "scan.many": 5}
ENGINE = Engine()


def predicate(fact: str, sql: str, *inputs: str) -> Predicate:
    return Predicate(sql, (fact,), inputs, exp.true())


PREDICATES = [
    *(predicate(fact, sql.format(fact)) for fact in ("bound", "sorted") for sql in ('"{}"', 'NOT "{}"')),
    *(predicate("kind", f"\"kind\" = '{value}'") for value in ("object", "relation")),
    *(predicate("rows", f'"rows" {op} {INPUTS[name]}', name) for op in ("<", "<=", "=", ">") for name in INPUTS),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PREDICATES), min_size=1, max_size=4, unique=True), min_size=1, max_size=6))
def test_boxes_say_what_every_combination_says(drawn: list[list[Predicate]]) -> None:
    rules = [*map(tuple, drawn), ()]
    asked = list(dict.fromkeys(p for rule in rules for p in rule))
    values = {fact: values_of(fact, info, asked, INPUTS) for fact, info in FACTS.items()}
    rows: list[dict[str, FactValue]] = [dict(zip(values, row, strict=True)) for row in product(*values.values())]
    truths = ENGINE.evaluate(rows, {n: f.type for n, f in FACTS.items()}, [p.sql for p in asked])
    told = [dict(zip(asked, truth, strict=True)) for truth in truths]
    held = [{i for i, truth in enumerate(told) if all(truth[p] for p in rule)} for rule in rules]
    lost = unreached(rules, FACTS, INPUTS, ENGINE)
    assert [u.rule for u in lost] == [j for j in range(len(drawn)) if held[j] <= set().union(*held[:j])]
    for found in lost:
        assert bool(found.before) == bool(held[found.rule])
        assert held[found.rule] <= set().union(*(held[i] for i in found.before))


def test_as_many_facts_as_a_domain_has_are_looked_through() -> None:
    facts = {f"f{i}": FactInfo("bool", "capability", "") for i in range(30)}
    many = tuple(predicate(fact, f'"{fact}"') for fact in facts)
    (lost,) = unreached([many[:29], many, ()], facts, {}, ENGINE)
    assert (lost.rule, lost.before, lost.certain) == (1, (0,), True)


def test_what_two_facts_say_of_each_other_may_come_out_either_way() -> None:
    either = Predicate('"sorted" = "bound"', ("sorted", "bound"), (), exp.true())
    plain, not_sorted = PREDICATES[2:4]
    lost = unreached([(either,), (either, plain), (plain, not_sorted), (plain,), ()], FACTS, INPUTS, ENGINE)
    assert [(u.rule, u.before, u.certain) for u in lost] == [(1, (0,), True), (2, (), True)]
