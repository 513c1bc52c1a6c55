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
from decreta_runtime.execute import Execution, TableOutcome, outcome
from decreta_runtime.functions import scalar_functions
from decreta_runtime.guards import choose
from decreta_runtime.lake import Lake
from decreta_runtime.load import LoadedPack
from decreta_runtime.pin import Binding, bind_inputs, whole_tables
from decreta_runtime.place import Place, Places
from decreta_runtime.record import Ledger, commit_run, last_run, now_us
from decreta_runtime.session import build_session
from decreta_runtime.sources import SourceUnits, extract, list_units
from decreta_runtime.tally import Tally
from decreta_runtime.verify import verify, verify_tables
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
    places = {name: found[-1] for name, found in given.items()}
    verify(pack, policy)
    verify_tables(pack, policy, lake, places)
    lake.prepare()
    with lake.locked(pack.manifest.pack):
        last, started = last_run(lake, pack.manifest.pack), now_us()
        binding = bind_inputs(pack.manifest, policy, lake, places, tally)
        sources = _sources(pack, policy, given)
        for source in sources:
            progress("read", f"{source.name}: {len(source.units):,} units")
        key = _run_key(pack, policy, sources, binding)
        if (
            last is not None
            and last.run_key == key
            and (tables := _still_whole(pack, lake, last, progress)) is not None
        ):
            return RunResult(last.run_seq, key, True, time.perf_counter() - start, tables)
        identity = RunIdentity(pack.manifest.pack, last.run_seq + 1 if last else 1, key)
        execution = _begin(pack, policy, lake, binding, identity, tally, progress)
        _read_objects(execution, sources)
        execution.relations()
        _check(execution)
        execution.require_files()
        execution.ledger.write(lake)
        commit_run(lake, _record(execution, sources, tally, started))
        return RunResult(identity.run_seq, key, False, time.perf_counter() - start, execution.outcomes)


def _still_whole(pack: LoadedPack, lake: Lake, last: RunRecord, progress: Progress) -> dict[str, TableOutcome] | None:
    """Return the tables of the last run; None if one can no longer be read, so that they are to be written anew."""
    whole, lost = whole_tables(pack.manifest, lake, last)
    if lost:
        progress("read", f"run {last.run_seq} has lost files of {', '.join(lost)}: its tables are written anew")
        return None
    return {pinned.name: outcome(pinned, "unchanged") for pinned in whole}


def _record(execution: Execution, sources: Sequence[SourceUnits], tally: Tally, started: int) -> RunRecord:
    return RunRecord(
        pack=execution.identity.pack,
        run_seq=execution.identity.run_seq,
        run_key=execution.identity.run_key,
        attempt=execution.ledger.attempt,
        environment=execution.policy.environment,
        manifest_digest=execution.pack.digest,
        policy_digest=execution.policy.digest,
        started_us=started,
        finished_us=now_us(),
        versions=execution.binding.versions(),
        sources={source.name: source.fingerprint for source in sources} | execution.binding.bound(),
        pack_loads=tally.count("load"),
        bindings=tally.count("binding"),
        sessions=tally.count("session"),
    )


def _begin(
    pack: LoadedPack,
    policy: Policy,
    lake: Lake,
    binding: Binding,
    identity: RunIdentity,
    tally: Tally,
    progress: Progress,
) -> Execution:
    """Open the run's session and what it keeps account of."""
    ledger = Ledger(identity.pack, policy.digest, identity.run_seq)
    profile = choose(policy.session(RUN_WORKLOAD), RUN_WORKLOAD, None, policy, ledger)
    context = build_session(RUN_WORKLOAD, profile, tally, scalar_functions(pack))
    ledger.add("step", RUN_WORKLOAD, "session", profile.pointer)
    places = Places(context, policy, lake.spill(identity.pack, ledger.attempt), ledger)
    return Execution(pack, policy, lake, identity, context, profile, binding, places, ledger, progress)


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
    parts += [binding.versions(), binding.bound()]
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read_objects(execution: Execution, sources: Sequence[SourceUnits]) -> None:
    objects = execution.pack.manifest.objects
    for name, entry in objects.items():
        if entry.table is not None:
            execution.register(execution.binding[name], entry.columns, "read")
    for source in sources:
        streams = {name: e for name, e in objects.items() if e.source is not None and e.source.name == source.name}
        missing = [name for name, e in streams.items() if not execution.resume(name, e.columns)]
        if missing:
            _read_source(execution, source, missing)


def _read_source(execution: Execution, source: SourceUnits, names: Sequence[str]) -> None:
    """Extract the streams of a source, keep their rows where the policy says, and write each as its object."""
    objects, policy, ledger = execution.pack.manifest.objects, execution.policy, execution.ledger
    choices = {name: choose(policy.write(name), name, None, policy, ledger) for name in names}
    staged = {name: execution.staging(name, objects[name].columns, choice) for name, choice in choices.items()}
    _extract(execution, source, staged)
    for name, choice in choices.items():
        execution.store_staged(name, staged.pop(name), objects[name].columns, choice)


def _extract(execution: Execution, source: SourceUnits, staged: Mapping[str, Place]) -> None:
    objects, profile = execution.pack.manifest.objects, execution.profile
    streams = {name: bound.stream for name in staged if (bound := objects[name].source) is not None}
    schemas = {stream: schema_of(objects[name].columns) for name, stream in streams.items()}
    start = time.perf_counter()

    def done(n: int, total: int) -> None:
        execution.progress("extract", f"{source.name}: {n:,} of {total:,} units")

    for batches in extract(execution.pack, source, schemas, profile.value.source_workers, done):
        for name, stream in streams.items():
            staged[name].add(batches[stream])
    seconds = time.perf_counter() - start
    execution.ledger.add("step", source.name, "extract", profile.pointer, seconds=seconds, files=len(source.units))


def _check(execution: Execution) -> None:
    found = execution.pack.manifest.checks()
    for name, checks in found.items():
        for check in checks:
            run_check(execution.context, name, check, execution.policy, execution.ledger)
    execution.progress("check", f"{sum(map(len, found.values()))} checks hold")
