"""`index`: bring external indexes up to date with the last complete run's tables, or build them anew."""

from __future__ import annotations

import argparse
import sys

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid, PreconditionFailed

HELP = "bring external indexes up to date, or build them anew"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="its indexes alone (default: all)")
    parser.add_argument("--rebuild", action="store_true", help="throw away what is there and build it anew")


def main(args: argparse.Namespace) -> int:
    """Bring the indexes up to date; exit 1 if one cannot be built."""
    with open_pack(args) as pack:
        if args.dataset in pack.manifest.datasets() and not pack.manifest.indexes_of(args.dataset):
            help = "write `indexes` in its spec, and run the pack"
            raise InputInvalid(f"`{args.dataset}` declares no index", help=help)
        found = pack.index(args.dataset, rebuild=args.rebuild)
    left_out = [done for done in found if not done.wanted]
    if args.dataset is not None and len(left_out) == len(found):
        subject = f"{pack.manifest.pack}/index/{found[0].subject}"
        raise PreconditionFailed(
            f"the policy builds no index of `{args.dataset}` ({found[0].pointer})",
            help=f"`decreta explain {subject}` says why; evidence or a decision of your own changes it",
        )
    for done in found:
        print(f"{done.action:<10} {done.subject}: {done.words}", file=sys.stderr if done.failed else None)
    if not found:
        print("the pack declares no index")
    return EXIT_FINDINGS if any(done.failed for done in found) else EXIT_DONE
