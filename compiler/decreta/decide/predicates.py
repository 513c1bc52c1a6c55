"""Read a rule's `when`: a conjunction of predicates over one subject's facts, every number a threshold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from decreta.decide.environment import Unit
from decreta.diagnostics import Related, Report, did_you_mean
from decreta.model.facts import FactInfo
from decreta.model.program import Statement, Written
from decreta.model.spec import RuleSpec
from decreta.sql import parse_expression, print_inline

_EQUALITIES = (exp.EQ, exp.NEQ)
_COMPARISONS = (*_EQUALITIES, exp.LT, exp.LTE, exp.GT, exp.GTE)
_ORDERED = ("int64", "decimal")
CAPABILITY = "capability"


@dataclass(frozen=True)
class Predicate:
    """One conjunct: its SQL over the columns of the fact table, and the facts and inputs it reads."""

    sql: str
    facts: tuple[str, ...]
    inputs: tuple[str, ...]
    tree: exp.Expr = field(compare=False, repr=False)
    """As it was written: two predicates are the same if they come to the same SQL."""

    @property
    def alone(self) -> bool:
        """Whether it looks at one fact once, so that the fact's value says whether it holds."""
        return sum(1 for _ in self.tree.find_all(exp.Column)) == 1


def read_when(
    rule: Written[RuleSpec],
    facts: Mapping[str, FactInfo],
    inputs: Mapping[str, int | str],
    units: Mapping[str, Unit],
    report: Report,
) -> tuple[Predicate, ...]:
    """Return the predicates of a rule, reporting every unknown fact, bare constant and form that is not allowed.

    `inputs` are the thresholds and budgets in force, `units` what they count.
    """
    text = rule.text("when")
    tree = parse_expression(text, report, "D401")
    if tree is None:
        return ()
    statement = Statement(exp.select(tree), text, text.whole())
    parts = list(tree.flatten()) if isinstance(tree, exp.And) else [tree]
    reader = _Reader(statement, facts, inputs, units, report)
    return tuple(found for part in parts if (found := reader.predicate(part.unnest())))


