"""Infer, for review, what a join could equate and what a table could be sorted by, from contracts and query shapes."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from sqlglot import exp, parse_one

from decreta.sql import DataFusion
from decreta_runtime.contract.manifest import Column, Key, Manifest

_Pair = tuple[Column, Column]
_ONE, _SOME = 2, 1
"""How much a look-up of one value, and of several, speaks for a sort by its column: the first leaves fewer rows."""


def joins(manifest: Manifest, left: str, right: str) -> list[str]:
    """Return candidate joins, those over a key first, each as spec text with its evidence and cardinality."""
    pairs = [
        (a, b)
        for a in manifest.columns_of(left)
        for b in manifest.columns_of(right)
        if a.type == b.type and {*a.domain} & {*b.domain}
    ]
    groups: dict[tuple[_Pair, ...], None] = {}  # in the order of the columns, each once
    for a, b in pairs:
        others = [(c, d) for c, d in pairs if c.name != a.name and d.name != b.name and c.name == d.name]
        groups |= {((a, b),): None, tuple(p for p in pairs if p == (a, b) or p in others): None}
    found = [_candidate(manifest, left, right, group) for group in groups]
    return [text for _, text in sorted(found, key=lambda f: f[0])]


def _candidate(manifest: Manifest, left: str, right: str, group: tuple[_Pair, ...]) -> tuple[int, str]:
    domains = sorted({domain for a, b in group for domain in {*a.domain} & {*b.domain}})
    ours, theirs = ([pair[side].name for pair in group] for side in (0, 1))
    one_left, one_right = _unique(manifest, left, ours), _unique(manifest, right, theirs)
    cardinality = f"{'1' if one_left else 'n'}:{'1' if one_right else ('n' if one_left else 'm')}"
    lines = [
        f"# both hold keys of {' and '.join(domains)}; {_key_words(manifest, left, one_left)};"
        f" {_key_words(manifest, right, one_right)}",
        "use: std/equi_join@1",
        "with:",
        f"  left: {{relation: {left}, columns: {{equal: [{', '.join(ours)}]}}}}",
        f"  right: {{relation: {right}, columns: {{equal: [{', '.join(theirs)}]}}}}",
        f'cardinality: {{right: "{cardinality}"}}',
        "",
    ]
    return (0 if one_right else 1 if one_left else 2), "\n".join(lines)


def _unique(manifest: Manifest, name: str, columns: list[str]) -> bool:
    key = _key(manifest, name)
    return key is not None and set(key.columns) <= set(columns)


def _key(manifest: Manifest, name: str) -> Key | None:
    return manifest.objects[name].key if name in manifest.objects else manifest.relations[name].key


def _key_words(manifest: Manifest, name: str, unique: bool) -> str:
    key = _key(manifest, name)
    known = f"({', '.join(key.columns)})" if key else "none"
    return f"the key of {name} is {known}, which {'is' if unique else 'is not'} equated"


def layouts(manifest: Manifest, folder: Path) -> list[str]:
    """Return a sort for each dataset that query shapes look rows up in, with the shapes that would gain."""
    asked: dict[str, Counter[str]] = {}
    shapes: dict[tuple[str, str], list[str]] = {}
    for name, sql in _statements(folder).items():
        for table, column, weight in _looked_up(sql, manifest):
            asked.setdefault(table, Counter())[column] += weight
            shapes.setdefault((table, column), []).append(name)
    found = []
    for table, columns in sorted(asked.items()):
        entry_key = _key(manifest, table)
        ((first, _), *_) = sorted(columns.items(), key=lambda item: (-item[1], item[0]))
        rest = [c for c in (entry_key.columns if entry_key else ()) if c != first]
        found.append(
            f"# {table}: {', '.join(shapes[table, first])} look it up by {first}\n"
            f"layout: {{sort: [{', '.join([first, *rest])}]}}\n"
        )
    return found


def _statements(folder: Path) -> dict[str, str]:
    for node in ast.parse((folder / "queries.py").read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SQL" and node.value is not None:
            statements: dict[str, str] = ast.literal_eval(node.value)
            return statements
    return {}


def _looked_up(sql: str, manifest: Manifest) -> list[tuple[str, str, int]]:
    """Return the columns of datasets that a statement compares with values; one value weighs more than several."""
    tree = parse_one(sql, dialect=DataFusion)
    tables = {t.alias_or_name: t.name for t in tree.find_all(exp.Table) if t.name in manifest.datasets()}
    found = []
    for where in tree.find_all(exp.Where):
        for node in where.find_all(exp.EQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between, exp.In):
            column, other = node.this, node.args.get("expression") or node.args.get("query")
            if isinstance(column, exp.Column) and column.table in tables and not (other and other.find(exp.Column)):
                found.append((tables[column.table], column.name, _ONE if isinstance(node, exp.EQ) else _SOME))
    return found
