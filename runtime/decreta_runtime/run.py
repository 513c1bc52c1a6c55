"""THE order of a run: load → verify → session → pin → scan → execute → write → check → record.

Tables commit first, the run's record last: until then readers see the run before. An attempt that dies leaves nothing
visible; the next one takes over what it had committed, if it is the same run, and writes the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from decreta_runtime.arrow import require
from decreta_runtime.caches import note_caches
from decreta_runtime.calls import require_engine_functions
from decreta_runtime.changes import Changes
from decreta_runtime.checks import Violation, ask_after, asked_at, note_proven
from decreta_runtime.contract.errors import EXIT_REFUSED, DecretaError, InputInvalid
from decreta_runtime.contract.manifest import RUN_WORKLOAD, Manifest
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.digests import record_all
from decreta_runtime.evolve import Evolution, evolution, require_evolution
from decreta_runtime.execute import Execution, TableOutcome, outcome
from decreta_runtime.functions import scalar_functions
from decreta_runtime.guards import choose
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.load import LoadedPack
from decreta_runtime.pin import Binding, bind_inputs, quarantine_of, tables_of, whole_tables
from decreta_runtime.pins import held, pin_seconds
from decreta_runtime.place import Places
from decreta_runtime.record import Ledger, commit_run, last_run, note_digests, now_us
from decreta_runtime.refresh import Days, Refresh, require_days
from decreta_runtime.scan import Pinned
from decreta_runtime.selection import needed, select
from decreta_runtime.session import build_session
from decreta_runtime.shadow import note_session
from decreta_runtime.sources import SourceUnits, list_units
from decreta_runtime.tally import Tally
from decreta_runtime.units import forget_listings, keep_listing
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
    quarantine: Mapping[str, TableOutcome] = field(default_factory=dict)
    """Dataset -> the table of the rows that its checks took out."""
    violations: tuple[Violation, ...] = ()
    """Of checks that the policy does not refuse; none where nothing was computed."""


def run(
    pack: LoadedPack,
    policy: Policy,
    lake: Lake,
    given: Mapping[str, Sequence[str]],
    tally: Tally,
    progress: Progress,
    wanted: Sequence[str] = (),
    workload: str = RUN_WORKLOAD,
    days: Days | None = None,
) -> RunResult:
    """Run a pack into a lake. `given` binds names to places (`[ROOT:]PATH`) over what the environment says.

    The run has the session of `workload`, one of the pack's classes.

    With `wanted` only that part is computed (`selection.py`); the other tables stay as the last run left them, and the
    new run names them too. `days` are filled again, whether or not they have changed. Raises DecretaError; then nothing
    of this run is visible to readers.
    """
    start = time.perf_counter()
    places = {name: found[-1] for name, found in given.items()}
    verify(pack, policy)
    verify_tables(pack, policy, lake, places)
    lake.prepare()
    with lake.locked(pack.manifest.pack):
        last, started = last_run(lake, pack.manifest.pack), now_us()
        binding = bind_inputs(pack.manifest, policy, lake, places, tally)
        chosen = select(pack.manifest, wanted) if wanted else frozenset(pack.manifest.everything())
        if days is not None:
            require_days(pack.manifest, chosen)
        carried = _carried(pack, lake, last, chosen)
        sources = _sources(pack, policy, given, chosen)
        for source in sources:
            progress("read", f"{source.name}: {len(source.units):,} units")
        key = _run_key(pack, policy, sources, binding, {p.name: p.version for p in carried}, workload)
        if (
            last is not None
            and last.run_key == key
            and days is None
            and (whole := _still_whole(pack, lake, last, progress)) is not None
        ):
            return RunResult(last.run_seq, key, True, time.perf_counter() - start, *whole)
        identity = RunIdentity(pack.manifest.pack, last.run_seq + 1 if last else 1, _again(key, days))
        schemas = evolutions(pack.manifest, policy, lake, last, chosen)
        execution = _begin(pack, policy, lake, binding, identity, tally, progress, schemas, workload)
        read = held(lake, binding.tables(), pin_seconds(pack.manifest, policy))
        with read, _refusals_noted(execution.ledger, lake):
            for pinned in carried:
                execution.register(pinned, pack.manifest.columns_of(pinned.name), "carried")
            for name, pinned in _carried_aside(pack, lake, last, carried).items():
                execution.put_aside(name, pinned, "carried")
            refresh = _refresh(execution, last, carried, days)
            _read_objects(refresh, sources, chosen)
            computed = needed(pack.manifest, chosen)
            refresh.relations(computed)
            _check(refresh, computed)
            execution.require_files()
            stale = refresh.left_behind([pinned.name for pinned in carried], sources)
        _take_digests(pack, lake, [*execution.binding.tables(), *execution.binding.quarantine.values()])
        execution.maintain_records()
        execution.ledger.write(lake)
        for source in sources:
            keep_listing(lake, identity.pack, source)
        kept = last.sources if last is not None else {}
        complete = _record(execution, key, sources, kept, stale, tally, started)
        commit_run(lake, complete)
        listed = {source.name: source.fingerprint for source in sources}
        forget_listings(lake, identity.pack, kept | listed, kept)
        seconds, found = time.perf_counter() - start, tuple(execution.violations)
        return RunResult(identity.run_seq, key, False, seconds, execution.outcomes, execution.quarantine, found)


@contextlib.contextmanager
def _refusals_noted(ledger: Ledger, lake: Lake) -> Iterator[None]:
    """Leave what an attempt did, and why it was refused, to the ledger; no run record names it."""
    try:
        yield
    except DecretaError as error:
        if error.exit_status == EXIT_REFUSED:
            try:
                ledger.write(lake)
            except DecretaError as lost:  # what is to be told first is the refusal
                error.help = f"{error.help}; nor could the ledger be written: {lost.message}"
        raise


def _still_whole(
    pack: LoadedPack, lake: Lake, last: RunRecord, progress: Progress
) -> tuple[dict[str, TableOutcome], dict[str, TableOutcome]] | None:
    """Return the tables of the last run and those beside them of rows set aside.

    None if one can no longer be read, so that they are to be written anew.
    """
    whole, lost = whole_tables(pack.manifest, lake, last)
    if lost:
        progress("read", f"run {last.run_seq} has lost files of {', '.join(lost)}: its tables are written anew")
        return None
    beside = quarantine_of(pack.manifest, lake, last)
    with contextlib.suppress(DecretaError):  # nothing is written here but what an attempt that died had left to do
        _take_digests(pack, lake, [*whole, *beside.values()])
        note_digests(lake, pack.manifest.pack)
    aside = {name: outcome(p, "unchanged") for name, p in beside.items()}
    return {pinned.name: outcome(pinned, "unchanged") for pinned in whole}, aside


def _take_digests(pack: LoadedPack, lake: Lake, tables: Sequence[Pinned]) -> None:
    record_all(lake, pack.manifest, [(pinned.path, pinned.table) for pinned in tables if pinned.place is None])


def evolutions(
    manifest: Manifest, policy: Policy, lake: Lake, last: RunRecord | None, chosen: frozenset[str]
) -> dict[str, Evolution]:
    """Return for each dataset to be written what becomes of its schema. Raises SchemaChangeRefused.

    The table is taken as the last complete run left it: what a dead attempt made of it does not count.
    """
    found = {}
    for name in manifest.datasets():
        if name not in chosen or (name in manifest.objects and manifest.objects[name].table is not None):
            continue
        path, choice = lake.dataset(manifest.pack, name), policy.schema_change(name)
        table = open_table(path, last.versions[name]) if last is not None and name in last.versions else None
        found[name] = evolution(path, table, manifest.columns_of(name), manifest.key_of(name), choice)
        require_evolution(name, found[name], choice)
    return found


def _carried(pack: LoadedPack, lake: Lake, last: RunRecord | None, chosen: frozenset[str]) -> list[Pinned]:
    """Return the tables that this run takes over from the last. Raises InputInvalid, SchemaMismatch, LakeUnusable."""
    manifest = pack.manifest
    left = [
        n for n in manifest.datasets() if n not in chosen and not (n in manifest.objects and manifest.objects[n].table)
    ]
    if not left:
        return []
    if last is None:
        raise InputInvalid("there is no run to take the other tables from", help="run the whole pack first")
    tables = {pinned.name: pinned for pinned in tables_of(manifest, lake, last)}
    for name in left:
        tables[name].require_files()
        require(pa.schema(tables[name].table.schema().to_arrow()), manifest.columns_of(name), f"the table `{name}`")
    return [tables[name] for name in left]


def _carried_aside(
    pack: LoadedPack, lake: Lake, last: RunRecord | None, carried: Sequence[Pinned]
) -> dict[str, Pinned]:
    """Return the rows set aside of the tables that this run takes over. Raises LakeUnusable."""
    if last is None or not carried:
        return {}
    found = quarantine_of(pack.manifest, lake, last, {pinned.name for pinned in carried})
    for pinned in found.values():
        pinned.require_files()
    return found


def _refresh(execution: Execution, last: RunRecord | None, carried: Sequence[Pinned], days: Days | None) -> Refresh:
    """Begin to find what has changed since the last complete run; what it left stale or lost is none to build on."""
    before: dict[str, Pinned] = {}
    if last is not None:
        manifest, lake = execution.pack.manifest, execution.lake
        whole, _ = whole_tables(manifest, lake, last)
        names = {pinned.name for pinned in whole}
        execution.aside_before = quarantine_of(manifest, lake, last, names)
        lost = {n for n in names if execution.sets_aside(n) and n not in execution.aside_before}
        kept = names - lost - last.stale.keys()
        before = {p.name: p for p in whole if p.name in kept and _as_it_was(execution, p.name)}
    changes = Changes(execution, before)
    changes.of |= {pinned.name: () for pinned in carried}
    return Refresh(execution, last, changes, days)


def _as_it_was(execution: Execution, name: str) -> bool:
    """Whether the schema of a dataset stays."""
    found = execution.schemas.get(name)
    return found is None or not found.changes


def _record(
    execution: Execution,
    key: str,
    sources: Sequence[SourceUnits],
    kept: Mapping[str, str],
    stale: dict[str, str],
    tally: Tally,
    started: int,
) -> RunRecord:
    names = {e.source.name for e in execution.pack.manifest.objects.values() if e.source is not None}
    carried = {name: fingerprint for name, fingerprint in kept.items() if name in names}
    return RunRecord(
        pack=execution.identity.pack,
        run_seq=execution.identity.run_seq,
        run_key=key,
        attempt=execution.ledger.attempt,
        environment=execution.policy.environment,
        manifest_digest=execution.pack.digest,
        policy_digest=execution.policy.digest,
        started_us=started,
        finished_us=now_us(),
        versions=execution.binding.versions(),
        quarantine={name: pinned.version for name, pinned in execution.binding.quarantine.items()},
        sources=carried | {source.name: source.fingerprint for source in sources} | execution.binding.bound(),
        stale=stale,
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
    schemas: Mapping[str, Evolution],
    workload: str,
) -> Execution:
    """Open the run's session and what it keeps account of."""
    ledger = Ledger(identity.pack, policy.digest, identity.run_seq)
    profile = choose(policy.session(workload), workload, None, policy, ledger)
    context = build_session(workload, profile, tally, scalar_functions(pack))
    ledger.add("step", workload, "session", profile.pointer)
    require_engine_functions(context, workload, pack.manifest, policy, ledger)
    note_session(ledger, workload, profile, policy)
    note_caches(ledger, workload, profile, context)
    places = Places(
        context, policy, profile.value.spill_buffer_bytes, lake.spill(identity.pack, ledger.attempt), ledger
    )
    for name, found in schemas.items():
        for change in found.changes:
            pointer = policy.schema_change(name).pointer
            ledger.add("decision", name, f"{found.action}: {change.kind}", pointer, detail={"words": change.words})
            progress("schema", f"{name}: {change.words}: {found.action}")
    return Execution(
        pack, policy, lake, identity, context, workload, profile, binding, places, ledger, progress, schemas
    )