class _Reader:
    def __init__(
        self,
        statement: Statement,
        facts: Mapping[str, FactInfo],
        inputs: Mapping[str, int | str],
        units: Mapping[str, Unit],
        report: Report,
    ) -> None:
        self.statement, self.facts, self.inputs, self.units = statement, facts, inputs, units
        self.report = report

    def predicate(self, node: exp.Expr) -> Predicate | None:
        inner = node.this.unnest() if isinstance(node, exp.Not) else node
        used: list[str] = []
        read: list[str] = []
        if isinstance(inner, _COMPARISONS):
            kinds = [self._operand(side, used, read) for side in (inner.left, inner.right)]
            if None in kinds:
                return None
            self._fits(inner, kinds[0], kinds[1])
            if inner.left.unnest() == inner.right.unnest():
                help = "compare it with a threshold"
                self._error("D401", f"`{print_inline(inner.left)}` is compared with itself", node, help=help)
        elif isinstance(inner, exp.Column):
            if self._operand(inner, used, read) not in ("bool", None):
                self._error("D401", f"`{print_inline(inner)}` is no condition", inner, help="compare it with something")
        else:
            self._error(
                "D401",
                f"`{print_inline(node)}` is no predicate over facts",
                node,
                help="use facts, thresholds, = <> < <= > >=, NOT and AND",
            )
            return None
        if not used and isinstance(inner, _COMPARISONS):
            self._error("D401", "the predicate reads no fact", node, help="name a fact of the subject")
            return None
        sql = print_inline(_as_columns(node, self.inputs))
        return Predicate(sql, tuple(dict.fromkeys(used)), tuple(dict.fromkeys(read)), node)

    def _operand(self, side: exp.Expr, used: list[str], read: list[str]) -> str | None:
        """Return the type of one side of a comparison, noting the fact or input it reads."""
        node = side.unnest()
        if isinstance(node, exp.Column):
            name = fact_name(node)
            info = self.facts.get(name)
            if info is None:
                self._error("D402", f"unknown fact `{name}`", node, help=did_you_mean(name, self.facts))
                return None
            used.append(name)
            return info.type
        if (wanted := input_name(node)) is not None:
            if wanted not in self.inputs:
                hint = did_you_mean(wanted, self.inputs)
                self._error("D403", f"there is no threshold or budget `{wanted}`", node, help=hint)
                return None
            read.append(wanted)
            return input_type(self.inputs[wanted])
        if isinstance(node, exp.Boolean):
            return "bool"
        if isinstance(node, exp.Literal) and node.is_string:
            return "string"
        if isinstance(node, exp.Literal):
            self._error(
                "D404", f"the constant {node.this} has no name", node, help="define a [[threshold]] and write $its.id"
            )
            return None
        self._error("D401", f"`{print_inline(node)}` is no fact, threshold or text", node)
        return None

    def _fits(self, node: exp.Expr, left: str | None, right: str | None) -> None:
        if left != right:
            self._error("D401", f"{left} is compared with {right}", node, help="compare values of one type")
        elif left == "list<string>":
            self._error("D401", "lists of names are compared", node, help="no rule may read a name: use another fact")
        elif left not in _ORDERED and not isinstance(node, _EQUALITIES):
            self._error("D401", f"{left} has no order", node, help="only numbers are more or less: write = or <>")
        sides = node.this.unnest(), node.expression.unnest()
        self._same_unit(node, *sides)
        for side, other in (sides, sides[::-1]):
            if isinstance(side, exp.Column) and (text := self._text(other)) is not None:
                info = self.facts[fact_name(side)]
                if info.values and text not in info.values:
                    hint = did_you_mean(text, info.values)
                    self._error("D412", f"`{side.name}` is never '{text}'", node, help=hint)

    def _text(self, side: exp.Expr) -> str | None:
        """Return the text that a literal or a threshold stands for, None if it is none."""
        if isinstance(side, exp.Literal):
            return side.this if side.is_string else None
        value = self.inputs.get(input_name(side) or "")
        return value if isinstance(value, str) else None

    def _same_unit(self, node: exp.Expr, left: exp.Expr, right: exp.Expr) -> None:
        """Report two numbers that count different things."""
        units = [self._unit(side) for side in (left, right)]
        if None not in units and units[0] != units[1]:
            words = f"{units[0]} are compared with {units[1]}"
            asked = [name for side in (left, right) if (name := input_name(side)) is not None]
            related = [Related(self.units[name].place, f"the unit of `{name}`") for name in asked]
            help = "compare what is counted in one unit, or give the threshold its unit"
            self._error("D414", words, node, help=help, related=related)

    def _unit(self, side: exp.Expr) -> str | None:
        if isinstance(side, exp.Column):
            info = self.facts.get(fact_name(side))
            return info.unit if info else None
        unit = self.units.get(input_name(side) or "")
        return unit.name if unit else None

    def _error(
        self, code: str, message: str, node: exp.Expr, *, help: str = "", related: Iterable[Related] = ()
    ) -> None:
        self.report.error(code, message, self.statement.span(node), help=help, related=related)


def fact_name(node: exp.Column) -> str:
    """Return the fact that a column names: `consumers`, `capability.native_scan`."""
    return f"{node.table}.{node.name}" if node.table else node.name


def input_type(value: int | str) -> str:
    """Return the type of a threshold or budget: text that is a decimal number is one."""
    if isinstance(value, int):
        return "int64"
    return "decimal" if re.fullmatch(r"\d+\.\d+", value) else "string"


def input_name(node: exp.Expr) -> str | None:
    """Return `cache.min_consumers` for the node of `$cache.min_consumers`, None for any other node."""
    if isinstance(node, exp.Dot) and isinstance(node.this, exp.Parameter):
        return f"{node.this.name}.{node.expression.name}"
    return None


def _as_columns(node: exp.Expr, inputs: Mapping[str, int | str]) -> exp.Expr:
    """Return `node` over the columns of the fact table, with the inputs' values in it."""

    def change(part: exp.Expr) -> exp.Expr:
        if isinstance(part, exp.Column):
            return exp.column(fact_name(part), quoted=True)
        name = input_name(part)
        if name is None:
            return part
        value = inputs[name]
        return exp.Literal.number(value) if input_type(value) == "decimal" else exp.convert(value)

    return node.transform(change)
