"""Unroll bounded recursion: `rounds: n` makes a cycle of relations into hidden relations `<name>__r<i>`, one a round.

Round 1 of the relation that says `rounds` is the part of its UNION that reads nothing of the cycle; each later round is
the whole UNION over the round before. The last round bears the plain name. No fixed point is sought: the bound is
declared, because mutual recursion through lookups need not end (and DataFusion 55 may hang on it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from decreta.bind.templates import tables_of
from decreta.diagnostics import Related, Report
from decreta.model.program import BoundRelation, Statement


def unroll(relations: Mapping[str, BoundRelation], report: Report) -> dict[str, BoundRelation]:
    """Return `relations` with every declared cycle unrolled, reporting what cannot be."""
    result = dict(relations)
    for name, bound in sorted(relations.items()):
        rounds = bound.relation.written.spec.rounds
        if rounds is not None and (members := _members(name, bound, relations, report)):
            result |= _Cycle(name, members, relations, rounds).unrolled()
    return result


def _members(
    name: str, bound: BoundRelation, relations: Mapping[str, BoundRelation], report: Report
) -> frozenset[str] | None:
    """Return the relations that lead to `name` and that it leads to, itself among them."""
    place = bound.relation.written.key("rounds")
    readers: dict[str, set[str]] = {}
    for other, found in relations.items():
        for read in found.inputs:
            readers.setdefault(read, set()).add(other)
    below = _reach(name, {n: set(r.inputs) & relations.keys() for n, r in relations.items()})
    members = below & _reach(name, readers)
    if name not in members:
        report.error("D316", f"`{name}` never leads back to itself", place, help="remove `rounds`")
        return None
    for other in sorted(members - {name}):
        if relations[other].relation.written.spec.rounds is not None:
            related = [Related(relations[other].relation.written.key("rounds"), "the other")]
            report.error("D316", "two relations of one cycle have `rounds`", place, help="keep one", related=related)
            return None
        if relations[other].statement is None:
            report.error("D316", f"the table function `{other}` is part of the cycle", place, help="take it out of it")
            return None
    statement = bound.statement
    if statement is None or not isinstance(statement.tree, exp.Union) or not _base(statement, members):
        help = "write a UNION, one branch of which reads neither the relation nor what leads back to it"
        report.error("D316", f"`{name}` has nothing to begin its rounds with", place, help=help)
        return None
    return frozenset(members)


def _reach(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    stack = [start]
    while stack:
        for name in graph.get(stack.pop(), ()):
            if name not in seen:
                seen.add(name)
                stack.append(name)
    return seen


def _branches(tree: exp.Query) -> list[exp.Query]:
    if isinstance(tree, exp.Union):
        return [*_branches(tree.left), *_branches(tree.right)]
    return [tree]


def _base(statement: Statement, members: set[str] | frozenset[str]) -> list[exp.Query]:
    """Return the branches that read nothing of the cycle, neither themselves nor through a WITH clause."""
    return [
        b
        for b in _branches(statement.tree)
        if not {t.name for n in _parts(b, statement.tree) for t in tables_of(n)} & members
    ]


def _parts(branch: exp.Query, tree: exp.Query) -> list[exp.Expr]:
    """Return a branch and the WITH clauses of the whole that it needs, in the order in which they are written."""
    clause = tree.args.get("with_")
    clauses = {cte.alias: cte for cte in clause.expressions} if clause is not None else {}
    needs = {name: {t.name for t in cte.find_all(exp.Table)} for name, cte in clauses.items()}
    read = {t.name for t in branch.find_all(exp.Table)}
    needed = read.union(*(_reach(name, needs) for name in read)) if clauses else set()
    return [branch, *(cte for name, cte in clauses.items() if name in needed)]


class _Cycle:
    def __init__(self, name: str, members: frozenset[str], relations: Mapping[str, BoundRelation], rounds: int) -> None:
        self.name, self.members, self.relations, self.rounds = name, members, relations, rounds

    def unrolled(self) -> dict[str, BoundRelation]:
        found: dict[str, BoundRelation] = {}
        for i in range(1, self.rounds + 1):
            for name in sorted(self.members):
                bound = self._round(name, i)
                hidden = bound.relation.name
                found[hidden] = bound
        return found

    def _round(self, name: str, i: int) -> BoundRelation:
        bound = self.relations[name]
        statement = bound.statement
        assert statement is not None
        tree: exp.Query = statement.tree.copy()
        before = i - 1 if name == self.name else i
        if before == 0:
            found = _base(statement, self.members)
            distinct = bool(statement.tree.args.get("distinct"))
            clauses = [part.copy() for part in dict.fromkeys(p for b in found for p in _parts(b, statement.tree)[1:])]
            base = [branch.copy() for branch in found]
            tree = exp.union(*base, distinct=distinct, copy=False) if len(base) > 1 else base[0]
            if clauses:
                tree.set("with_", exp.With(expressions=clauses))
        for table in tables_of(tree):
            if table.name in self.members:
                if not table.alias:
                    table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
                table.this.set("this", self._named(table.name, before))
        inputs = tuple(sorted({t.name for t in tables_of(tree)}))
        relation = bound.relation
        if i < self.rounds:
            relation = replace(relation, name=self._named(name, i), round=i)
        return BoundRelation(relation, replace(statement, tree=tree), inputs)

    def _named(self, name: str, i: int) -> str:
        return name if i == self.rounds else f"{name}__r{i}"
