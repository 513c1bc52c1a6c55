"""The third part: a harness plants slowdowns among edits that do nothing, and `decreta compare` names their causes.

What is planted is drawn at random and known here alone; the verb is given two folders of specs.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType
from tests.verbs.seeds import Seeded, distract, is_right, mixed_of, setting, stale_statistics, threshold

from decreta.blame.cause import Kind
from decreta.blame.mixes import Mixer
from decreta.blame.search import Mix
from decreta.project import Project
from decreta_runtime.measure import Measured
from demo.terminal import Terminal

DRAWS = 200
"""Times that a slowdown is drawn anew where it slows nothing down."""
AT_LEAST = 0.95
SLOWER = 1.2
"""A figure that grows by so much is a slowdown: bytes, or rows, that the same answers take."""
EDITS = (8, 28)
FIGURES: dict[Kind, tuple[str, ...]] = {"bytes": ("bytes", "bytes_read"), "rows": ("rows_read", "rows_scanned")}
"""What `compare` is asked about → the counters of it."""
_CAUSE = re.compile(r"(?P<place>specs/\S+:\d+)  (?P<key>\S*): ")


def join(seeded: Seeded) -> list[tuple[str, str]]:
    """Have a join compare what no statistics tell, keep rows that nothing meets, or take in one table more."""
    changes: list[tuple[Path, str, str]] = []
    for path in sorted((seeded.specs / seeded.pack).glob("[qr]*/*.yaml")):
        text = path.read_text()
        for on in re.findall(r"ON (\w+\.\w+) = (\w+\.\w+)", text):
            written, cast = "ON {} = {}".format(*on), "ON COALESCE({}, -1) = COALESCE({}, -1)".format(*on)
            changes.append((path, written, cast))
        changes += [(path, line, line.replace("  JOIN", "  LEFT JOIN")) for line in re.findall(r"\n  JOIN \w+", text)]
        more = "  JOIN lines AS more ON more.order_id = {0}.order_id AND more.line = 0\n  WHERE {0}."
        changes += [(path, f"  WHERE {a}.", more.format(a)) for a in re.findall(r"  WHERE (\w)\.", text)]
    path, old, new = seeded.rng.choice(changes)
    path.write_text(path.read_text().replace(old, new, 1))
    return [(path.relative_to(seeded.b).as_posix(), "body")]


def upstream_schema(seeded: Seeded) -> list[tuple[str, str]]:
    """Have the environment bind a table as upstream writes it by now: with a column more."""
    name, column = seeded.rng.choice(("orders", "lines")), seeded.rng.choice(("channel", "voucher", "source_system"))
    kind = seeded.rng.choice(("string", "long", "date"))
    path = seeded.specs / seeded.pack / "env/local.toml"
    text = path.read_text()
    place = re.search(rf'^{name} = {{ table = "(.+)" }}', text, re.M)
    assert place is not None
    moved = seeded.b / "upstream" / name
    shutil.copytree(place[1], moved, ignore=shutil.ignore_patterns("_decreta"))
    DeltaTable(str(moved)).alter.add_columns([Field(column, PrimitiveType(kind))])
    path.write_text(text.replace(f'"{place[1]}"', f'"{moved}"'))
    return [(path.relative_to(seeded.b).as_posix(), f"bindings.{name}")]


KINDS: dict[str, Callable[[Seeded], list[tuple[str, str]]]] = {
    "threshold": threshold,
    "join": join,
    "statistics": stale_statistics,
    "setting": setting,
    "upstream schema": upstream_schema,
}


class Slowdowns:
    """The cases, and how many were named rightly."""

    def __init__(self, terminal: Terminal, tables: Path, count: int, draw: random.Random) -> None:
        self.terminal, self.count, self.draw = terminal, count, draw
        self.folder = tables.parent
        self.project = terminal.folder
        self.compiled: dict[Mix, dict[str, bytes] | None] = {}
        self.before: Measured | None = None
        self.harmless: set[str] = set()
        """Edits that have been tried and slowed nothing down, or are planted already."""

    def play(self) -> None:
        """Plant, ask, and compare the answer with what was planted."""
        self.terminal.heading(f"3. {self.count} slowdowns planted at random, and their causes")
        right = 0
        for i in range(self.count):
            kind = list(KINDS)[i % len(KINDS)]
            side = self.folder / f"changed-{i + 1}"
            seeded, of, figure = self._planted(side, kind)
            distract(seeded, self.draw.randint(*EDITS))
            told = self.terminal.run(f"decreta compare . ../{side.name} --find-cause {of}", lines=5, expected=(0, 1))
            named = is_right(causes(told), seeded.planted)
            right += named
            (file, key), *_ = seeded.planted[0]
            self.terminal.say(f"planted: {kind}, {file} {key}: {figure}: {'right' if named else 'WRONG'}", "")
            shutil.rmtree(side)
        self.terminal.promise(f"{right} of {self.count} causes named, each by its line", right >= AT_LEAST * self.count)

    def _planted(self, side: Path, kind: str) -> tuple[Seeded, Kind, str]:
        """Draw until what is planted slows something down without another answer; return the sides and the figure."""
        for _ in range(DRAWS):
            seeded = self._sides(side)
            seeded.planted.append(KINDS[kind](seeded))
            mixer = mixed_of(seeded, side / "work")
            edits = str([(edit.file, edit.key, edit.after) for edit in mixer.edits])
            found = None if edits in self.harmless else self._slower(mixer)
            self.harmless.add(edits)
            shutil.rmtree(side / "work", ignore_errors=True)
            if found is not None:
                return seeded, *found
            shutil.rmtree(side)
        raise SystemExit(f"no {kind} slowed anything down in {DRAWS} draws")

    def _sides(self, side: Path) -> Seeded:
        """Return the project and a copy of it, with the library beside its specs: its rules may be changed as well."""
        keep = shutil.ignore_patterns("generated", "before", ".decreta")
        shutil.copytree(self.project, side, ignore=keep)
        shutil.copytree(Project(self.project).library(), side / "specs/std")
        return Seeded(self.project, side, "shop", self.draw)

    def _slower(self, mixer: Mixer) -> tuple[Kind, str] | None:
        none, every = frozenset[int](), frozenset(range(mixer.count))
        mixer.compiled |= self.compiled  # A is the same in every draw
        self.compiled = {none: mixer.generated(none)}
        if mixer.key(none) == mixer.key(every):
            return None
        self.before = self.before or mixer.measured(none)
        after = mixer.measured(every)
        if self.before is None or after is None or answers(self.before) != answers(after):
            return None
        for kind, figures in FIGURES.items():
            a, b = (_figures(measured, figures) for measured in (self.before, after))
            shared = [name for name in a.keys() & b.keys() if a[name]]
            name = max(shared, key=lambda name: b[name] / a[name])
            if b[name] >= SLOWER * a[name] and sum(b.values()) > sum(a.values()):
                return kind, f"{name} {a[name]:,} → {b[name]:,}"
        return None


def answers(measured: Measured) -> dict[str, str]:
    """Return the digests of what query shapes answer."""
    return {name: digest for name, digest in measured.digests.items() if name.startswith("query/")}


def _figures(measured: Measured, names: tuple[str, ...]) -> dict[str, int]:
    return {name: value for name, value in measured.counters.items() if name.rpartition("/")[2] in names}


def causes(told: str) -> list[dict[str, Any]]:
    """Return the causes that the text of `compare` names."""
    found = (_CAUSE.match(line) for line in told.split("\n"))
    return [{"kind": "spec", **match.groupdict()} for match in found if match is not None]
