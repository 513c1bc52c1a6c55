"""A look-up whose predicates no order of the rows can serve."""

from __future__ import annotations

from collections.abc import Mapping

from decreta.diagnostics import Report
from decreta.model.program import Bound, BoundQuery, Checked
from decreta_runtime.contract.manifest import IndexEntry


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Warn of shapes of selective workloads that read a whole table, because nothing they ask for is its first sort."""
    workloads = program.resolved.header.spec.workloads
    for name, query in bound.queries.items():
        if workloads[query.query.written.spec.class_].reads == "selective":
            _check_query(program, query, name, report)


def _check_query(program: Checked, query: BoundQuery, name: str, report: Report) -> None:
    shape = program.queries[name]
    filtered = {table: shape.asked(table) for table in shape.asks}
    sorts = {table: _sort(program, table) for table in shape.datasets}
    served = any(sort and sort[0] in filtered.get(table, ()) for table, sort in sorts.items())
    for table, columns in sorted(filtered.items()):
        sort = sorts.get(table)
        if sort is None or served:
            continue  # a served table leaves few rows to join the others with
        if any(index.columns[0] in columns for index in _indexes(program, table).values()):
            continue
        order = f"it is sorted by `{sort[0]}`" if sort else "it has no sort"
        listed = ", ".join(f"`{c}`" for c in sorted(columns))
        words = f"`{name}` reads all of `{table}`: it asks for {listed}, and {order}"
        help = f"sort `{table}` by one of them, declare an index, or accept the whole scan"
        report.warning("D606", words, query.query.written.place("query"), help=help)


def _indexes(program: Checked, table: str) -> Mapping[str, IndexEntry]:
    return program.objects[table].object.indexes if table in program.objects else program.relations[table].indexes


def _sort(program: Checked, table: str) -> tuple[str, ...] | None:
    """Return the sort of a dataset; None for a view, and for a table of others, whose order is theirs."""
    if table in program.objects:
        obj = program.objects[table].object
        return obj.sort if obj.source else None
    relation = program.relations[table]
    return relation.sort if relation.bound.relation.stored else None
