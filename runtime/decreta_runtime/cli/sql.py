"""`sql`: put one reading SQL statement to the last complete run."""

from __future__ import annotations

import argparse

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE

HELP = "run one reading SQL statement over the last complete run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("statement", metavar="SQL")
    parser.add_argument("--format", choices=("table", "json", "csv", "arrow"), default="table")
    parser.add_argument("--stats", action="store_true", help="tell what reading cost")


def main(args: argparse.Namespace) -> int:
    """Run the statement."""
    with open_pack(args) as pack:
        from decreta_runtime.cli.output import print_answer

        print_answer(pack.sql(args.statement), args.format, args.stats)
    return EXIT_DONE
