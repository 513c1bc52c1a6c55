"""`python benchmarks/lives.py [--write]`: how many files a table of small appends has, and what keeping them few rewrites.

The appends of `maintenance.py`, thousands of them, in figures alone: sizes of files as they are measured of one append
and of many brought together, the policy's trigger, and the runtime's own choice of files under its budget; nothing is
written. Beside it the binomial plan, the best known that never has more than so many files (they are the terms of the
number of appends in the combinatorial number system); it knows no budget.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from deltalake import WriterProperties, write_deltalake
from maintenance import batches
from report import table

from decreta_runtime.contract.policy import MaintenanceValue, Policy
from decreta_runtime.pick import budget_left, pick

ROOT = Path(__file__).resolve().parents[1]
POLICY, DATASET = ROOT / "generated/code_graph/policy/local.json", "_ledger"
LENGTHS, LAST = (500, 1_000, 2_000, 4_000), 100
Bytes = Callable[[int], float]
"""The bytes of a file of so many appends."""


class Life(NamedTuple):
    """What a table has come to: its files over the last appends, and bytes rewritten over bytes written."""

    files: float
    most: int
    ratio: float


def measured() -> Bytes:
    """Return the sizes of files: one append as a stranger writes it, several as maintenance does."""
    with tempfile.TemporaryDirectory() as folder:
        some = list(batches(64))

        def size(count: int, **how: Any) -> int:
            place = Path(folder, f"{count}")
            write_deltalake(str(place), pa.concat_tables(some[:count]), **how)
            return sum(path.stat().st_size for path in place.glob("*.parquet"))

        packed = WriterProperties(compression="ZSTD")
        one, few, many = size(1), size(8, writer_properties=packed), size(64, writer_properties=packed)
    each = (many - few) / 56
    return lambda appends: one if appends == 1 else few + each * (appends - 8)


def kept(appends: int, value: MaintenanceValue, size: Bytes) -> Life:
    """Follow the policy."""
    trigger = value.triggers["many_small_files"]
    files: dict[str, int] = {}
    written = rewritten = 0.0
    counts = []
    for i in range(appends):
        files[f"{i}"] = 1
        written += size(1)
        if len(files) >= int(trigger.threshold):
            sizes = [int(size(count)) for count in files.values()]
            pinned: Any = SimpleNamespace(actions=pa.table({"path": list(files), "size_bytes": sizes}))
            found = pick(pinned, value, {"compact"}, budget_left(value.amplification, int(written), int(rewritten)))
            if found.files:
                files[f"{i} and before"] = together = sum(files.pop(name) for name in found.files)
                rewritten += size(together)
        counts.append(len(files))
    return Life(statistics.mean(counts[-LAST:]), max(counts[-LAST:]), rewritten / written)


def least(appends: int, most: int, size: Bytes) -> Life:
    """Follow the binomial plan, which never has more than `most` files."""
    before, rewritten, counts = list[int](), 0.0, []
    for i in range(1, appends + 1):
        now = list(_terms(i, most))
        same = next(
            (k for k, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now))
        )
        rewritten += sum(size(count) for count in now[same:] if count > 1)
        before = now
        counts.append(len(now))
    return Life(statistics.mean(counts[-LAST:]), max(counts[-LAST:]), rewritten / (appends * size(1)))


def _terms(number: int, most: int) -> Iterator[int]:
    """Yield the terms of a number as a sum of binomial coefficients of falling order."""
    for order in range(most, 0, -1):
        top = order - 1
        while math.comb(top + 1, order) <= number:
            top += 1
        if found := math.comb(top, order):
            yield found
            number -= found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/lives.md")
    args = parser.parse_args()
    size, value = measured(), Policy(POLICY.read_bytes()).maintenance(DATASET).value
    whatever = msgspec.structs.replace(value, at_most_times="1000000")
    plans: dict[str, Callable[[int], Life]] = {
        "the policy": lambda n: kept(n, value, size),
        "the policy, files of any size": lambda n: kept(n, whatever, size),
        **{f"binomial, {most} files at most": lambda n, most=most: least(n, most, size) for most in range(1, 7)},  # type: ignore[misc]
    }
    rows = []
    for name, plan in plans.items():
        found = [plan(n) for n in LENGTHS]
        rows.append((name, *(f"{one.files:.1f}, at most {one.most}; {one.ratio:.2f}" for one in found)))
    text = (
        f"# A table's life in figures\n\n{(__doc__ or '').strip()}\n\nOne append takes {size(1):,.0f} bytes, 100 together "
        f"{size(100):,.0f}. Files over the last {LAST} appends; bytes rewritten ÷ written.\n\n"
        + table(("plan", *(f"{n:,} appends" for n in LENGTHS)), rows)
    )
    print(text)
    if args.write:
        (ROOT / "benchmarks/results/lives.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
