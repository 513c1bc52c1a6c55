"""`replay`: run a package again and say what came out otherwise."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from decreta_runtime.cli.run import given_sources
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid, LakeUnusable
from decreta_runtime.contract.package import Replayed

HELP = "run an execution package again and compare rows, plans, settings and engines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("package", type=Path, metavar="FILE", help="a package made by `package`")
    parser.add_argument("--expect", metavar="DIGEST", help="refuse a package that has another fingerprint")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=[ROOT:]PATH", help="where an input is")
    parser.add_argument("--lake", metavar="DIR", help="take inputs from this lake, and note there what came of it")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="replay so often (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each replay")


def main(args: argparse.Namespace) -> int:
    """Replay; exit 1 if rows came out otherwise."""
    if args.times < 1:
        raise InputInvalid(f"a package cannot be replayed {args.times} times", help="give --times 1 or more")
    given = given_sources(args.source)
    from decreta_runtime.lake import Lake
    from decreta_runtime.package import read_package
    from decreta_runtime.replay import note, replay

    package = read_package(args.package, args.expect)
    lake, equal = Lake(args.lake) if args.lake else None, True
    if lake is not None:
        lake.check_readable()
    for _ in range(args.times):
        found = replay(package, given, lake)
        equal &= found.equal
        print(msgspec.json.encode(found).decode() if args.json else "\n".join(_lines(found)), flush=True)
        try:
            if args.lake:
                note(package, args.lake, found)
        except LakeUnusable as error:
            print(f"the replay is not in the ledger: {error.message}", file=sys.stderr)
    return EXIT_DONE if equal else EXIT_FINDINGS


def _lines(found: Replayed) -> Iterator[str]:
    if found.equal:
        yield f"equal: every row of {found.fingerprint}, in {found.seconds:.1f} s"
    else:
        assert found.first is not None
        yield f"differs by {found.kind}: first in the {found.first.what} of `{found.first.subject}`"
    for each in found.differences:
        yield f"  {each.what} {each.subject}: {each.packed} in the package, {each.found} here"
