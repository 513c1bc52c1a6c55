"""The runtime decides nothing: read from its source, and from what it did in a run."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
from tests.conftest import ROOT

from decreta_runtime.contract import manifest, policy, records

RUNTIME = ROOT / "runtime/decreta_runtime"
APART = ("contract", "cli", "testing", "probe.py", "foreign.py", "__main__.py")
"""Data, what prints, what tests call, the developer's probe and the tables it makes: no part of a run."""
NUMBERS = {-1, 0, 1}
"""Nothing, one and none: signs and emptiness, not sizes."""
CONSTANTS = {
    "_SAMPLE": "violating rows that a message shows",
    "_KEY_COLUMNS": "columns that `init` tries as a key",
    "_APPENDS": "tries at an append to the shared tables before the writer says that it lost",
    "FORMAT": "the lake's format",
    "_MILLISECOND": "what timestamps are cut to in the Delta log",
}
PROTOCOL = {"deletionVectors", "none", "num_records", "://", "..", "manifest.json", "bool", "rebuild", "refuse", "%_\\"}
"""Words of Delta's protocol, of places and of the contract's forms."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(RUNTIME.rglob("*.py")):
        name = path.relative_to(RUNTIME).as_posix()
        if name.split("/")[0] not in APART:
            yield name, ast.parse(path.read_text())


def vocabulary() -> set[str]:
    """Return the closed words of the contract: what a comparison with text may ask for."""
    found: set[str] = set()

    def collect(kind: Any) -> None:
        if get_origin(kind) is not None:
            for part in get_args(kind):
                found.add(part) if isinstance(part, str) else collect(part)

    for module in (policy, manifest, records):
        for value in vars(module).values():
            collect(value)
            if isinstance(value, type) and issubclass(value, msgspec.Struct):
                for field in msgspec.structs.fields(value):
                    collect(field.type)
    return found


def constants(node: ast.Compare) -> Iterator[ast.Constant]:
    for side in (node.left, *node.comparators):
        inner = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
        yield from (part for part in inner if isinstance(part, ast.Constant))


def found_in(name: str, tree: ast.Module) -> list[str]:
    """Return what a module does that decides something by itself."""
    words = vocabulary() | PROTOCOL
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for constant in constants(node):
                value = constant.value
                if isinstance(value, bool) or value is None:
                    continue
                if isinstance(value, int | float) and value not in NUMBERS:
                    found.append(f"{name}:{node.lineno}: a threshold: {ast.unparse(node)}")
                elif isinstance(value, str) and value not in words:
                    found.append(f"{name}:{node.lineno}: a name: {ast.unparse(node)}")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant | ast.BinOp):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            numeric = all(isinstance(n.value, int | float) for n in ast.walk(node.value) if isinstance(n, ast.Constant))
            for target in targets:
                if isinstance(target, ast.Name) and target.id.isupper() and numeric and target.id not in CONSTANTS:
                    found.append(f"{name}:{node.lineno}: a number of its own: {ast.unparse(node)}")
        elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and policy_value(node.values[0]):
            found.append(f"{name}:{node.lineno}: a default for a policy value: {ast.unparse(node)}")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and policy_value(node.args[0]):
            found += [f"{name}:{node.lineno}: a default for a policy value: {ast.unparse(node)}"] * (
                len(node.args) == 3
            )
    return found


def policy_value(node: ast.expr) -> bool:
    """Whether an expression reads a field of a decision: `choice.value.path`, `policy.scan(name).value`."""
    return any(isinstance(n, ast.Attribute) and n.attr in ("value", "otherwise", "shadow") for n in ast.walk(node))


@pytest.mark.parametrize(("name", "tree"), list(modules()), ids=lambda part: part if isinstance(part, str) else "")
def test_no_module_decides(name: str, tree: ast.Module) -> None:
    assert found_in(name, tree) == []


@pytest.mark.parametrize(
    "code",
    [
        "if size > 1024:\n    pass",
        "if name == 'definition':\n    pass",
        "LIMIT = 10_000",
        "LIMIT: int = 64 << 20",
        "path = choice.value.path or 'native'",
        "path = getattr(choice.value, 'path', 'native')",
        "if name in ('orders', 'lineitem'):\n    pass",
    ],
)
def test_the_check_finds_decisions(code: str) -> None:
    assert found_in("some.py", ast.parse(code))


def test_no_list_of_allowances_is_longer_than_it_must_be() -> None:
    named = {
        node.id for _, tree in modules() for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id.isupper()
    }
    assert set(CONSTANTS) <= named
    compared = {
        constant.value
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for constant in constants(node)
    }
    assert compared >= PROTOCOL


def test_no_pack_is_known() -> None:
    """No text in the runtime is the name of a dataset, view or shape of a pack."""
    names: set[str] = set()
    for pack in ("code_graph", "retail"):
        found = json.loads(Path(ROOT / "generated" / pack / "manifest.json").read_bytes())
        names |= {*found["objects"], *found["relations"], *found["queries"]}
    words = {"file", "import", "scope", "reference", "definition", "part", "orders", "nation", "region"}
    for name, tree in modules():
        texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert texts & (names - words) == set(), name
