"""Find the rules of a domain that never decide: others before hold whenever they would, or they contradict themselves.

Every combination of the values that the predicates can tell apart is tried; facts that exclude each other in truth
are not known here, so what is called unreached is so whatever the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from math import prod

from decreta.decide.predicates import Predicate, input_type
from decreta.engine import Engine
from decreta.model.facts import FactInfo, FactValue

MAX_ROWS = 4096
"""More combinations than these are not tried."""


@dataclass(frozen=True)
class Unreached:
    """The position of a rule that never decides, and of those that decide before; none if it never holds at all."""

    rule: int
    before: tuple[int, ...]


def unreached(
    rules: Sequence[tuple[Predicate, ...]],
    facts: Mapping[str, FactInfo],
    inputs: Mapping[str, int | str],
    engine: Engine,
) -> list[Unreached]:
    """Return the rules but the last that no combination of facts reaches."""
    predicates = list(dict.fromkeys(p for rule in rules for p in rule))
    if any(len(p.facts) != 1 for p in predicates):
        return []  # two facts that are compared have no values to try
    values = {fact: values_of(fact, facts[fact], predicates, inputs) for p in predicates for fact in p.facts}
    if not predicates or prod(len(v) for v in values.values()) > MAX_ROWS:
        return []
    rows: list[dict[str, FactValue]] = [dict(zip(values, row, strict=True)) for row in product(*values.values())]
    kinds = {fact: facts[fact].type for fact in values}
    held: list[set[int]] = [set() for _ in rules]
    for i, truths in enumerate(engine.evaluate(rows, kinds, [p.sql for p in predicates])):
        true = {p for p, truth in zip(predicates, truths, strict=True) if truth is True}
        for j, rule in enumerate(rules):
            if true.issuperset(rule):
                held[j].add(i)
    found = []
    for j in range(len(rules) - 1):
        if held[j] <= set().union(*held[:j]):
            whole = [i for i in range(j) if held[i] >= held[j]]
            some = [i for i in range(j) if held[i] & held[j]]
            found.append(Unreached(j, tuple(whole[:1] or some) if held[j] else ()))
    return found


def values_of(
    fact: str, info: FactInfo, predicates: Sequence[Predicate], inputs: Mapping[str, int | str]
) -> list[FactValue]:
    """Return a value of each kind that the predicates can tell apart, and that of an unknown fact."""
    if info.type == "bool":
        return [True, False, None]
    mine = [p for p in predicates if fact in p.facts]
    if info.type == "int64":
        asked = {v for p in mine for name in p.inputs if isinstance(v := inputs[name], int)}
        return [*sorted({v + d for v in asked for d in (-1, 0, 1)}), None]
    if info.type == "decimal":
        near = {Decimal(str(v)) for p in mine for name in p.inputs if input_type(v := inputs[name]) == "decimal"}
        return [*sorted({v + d * Decimal("0.01") for v in near for d in (-1, 0, 1)}), None]
    if info.type == "list<string>":
        return [(), None]
    texts = {text.replace("''", "'") for p in mine for text in re.findall(r"'((?:[^']|'')*)'", p.sql)}
    return [*(info.values or sorted({*texts, "".join(sorted(texts)) + "~"})), None]
