"""What a view's statement is, how deep it lies, and how many rows and bytes it may have: seen, or derived in words."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from decreta.model.facts import MOST, Fact, Rows
from decreta.model.program import Checked, CheckedRelation, Worth

_FIXED = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "float32": 4, "float64": 8, "date": 4, "timestamp": 8, "timestamp_local": 8,
}  # fmt: skip
"""Bytes of a value in an Arrow array."""


def kind_of(relation: CheckedRelation) -> str:
    """Return what a relation's statement does last, of all that costs."""
    statement = relation.bound.statement
    if statement is None:
        return "table_function"
    tree = statement.tree
    if (given := tree.args.get("with_")) is not None and given.recursive:
        return "recursive"
    if isinstance(tree, exp.SetOperation):
        return "union"
    if tree.args.get("group") or tree.args.get("distinct") or _aggregates(tree):
        return "aggregate"
    if any(select.find(exp.Window) for select in tree.selects) or tree.args.get("qualify"):
        return "window"
    if tree.args.get("joins"):
        return "join"
    return "filter" if tree.args.get("where") else "project"


def _aggregates(tree: exp.Query) -> bool:
    found = (node for select in tree.selects for node in select.find_all(exp.AggFunc))
    return any(node.find_ancestor(exp.Window, exp.Subquery) is None for node in found)


def lineage_depth(checked: Checked) -> dict[str, int]:
    """Return for each relation how many relations lie on the longest way down to an object, itself included."""
    depths: dict[str, int] = {}
    for name in checked.order:
        inputs = checked.relations[name].bound.inputs
        depths[name] = 1 + max((depths.get(given, 0) for given in inputs), default=0)
    return depths


DERIVED = {
    "of what was seen": "`estimated_rows` and `estimated_bytes` are `rows` and `bytes` where a run has told them.",
    "of one table": "At most the rows of the first, if each join meets one row (`n:1`, `1:1`) and no right or full "
    "join, `unnest` or totals add any.",
    "of an aggregate over everything": "One row.",
    "of a union": "The sum of its branches.",
    "of what recurs, or a function makes": "Unknown: nothing in the statement bounds it.",
    "of bytes": "Rows times the width of the columns; a text or list counts `facts.text_bytes`, which is assumed.",
}
"""What is estimated → how, in words for the reference."""


class Estimates:
    """Rows and bytes of views, each after its inputs: what was seen of them, else what their inputs allow at most."""

    def __init__(self, checked: Checked, datasets: Rows, worth: Worth) -> None:
        self._checked, self._worth = checked, worth
        self._rows = {name: row["rows"] for name, row in datasets.items()}
        self._text_bytes = checked.resolved.rules.number("facts.text_bytes")

    def of(self, name: str, seen: Mapping[str, Fact]) -> dict[str, Fact]:
        """Return `estimated_rows` and `estimated_bytes` of a view whose inputs were asked before."""
        relation = self._checked.relations[name]
        rows = seen["rows"]
        if rows.value is None:
            rows = self._derived(relation)
        self._rows.setdefault(name, rows)
        if relation.bound.relation.stored and self._rows[name].value is None:
            self._rows[name] = rows
        size = seen["bytes"]
        if size.value is None:
            size = self._sized(relation, rows)
        return {"estimated_rows": rows, "estimated_bytes": size}

    def _derived(self, relation: CheckedRelation) -> Fact:
        kind, statement = kind_of(relation), relation.bound.statement
        if kind in ("table_function", "recursive") or statement is None:
            return self._unknown()
        tree = statement.tree
        if kind == "union":
            parts = [self._of_select(relation, part) for part in _branches(tree)]
            return self._sum(parts)
        return self._of_select(relation, tree)

    def _of_select(self, relation: CheckedRelation, tree: exp.Query) -> Fact:
        """At most the rows of its first table, as long as no join multiplies them."""
        from_ = tree.args.get("from_")
        table = from_.this if from_ is not None else None
        if not isinstance(table, exp.Table) or table.name not in self._rows:
            return self._unknown()
        if not tree.args.get("group") and _aggregates(tree):
            return Fact(1, "lineage", self._worth.of("lineage"), derivation="one row: it sums up everything")
        joined = tree.args.get("joins") or []
        known = {join.table: join.cardinality for join in relation.joins}
        if any(known.get(join.alias_or_name) not in ("n:1", "1:1") for join in joined) or _adds_rows(tree):
            return self._unknown()
        rows = self._rows[table.name]
        if rows.value is None:
            return self._unknown()
        words = f"at most the rows of {table.name}" + (f", {len(joined)} joins to one row each" if joined else "")
        return self._estimate(int(str(rows.value)), [rows], words)

    def _sum(self, parts: list[Fact]) -> Fact:
        if any(part.value is None for part in parts):
            return self._unknown()
        value = sum(int(str(part.value)) for part in parts)
        if value >= MOST:
            return self._unknown()
        weakest = min(parts, key=lambda part: part.confidence)
        return Fact(value, weakest.source, weakest.confidence, derivation="the sum of its branches")

    def _sized(self, relation: CheckedRelation, rows: Fact) -> Fact:
        if rows.value is None:
            return self._unknown()
        width = sum(_FIXED.get(column.type, self._text_bytes) for column in relation.columns)
        assumed = any(column.type not in _FIXED for column in relation.columns)
        made_from = [rows, Fact(self._text_bytes, "assumed", self._worth.of("assumed"))] if assumed else [rows]
        return self._estimate(int(str(rows.value)) * width, made_from, f"{rows.value} rows of about {width} bytes")

    def _estimate(self, value: int, made_from: list[Fact], words: str) -> Fact:
        if value >= MOST:
            return self._unknown()  # no engine counts so far, and no table is so large
        weakest = min(fact.confidence for fact in made_from)
        return Fact(value, made_from[0].source, self._worth.estimate(weakest), derivation=words)

    def _unknown(self) -> Fact:
        return Fact(None, "assumed", Worth.NOTHING)


def _adds_rows(tree: exp.Query) -> bool:
    """Whether rows come out that the first table has none for: of another table, of a list's values, or of totals."""
    if any(join.side in ("RIGHT", "FULL") for join in tree.args.get("joins") or []):
        return True
    group = tree.args.get("group")
    totals = group is not None and group.find(exp.Rollup, exp.Cube, exp.GroupingSets) is not None
    return totals or any(select.find(exp.Explode, exp.Unnest) for select in tree.selects)


def _branches(tree: exp.Query) -> list[exp.Query]:
    if isinstance(tree, exp.SetOperation):
        return [*_branches(tree.left), *_branches(tree.right)]
    return [tree]
