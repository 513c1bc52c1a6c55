"""Profile the query shapes of a pack: what the ledger says of their look-ups, what limits them, what would help.

Medians and ratios of what was counted; no threshold judges them. An edit is named where it would spare files or bytes,
and whether it is worth its price is for people: a table has one order of rows, and an index is written with each run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from decreta_runtime.contract.evidence import DatasetObservation
from decreta_runtime.contract.manifest import Manifest, QueryEntry
from decreta_runtime.contract.policy import Decision, Policy
from decreta_runtime.contract.profile import PROFILE_FORMAT, Advice, Limit, Profile, ShapeProfile, TableProfile
from decreta_runtime.contract.records import Ladder
from decreta_runtime.contract.types import has_bounds, has_terms
from decreta_runtime.ladder import effectiveness
from decreta_runtime.observe import depth
from decreta_runtime.pack import Pack
from decreta_runtime.record import Lookup, lookups_under

_INDEXED = frozenset({"=", "in", "like"})
"""Conditions that an external index answers."""
_P95 = 0.95
"""The share of look-ups that p95 is the time of."""


def profile(pack: Pack) -> Profile:
    """Return the profiles of the shapes that were asked under the pack's policy. Raises LakeUnusable."""
    pack.lake.check_readable()
    manifest, policy = pack.manifest, pack.policy
    lookups = [
        each for each in lookups_under(pack.lake, manifest.pack, policy.digest) if each.shape in manifest.queries
    ]
    seen = pack.observe(0).datasets if lookups else {}
    found = []
    for shape in {each.shape for each in lookups}:
        found.append(_shape(shape, [each for each in lookups if each.shape == shape], pack, seen))
    return Profile(
        format=PROFILE_FORMAT,
        pack=manifest.pack,
        environment=policy.environment,
        policy_digest=policy.digest,
        lookups=len(lookups),
        shapes=tuple(sorted(found, key=lambda each: (-each.seconds, each.shape))),
    )


def _shape(shape: str, lookups: Sequence[Lookup], pack: Pack, seen: dict[str, DatasetObservation]) -> ShapeProfile:
    times = sorted(each.seconds for each in lookups)
    ladders = [each.detail.ladder for each in lookups]
    whole = effectiveness(ladder for each in ladders for ladder in each.values())
    tables = [
        _Table(pack, shape, name, middle(_of_newest([each[name] for each in ladders if name in each])), seen[name])
        for name in ladders[-1]
        if name in seen
    ]
    return ShapeProfile(
        shape=shape,
        workload=lookups[-1].detail.workload,
        count=len(lookups),
        seconds=sum(times),
        p50_seconds=statistics.median_low(times),
        p95_seconds=times[math.ceil(_P95 * len(times)) - 1],
        bytes_read=_median(each.bytes for each in lookups),
        bytes_eligible=_median(sum(ladder.bytes_eligible for ladder in each.values()) for each in ladders) or 0,
        pruning_effectiveness_score=str(whole.score) if whole else None,
        tables=tuple(table.profile() for table in tables),
    )


