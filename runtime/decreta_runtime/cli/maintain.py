"""`maintain`: measure each table of a pack and do what its policy makes due, or say with --plan what that would be."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.cli.run import given_sources
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS

if TYPE_CHECKING:
    from decreta_runtime.upkeep import Upkeep

HELP = "keep tables healthy by what is measured of them; --plan says what would be done"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME=PATH", help="where a table of others is (repeatable)"
    )
    parser.add_argument("--plan", action="store_true", help="touch nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Maintain and print a line a table; exit 1 if something that was due was refused or failed."""
    with open_pack(args) as pack:
        done = pack.maintain(given_sources(args.source), _told, plan=args.plan)
    if args.json:
        print(json.dumps({"tables": [_plain(upkeep) for upkeep in done]}, indent=2))
    else:
        print("\n".join(line for upkeep in done for line in _lines(upkeep)))
    undone = any(u.found is not None and u.found.action in ("failed", "refused") for u in done)
    return EXIT_FINDINGS if undone else EXIT_DONE


def _told(stage: str, words: str) -> None:
    print(f"{stage:<9} {words}", file=sys.stderr)


def _plain(upkeep: Upkeep) -> dict[str, Any]:
    found = upkeep.found
    said = {"dataset": upkeep.dataset, "table": upkeep.table, "why": upkeep.why, "settled": upkeep.settled}
    if found is None:
        return said
    return {**said, "action": found.action, "version": found.pinned.version, **msgspec.to_builtins(found.detail)}


def _lines(upkeep: Upkeep) -> list[str]:
    if upkeep.found is None:
        return [f"{upkeep.table:<24} left alone: {upkeep.why}"]
    found, detail = upkeep.found, upkeep.found.detail
    before = detail.before
    lines = [
        f"{upkeep.table:<24} {found.action}: version {before.version}, {before.files:,} files"
        f" ({before.small_files:,} small), {before.bytes:,} bytes"
    ]
    if upkeep.settled is not None:
        lines.append(f"  before that: {upkeep.settled}")
    for name in detail.cause:
        trigger = detail.triggers[name]
        shown = "unknown" if trigger.found is None else trigger.found
        lines.append(f"  {name}: {trigger.metric} {shown}, threshold {trigger.threshold}: {trigger.action}")
    if detail.estimated.files_rewritten:
        cost = detail.real if detail.done else detail.estimated
        word = "rewrote" if detail.done else "would rewrite"
        lines.append(f"  {word} {cost.files_rewritten:,} files, {cost.bytes_read:,} bytes")
    if detail.after is not None:
        after = detail.after
        lines.append(f"  now version {after.version}, {after.files:,} files, {after.bytes:,} bytes")
    for shape, (was, now) in detail.shapes.items():
        if was != now:
            lines.append(
                f"  {shape} lists {now.files:,} files of {now.bytes:,} bytes, before {was.files:,} of {was.bytes:,}"
            )
    if detail.why is not None:
        code = "" if detail.code is None else f" [{detail.code}]"
        lines.append(f"  why not more{code}: {detail.why}")
    return lines
