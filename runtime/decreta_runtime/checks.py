"""Ask the checks of a dataset, while its rows are written or after the run, and do what the policy says of each."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionContext

from decreta_runtime.arrow import exactly, schema_of
from decreta_runtime.contract.errors import CheckViolated, StatementFailed
from decreta_runtime.contract.manifest import VIOLATED, Check, Column, Manifest
from decreta_runtime.contract.policy import CheckTime, Choice, OnViolation, Policy, ValidationValue
from decreta_runtime.record import Ledger
from decreta_runtime.scan import quote

_SAMPLE = 5
"""Violating rows that a message shows: enough to see what they have in common."""
_OUTCOMES: dict[OnViolation, str] = {"refuse": "refused", "quarantine": "quarantined", "record": "recorded"}


class Violation(NamedTuple):
    """A check that was violated in a run that went on all the same."""

    subject: str
    check: str
    outcome: str
    rows: int
    pointer: str


@dataclass
class Asked:
    """One check, what the policy says of it, and the violating rows found so far."""

    subject: str
    check: Check
    choice: Choice[ValidationValue]
    count: int = 0
    samples: list[Any] = field(default_factory=list)

    def found(self, rows: pa.RecordBatch) -> None:
        """Take account of further violating rows."""
        self.count += rows.num_rows
        self.samples += rows.slice(0, _SAMPLE - len(self.samples)).to_pylist()

    @property
    def refuses(self) -> bool:
        """Whether the run cannot go on."""
        return self.count > 0 and self.choice.value.on_violation == "refuse"

    @property
    def sets_aside(self) -> bool:
        """Whether rows that violate the check are taken out."""
        return self.choice.value.on_violation == "quarantine"

    def words(self) -> str:
        """Say what was found, with sample rows."""
        shown = f" (the first {_SAMPLE})" if self.count > _SAMPLE else ""
        listed = "\n".join(f"  {row}" for row in self.samples)
        what = f"check `{self.check.name}` of `{self.subject}` ({self.check.summary})"
        return f"{what} is violated, rows: {self.count}{shown}\n{listed}"


def asked_at(when: CheckTime, subject: str, manifest: Manifest, policy: Policy) -> list[Asked]:
    """Return the checks of an object or relation that the policy has asked at this time."""
    found = [Asked(subject, check, policy.validation(subject, check.name)) for check in manifest.checks_of(subject)]
    return [asked for asked in found if asked.choice.value.when == when]


def conclude(all_asked: Sequence[Asked], ledger: Ledger, seconds: float | None = None) -> list[Violation]:
    """Record what was found of each check; return the violations that the run goes on with. Raises CheckViolated."""
    violations = []
    for asked in all_asked:
        value, pointer = asked.choice.value, asked.choice.pointer
        outcome = _OUTCOMES[value.on_violation] if asked.count else "holds"
        detail = {"when": value.when, "on_violation": value.on_violation, "outcome": outcome}
        ledger.add("check", asked.subject, asked.check.name, pointer, rows=asked.count, seconds=seconds, detail=detail)
        if asked.count:
            violations.append(Violation(asked.subject, asked.check.name, outcome, asked.count, pointer))
    if refused := [asked.words() for asked in all_asked if asked.refuses]:
        raise CheckViolated(
            "\n".join(refused),
            help="mend the source or the spec and run again; readers still see the last complete run",
        )
    return violations


def note_proven(subject: str, manifest: Manifest, policy: Policy, ledger: Ledger) -> None:
    """Record the checks that the policy takes as proven: nothing is asked."""
    for asked in asked_at("compile", subject, manifest, policy):
        value = asked.choice.value
        detail = {"when": value.when, "on_violation": value.on_violation, "outcome": "proven"}
        ledger.add("check", subject, asked.check.name, asked.choice.pointer, detail=detail)


def ask_after(
    context: SessionContext,
    subject: str,
    manifest: Manifest,
    policy: Policy,
    ledger: Ledger,
    moved: Sequence[str],
) -> list[Violation]:
    """Ask the checks that come after a run's writes, of those that something has `moved`; return what is recorded.

    Raises CheckViolated.
    """
    violations = []
    for asked in asked_at("run", subject, manifest, policy):
        if asked.check.name not in moved:
            detail = {"when": "run", "on_violation": asked.choice.value.on_violation, "outcome": "as in the last run"}
            ledger.add("check", subject, asked.check.name, asked.choice.pointer, detail=detail)
            continue
        start = time.perf_counter()
        for batch in _stream(context, asked.check.sql, f"{subject}.{asked.check.name}"):
            asked.found(batch)
        violations += conclude([asked], ledger, time.perf_counter() - start)
    return violations


def ask_again(
    context: SessionContext, all_asked: Sequence[Asked], quarantine: str | None, ledger: Ledger
) -> list[Violation]:
    """Count what an earlier attempt's write has found: in the dataset as it stands and in the table `quarantine`."""
    if not all_asked:
        return []
    subject = all_asked[0].subject
    wrong = [f"NOT (({asked.check.predicate}) IS TRUE)" for asked in all_asked]
    _count(context, all_asked, wrong, quote(subject), subject)
    if quarantine is not None:
        named = [f"array_has({quote(VIOLATED)}, '{asked.check.name}')" for asked in all_asked]
        _count(context, all_asked, named, quote(quarantine), quarantine)
    return conclude(all_asked, ledger)


