"""Which of the five parts of two sides differ, and how: no part is run, and none is guessed from another."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlglot
from sqlglot.diff import Insert, Keep, Move, Remove, Update

from decreta.blame.mixes import effective
from decreta.compare import brief, compare, moved
from decreta.sql import DataFusion
from decreta_runtime.contract.package import PackageIndex
from decreta_runtime.contract.policy import PolicyFile
from decreta_runtime.measure import Recorded, Sources
from decreta_runtime.package import Package

PARTS = ("semantic_manifest", "execution_policy", "runtime_capability", "plan_bundle", "session_config")
_SESSION = "session_profile_by_workload"
_WHY = ("evidence_sources", "passed_over", "confidence_score")
"""Of a decision what says why, told where nothing else of it has changed."""
_NODES = 8
"""Nodes of a statement that are told of a side; more than these are another statement."""

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Part:
    """One of the five parts: its hashes, and what differs in it."""

    name: str
    a: str | None
    """None where a side does not tell."""
    b: str | None
    differences: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the two are known to differ."""
        return self.a is not None and self.b is not None and self.a != self.b


def of_packs(a: Files, b: Files, sources: tuple[Sources, Sources] | None, environment: str) -> list[Part]:
    """Compare two compiled packs, and the places that their sources are read from, where both sides are read now."""
    name = f"policy/{environment}.json"
    old, new = (json.loads(files[name]) for files in (a, b))
    whole = [effective(policy) for policy in (old, new)]
    acting = [{k: v for k, v in p.items() if k not in (_SESSION, "capabilities", "bindings")} for p in whole]
    found = [
        ("semantic_manifest", _meaning(a), _meaning(b), tuple(_statements(a, b))),
        ("execution_policy", *acting, tuple(_decisions(old, new))),
        ("runtime_capability", *(p["capabilities"] for p in (old, new)), tuple(_moved(old, new, "capabilities"))),
        ("plan_bundle", *(sources or (None, None)), tuple(_inputs(*sources)) if sources else ()),
        ("session_config", *(p[_SESSION] for p in whole), tuple(_settings(whole[0][_SESSION], whole[1][_SESSION]))),
    ]
    hashes = ((part, *(None if side is None else _hash(side) for side in (x, y)), told) for part, x, y, told in found)
    return [Part(part, x, y, told if x != y else ()) for part, x, y, told in hashes]


def of_runs(a: Recorded, b: Recorded) -> list[Part]:
    """Compare two runs as their lakes keep them; what a lake does not keep is not known."""
    one, other = a.record, b.record
    inputs = {"sources": (one.sources, other.sources), "tables": (one.versions, other.versions)}
    told = [
        f"{kind} {name}: {brief(x)} → {brief(y)}" for kind, s in inputs.items() for name, (x, y) in moved(*s).items()
    ]
    bundles = (_hash([r.sources, r.versions, r.stale]) for r in (one, other))
    x, y = bundles
    return [
        Part("semantic_manifest", one.manifest_digest, other.manifest_digest, ()),
        Part("execution_policy", one.policy_digest, other.policy_digest, ()),
        Part("runtime_capability", None, None, ()),
        Part("plan_bundle", x, y, tuple(told)),
        Part("session_config", _hash(a.sessions), _hash(b.sessions), tuple(_said(a.sessions, b.sessions))),
    ]


def of_packages(a: Package, b: Package, packs: tuple[Files, Files], environment: str) -> list[Part]:
    """Compare two packaged runs by all that was kept of them; `packs` are the compiled packs that they hold."""
    meaning, policy, *_ = of_packs(*packs, None, environment)
    one, other = a.index, b.index
    locks = [{n: d for n, d in index.members.items() if n.startswith("locks/")} for index in (one, other)]
    told = [
        f"{n}: {'new' if x is None else 'gone' if y is None else 'other facts'}" for n, (x, y) in moved(*locks).items()
    ]
    means = [_hash([digest, lock]) for digest, lock in zip((meaning.a, meaning.b), locks, strict=True)]
    kept = ("runtime_capability", "plan_bundle", "session_config")
    words = (
        _said(one.engine, other.engine),
        (*_read(one, other), *_came(one, other)),
        _said(one.settings, other.settings),
    )
    return [
        Part("semantic_manifest", means[0], means[1], (*meaning.differences, *told)),
        policy,
        *(
            Part(part, getattr(a.parts, part), getattr(b.parts, part), tuple(said))
            for part, said in zip(kept, words, strict=True)
        ),
    ]


