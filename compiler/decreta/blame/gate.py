"""Whether the decisions of a pack pay: each domain with a payoff against its baseline, each query shape by its own.

Counters decide alone; the clock is asked only for latency, in turns, and where its turns do not agree the answer is
"too noisy", which is no pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from decreta.blame.clock import CERTAINTY, ROUNDS, sign
from decreta.blame.decisions import of_domain, same_meaning
from decreta.blame.each import costs
from decreta.blame.mixes import acting
from decreta.output import write
from decreta_runtime.contract.errors import InputInvalid
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.measure import Measured, Sources, measure

Files = Mapping[str, bytes]
Answer = Literal["pays", "does not pay", "too noisy"]


@dataclass(frozen=True)
class Verdict:
    """What one promise came to: what was measured, beside what, and what was promised."""

    subject: str
    """`domain scan`, `shape by_name`, or `rows`."""
    measure: str
    answer: Answer
    found: str
    wanted: str


@dataclass
class Gate:
    """Replays a pack as it was and as it is to be, and holds the latter against what it promises."""

    a: Files
    b: Files
    manifest: Manifest
    environment: str
    sources: tuple[Sources, Sources]
    folder: Path
    rounds: int = ROUNDS
    lake: str | None = None
    """Where relative places of tables of others start."""
    runs: int = 0
    known: dict[str, Measured] = field(default_factory=dict)
    """What B's packs came to by what of them acts: a domain that is enforced anyway costs no run of its own."""

    def verdicts(self) -> Iterator[Verdict]:
        """Yield a verdict for each promise, and first whether rows stay. Raises InputInvalid where none is made."""
        domains = {name: gate.payoff for name, gate in self.manifest.gates.items() if gate.payoff}
        shapes = {name: entry.payoff for name, entry in self.manifest.queries.items() if entry.payoff}
        if not domains and not shapes:
            words = f"`{self.manifest.pack}` promises no payoff"
            raise InputInvalid(words, help="write [gates.DOMAIN.payoff.MEASURE] in pack.toml, or `payoff` in a query")
        whole = self._measured(self.b)
        yield from self._rows(whole)
        for domain, payoff in sorted(domains.items()):
            with_it = of_domain(self.b, self.environment, domain, baseline=False)
            without = of_domain(self.b, self.environment, domain, baseline=True)
            for name, promised in sorted(payoff.items()):
                margin = Decimal(promised.margin)
                yield self._domain(domain, name, promised.unit, margin, (without, with_it))
        if shapes:
            plain = of_domain(self.b, self.environment, None, baseline=True)
            for shape, promises in sorted(shapes.items()):
                for name, bound in sorted(promises.items()):
                    yield self._shape(shape, name, bound.of, Decimal(bound.at_most), whole, plain)

    def _rows(self, whole: Measured) -> Iterator[Verdict]:
        if self.sources[0] == self.sources[1] and same_meaning(self.a, self.b, self.environment):
            before = self._run(self.a, self.sources[0])
            other = sorted(n for n in whole.digests if whole.digests[n] != before.digests.get(n))
            told = (
                f"{len(other)} of {len(whole.digests)} digests differ: {', '.join(other[:3])}" if other else "the same"
            )
            yield Verdict("rows", "digest", "does not pay" if other else "pays", told, "as in A")

    def _domain(self, domain: str, name: str, unit: str, margin: Decimal, packs: tuple[Files, Files]) -> Verdict:
        wanted = f"at least {_amount(margin, unit)} less than its baseline"
        if acting(packs[0], self.environment) == acting(packs[1], self.environment):
            answer: Answer = "does not pay" if margin else "pays"
            return Verdict(f"domain {domain}", name, answer, "no decision is another than its baseline", wanted)
        if name == "latency":
            pairs = self._pairs(packs, None)
            gaps = [_saved(a, b, unit, 1) - float(margin) for a, b in pairs]
            middle = sorted(_saved(a, b, unit, 1) for a, b in pairs)[len(pairs) // 2]
            return Verdict(f"domain {domain}", name, self._certain(gaps), _amount(middle, unit), wanted)
        figure = "bytes" if name == "bytes_scanned" else name
        a, b = (costs(self._measured(files))[figure] for files in packs)
        saved = _saved(a, b, unit, 1)
        answer = "pays" if saved >= float(margin) else "does not pay"
        return Verdict(f"domain {domain}", name, answer, f"{_amount(saved, unit)} less: {a:,.0f} → {b:,.0f}", wanted)

    def _shape(self, shape: str, name: str, of: str, most: Decimal, whole: Measured, plain: Files) -> Verdict:
        words = {"baseline": "its baselines", "full_scan": "reading its tables whole"}[of]
        wanted, subject = f"at most {most} of {words}", f"shape {shape}"
        entry = self.manifest.queries[shape]
        if entry.parameters.keys() != entry.example.keys():
            return Verdict(subject, name, "does not pay", "not measured: it has no example", wanted)
        if name == "latency":
            pairs = self._pairs((plain, self.b), f"query/{shape}")
            gaps = [float(most) * a - b for a, b in pairs]
            middle = sorted(b / a for a, b in pairs)[len(pairs) // 2]
            return Verdict(subject, name, self._certain(gaps), f"{middle:.2f}", wanted)
        found = whole.counters.get(f"query/{shape}/bytes_read")
        beside = whole if of == "full_scan" else self._measured(plain)
        figure = "bytes_eligible" if of == "full_scan" else "bytes_read"
        base = beside.counters.get(f"query/{shape}/{figure}")
        if found is None or base is None:
            return Verdict(subject, name, "does not pay", "not measured: nothing counts what it reads", wanted)
        answer: Answer = "pays" if found <= most * base else "does not pay"
        share = f"{found / base:.2f}" if base else "nothing"
        return Verdict(subject, name, answer, f"{share}: {found:,} of {base:,} bytes", wanted)

    def _certain(self, gaps: list[float]) -> Answer:
        found = sign(gaps, 1 - float(CERTAINTY))
        return "too noisy" if found is None else "pays" if found > 0 else "does not pay"

    def _pairs(self, packs: tuple[Files, Files], subject: str | None) -> list[tuple[float, float]]:
        """Return milliseconds of two packs, measured in turns."""
        found = []
        for i in range(self.rounds):
            order = (0, 1) if i % 2 == 0 else (1, 0)
            taken = {which: self._run(packs[which], self.sources[1]) for which in order}
            seconds = [sum(s for n, s in taken[w].seconds.items() if subject in (None, n)) for w in (0, 1)]
            found.append((1000 * seconds[0], 1000 * seconds[1]))
        return found

    def _measured(self, files: Files) -> Measured:
        key = acting(files, self.environment)
        if key not in self.known:
            self.known[key] = self._run(files, self.sources[1])
        return self.known[key]

    def _run(self, files: Files, sources: Sources) -> Measured:
        self.runs += 1
        pack = self.folder / "gate" / self.manifest.pack
        write(pack, dict(files))
        return measure(pack, self.environment, sources, tables_from=self.lake)


def _saved(a: float, b: float, unit: str, whole: float) -> float:
    return (a - b) / (a or whole) if unit == "share" else a - b


def _amount(value: Any, unit: str) -> str:
    number = f"{float(value):.2f}" if unit == "share" else f"{float(value):,.0f}"
    return f"{number} {unit}"
