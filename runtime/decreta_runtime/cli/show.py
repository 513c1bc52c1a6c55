"""`show`: compute one relation now, over the tables of the last complete run, and print some of its rows."""

from __future__ import annotations

import argparse

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE

HELP = "compute one relation now and print some of its rows"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("relation", metavar="RELATION")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="rows at most (default: 20)")
    parser.add_argument("--where", metavar="EXPR", help="a predicate over the relation's columns")
    parser.add_argument("--format", choices=("table", "json", "csv", "arrow"), default="table")
    parser.add_argument("--stats", action="store_true", help="tell what reading cost")


def main(args: argparse.Namespace) -> int:
    """Print the rows."""
    with open_pack(args) as pack:
        from decreta_runtime.cli.output import print_answer

        print_answer(pack.show(args.relation, limit=args.limit, where=args.where), args.format, args.stats)
    return EXIT_DONE
