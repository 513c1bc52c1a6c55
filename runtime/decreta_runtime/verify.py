"""Second step of a run: hold policy, manifest, builders and bindings against each other before any data is touched."""

from __future__ import annotations

from collections.abc import Iterator

from decreta_runtime.contract.errors import IncompatibleEngine, PolicyIncomplete
from decreta_runtime.contract.manifest import RUN_WORKLOAD, SQL_WORKLOAD
from decreta_runtime.contract.policy import Policy
from decreta_runtime.load import LoadedPack


def verify(pack: LoadedPack, policy: Policy) -> list[str]:
    """Resolve every entry that a run or query will look up, and return what was verified, in words.

    Raises PolicyIncomplete with the pointer of the first missing entry, IncompatibleEngine.
    """
    manifest = pack.manifest
    if policy.pack != manifest.pack:
        raise PolicyIncomplete("/pack", f"the policy is of pack `{policy.pack}`, not `{manifest.pack}`")
    policy.lake()
    policy.engine()
    pointers = list(_entries(pack, policy))
    for name, entry in manifest.relations.items():
        info = pack.module(entry.file.removesuffix(".py").replace("/", ".")).INFO
        if (info.columns, info.inputs) != (entry.columns, entry.inputs):
            raise IncompatibleEngine(f"the builder of `{name}` has another contract than the manifest")
    return [
        f"digests        {len(manifest.files)} files",
        f"builders       {len(manifest.relations)} relations, {len(manifest.queries)} query shapes",
        f"policy         {len(pointers)} entries of environment `{policy.environment}`",
    ]


def _entries(pack: LoadedPack, policy: Policy) -> Iterator[str]:
    manifest = pack.manifest
    for workload in {*manifest.workloads, RUN_WORKLOAD, SQL_WORKLOAD}:
        yield policy.session(workload).pointer
    for name in manifest.datasets():
        yield policy.scan(name).pointer
    written = [n for n in manifest.datasets() if n in manifest.relations or manifest.objects[n].table is None]
    guards: set[str] = set()
    for name in written:
        write = policy.write(name)
        guards.update(write.requires)
        yield write.pointer
    for name in manifest.relations:
        cache = policy.cache(name)
        guards.update(cache.requires)
        yield cache.pointer
        if manifest.relations[name].cut_point and cache.value.placement == "none":
            raise PolicyIncomplete(cache.pointer, f"`{name}` is a cut point, which is kept in memory or a spill")
    if "within_memory_budget" in guards:
        yield policy.budget("cache_bytes").pointer
    for name, checks in manifest.checks().items():
        for check in checks:
            yield policy.validation(name, check.name).pointer
    for entry in manifest.objects.values():
        if entry.source is not None:
            yield policy.source(entry.source.name).pointer
        elif entry.table is not None:
            yield policy.table(entry.table).pointer
