"""Hold joins against the cardinality that their relation declares: proven from keys, else checked in each run."""

from __future__ import annotations

from collections import Counter

from decreta.check.rows import JoinFound
from decreta.diagnostics import Report, did_you_mean
from decreta.model.program import Relation, Statement
from decreta_runtime.contract.manifest import Check, Join


def joins(
    relation: Relation, statement: Statement, found: list[JoinFound], report: Report
) -> tuple[tuple[Join, ...], tuple[Check, ...]]:
    """Return the joins of a statement with their cardinality, and the checks of what is declared and not proven."""
    declared = relation.written.spec.cardinality
    names = Counter(_named(relation, join) for join in found)
    for name in declared:
        if names[name] != 1:
            words = f"no join reads `{name}`" if not names[name] else f"several joins read `{name}`"
            hint = did_you_mean(name, names)
            report.error("D317", words, relation.written.key("cardinality", name), help=hint)
    result, checks = [], []
    for join in found:
        name = _named(relation, join)
        wanted = declared.get(name) if names[name] == 1 else None
        checks += _promises(relation, name, join, wanted, report) if wanted else []
        on = {column: f"{alias}.{other}" for (alias, other), column in join.on}
        known = wanted is None or _keeps(join, wanted)
        result.append(
            Join(
                table=join.alias,
                on=on,
                cardinality=wanted or join.cardinality,  # type: ignore[arg-type]
                known="proven" if known else "checked",
            )
        )
    return tuple(result), tuple(checks)


def _named(relation: Relation, join: JoinFound) -> str:
    """Return the name that a spec calls a join by: the template's parameter, or the alias in a body of its own."""
    if relation.application is None:
        return join.alias
    given = relation.application.arguments.relations
    return next((name for name, argument in given.items() if argument.relation == join.table), join.alias)


def _keeps(join: JoinFound, wanted: str) -> bool:
    return (join.one_right or wanted[-1] != "1") and (join.one_left or wanted[0] != "1")


def _promises(relation: Relation, name: str, join: JoinFound, wanted: str, report: Report) -> list[Check]:
    place = relation.written.place("cardinality", name)
    checks = []
    sides = (
        (wanted[-1] == "1" and not join.one_right, join.table, sorted({column for _, column in join.on})),
        (wanted[0] == "1" and not join.one_left, join.left_table, sorted({column for (_, column), _ in join.on})),
    )
    for needed, table, columns in sides:
        if not needed:
            continue
        if table == join.table and join.partial_key:
            key = ", ".join(join.partial_key)
            words = f"the join with `{name}` multiplies rows: it equates only a part of the key ({key})"
            report.error("D317", words, place, help=f"equate all of ({key}), or declare `{wanted[0]}:m`")
        elif table is None or not columns:
            words = f"`{wanted}` of `{name}` can be neither proven nor checked: no columns of one table are equated"
            report.error("D317", words, place, help="join with a relation of the pack on equal columns")
        else:
            checks.append(_unique(name, wanted, table, columns))
    return checks


def _unique(name: str, wanted: str, table: str, columns: list[str]) -> Check:
    listed = ", ".join(f'"{column}"' for column in columns)
    known = " AND ".join(f'"{column}" IS NOT NULL' for column in columns)
    return Check(
        name=f"cardinality_of_{name}",
        kind="cardinality",
        summary=f"the join with {name} is {wanted}: ({', '.join(columns)}) is unique in {table}",
        sql=f'SELECT {listed}, count(*) AS rows FROM "{table}" WHERE {known} GROUP BY {listed} HAVING count(*) > 1',
    )
