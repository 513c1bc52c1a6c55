"""`profile`: query shapes by cost, with what limits each and what would help."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE

if TYPE_CHECKING:
    from decreta_runtime.contract.profile import Advice, Profile, ShapeProfile

HELP = "show query shapes by cost, what limits each, and what would help"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Print the profile."""
    pack = open_pack(args)
    from decreta_runtime.profile import profile

    found = profile(pack)
    if args.format == "json":
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print("\n".join(_lines(found)))
    return EXIT_DONE


def _lines(found: Profile) -> Iterator[str]:
    shapes = f"{len(found.shapes):,} shape{'s' if len(found.shapes) != 1 else ''}"
    times = f"{found.lookups:,} look-up{'s' if found.lookups != 1 else ''}"
    yield f"{found.pack}, {found.environment}: {times} of {shapes} under this policy"
    yield f"policy {found.policy_digest}"
    if not found.shapes:
        yield "nothing to tell: ask a shape with `decreta query`, and the ledger has it"
    whole = sum(shape.seconds for shape in found.shapes)
    for shape in found.shapes:
        yield ""
        yield from _shape(shape, whole)


def _shape(shape: ShapeProfile, whole: float) -> Iterator[str]:
    from decreta_runtime.cli.picture import picture

    share = f", {round(100 * shape.seconds / whole)} % of the time" if whole else ""
    yield f"{shape.shape}  {shape.workload}, {shape.count:,} times{share}"
    read = "unknown" if shape.bytes_read is None else f"{shape.bytes_read:,}"
    score = shape.pruning_effectiveness_score or "unknown"
    cost = f"{read} of {shape.bytes_eligible:,} bytes; pruning_effectiveness_score {score}"
    yield f"  p50 {1000 * shape.p50_seconds:.1f} ms, p95 {1000 * shape.p95_seconds:.1f} ms; {cost}"
    for table in shape.tables:
        yield from (f"  {line}" for line in picture({table.dataset: table.ladder}))
        yield from (f"    limited by  {limit.says}" for limit in table.limits)
        for advice in table.advice:
            yield f"    would help  {advice.edit}: {advice.says}"
            if (estimate := _estimate(advice)) is not None:
                yield f"                {estimate}"


def _estimate(advice: Advice) -> str | None:
    """Say what would be read instead, None if nothing is known of it."""
    said = []
    if advice.files_now is not None and advice.files_then is not None and advice.files_then < advice.files_now:
        said.append(f"{advice.files_then:,} files instead of {advice.files_now:,}")
    if advice.bytes_now is not None and advice.bytes_then is not None:
        said.append(f"about {advice.bytes_then:,} bytes instead of {advice.bytes_now:,}")
    return ", ".join(said) or None