def of_run_and_package(run: Recorded, package: Package, *, swapped: bool) -> list[Part]:
    """Compare a run of a lake with a packaged one by what both keep: digests, and what they read."""
    record, index = run.record, package.index
    ids = {name: record.sources.get(name, "").partition("@")[0] for name in index.tables}
    a = {name: record.sources.get(name, "none") for name in index.sources}
    a |= {name: _version(record.versions.get(name), id) for name, id in ids.items()}
    b = {**index.sources, **{name: _version(it.version, it.table_id) for name, it in index.tables.items()}}
    digests = [(record.manifest_digest, index.manifest_digest), (record.policy_digest, index.policy_digest)]
    if swapped:
        a, b, digests = b, a, [(y, x) for x, y in digests]
    told = tuple(f"input {name}: {brief(x)} → {brief(y)}" for name, (x, y) in moved(a, b).items())
    return [
        Part("semantic_manifest", *digests[0], ()),
        Part("execution_policy", *digests[1], ()),
        Part("runtime_capability", None, None, ()),
        Part("plan_bundle", _hash(a), _hash(b), told),
        Part("session_config", None, None, ()),
    ]


def _read(a: PackageIndex, b: PackageIndex) -> Iterator[str]:
    yield from (f"input {line}" for line in _said(a.sources, b.sources))
    for name in sorted(a.tables.keys() | b.tables.keys()):
        if a.tables.get(name) != b.tables.get(name):
            sides = (
                None if (it := side.tables.get(name)) is None else _version(it.version, it.table_id) for side in (a, b)
            )
            yield f"input {name}: {' → '.join(map(brief, sides))}"
    held = ["packed" if any(name.startswith("data/") for name in side.members) else "none" for side in (a, b)]
    if held[0] != held[1]:
        yield f"inputs inside: {' → '.join(held)}"


def _version(version: int | None, table_id: str) -> str:
    return f"version {version} of {table_id}"


def _came(a: PackageIndex, b: PackageIndex) -> Iterator[str]:
    """Yield the relations whose plans differ, and the datasets whose rows do."""
    for name in sorted(a.plans.keys() | b.plans.keys()):
        x, y = a.plans.get(name), b.plans.get(name)
        if x is None or y is None:
            yield f"plan of {name}: {'new' if x is None else 'gone'}"
        elif x != y:
            yield f"plan of {name}: {'the statement' if x.logical != y.logical else 'what the optimizer makes of it'}"
    for name in sorted(a.results.keys() | b.results.keys()):
        if a.results.get(name) != b.results.get(name):
            sides = (
                "none" if (it := side.results.get(name)) is None else f"{it.count:,} {it.digest[:19]}"
                for side in (a, b)
            )
            yield f"rows of {name}: {' → '.join(sides)}"


