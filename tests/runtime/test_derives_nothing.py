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

from decreta_runtime.contract import integrity, manifest, policy, records, report

RUNTIME = ROOT / "runtime/decreta_runtime"
APART = (
    "contract",
    "cli",
    "testing",
    "probe.py",
    "foreign.py",
    "measure.py",
    "archive.py",
    "package.py",
    "replay.py",
    "rowdigest.py",
    "__main__.py",
)
"""Data, what prints, what tests call, the developer's probe and its tables, what measures or packs a run: no part of one."""
NUMBERS = {-1, 0, 1}
"""Nothing, one and none: signs and emptiness, not sizes."""
CONSTANTS = {
    "_SAMPLE": "violating rows that a message shows",
    "_KEY_COLUMNS": "columns that `init` tries as a key",
    "_APPENDS": "tries at an append to the shared tables before the writer says that it lost",
    "FORMAT": "the lake's format",
    "_PAGE": "objects that an object store tells at once",
    "_EXACT_DIGITS": "digits of a decimal that a float gives back as they were",
    "_STACK": "bytes of a thread's stack, as a main thread has them",
    "_MILLISECOND": "what timestamps are cut to in the Delta log",
    "_UNITS": "the engine's words for thousands and millions in its metrics",
    "_SECONDS": "units of the intervals that Delta's table properties have",
    "_READER_FEATURES": "Delta's protocol versions",
    "_WRITER_FEATURES": "Delta's protocol versions",
    "_P95": "the share of look-ups that a profile tells the time of; nothing acts by it",
}
LITERALS = {
    ("arrow.py", 5): "the length of `list<`",
    ("evolve.py", 8): "the length of `decimal(`",
    ("describe.py", 2): "columns of a key that `init` tries in pairs",
    ("load.py", 16): "digits of the digest in a module's name",
    ("kept.py", 32): "digits of the digest in a folder's name",
    ("metrics.py", 6): "places of seconds",
    ("observe.py", 1000): "milliseconds of a second",
    ("rewrite.py", 1000): "milliseconds of a second",
    ("kpi.py", 2): "the last two of a trend",
    ("metrics.py", 1e9): "nanoseconds of a second",
    ("samples.py", 1e6): "microseconds of a second",
    ("write.py", 1000): "milliseconds of a second",
    ("record.py", 1000): "nanoseconds of a microsecond",
    ("record.py", 0.1): "seconds that one of two writers waits at most before it looks again",
}
"""Numbers in the midst of code, by module."""
PROTOCOL = {
    "deletionVectors",
    "none",
    "num_records",
    "://",
    "..",
    "manifest.json",
    "bool",
    "rebuild",
    "refuse",
    "%_\\",
    "@",
    "etag",
    "",
    ":",
}
"""Words of Delta's protocol, of places and of the contract's forms."""
AFFIXES = {
    "list<",
    "decimal(",
    "decimal",
    "file://",
    "/",
    ".py",
    "policy/",
    "max.",
    "partition.",
    "+",
    "http://",
    "AWS_",
    "//",
    "decreta.",
}
"""How types, places, modules, counters of the log, selections and what our commits say begin or end."""


POLICY_FIELDS = {"value", "otherwise", "shadow"} | {
    field.name for _, kind in policy.DOMAINS.values() for field in msgspec.structs.fields(kind)
}


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

    for module in (policy, manifest, records, integrity, report):
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
    words, counted = vocabulary() | PROTOCOL, named_numbers(tree)
    allowed = {n for n in ast.walk(tree) if isinstance(n, ast.Constant) and may_stand(name, n.value)}
    found = []
    for node in ast.walk(tree):
        said = None
        if compares_name(node, words):
            said = "a name"
        elif defaults(node):
            said = "a default for a policy value"
        elif isinstance(node, ast.Constant) and number(node) and node not in counted | allowed:
            said = "a number of its own"
        if said is not None:
            found.append(f"{name}:{getattr(node, 'lineno', 0)}: {said}: {ast.unparse(node)}")
    return found


def may_stand(module: str, value: Any) -> bool:
    return value in NUMBERS or (module, value) in LITERALS


def compares_name(node: ast.AST, words: set[str]) -> bool:
    """Whether text is compared with something that is no word of the contract."""
    if isinstance(node, ast.Compare):
        return any(isinstance(c.value, str) and c.value not in words for c in constants(node))
    if isinstance(node, ast.MatchValue):
        return isinstance(node.value, ast.Constant) and node.value.value not in words
    if isinstance(node, ast.Call) and method(node) in ("startswith", "endswith"):
        return bool({a.value for a in node.args if isinstance(a, ast.Constant)} - AFFIXES)
    return False


def defaults(node: ast.AST) -> bool:
    """Whether something stands in for a policy value that is not there."""
    if isinstance(node, ast.BoolOp):
        return isinstance(node.op, ast.Or) and policy_value(node.values[0])
    if isinstance(node, ast.IfExp):
        branches = (node.body, node.orelse)
        return any(map(literal, branches)) and any(map(policy_value, branches))
    if isinstance(node, ast.Call) and method(node) == "getattr":
        return len(node.args) == 3 and policy_value(node.args[0])
    if isinstance(node, ast.Call) and method(node) in ("get", "pop", "setdefault"):
        return len(node.args) == 2 and policy_value(node.func)
    return False


def method(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def number(node: ast.Constant) -> bool:
    return isinstance(node.value, int | float) and not isinstance(node.value, bool)


def named_numbers(tree: ast.Module) -> set[ast.AST]:
    """Return the numbers of constants that are known by name."""
    found: set[ast.AST] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if all(isinstance(target, ast.Name) and target.id in CONSTANTS for target in targets):
                found |= set(ast.walk(node.value))
    return found


def literal(node: ast.expr) -> bool:
    """Whether an expression is a value that somebody has written there; None and emptiness say that there is none."""
    return isinstance(node, ast.Constant) and node.value not in (None, True, False, "", 0)


def policy_value(node: ast.expr) -> bool:
    """Whether an expression reads a field of a decision: `choice.value.path`, `profile.source_workers`."""
    return any(isinstance(n, ast.Attribute) and n.attr in POLICY_FIELDS for n in ast.walk(node))


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
        "if size > 64 * 1024:\n    pass",
        "limit = 10_000",
        "def read(rows, most=500):\n    pass",
        "workers = min(cores, 8)",
        "for _ in range(3):\n    pass",
        "write(rows, batch_size=1024)",
        "path = choice.value.path if choice.value else 'native'",
        "compression = wanted.compression or 'zstd'",
        "path = choice.value.settings.get('batch_size', '8192')",
        "if name.startswith('tmp_'):\n    pass",
        "match name:\n    case 'definition':\n        pass",
    ],
)
def test_the_check_finds_decisions(code: str) -> None:
    assert found_in("some.py", ast.parse(code))


def test_no_list_of_allowances_is_longer_than_it_must_be() -> None:
    trees = list(modules())
    nodes = [(name, node) for name, tree in trees for node in ast.walk(tree)]
    assert set(CONSTANTS) <= {node.id for _, node in nodes if isinstance(node, ast.Name)}
    assert set(LITERALS) <= {(name, node.value) for name, node in nodes if isinstance(node, ast.Constant)}
    compared = {constant.value for _, node in nodes if isinstance(node, ast.Compare) for constant in constants(node)}
    assert compared >= PROTOCOL
    called = [node for _, node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("swith")]
    assert {part.value for node in called for part in node.args if isinstance(part, ast.Constant)} == AFFIXES


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
