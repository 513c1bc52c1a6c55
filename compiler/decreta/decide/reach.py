"""Find the rules of a domain that never decide: others before hold whenever they would, or they contradict themselves.

A rule holds in a box: of each fact, the values that its predicates allow. What is asked is whether the boxes of the
rules before cover it. Facts that exclude each other in truth are not known here, nor is what a comparison of two facts
depends on: it may hold or not, whatever they are. So what is called unreached is so whatever the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from decreta.decide.predicates import Predicate, input_type
from decreta.engine import Engine
from decreta.model.facts import FactInfo, FactValue

Box = Mapping[str, frozenset[int]]
"""Fact → which of its values to try; a comparison of facts stands for itself and is true or not."""
_EITHER = frozenset({0, 1})


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
    boxes = _boxes(rules, facts, inputs, engine)
    found = []
    for j, box in enumerate(boxes[:-1]):
        if not all(box.values()):
            found.append(Unreached(j, ()))
        elif _covered(box, boxes[:j]):
            whole = [i for i in range(j) if all(box[name] <= kept for name, kept in boxes[i].items())]
            some = [i for i in range(j) if _meet(box, boxes[i])]
            found.append(Unreached(j, tuple(whole[:1] or some)))
    return found


def _boxes(
    rules: Sequence[tuple[Predicate, ...]],
    facts: Mapping[str, FactInfo],
    inputs: Mapping[str, int | str],
    engine: Engine,
) -> list[Box]:
    """Return where each rule holds. One query tries each value of each fact, all others unknown."""
    predicates = list(dict.fromkeys(p for rule in rules for p in rule))
    lone = [p for p in predicates if p.alone]
    values = {p.facts[0]: values_of(p.facts[0], facts[p.facts[0]], lone, inputs) for p in lone}
    tried = [(fact, i) for fact, known in values.items() for i in range(len(known))]
    rows: list[dict[str, FactValue]] = [{fact: values[fact][i]} for fact, i in tried]
    truths = engine.evaluate(rows, {fact: facts[fact].type for fact in values}, [p.sql for p in lone])
    holds: dict[Predicate, tuple[str, frozenset[int]]] = {p: (p.sql, frozenset({1})) for p in predicates}
    for n, p in enumerate(lone):
        mine = (i for (fact, i), told in zip(tried, truths, strict=True) if fact == p.facts[0] and told[n] is True)
        holds[p] = (p.facts[0], frozenset(mine))
    everything = {p.sql: _EITHER for p in predicates if not p.alone}
    everything |= {fact: frozenset(range(len(known))) for fact, known in values.items()}
    boxes: list[Box] = []
    for rule in rules:
        box = dict(everything)
        for name, kept in (holds[p] for p in rule):
            box[name] &= kept
        boxes.append(box)
    return boxes


def _covered(box: Box, others: Sequence[Box]) -> bool:
    """Whether each combination of a box lies in one of the others: what one leaves is cut up and asked of the rest."""
    first = next((i for i, other in enumerate(others) if _meet(box, other)), None)
    if first is None:
        return False
    inside = dict(box)
    for name, kept in others[first].items():
        outside = inside[name] - kept
        if outside and not _covered({**inside, name: outside}, others[first + 1 :]):
            return False
        inside[name] &= kept
    return True


def _meet(box: Box, other: Box) -> bool:
    return all(box[name] & kept for name, kept in other.items())


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
