"""Second step of a run: hold policy, manifest, builders and bindings against each other before any data is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from decreta_runtime.arrow import require, require_no_more
from decreta_runtime.calls import required_functions
from decreta_runtime.contract.errors import IncompatibleEngine, PolicyIncomplete
from decreta_runtime.contract.manifest import RUN_WORKLOAD, SQL_WORKLOAD, Check, Manifest
from decreta_runtime.contract.policy import RECORDS, Choice, Guard, Policy
from decreta_runtime.lake import Lake
from decreta_runtime.load import LoadedPack

_ASKED: dict[str, frozenset[Guard]] = {
    "scan": frozenset(
        {
            "engine_as_probed",
            "local_files",
            "no_column_mapping",
            "no_deletion_vectors",
            "no_hidden_nan",
            "plain_protocol",
            "schema_as_compiled",
            "unpartitioned",
        }
    ),
    "cache": frozenset({"engine_as_probed", "within_memory_budget"}),
    "write": frozenset({"engine_as_probed", "within_memory_budget"}),
    "refresh": frozenset(
        {
            "compiled_as_last_run",
            "engine_as_probed",
            "no_column_mapping",
            "no_deletion_vectors",
            "plain_protocol",
            "schema_as_compiled",
            "unpartitioned",
        }
    ),
    "index": frozenset({"index_readable"}),
    "maintenance": frozenset(
        {
            "engine_as_probed",
            "local_files",
            "no_column_mapping",
            "no_deletion_vectors",
            "safe_to_rewrite",
            "unpartitioned",
        }
    ),
    "session": frozenset({"engine_as_probed"}),
}
"""Domain -> the guards that can be asked where its decisions are taken."""


def verify(pack: LoadedPack, policy: Policy) -> list[str]:
    """Resolve every entry that a run or query will look up, and return what was verified, in words.

    Raises PolicyIncomplete with the pointer of the first missing entry, IncompatibleEngine.
    """
    manifest = pack.manifest
    pointers = list(entries(pack, policy))
    for name, entry in manifest.relations.items():
        info = pack.module(entry.file.removesuffix(".py").replace("/", ".")).INFO
        if (info.columns, info.inputs) != (entry.columns, entry.inputs):
            raise IncompatibleEngine(f"the builder of `{name}` has another contract than the manifest")
    return [
        f"digests        {len(manifest.files)} files",
        f"builders       {len(manifest.relations)} relations, {len(manifest.queries)} query shapes",
        f"policy         {len(pointers)} entries of environment `{policy.environment}`",
    ]


def verify_tables(pack: LoadedPack, policy: Policy, lake: Lake, given: Mapping[str, str]) -> list[str]:
    """Hold the tables of others against their contracts; return in words what was verified.

    `given` are places named by the caller. Raises InputInvalid, LakeUnusable, SchemaMismatch.
    """
    words = []
    for name, entry in pack.manifest.objects.items():
        if entry.table is not None:
            path, table = lake.bound(name, given.get(name) or policy.table(entry.table).value.uri)
            schema, subject = pa.schema(table.schema().to_arrow()), f"the table `{name}` at {path}"
            require(schema, entry.columns, subject)
            if policy.schema_change(name).value.mode == "refuse":
                require_no_more(schema, entry.columns, subject)
            words.append(f"table          `{name}` at {path}, version {table.version()}")
    return words


def entries(pack: LoadedPack, policy: Policy) -> Iterator[str]:
    """Yield the pointer of every entry that a run or query will look up. Raises PolicyIncomplete at a missing one."""
    manifest = pack.manifest
    if policy.pack != manifest.pack:
        raise PolicyIncomplete("/pack", f"the policy is of pack `{policy.pack}`, not `{manifest.pack}`")
    yield policy.lake().pointer
    yield policy.engine().pointer
    yield from (policy.schema_change(name).pointer for name in manifest.datasets())
    decisions: list[tuple[str, Choice[Any]]] = []
    decisions += [("session", policy.session(w)) for w in {*manifest.workloads, RUN_WORKLOAD, SQL_WORKLOAD}]
    decisions += [("scan", policy.scan(name)) for name in manifest.datasets()]
    written = [n for n in manifest.datasets() if n in manifest.relations or manifest.objects[n].table is None]
    decisions += [("write", policy.write(name)) for name in written]
    decisions += [("cache", policy.cache(name)) for name in manifest.relations]
    decisions += [("refresh", policy.refresh(name)) for name in manifest.everything()]
    decisions += [("index", policy.index(d, index)) for d in manifest.datasets() for index in manifest.indexes_of(d)]
    decisions += [("maintenance", policy.maintenance(name)) for name in (*manifest.datasets(), *RECORDS)]
    for domain, choice in decisions:
        yield choice.pointer
        # A shadow obeys nothing, but its guards are asked all the same.
        requires = choice.requires if choice.shadow is None else choice.shadow.requires
        if strangers := sorted(set(requires) - _ASKED[domain]):
            words = f"the guard `{strangers[0]}` cannot be asked of a {domain} decision"
            raise PolicyIncomplete(choice.pointer + "/requires", words)
        if "within_memory_budget" in requires:
            yield policy.budget("cache_bytes").pointer
    for name, relation in manifest.relations.items():
        cache = policy.cache(name)
        if relation.cut_point and "none" in {v.placement for v in (cache.value, cache.otherwise) if v is not None}:
            raise PolicyIncomplete(cache.pointer, f"`{name}` is a cut point, which is kept in memory or a spill")
    for name in manifest.everything():
        _groups(name, manifest, policy)
    yield from required_functions(manifest, policy)
    for name, checks in manifest.checks().items():
        for check in checks:
            yield _validation(name, check, name in written, policy)
    for entry in manifest.objects.values():
        if entry.source is not None:
            yield policy.source(entry.source.name).pointer
        elif entry.table is not None:
            yield policy.table(entry.table).pointer


def _groups(name: str, manifest: Manifest, policy: Policy) -> None:
    """Raise PolicyIncomplete if an object or relation is to be refreshed by groups that it does not fall apart into."""
    choice = policy.refresh(name)
    if name in manifest.objects:
        proven = manifest.objects[name].changes.column
    else:
        groups = manifest.relations[name].groups
        proven = None if groups is None else groups.column
    for value in (choice.value, choice.otherwise):
        bound = name in manifest.objects and manifest.objects[name].table is not None
        if value is not None and value.kind == "groups" and not bound and value.by != proven:
            words = f"`{name}` is not known to fall apart by `{value.by}`"
            raise PolicyIncomplete(choice.pointer + "/value/by", words)


def _validation(name: str, check: Check, written: bool, policy: Policy) -> str:
    """Return the pointer of what the policy says of a check. Raises PolicyIncomplete if that cannot be obeyed."""
    choice = policy.validation(name, check.name)
    words = {
        "compile": None if check.proven else "the compiler has not proven it",
        "write": None if written and check.predicate is not None else "it is not of rows that the pack writes",
        "run": None,
    }[choice.value.when]
    if words is None and choice.value.on_violation == "quarantine" and choice.value.when != "write":
        words = "rows are taken out only while they are written"
    if words is not None:
        raise PolicyIncomplete(choice.pointer, f"check `{check.name}` of `{name}`: {words}")
    return choice.pointer