class Sieve:
    """The checks of single rows of one dataset, asked in the statement that writes it.

    `aside` takes the rows that a quarantine takes out, with the names of all checks that each violates.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[Column],
        asked: Sequence[Asked],
        aside: Callable[[pa.RecordBatch], object] | None,
        ledger: Ledger,
    ) -> None:
        self._name, self._asked, self._aside, self._ledger = name, asked, aside, ledger
        # Of nulls the writer is the judge, once the checks that name them have had their say.
        self._schema = pa.schema([field.with_nullable(True) for field in schema_of(columns)])
        self.given = self.taken_out = 0
        self.violations: list[Violation] = []

    def columns(self) -> str:
        """Return what a SELECT of the dataset's columns is followed by: whether each check holds of the row.

        No column of a spec has a name like these. A row of which a check is unknown has not been shown to be right.
        """
        return "".join(f", ({a.check.predicate}) IS TRUE AS {quote(_answer(a))}" for a in self._asked)

    def through(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows to be written, without the answers.

        Once a row refuses the run, no more are written, and the rest is counted. Raises CheckViolated at the end.
        """
        for batch in batches:
            answers = [batch.column(_answer(asked)) for asked in self._asked]
            rows = self._rows(batch)
            self.given += rows.num_rows
            for asked, right in zip(self._asked, answers, strict=True):
                if right.false_count:
                    asked.found(rows.filter(pc.invert(right)))
            if not any(asked.refuses for asked in self._asked):
                yield self._kept(rows, answers)
        self.violations = conclude(self._asked, self._ledger)

    def _rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch without the answers, in the contract's layouts: the engine's cannot all be filtered."""
        (rows,) = exactly([batch.select(self._schema.names)], self._schema, self._name)
        return rows

    def _kept(self, rows: pa.RecordBatch, answers: Sequence[pa.Array]) -> pa.RecordBatch:
        """Return the rows that stay, having put the others aside."""
        right = [answer for asked, answer in zip(self._asked, answers, strict=True) if asked.sets_aside]
        stay = functools.reduce(pc.and_, right) if right else None
        if self._aside is None or stay is None or not stay.false_count:
            return rows
        out = pc.invert(stay)
        each = zip(*(answer.filter(out).to_pylist() for answer in answers), strict=True)
        names = [asked.check.name for asked in self._asked]
        reasons = [[name for name, right in zip(names, row, strict=True) if not right] for row in each]
        taken = rows.filter(out).append_column(VIOLATED, pa.array(reasons, pa.list_(pa.string())))
        self.taken_out += taken.num_rows
        self._aside(taken)
        return rows.filter(stay)


def _answer(asked: Asked) -> str:
    return "?" + asked.check.name


def _count(context: SessionContext, all_asked: Sequence[Asked], wrong: Sequence[str], table: str, subject: str) -> None:
    counts = ", ".join(f"count(*) FILTER (WHERE {condition}) AS {quote(f'?{i}')}" for i, condition in enumerate(wrong))
    for batch in _stream(context, f"SELECT {counts} FROM {table}", subject):
        for asked, column in zip(all_asked, batch.columns, strict=True):
            asked.count += pc.sum(column).as_py() or 0


def _stream(context: SessionContext, sql: str, subject: str) -> Iterator[pa.RecordBatch]:
    try:
        for batch in context.sql(sql).execute_stream():
            yield batch.to_pyarrow()
    except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
        raise StatementFailed(subject, error) from None