def _of_newest(ladders: Sequence[Ladder]) -> list[Ladder]:
    """Return those ladders that are of the same snapshot as the newest: a table that has changed has another."""
    of = [(each.files, each.rows, each.bytes_eligible // each.scans) for each in ladders]
    return [each for each, snapshot in zip(ladders, of, strict=True) if snapshot == of[-1]]


def middle(ladders: Sequence[Ladder]) -> Ladder:
    """Return the newest of some ladders with each of its counts the lower median of those known."""
    counts = [name for name in Ladder.__struct_fields__ if any(type(getattr(each, name)) is int for each in ladders)]
    found: dict[str, Any] = {name: _median(getattr(each, name) for each in ladders) for name in counts}
    # One that came down to no file says nothing of it, and the counts of others would stand there unexplained.
    found["filtered"] = next((each.filtered for each in reversed(ladders) if each.filtered is not None), None)
    return msgspec.structs.replace(ladders[-1], **found)


def _median(figures: Iterable[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median_low(known) if known else None


@dataclass(frozen=True)
class _Table:
    """One dataset as one shape reads it."""

    pack: Pack
    shape: str
    name: str
    ladder: Ladder
    seen: DatasetObservation

    @property
    def manifest(self) -> Manifest:
        return self.pack.manifest

    @property
    def policy(self) -> Policy:
        return self.pack.policy

    def profile(self) -> TableProfile:
        advice = sorted((*self._order(), *self._index(), *self._other()), key=_spared)
        return TableProfile(dataset=self.name, ladder=self.ladder, limits=tuple(self._limits()), advice=tuple(advice))

    @property
    def _entry(self) -> QueryEntry:
        return self.manifest.queries[self.shape]

    @property
    def _scan(self) -> Decision:
        return self.policy.decisions("scan")[self.name].value

    @cached_property
    def _sort(self) -> tuple[str, ...]:
        """The order in which the pack writes the dataset's rows; of tables of others none is known."""
        decision = self.policy.decisions("write").get(self.name)
        return self.policy.write(self.name).value.sort if decision else ()

    @property
    def _of_files(self) -> list[str]:
        """The columns asked whose values stand in the files: those of a partition stand in the log, exactly."""
        return [column for column in self._asked if column not in self.seen.partition_columns]

    @property
    def _asked(self) -> list[str]:
        """The columns by which rows are wanted: that conditions name, and that are narrowed by look-ups before."""
        return list(dict.fromkeys([*self.ladder.asked, *(step.column for step in self.ladder.steps)]))

    @property
    def _spec(self) -> str:
        kind = "objects" if self.name in self.manifest.objects else "relations"
        return f"specs/{self.manifest.pack}/{kind}/{self.name}.yaml"

    @property
    def _of_others(self) -> bool:
        return self.name in self.manifest.objects and self.manifest.objects[self.name].table is not None

    def _limits(self) -> Iterator[Limit]:
        ladder = self.ladder
        if ladder.path == "delta":
            why = self._why("path", ladder.path)
            yield Limit(kind="delta_path", column=None, says=f"read through delta-rs, {why}")
        if not self._asked:
            inside = "; a join's filter does, inside the scan" if ladder.filtered else ""
            if self._reads_more:
                yield Limit(kind="no_condition", column=None, says=f"no condition reaches `{self.name}`{inside}")
            return
        if not ladder.asked and ladder.filtered is False and self._reads_more:
            says = f"the look-ups before leave out files alone: no condition reaches the rows of `{self.name}`"
            yield Limit(kind="no_condition", column=None, says=says)
        if ladder.fresh is False:
            says = "deletion vectors hide rows that the log's statistics still count and bound"
            yield Limit(kind="statistics_wide", column=None, says=says)
        for switch in ladder.switched_off if ladder.path != "delta" else ():
            words = "not narrowed" if switch == "log_pruning" else "not filtered so"
            yield Limit(kind="switched_off", column=None, says=f"{words}: {switch} is off {self._why(switch, False)}")
        for column in self._asked:
            yield from self._limits_by(column)

    def _limits_by(self, column: str) -> Iterator[Limit]:
        files, missing, depth = self.ladder.files, self.ladder.unbounded.get(column, 0), self._depth(column)
        if missing:
            why = "" if self._can_be_bounded(column) else f": the log has no bounds of such {self._type(column)}"
            says = f"statistics missing on `{column}` in {missing:,} of {files:,} files{why}"
            yield Limit(kind="statistics_missing", column=column, says=says)
        if depth is not None and depth > 1 and not self._no_file_in_vain:
            says = f"files unsorted by `{column}`: clustering depth {depth:,} of {self.seen.files:,} files"
            yield Limit(kind="files_overlap", column=column, says=says)
        if column in self._of_files and column not in self._sort[:1] and self._reads_more:
            yield from self._unsorted(column)
        for rung in (*self.ladder.indexes, *self.ladder.step_indexes):
            if rung.files is None and self.manifest.indexes_of(self.name)[rung.name].columns[0] == column:
                says = f"the index {rung.name} on `{column}` is not there or cannot be read"
                yield Limit(kind="index_unused", column=column, says=says)
            elif rung.unknown:
                says = (
                    f"the index {rung.name} does not know {rung.unknown:,} of the {rung.files:,} files that it leaves"
                )
                yield Limit(kind="index_behind", column=column, says=says)

    def _unsorted(self, column: str) -> Iterator[Limit]:
        """Say in which order the rows stand, and how many row groups hold one value of a column."""
        found = self.pack.pinned(self.name).row_groups(column)
        if found is not None and (deepest := depth(found.ranges)) > 1:
            says = f"row groups unsorted by `{column}`: clustering depth {deepest:,} of {found.total:,} row groups"
            yield Limit(kind="row_groups_overlap", column=column, says=says)
        if self._sort:
            says = f"rows sorted by {_listed(self._sort)}, not first by `{column}`"
            yield Limit(kind="rows_unsorted", column=column, says=says)

    @property
    def _no_file_in_vain(self) -> bool:
        """Whether each file that was opened gave rows, or there was none to open."""
        return self.ladder.files_opened is not None and self.ladder.files_opened == self.ladder.files_matched

    @property
    def _reads_more(self) -> bool:
        """Whether more is read than a perfect index would, as far as that is known."""
        read, perfect = self._bytes_of_rows, self.ladder.bytes_perfect
        if not self.ladder.files:
            return False
        return read is None or perfect is None or read > perfect

    @property
    def _bytes_of_rows(self) -> int | None:
        """Bytes read, and no more than the columns have: page indexes and bloom filters are read in any order."""
        read, whole = self.ladder.bytes_read, self.ladder.bytes_columns
        return read if read is None or whole is None else min(read, whole)

    def _type(self, column: str) -> str:
        return next(each.type for each in self.manifest.columns_of(self.name) if each.name == column)

    def _can_be_bounded(self, column: str) -> bool:
        """Whether the log would bound a column if its statistics were kept: where its nulls are counted, they are."""
        actions, nulls = self.pack.pinned(self.name).actions, f"null_count.{column}"
        counted = nulls in actions.column_names and not actions[nulls].null_count
        return has_bounds(self._type(column)) and not counted

    def _depth(self, column: str) -> int | None:
        observed = self.seen.columns.get(column)
        return observed.depth if observed else None

    def _why(self, field: str, was: Any) -> str:
        """Say what made a field of the scan policy what it was."""
        decision = self._scan
        if decision.mode != "enforce":
            return f"by the baseline: the domain scan is in `{decision.mode}`"
        if decision.otherwise is not None and decision.value[field] != decision.otherwise[field] == was:
            return f"because a guard failed that the rule {decision.rule} requires"
        return f"by rule {decision.rule}"

    def _order(self) -> Iterator[Advice]:
        """Name another order of rows, for each column asked that does not lead it."""
        now, then = self._bytes_of_rows, self.ladder.bytes_clustered
        if self._of_others or now is None or then is None or then >= now:
            return
        for column in self._of_files:
            if column in self._sort[:1]:
                continue
            others = self._asking(self._sort[0]) if self._sort else []
            price = f"; `{self._sort[0]}` leads now, which {_listed(others)} ask" if others else ""
            yield self._advice("layout.sort", f"put `{column}` first{price}", 1, then)

    def _asking(self, column: str) -> list[str]:
        """Return the other shapes that ask for a column of the dataset, or want it as far as it meets a look-up."""
        found = []
        for name, entry in self.manifest.queries.items():
            asked = {ask.column for asks in entry.asks.get(self.name, ()) for ask in asks}
            asked |= {step.column for step in entry.steps.get(self.name, ())}
            if name != self.shape and column in asked:
                found.append(name)
        return found

    def _index(self) -> Iterator[Advice]:
        """Name an external index, where files are opened that give no row."""
        ladder = self.ladder
        opened, matched = ladder.files_opened, ladder.files_matched
        if opened is None or matched is None or self._no_file_in_vain or ladder.bytes_read is None:
            return
        spared = round(ladder.bytes_read * matched / opened)
        then = spared if ladder.bytes_perfect is None else min(ladder.bytes_read, max(ladder.bytes_perfect, spared))
        asks = [ask for scan in self._entry.asks.get(self.name, ()) for ask in scan]
        wanted = [ask.column for ask in asks if ask.op in _INDEXED] + [step.column for step in self.ladder.steps]
        for column in dict.fromkeys(wanted):
            known = {n: e for n, e in self.manifest.indexes_of(self.name).items() if e.columns[0] == column}
            if not known and self._indexable(column) and column not in self._sort[:1]:
                says = f"declare by_{column}: {{kind: term, column: {column}}}"
                yield self._advice("indexes", says, matched, then)
            for name in known:
                if (says_ := self._unused(name)) is not None:
                    yield self._advice(f"indexes.{name}", says_, matched, then)

    def _indexable(self, column: str) -> bool:
        """Whether an index of a column can be declared, and built of this table."""
        return column in self._of_files and not self.seen.column_mapping and has_terms(self._type(column))

    def _unused(self, index: str) -> str | None:
        """Say why a declared index did not serve the shape; None if it did."""
        value, subject = self.policy.index(self.name, index).value, f"{self.manifest.pack}/index/{self.name}.{index}"
        used = value.build and self.shape in value.shapes
        if not used:
            what = "is not used by this shape" if value.build else "is not built"
            return f"the index {index} {what}; `decreta explain {subject}` says what would change that"
        used_by = (*self.ladder.indexes, *self.ladder.step_indexes)
        if any(rung.name == index and rung.files is None for rung in used_by):
            return f"the index {index} is not there or cannot be read: run the pack, which builds it"
        return None

    def _other(self) -> Iterator[Advice]:
        ladder = self.ladder
        if not self._asked and ladder.filtered is False:
            edit = f"specs/{self.manifest.pack}/queries/{self.shape}.yaml: body"
            says = f"compare a column of `{self.name}` with a parameter or a literal, if fewer of its rows will do"
            yield self._advice("", says, None, None, edit)
        elif ladder.asked and ladder.switched_off:
            yield self._setting()
        for column, missing in ladder.unbounded.items():
            if missing and self._can_be_bounded(column):
                yield self._statistics(column)

    def _setting(self) -> Advice:
        """Name where what the policy has off of the scan is decided."""
        depths = [found for column in self._asked if (found := self._depth(column)) is not None]
        off = "log_pruning" in self.ladder.switched_off
        subject = f"{self.manifest.pack}/scan/{self.name}"
        says = f"`decreta explain {subject}` says what would switch on {', '.join(self.ladder.switched_off)}"
        if self.ladder.path == "delta" and self.seen.partition_columns and "unpartitioned" in self._scan.requires:
            says = (
                f"it is partitioned, which the rule did not know: `decreta observe {self.manifest.pack}`, then generate"
            )
        edit = f"rules of the scan domain, or [rollout.domains] scan in specs/{self.manifest.pack}/env"
        advice = self._advice("", says, min(depths, default=None) if off else None, None, edit)
        return msgspec.structs.replace(advice, files_now=self.ladder.files_listed)

    def _statistics(self, column: str) -> Advice:
        if self._of_others:
            says = f"have its writer keep statistics of `{column}` (delta.dataSkippingStatsColumns)"
            return self._advice("source", says, None, None)
        says = f"the log bounds the first columns alone: put `{column}` further in front"
        return self._advice("columns", says, None, None)

    def _advice(self, field: str, says: str, files: int | None, then: int | None, edit: str | None = None) -> Advice:
        opened = self.ladder.files_opened
        return Advice(
            edit=edit or f"{self._spec}: {field}",
            says=says,
            files_now=self.ladder.files_listed if opened is None else opened,
            files_then=files,
            bytes_now=self.ladder.bytes_read,
            bytes_then=then,
        )


def _spared(advice: Advice) -> tuple[int, str]:
    known = advice.bytes_now is not None and advice.bytes_then is not None
    return (-(advice.bytes_now - advice.bytes_then) if known else 0, advice.edit)  # type: ignore[operator]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