def _said(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{name}: {brief(x)} → {brief(y)}" for name, (x, y) in moved(dict(a), dict(b)).items())


def _meaning(files: Files) -> dict[str, str]:
    """Return what a pack means: its manifest, but for the digests of policies and tests, and its code."""
    manifest = json.loads(files["manifest.json"])
    manifest.pop("files")
    code = {p: _hash_of(d) for p, d in files.items() if p.endswith(".py") and not p.startswith("tests/")}
    return {**code, "manifest": _hash(manifest)}


def _statements(a: Files, b: Files) -> Iterator[str]:
    """Yield by statement the nodes that only one of them has; of other modules that they differ."""
    for path in sorted(p for p in a.keys() | b.keys() if p.endswith(".py") and not p.startswith("tests/")):
        if a.get(path) == b.get(path):
            continue
        if path not in a or path not in b:
            yield f"{path}: {'new' if path not in a else 'gone'}"
            continue
        before, after = _sql(a[path]), _sql(b[path])
        changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        for name in changed:
            where = f"{path}{f' {name}' if name else ''}"
            yield f"{where}: {_nodes(before.get(name), after.get(name))}"
        if not changed:
            yield f"{path}: its text or contract"
    one, other = (json.loads(files["manifest.json"]) for files in (a, b))
    nested = ("objects", "relations", "queries", "functions", "gates", "workloads")
    for name in sorted(one.keys() | other.keys()):
        if name not in (*nested, "files", "toolchain") and one.get(name) != other.get(name):
            yield f"manifest {name}: {brief(one.get(name))} → {brief(other.get(name))}"
    for section in nested:
        yield from (
            f"manifest {section}.{n}: {brief(x)} → {brief(y)}"
            for n, (x, y) in moved(one[section], other[section]).items()
            if n  # of a section that was empty
        )
    yield from (f"toolchain {n}: {x} → {y}" for n, (x, y) in moved(one["toolchain"], other["toolchain"]).items())


def _sql(data: bytes) -> dict[str, str]:
    """Return the statements of a generated module: its `SQL`, one text or one for each query shape."""
    for node in ast.parse(data).body:
        named = isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "SQL" for t in node.targets)
        named |= isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "SQL"
        if named:
            value = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            return dict(value) if isinstance(value, dict) else {"": value}
    return {}


def _nodes(before: str | None, after: str | None) -> str:
    if before is None or after is None:
        return "new" if before is None else "gone"
    trees = [sqlglot.parse_one(text, dialect=DataFusion) for text in (before, after)]
    gone, come = list[str](), list[str]()
    for edit in sqlglot.diff(trees[0], trees[1]):
        if isinstance(edit, Remove):
            gone.append(_node(edit.expression))
        elif isinstance(edit, Insert):
            come.append(_node(edit.expression))
        elif isinstance(edit, Update):
            gone.append(_node(edit.source))
            come.append(_node(edit.target))
        else:
            assert isinstance(edit, Keep | Move)
    return f"{_listed(gone)} → {_listed(come)}"


def _node(node: Any) -> str:
    text = " ".join(node.sql(dialect=DataFusion).split())
    return f"{type(node).__name__} `{text if len(text) <= 60 else text[:59] + '…'}`"


def _listed(nodes: list[str]) -> str:
    short = sorted(dict.fromkeys(nodes), key=len)[:_NODES]
    return ", ".join(short) + (f" and {len(nodes) - _NODES} more" if len(nodes) > _NODES else "") or "nothing"


def _decisions(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Yield each decision that changes, after what moved it."""
    policies = [msgspec.convert({**policy, _SESSION: {}}, type=PolicyFile) for policy in (old, new)]
    for causes, differences in compare(*policies).by_cause(apart=False).items():
        words = ", ".join(cause.words for cause in causes)
        for found in differences:
            if not found.pointer.startswith(("/bindings", "/capabilities")):
                parts = moved(found.before, found.after)
                told = {name: pair for name, pair in parts.items() if not name.startswith(_WHY)} or parts
                first = sorted(told.items(), key=lambda part: not part[0].startswith("value"))
                change = ", ".join(f"{name} {brief(x)} → {brief(y)}".strip() for name, (x, y) in first)
                yield f"{words}: {found.pointer} {change}"


def _settings(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    for workload in sorted(a.keys() | b.keys()):
        for name, (x, y) in moved(a.get(workload, {}), b.get(workload, {})).items():
            yield f"{workload}: {name} {brief(x)} → {brief(y)}"


def _inputs(a: Sources, b: Sources) -> Iterator[str]:
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            yield f"input {name}: {', '.join(a.get(name, ('none',)))} → {', '.join(b.get(name, ('none',)))}"


def _moved(old: dict[str, Any], new: dict[str, Any], section: str) -> Iterator[str]:
    yield from (f"{name}: {brief(x)} → {brief(y)}" for name, (x, y) in moved(old[section], new[section]).items())


def _hash(value: Any) -> str:
    return _hash_of(json.dumps(value, sort_keys=True, default=list).encode())


def _hash_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
