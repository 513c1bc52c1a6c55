"""`observe`: see what the tables and relations of the last complete runs are like, for `decreta observe` to keep."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid
from decreta_runtime.contract.evidence import Observations

HELP = "write what the lake's tables and runs are like"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: standard output)")
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="complete runs, the newest, that relations are seen in (5)"
    )


def main(args: argparse.Namespace) -> int:
    """Observe the lake and write the file."""
    if args.runs < 1:
        raise InputInvalid(f"`--runs {args.runs}` sees no run", help="name a whole number from 1")
    with open_pack(args) as pack:
        seen = pack.observe(args.runs)
    data = encoded(seen)
    if args.output is None:
        sys.stdout.write(data.decode())
        return EXIT_DONE
    try:
        Path(args.output).write_bytes(data)
    except OSError as error:
        raise InputInvalid(f"{args.output} cannot be written: {error.strerror}", help="name another file") from None
    print(f"{len(seen.datasets)} tables and {len(seen.views)} relations observed: {args.output}", file=sys.stderr)
    return EXIT_DONE


def encoded(seen: Observations) -> bytes:
    """Return observations as their file holds them: sorted and indented."""
    return msgspec.json.format(msgspec.json.encode(seen, order="sorted"), indent=2) + b"\n"
