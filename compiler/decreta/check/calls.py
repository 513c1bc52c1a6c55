"""What the call of a table function reads of its inputs."""

from __future__ import annotations

from decreta.model.program import Call


def required(call: Call) -> dict[str, tuple[str, ...]]:
    """Return for each input the columns that the function is given."""
    found: dict[str, set[str]] = {}
    for argument in call.arguments.relations.values():
        for column in argument.columns.values():
            found.setdefault(argument.relation, set()).update((column,) if isinstance(column, str) else column)
    return {name: tuple(sorted(columns)) for name, columns in sorted(found.items())}
