"""Which functions a statement calls, and how far its rows would come out the same if it were computed again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlglot import Token, TokenType

from decreta.model.program import Resolved
from decreta.sql import DataFusion
from decreta_runtime.contract.capabilities import VOLATILITIES, Volatility

_BARE = ("current_date", "current_time", "current_timestamp")
"""Functions that SQL calls without parentheses."""
_SYNTAX = {"extract": "date_part"}
"""Syntax of SQL's own that the engine plans as a call of a function of another name."""
_TEXTS = (TokenType.STRING, TokenType.IDENTIFIER, TokenType.NATIONAL_STRING)


def called(sql: str, known: Collection[str]) -> tuple[str, ...]:
    """Return those of the functions `known` that a printed statement calls, sorted.

    Words are told by the tokenizer, so neither a string nor a quoted name is taken for a call.
    """
    tokens = DataFusion().tokenize(sql)
    found = set()
    for i, token in enumerate(tokens):
        word = token.text.lower()
        name = _SYNTAX.get(word, word)
        if name in known and token.token_type not in _TEXTS and _is_call(tokens, i, word):
            found.add(name)
    return tuple(sorted(found))


def _is_call(tokens: list[Token], i: int, word: str) -> bool:
    """Say whether the word at `i` calls something, rather than name a column, an alias or a common table."""
    before = tokens[i - 1].token_type if i else None
    if before in (TokenType.ALIAS, TokenType.DOT):
        return False
    if i + 1 == len(tokens) or tokens[i + 1].token_type != TokenType.L_PAREN:
        return word in _BARE
    depth = 0
    for j in range(i + 1, len(tokens)):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(tokens[j].token_type, 0)
        if depth == 0:  # `name(a, b) AS (…)` defines a table
            return [t.token_type for t in tokens[j + 1 : j + 3]] != [TokenType.ALIAS, TokenType.L_PAREN]
    return True


def volatilities(resolved: Resolved) -> dict[str, Volatility]:
    """Return the functions that statements may call: the pack's as declared, the engine's as probes saw them.

    Where the engines of two environments differ, the worse counts: what a run must do is one for all of them.
    """
    found: dict[str, Volatility] = {}
    for environment in resolved.environments.values():
        probed = resolved.capabilities.get(environment.spec.engine)
        for name, function in probed.functions.items() if probed else ():
            found[name] = worst((found.get(name, "immutable"), function.volatility))
    return found | {name: own.written.spec.volatility for name, own in resolved.functions.items()}


def own_volatility(functions: Iterable[str], known: Mapping[str, Volatility]) -> Volatility:
    """Return the volatility of a statement that calls `functions`; of what nobody knows nothing is sure."""
    return worst(known.get(name, "volatile") for name in functions)


def worst(found: Iterable[Volatility]) -> Volatility:
    """Return the worst of some volatilities; of none it is `immutable`."""
    return max(found, key=VOLATILITIES.index, default="immutable")
