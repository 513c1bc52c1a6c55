"""THE order of `maintain`: verify → lock → pin → maintain each table → the lake's own → indexes → record.

Tables of others are taken as they are now, the pack's own as the last complete run left them: newer commits are of an
attempt that did not end, and settled first. What is rewritten is named by a record of its own, so that readers see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from deltalake import DeltaTable
from msgspec import structs

from decreta_runtime.contract.errors import DecretaError
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
from decreta_runtime.maintain import Maintained, Maintainer, columns_of
from decreta_runtime.pin import bind_inputs
from decreta_runtime.record import Ledger, commit_run, last_run, note_digests, now_us
from decreta_runtime.scan import Pinned
from decreta_runtime.session import build_session
from decreta_runtime.settle import settle
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
    settled: str | None = None
    """What an attempt that died had left of it, and what became of that."""
    was: int | None = None
    """The version that had these rows before."""

    @property
    def moved(self) -> bool:
        """Whether the rows are to be read from another version than before."""
        return self.found is not None and self.found.pinned.version != self.was


class _Table(NamedTuple):
    """A version to maintain, or in words why there is none, and the version that the last run names for its rows."""

    dataset: str
    name: str
    pinned: Pinned | str
    was: int | None
    settled: str | None = None


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
        for dataset, table, pinned, was, settled in _tables(keeper, given, tally, last, plan):
            if isinstance(pinned, str):
                done.append(Upkeep(dataset, table, None, pinned))
                continue
            found = keeper.plan(dataset, pinned) if plan else keeper.after_write(dataset, pinned)
            done.append(Upkeep(dataset, table, found, None, settled, was))
        own = [Upkeep(name, name, found, None) for name, found in keeper.records(plan)]
        if not plan:
            changed = [upkeep for upkeep in done if upkeep.moved]
            _index(pack, policy, lake, ledger, profile, tally, progress, changed)
            record_all(lake, pack.manifest, _written(changed))
            ledger.write(lake)
            if last is not None and (moved := _moved(last, changed)) != last:
                commit_run(
                    lake, structs.replace(moved, attempt=ledger.attempt, started_us=started, finished_us=now_us())
                )
            note_digests(lake, pack.manifest.pack)
        return done + own


def _tables(
    keeper: Maintainer, given: Mapping[str, str], tally: Tally, last: RunRecord | None, plan: bool
) -> Iterator[_Table]:
    """Yield each table of a pack, those of its rows set aside too; with `plan` as they are."""
    manifest = keeper.manifest
    binding = bind_inputs(manifest, keeper.policy, keeper.lake, given, tally)
    bound = {pinned.name: pinned for pinned in binding.tables()}
    for dataset in manifest.datasets():
        if dataset in bound:
            yield _Table(dataset, dataset, bound[dataset], bound[dataset].version)
            continue
        yield _own(keeper, dataset, dataset, None if last is None else last.versions.get(dataset), plan)
        if last is not None and dataset in last.quarantine:
            yield _own(keeper, dataset, dataset + QUARANTINE, last.quarantine[dataset], plan)


def _own(keeper: Maintainer, dataset: str, name: str, version: int | None, plan: bool) -> _Table:
    path = keeper.lake.dataset(keeper.manifest.pack, name)
    table = open_table(path)
    if version is None or table is None:
        return _Table(dataset, name, "no complete run has written it", None)
    if table.version() == version:
        return _Table(dataset, name, Pinned(name, path, version, table), version)
    if plan:
        words = f"version {table.version()} is of an attempt that did not end: without --plan that is settled first"
        return _Table(dataset, name, words, None)
    return _settled(keeper, dataset, Pinned(name, path, version, _at(path, version)), table)


def _settled(keeper: Maintainer, dataset: str, base: Pinned, table: DeltaTable) -> _Table:
    choice = keeper.policy.maintenance(dataset)
    columns, seconds = columns_of(base), choice.value.time_limit_seconds
    try:
        done = settle(base, table, columns, keeper.workload, keeper.profile, seconds)
    except DecretaError as error:
        keeper.progress("maintain", f"{base.name} stays as it is: {error.message}")
        return _Table(dataset, base.name, f"an attempt that did not end has left it changed: {error.message}", None)
    keeper.progress("maintain", f"{base.name}: {done.words}")
    keeper.ledger.add(
        "step", base.name, done.action, choice.pointer, table_version=done.pinned.version, detail={"words": done.words}
    )
    return _Table(dataset, base.name, done.pinned, base.version, done.words)


def _at(path: Location, version: int) -> DeltaTable:
    table = open_table(path, version)
    assert table is not None  # another version of it has just been read
    return table


def _moved(last: RunRecord, changed: list[Upkeep]) -> RunRecord:
    """Return the record of the last run with the versions that hold its rows now, under the next number.

    A table of others that has moved on since the run is read by the next one.
    """
    versions, quarantine = dict(last.versions), dict(last.quarantine)
    for done in changed:
        assert done.found is not None
        named = versions if done.table == done.dataset else quarantine
        if named.get(done.dataset) == done.was:
            named[done.dataset] = done.found.pinned.version
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
