"""THE order of a run: load → verify → session → pin → scan → execute → write → check → record.

Tables commit first, the run's record last: until then readers see the run before. An attempt that dies leaves nothing
visible; the next one takes over what it had committed, if it is the same run, and writes the rest.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from decreta_runtime.arrow import schema_of
from decreta_runtime.checks import run_check
from decreta_runtime.contract.manifest import RUN_WORKLOAD
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.execute import Execution, TableOutcome
from decreta_runtime.lake import Lake
from decreta_runtime.load import LoadedPack
from decreta_runtime.pin import Binding, bind_inputs
from decreta_runtime.place import Place, Places
from decreta_runtime.record import Ledger, commit_run, last_run, now_us
from decreta_runtime.session import build_session
from decreta_runtime.sources import SourceUnits, extract, list_units
from decreta_runtime.tally import Tally
from decreta_runtime.verify import verify
from decreta_runtime.write import RunIdentity

Progress = Callable[[str, str], None]
"""Told the stage and a line of words for a person, as a run goes on."""


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    run_seq: int
    run_key: str
    unchanged: bool
    seconds: float
    tables: Mapping[str, TableOutcome]


def run(
    pack: LoadedPack,
    policy: Policy,
    lake: Lake,
    given: Mapping[str, Sequence[str]],
    tally: Tally,
    progress: Progress,
) -> RunResult:
    """Run a pack into a lake. `given` binds names to places (`[ROOT:]PATH`) over what the environment says.

    Raises DecretaError; then nothing of this run is visible to readers.
    """
    start = time.perf_counter()
    verify(pack, policy)
    lake.prepare()
    with lake.locked(pack.manifest.pack):
        last = last_run(lake, pack.manifest.pack)
        binding = bind_inputs(pack.manifest, policy, lake, {n: p[-1] for n, p in given.items()}, tally)
        sources = _sources(pack, policy, given)
        for source in sources:
            progress("read", f"{source.name}: {len(source.units):,} units")
        key = _run_key(pack, policy, sources, binding)
        if last is not None and last.run_key == key:
            return RunResult(last.run_seq, key, True, time.perf_counter() - start, {})
        identity = RunIdentity(pack.manifest.pack, last.run_seq + 1 if last else 1, key)
        ledger = Ledger(identity.pack, policy.digest, identity.run_seq)
        started = now_us()
        context = build_session(RUN_WORKLOAD, policy.session(RUN_WORKLOAD), tally)
        ledger.add("step", RUN_WORKLOAD, "session", policy.session(RUN_WORKLOAD).pointer)
        places = Places(context, policy, lake.spill(identity.pack, ledger.attempt), ledger)
        execution = Execution(pack, policy, lake, identity, context, binding, places, ledger, progress)
        _read_objects(execution, sources)
        execution.relations()
        _check(execution)
        record = RunRecord(
            pack=identity.pack,
            run_seq=identity.run_seq,
            run_key=key,
            attempt=ledger.attempt,
            environment=policy.environment,
            manifest_digest=pack.digest,
            policy_digest=policy.digest,
            started_us=started,
            finished_us=now_us(),
            versions=binding.versions(),
            sources={s.name: s.fingerprint for s in sources} | _bound_paths(pack, binding),
            pack_loads=tally.count("load"),
            bindings=tally.count("binding"),
            sessions=tally.count("session"),
        )
        ledger.write(lake)
        commit_run(lake, record)
        return RunResult(identity.run_seq, key, False, time.perf_counter() - start, execution.outcomes)


def _sources(pack: LoadedPack, policy: Policy, given: Mapping[str, Sequence[str]]) -> list[SourceUnits]:
    adapters = {e.source.name: e.source.adapter for e in pack.manifest.objects.values() if e.source is not None}
    found = []
    for name, adapter in sorted(adapters.items()):
        bound = policy.source(name).value
        found.append(list_units(pack, name, adapter, given.get(name) or bound.roots, bound.options))
    return found


def _run_key(pack: LoadedPack, policy: Policy, sources: Sequence[SourceUnits], binding: Binding) -> str:
    """Hash all that the tables of a run are a function of."""
    parts = [pack.digest, policy.digest, {s.name: s.fingerprint for s in sources}]
    parts += [binding.versions(), _bound_paths(pack, binding)]
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _bound_paths(pack: LoadedPack, binding: Binding) -> dict[str, str]:
    """Return where the tables of others lie, so that readers find the versions that the run names."""
    return {name: str(binding[name].path) for name, e in pack.manifest.objects.items() if e.table is not None}


def _read_objects(execution: Execution, sources: Sequence[SourceUnits]) -> None:
    objects = execution.pack.manifest.objects
    for name, entry in objects.items():
        if entry.table is not None:
            scanned = execution.register(execution.binding[name], entry.columns)
            version = execution.binding[name].version
            execution.outcomes[name] = TableOutcome("read", version, None, scanned.files, scanned.bytes)
    for source in sources:
        streams = {name: e for name, e in objects.items() if e.source is not None and e.source.name == source.name}
        missing = [name for name, e in streams.items() if not execution.resume(name, e.columns)]
        if missing:
            _read_source(execution, source, missing)


def _read_source(execution: Execution, source: SourceUnits, names: Sequence[str]) -> None:
    """Extract the streams of a source, keep their rows where the policy says, and write each as its object."""
    objects, policy = execution.pack.manifest.objects, execution.policy
    staged: dict[str, Place] = {}
    stream_of: dict[str, str] = {}
    for name in names:
        choice, bound = policy.write(name), objects[name].source
        assert bound is not None
        stream_of[name] = bound.stream
        staged[name] = Place(execution.places, f"{name}__staged", objects[name].columns, choice.value.staging, choice)
    schemas = {stream_of[name]: schema_of(objects[name].columns) for name in names}
    profile = policy.session(RUN_WORKLOAD)
    start = time.perf_counter()

    def done(n: int, total: int) -> None:
        execution.progress("extract", f"{source.name}: {n:,} of {total:,} units")

    for batches in extract(execution.pack, source, schemas, profile.value.source_workers, done):
        for name in names:
            staged[name].add(batches[stream_of[name]])
    seconds = time.perf_counter() - start
    execution.ledger.add("step", source.name, "extract", profile.pointer, seconds=seconds, files=len(source.units))
    for name in names:
        placed = staged[name].finish()
        choice = policy.write(name)
        execution.ledger.add("step", name, placed.placement, choice.pointer, rows=placed.rows, bytes=placed.bytes)
        execution.store(name, f"{name}__staged", objects[name].columns)
        execution.places.held.pop(f"{name}__staged", None)


def _check(execution: Execution) -> None:
    found = execution.pack.manifest.checks()
    for name, checks in found.items():
        for check in checks:
            run_check(execution.context, name, check, execution.policy, execution.ledger)
    execution.progress("check", f"{sum(map(len, found.values()))} checks hold")
