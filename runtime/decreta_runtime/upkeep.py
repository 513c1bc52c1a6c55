"""THE order of `maintain`: verify → lock → pin → maintain each table → the lake's own → indexes → record.

Tables of others are taken as they are now, the pack's own as the last complete run left them: newer commits are of an
attempt that did not end. What is rewritten is named by a record of its own, so that readers see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from deltalake import DeltaTable
from msgspec import structs

from decreta_runtime.contract.manifest import QUARANTINE, RUN_WORKLOAD
from decreta_runtime.contract.policy import Choice, Policy, SessionValue
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.digests import record_all
from decreta_runtime.functions import scalar_functions
from decreta_runtime.guards import choose
from decreta_runtime.indexing import Indexing
from decreta_runtime.lake import Lake, open_table
from decreta_runtime.load import LoadedPack
from decreta_runtime.locations import Location
from decreta_runtime.maintain import Maintained, Maintainer
from decreta_runtime.pin import bind_inputs
from decreta_runtime.record import Ledger, commit_run, last_run, note_digests, now_us
from decreta_runtime.scan import Pinned
from decreta_runtime.session import build_session
from decreta_runtime.tally import Tally
from decreta_runtime.verify import verify, verify_tables


@dataclass(frozen=True)
class Upkeep:
    """What `maintain` came to for one table."""

    dataset: str
    table: str
    found: Maintained | None
    why: str | None
    """Why the table was not looked at."""


def maintain_tables(
    pack: LoadedPack,
    policy: Policy,
    lake: Lake,
    given: Mapping[str, str],
    tally: Tally,
    progress: Callable[[str, str], None],
    plan: bool,
) -> list[Upkeep]:
    """Maintain every table of a pack by its outcome, or with `plan` say what would be done. Raises DecretaError.

    `given` are places of tables of others, named by the caller.
    """
    verify(pack, policy)
    verify_tables(pack, policy, lake, given)
    if not plan:
        lake.prepare()
    with nullcontext() if plan else lake.locked(pack.manifest.pack):
        last, started = last_run(lake, pack.manifest.pack), now_us()
        ledger = Ledger(pack.manifest.pack, policy.digest)
        profile = choose(policy.session(RUN_WORKLOAD), RUN_WORKLOAD, None, policy, ledger)
        keeper = Maintainer(pack.manifest, policy, lake, ledger, RUN_WORKLOAD, profile, progress)
        done = []
        for dataset, table, pinned in _tables(pack, policy, lake, given, tally, last):
            if isinstance(pinned, str):
                done.append(Upkeep(dataset, table, None, pinned))
                continue
            done.append(Upkeep(dataset, table, _maintain(keeper, dataset, pinned, plan), None))
        own = [Upkeep(name, name, found, None) for name, found in keeper.records(plan)]
        if not plan:
            changed = [
                d for d in done if d.found is not None and d.found.pinned.version != d.found.detail.written_version
            ]
            _index(pack, policy, lake, ledger, profile, tally, progress, changed)
            record_all(lake, pack.manifest, _written(changed))
            ledger.write(lake)
            if last is not None and (moved := _moved(last, changed)) != last:
                commit_run(
                    lake, structs.replace(moved, attempt=ledger.attempt, started_us=started, finished_us=now_us())
                )
            note_digests(lake, pack.manifest.pack)
        return done + own


def _maintain(keeper: Maintainer, dataset: str, pinned: Pinned, plan: bool) -> Maintained:
    return keeper.plan(dataset, pinned) if plan else keeper.after_write(dataset, pinned)


def _tables(
    pack: LoadedPack, policy: Policy, lake: Lake, given: Mapping[str, str], tally: Tally, last: RunRecord | None
) -> Iterator[tuple[str, str, Pinned | str]]:
    """Yield each dataset with its table's name and version, or in words why that is not maintained."""
    manifest = pack.manifest
    binding = bind_inputs(manifest, policy, lake, given, tally)
    bound = {pinned.name: pinned for pinned in binding.tables()}
    for dataset in manifest.datasets():
        if dataset in bound:
            yield dataset, dataset, bound[dataset]
            continue
        yield dataset, dataset, _own(pack, lake, dataset, None if last is None else last.versions.get(dataset))
        if last is not None and dataset in last.quarantine:
            beside = dataset + QUARANTINE
            yield dataset, beside, _own(pack, lake, beside, last.quarantine[dataset])


def _own(pack: LoadedPack, lake: Lake, name: str, version: int | None) -> Pinned | str:
    path = lake.dataset(pack.manifest.pack, name)
    table = open_table(path)
    if version is None or table is None:
        return "no complete run has written it"
    if table.version() != version:
        return f"version {table.version()} is of an attempt that did not end: run the pack first"
    return Pinned(name, path, version, table)


def _moved(last: RunRecord, changed: list[Upkeep]) -> RunRecord:
    """Return the record of the last run with the versions that hold its rows now, under the next number.

    A table of others that has moved on since the run is read by the next one.
    """
    versions, quarantine = dict(last.versions), dict(last.quarantine)
    for done in changed:
        assert done.found is not None
        was, now = done.found.detail.written_version, done.found.pinned.version
        named = versions if done.table == done.dataset else quarantine
        if named.get(done.dataset) == was:
            named[done.dataset] = now
    if (versions, quarantine) == (last.versions, last.quarantine):
        return last
    return structs.replace(last, run_seq=last.run_seq + 1, versions=versions, quarantine=quarantine)


def _written(changed: list[Upkeep]) -> list[tuple[Location, DeltaTable]]:
    """Return the pack's own tables among those that were rewritten: of tables of others no digests are taken."""
    pinned = [done.found.pinned for done in changed if done.found is not None]
    return [(table.path, table.table) for table in pinned if table.place is None]


def _index(
    pack: LoadedPack,
    policy: Policy,
    lake: Lake,
    ledger: Ledger,
    profile: Choice[SessionValue],
    tally: Tally,
    progress: Callable[[str, str], None],
    changed: list[Upkeep],
) -> None:
    """Bring the indexes of rewritten tables up to date; until then their new files are read, whatever is asked."""
    wanted = [done.found.pinned for done in changed if done.found is not None and done.table == done.dataset]
    if not wanted:
        return
    context = build_session(RUN_WORKLOAD, profile, tally, scalar_functions(pack))
    indexing = Indexing(pack.manifest, policy, lake, ledger, context)
    for pinned in wanted:
        for done in indexing.keep(pinned):
            if done.failed:
                progress("index", f"{done.subject} is not up to date: {done.words}")
