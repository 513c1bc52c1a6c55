"""Find the rules of a domain that never decide: others before hold whenever they would, or they contradict themselves.

A predicate over one fact divides the values of that fact, so a rule is a box: for each fact the values with which it
holds. What the boxes before leave of a rule's own is what it decides. Facts that exclude each other in truth are not
known here, so what is called unreached is so whatever the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest

from decreta.decide.predicates import Predicate, input_type
from decreta.engine import Engine
from decreta.model.facts import FactInfo, FactValue

Box = dict[str, frozenset[int]]
"""Fact → which of its values, by position; a fact that is not named may have any."""


@dataclass(frozen=True)
class Unreached:
    """The position of a rule that never decides, and of those that decide before; none if it never holds at all."""

    rule: int
    before: tuple[int, ...]
    certain: bool
    """Whether that is so whatever the thresholds are."""


def unreached(
    rules: Sequence[tuple[Predicate, ...]],
    facts: Mapping[str, FactInfo],
    inputs: Mapping[str, int | str],
    engine: Engine,
) -> list[Unreached]:
    """Return the rules but the last that no combination of facts reaches."""
    predicates = list(dict.fromkeys(p for rule in rules for p in rule))
    values: dict[str, list[FactValue]] = {axis: [True, False] for axis in map(_axis, predicates) if axis not in facts}
    values |= {fact: values_of(fact, facts[fact], predicates, inputs) for p in predicates for fact in p.facts}
    true = _true(predicates, values, facts, engine)
    whole = {axis: frozenset(range(len(known))) for axis, known in values.items()}
    boxes = [_box(rule, true) for rule in rules]
    found = []
    for j, (rule, box) in enumerate(zip(rules[:-1], boxes, strict=False)):
        if (empty := next((axis for axis, left in box.items() if not left), None)) is not None:
            asked = {name for p in rule if _axis(p) == empty for name in p.inputs}
            found.append(Unreached(j, (), certain=len(asked) < 2))  # no number is above and below itself
        elif before := _covering(box, boxes[:j], whole):
            certain = any(set(rules[i]) <= set(rule) for i in before)
            found.append(Unreached(j, before, certain))
    return found


def _axis(predicate: Predicate) -> str:
    """Return the fact whose values a predicate divides; one of two facts may hold or not, as if it were a fact."""
    return predicate.facts[0] if len(predicate.facts) == 1 else predicate.sql


def _true(
    predicates: Sequence[Predicate],
    values: Mapping[str, list[FactValue]],
    facts: Mapping[str, FactInfo],
    engine: Engine,
) -> dict[Predicate, frozenset[int]]:
    """Return the positions of the values with which each predicate holds."""
    kinds = {axis: facts[axis].type for axis in values if axis in facts}
    rows = [dict(zip(kinds, row, strict=True)) for row in zip_longest(*(values[fact] for fact in kinds))]
    truths = list(zip(*engine.evaluate(rows, kinds, [p.sql for p in predicates]), strict=True))
    held = {p: {i for i, true in enumerate(told) if true} for p, told in zip(predicates, truths, strict=True)}
    return {
        p: frozenset(at & set(range(len(values[_axis(p)]))) if _axis(p) in facts else {0}) for p, at in held.items()
    }


def _box(rule: tuple[Predicate, ...], true: Mapping[Predicate, frozenset[int]]) -> Box:
    box: Box = {}
    for predicate in rule:
        axis = _axis(predicate)
        box[axis] = box[axis] & true[predicate] if axis in box else true[predicate]
    return box


def _covering(box: Box, before: Sequence[Box], whole: Mapping[str, frozenset[int]]) -> tuple[int, ...]:
    """Return which of the boxes `before` leave nothing of one: a single one that does, or all that take some of it."""
    pieces, some = [box], []
    for i, cut in enumerate(before):
        left = [piece for part in pieces for piece in _less(part, cut, whole)]
        if not _less(box, cut, whole):
            return (i,)
        some += [i] if left != pieces else []
        pieces = left
    return () if pieces else tuple(some)


def _less(box: Box, cut: Box, whole: Mapping[str, frozenset[int]]) -> list[Box]:
    """Return what is left of a box where another is taken out, in pieces that do not overlap."""
    if any(not box.get(axis, whole[axis]) & taken for axis, taken in cut.items()):
        return [box]
    pieces = []
    for axis, taken in cut.items():
        mine = box.get(axis, whole[axis])
        if rest := mine - taken:
            pieces.append({**box, axis: rest})
        box = {**box, axis: mine & taken}
    return pieces


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
