"""Which part of a pack a run computes: `name`, `+name` with what it is made from, `name+` with what is made from it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.contract.manifest import Manifest


def select(manifest: Manifest, wanted: Sequence[str]) -> frozenset[str]:
    """Return the objects and relations that `wanted` selects. Raises InputInvalid for an unknown name."""
    inputs = {name: entry.inputs for name, entry in manifest.relations.items()}
    readers: dict[str, list[str]] = {}
    for name, given in inputs.items():
        for read in given:
            readers.setdefault(read, []).append(name)
    found: set[str] = set()
    for text in wanted:
        name = text.strip("+")
        if name not in manifest.objects and name not in manifest.relations:
            near = difflib.get_close_matches(name, [*manifest.objects, *manifest.relations], n=1)
            help = f"did you mean `{near[0]}`?" if near else "name an object or relation, such as +imports+"
            raise InputInvalid(f"there is no object or relation `{name}`", help=help)
        found.add(name)
        found |= _reach(name, inputs) if text.startswith("+") else set()
        found |= _reach(name, readers) if text.endswith("+") else set()
    return frozenset(found)


def needed(manifest: Manifest, selected: frozenset[str]) -> frozenset[str]:
    """Return what has to be computed for a selection: itself, and the views that it reads, down to datasets."""
    found = set(selected)
    stack = [name for name in selected if name in manifest.relations]
    while stack:
        for name in manifest.relations[stack.pop()].inputs:
            if name in manifest.relations and not manifest.relations[name].stored and name not in found:
                found.add(name)
                stack.append(name)
    return frozenset(found)


def _reach(start: str, graph: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    stack = [start]
    while stack:
        for name in graph.get(stack.pop(), ()):
            if name not in found:
                found.add(name)
                stack.append(name)
    return found
