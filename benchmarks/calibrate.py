"""How much of the regret of deliberately bad thresholds the loop of run, observe, calibrate and generate gives back, in counters.

`python benchmarks/calibrate.py [--quick] [--epochs 60] [--write]` prints, for each pack, what its look-ups read and its runs write under
the bad thresholds, where the loop ends, and under the best that a sweep of the ladders, one by one, finds; it exits with 1 where less
than nine tenths of a regret are given back. No clock is asked. `--write` keeps it as benchmarks/results/calibrate.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from examples import samples
from report import machine, table

import decreta_runtime
from decreta_runtime.samples import bytes_of

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "specs/std/rules"
BAD: dict[str, dict[str, Any]] = {
    "code_graph": {"scan.min_readers": 4, "scan.min_selective_readers": 4},
    "retail": {"scan.min_readers": 4, "write.sorted_row_group_rows": 131072, "cache.min_consumers": 8, "cache.small_bytes": 1048576},
}  # fmt: skip
"""Pack → thresholds at which much is read or written for nothing, and which this little data can feel."""
ASKS = 3
AT_LEAST = 0.90


class Cost(NamedTuple):
    """Bytes that look-ups read, and bytes that a whole run writes, spills included."""

    lookups: int
    written: int


@dataclass
class Loop:
    """One pack in a project of its own, with a lake."""

    pack: str
    folder: Path
    sources: dict[str, str]
    asks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "specs", self.folder / "specs", ignore=shutil.ignore_patterns("locks"))
        (self.folder / "decreta.toml").touch()
        for other in {*BAD} - {self.pack}:
            shutil.rmtree(self.folder / "specs" / other)
        env = self.folder / "specs" / self.pack / "env/local.toml"
        env.write_text(env.read_text() + '\n[rollout]\ncalibration = "enforce"\n')

    def declare(self, values: dict[str, Any]) -> None:
        """Write thresholds into the pack's own rules, as the library has them but for their values."""
        known = {
            t["id"]: t for file in RULES.glob("*.toml") for t in tomllib.loads(file.read_text()).get("threshold", ())
        }
        rules = self.folder / "specs" / self.pack / "rules"
        rules.mkdir(exist_ok=True)
        text = "".join(_threshold(known[name] | {"value": value}) for name, value in values.items())
        (rules / "declared.toml").write_text(text)

    def verb(self, *args: str) -> str:
        paths = os.pathsep.join([str(ROOT / "compiler"), str(ROOT / "runtime")])
        command = [sys.executable, "-m", "decreta", *args]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(args)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def measure(self, lake: str) -> Cost:
        """Generate, run once and ask each shape the same values in two openings; return what it cost."""
        self.verb("generate", self.pack)
        place, folder = str(self.folder / lake), self.folder / "generated" / self.pack
        with decreta_runtime.open(folder, lake=place) as pack:
            pack.run(self.sources)
        read = 0
        for _ in range(2):
            with decreta_runtime.open(folder, lake=place) as pack:
                for shape in pack.manifest.queries:
                    if shape not in self.asks:
                        self.asks[shape] = samples(pack, shape, ASKS)
                    for values in self.asks[shape]:
                        read += sum(bytes_of(ladder) for ladder in pack.answer(shape, values).stats.ladder.values())
        with decreta_runtime.open(folder, lake=place) as pack:
            attempt = "(SELECT attempt FROM runs ORDER BY run_seq DESC LIMIT 1)"
            kinds = "(kind = 'write' OR (kind = 'step' AND action = 'spill'))"
            found = pack.ledger(f"SELECT sum(bytes) AS n FROM ledger WHERE attempt = {attempt} AND {kinds}")
        return Cost(read // 2, found["n"][0].as_py() or 0)

    def epoch(self) -> Cost:
        cost = self.measure("lake")
        self.verb("observe", self.pack, "--lake", "lake")
        self.verb("calibrate", self.pack, "--lake", "lake")
        return cost


def _threshold(threshold: dict[str, Any]) -> str:
    calibration = threshold.pop("calibration")
    lines = [f"{key} = {json.dumps(value)}" for key, value in threshold.items()]
    inner = ", ".join(f"{key} = {json.dumps(value)}" for key, value in calibration.items())
    return "\n".join(["[[threshold]]", *lines, f"calibration = {{ {inner} }}", "", ""])


class Recovered(NamedTuple):
    """What the loop gave back of one counter."""

    pack: str
    counter: str
    bad: int
    end: int
    best: int
    epochs: int

    @property
    def share(self) -> float | None:
        return (self.bad - self.end) / (self.bad - self.best) if self.bad > self.best else None


def recover(
    pack: str, folder: Path, sources: dict[str, str], epochs: int, tell: Callable[[str], None]
) -> list[Recovered]:
    """Run the loop from bad thresholds, then find the best by a sweep over lakes of their own."""
    loop = Loop(pack, folder, sources)
    loop.declare(BAD[pack])
    first = last = loop.epoch()
    for i in range(1, epochs):
        last = loop.epoch()
        tell(f"{pack} epoch {i}: {last}")
    tell(loop.verb("calibrate", pack, "--lake", "lake"))
    best = swept(loop, [first, last])
    return [Recovered(pack, n, getattr(first, n), getattr(last, n), getattr(best, n), epochs) for n in Cost._fields]


def swept(loop: Loop, known: list[Cost]) -> Cost:
    """Return the least of each counter that turning the thresholds one by one, from the library's values, comes to."""
    shutil.rmtree(loop.folder / "specs" / loop.pack / "locks", ignore_errors=True)
    ladders = {t["id"]: t for f in RULES.glob("*.toml") for t in tomllib.loads(f.read_text()).get("threshold", ())}
    tries = [{}, *({name: rung} for name in BAD[loop.pack] for rung in ladders[name]["ladder"])]
    for i, values in enumerate(tries):
        loop.declare({name: ladders[name]["value"] for name in BAD[loop.pack]} | values)
        known.append(loop.measure(f"sweep{i}"))
    return Cost(*map(min, zip(*known, strict=True)))


def main() -> int:
    """Print what was recovered; return 1 if it is too little."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="the code graph alone")
    arguments.add_argument("--epochs", type=int, default=60)
    arguments.add_argument("--write", action="store_true", help="keep the result")
    given = arguments.parse_args()
    found: list[Recovered] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        part = Path(sysconfig.get_path("stdlib")) / "json"
        found += recover("code_graph", folder / "code_graph", {"python": f"stdlib:{part}"}, given.epochs, print)
        if not given.quick:
            from tables import tpch

            load = tpch(folder / "load", 0.01)
            found += recover("retail", folder / "retail", {"tpch": str(load)}, given.epochs, print)
    rows = [
        (r.pack, r.counter, f"{r.bad:,}", f"{r.end:,}", f"{r.best:,}", "-" if r.share is None else f"{r.share:.1%}")
        for r in found
    ]
    shown = table(("pack", "bytes", "bad thresholds", "after the loop", "best found", "regret recovered"), rows)
    print(shown)
    if given.write:
        head = f"Made by `python benchmarks/calibrate.py --write` on {machine()}; {given.epochs} epochs, from {BAD}. Counters alone: to reach are 90 %."
        (ROOT / "benchmarks/results/calibrate.md").write_text(
            f"# Regret that calibration gives back\n\n{head}\n\n{shown}\n"
        )
    return int(any(r.share is not None and r.share < AT_LEAST for r in found))


if __name__ == "__main__":
    sys.exit(main())