def _sources(
    pack: LoadedPack, policy: Policy, given: Mapping[str, Sequence[str]], chosen: frozenset[str]
) -> list[SourceUnits]:
    objects = {name: entry for name, entry in pack.manifest.objects.items() if name in chosen}
    adapters = {e.source.name: e.source.adapter for e in objects.values() if e.source is not None}
    found = []
    for name, adapter in sorted(adapters.items()):
        bound = policy.source(name).value
        found.append(list_units(pack, name, adapter, given.get(name) or bound.roots, bound.options))
    return found


def _run_key(
    pack: LoadedPack,
    policy: Policy,
    sources: Sequence[SourceUnits],
    binding: Binding,
    carried: Mapping[str, int],
    workload: str,
) -> str:
    """Hash all that the tables of a run are a function of; the class, because one that repeats orders rows too."""
    parts = [pack.digest, policy.digest, {s.name: s.fingerprint for s in sources}]
    parts += [binding.versions(), binding.bound(), *([dict(carried)] if carried else []), workload]
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _again(key: str, days: Days | None) -> str:
    """Return the key that commits carry: a run that fills days again writes what one of the same inputs does not."""
    if days is None:
        return key
    return "sha256:" + hashlib.sha256(f"{key} {days.first}..{days.last}".encode()).hexdigest()


def _read_objects(refresh: Refresh, sources: Sequence[SourceUnits], chosen: frozenset[str]) -> None:
    refresh.tables()
    objects = refresh.execution.pack.manifest.objects
    for source in sources:
        mine = [name for name, e in objects.items() if e.source is not None and e.source.name == source.name]
        refresh.source(source, [name for name in mine if name in chosen])


def _check(refresh: Refresh, computed: frozenset[str]) -> None:
    execution = refresh.execution
    manifest, policy, ledger = execution.pack.manifest, execution.policy, execution.ledger
    bound = {name for name, entry in manifest.objects.items() if entry.table is not None}
    found = {name: checks for name, checks in manifest.checks().items() if name in computed | bound}
    for name in found:
        note_proven(name, manifest, policy, ledger)
        asked = [asked.check for asked in asked_at("run", name, manifest, policy)]
        moved = [check.name for check in asked if refresh.bears_on(name, check)]
        execution.violations += ask_after(execution.context, name, manifest, policy, ledger, moved)
    violated = len(execution.violations)
    more = f", {violated} are violated and the run goes on" if violated else ""
    execution.progress("check", f"{sum(map(len, found.values())) - violated} checks hold{more}")
