"""How far each function of the engine depends on the order in which it meets its rows (DataFusion 55, tried)."""

from __future__ import annotations

import re
from typing import Literal

from sqlglot import exp

from decreta.engine import Engine, PlanRefused
from decreta.sql import print_inline, print_query

Sensitivity = Literal["none", "sum", "mean", "rounds", "takes", "places"]
"""`sum` and `mean` depend on it where they add floats, `rounds` always, by a little; `takes` picks or lists values in
that order, `places` numbers rows by it."""

_BY_SENSITIVITY: dict[Sensitivity, str] = {
    "none": "approx_distinct bit_and bit_or bit_xor bool_and bool_or count cume_dist dense_rank grouping max median "
    "min percent_rank percentile_cont quantile_cont rank regr_count",
    "sum": "sum",
    "mean": "avg mean",
    "rounds": "approx_median approx_percentile_cont approx_percentile_cont_with_weight corr covar covar_pop covar_samp "
    "regr_avgx regr_avgy regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp "
    "var var_pop var_population var_samp var_sample",
    "takes": "any_value array_agg first_value last_value nth_value string_agg",
    "places": "lag lead ntile row_number",
}
SENSITIVITY = {name: kind for kind, names in _BY_SENSITIVITY.items() for name in names.split()}
"""Every aggregate and window function of the engine; a test holds this against the engine's own list."""

FORGETS = ("array_length", "array_max", "array_min", "array_sort", "cardinality", "list_length", "list_max", "list_min",
           "list_sort")  # fmt: skip
"""Functions of a list that are the same whatever the order of its elements."""

_SUMMED_AS_FLOATS = ("double", "float", "halffloat")
_AVERAGED_AS_FLOATS = (*_SUMMED_AS_FLOATS, "int64", "uint64")
"""Integers are averaged as floats too: those of 32 bits add up exactly as far as tables go, those of 64 do not."""

_names: dict[type[exp.Expr], str] = {}


def called(node: exp.Expr) -> str:
    """Return the name of the engine's function that a node calls; "" of what is no call by name."""
    if not isinstance(node, exp.Func):
        return ""
    if isinstance(node, exp.Anonymous):
        return node.name.lower()
    if type(node) not in _names:
        word = re.match(r"(\w+) ?(\(|$)", print_inline(node))
        _names[type(node)] = word[1].lower() if word else ""
    return _names[type(node)]


def adds_floats(call: exp.Expr, kind: Sensitivity, engine: Engine) -> bool:
    """Whether the engine adds floats for a call, as far as its planner can type the argument; else it may well."""
    floats = _AVERAGED_AS_FLOATS if kind == "mean" else _SUMMED_AS_FLOATS
    argument = arguments(call)[0]
    found = _type(argument, engine)
    return found is None or found.lower() in floats


def arguments(call: exp.Expr) -> list[exp.Expr]:
    """Return what is given to a call, without DISTINCT and ORDER BY."""
    found = [node for value in call.args.values() for node in (value if isinstance(value, list) else [value])]
    return [inner for node in found if isinstance(node, exp.Expr) for inner in _plain(node)]


def _plain(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.Order):
        return _plain(node.this) if node.this is not None else []
    return list(node.expressions) if isinstance(node, exp.Distinct) else [node]


def _type(argument: exp.Expr, engine: Engine) -> str | None:
    """Return the Arrow type of an expression inside a SELECT; None if the planner cannot tell it by itself."""
    selects = list(_around(argument))
    for outer in ([], selects[1:]):
        try:
            return engine.coerced(print_query(_alone(argument, selects[0], outer)))[0]
        except PlanRefused:
            continue
    return None


def _around(node: exp.Expr) -> list[exp.Select]:
    """Return the SELECTs around a node, the innermost first."""
    found, select = [], node.find_ancestor(exp.Select)
    while select is not None:
        found.append(select)
        select = select.find_ancestor(exp.Select)
    return found


def _alone(argument: exp.Expr, select: exp.Select, outer: list[exp.Select]) -> exp.Select:
    """Return a SELECT of nothing but an expression over the tables of its SELECT, and of those around it."""
    query = exp.Select(expressions=[exp.alias_(argument.copy(), "value")])
    for i, around in enumerate([select, *outer]):
        clause = around.args.get("from_")
        if clause is not None and i == 0:
            query.set("from_", clause.copy())
        elif clause is not None:
            query.append("joins", exp.Join(this=clause.this.copy(), kind="CROSS"))
        for join in around.args.get("joins") or []:
            query.append("joins", join.copy())
    tables = _with(argument)
    if tables:
        query.set("with_", exp.With(expressions=[t.copy() for t in tables], recursive=True))
    return query


def _with(node: exp.Expr) -> list[exp.CTE]:
    """Return the queries of WITH clauses that a node sees, each after those that it reads."""
    found: list[exp.CTE] = []
    inside, around = node, node.parent
    while around is not None:
        clause = around.args.get("with_")
        if clause is not None and inside is not clause:
            found = [*clause.expressions, *found]
        elif isinstance(around, exp.With):
            place = next((i for i, cte in enumerate(around.expressions) if cte is inside), 0)
            found = [*around.expressions[:place], *found]
        inside, around = around, around.parent
    names = [cte.alias for cte in found]
    return [cte for i, cte in enumerate(found) if cte.alias not in names[i + 1 :]]
