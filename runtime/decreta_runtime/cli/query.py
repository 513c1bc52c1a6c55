"""`query`: run a query shape over the last complete run."""

from __future__ import annotations

import argparse
from decimal import InvalidOperation
from typing import Any

from decreta_runtime.cli.arguments import add_pack, open_pack, value_of
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid

HELP = "run a query shape over the last complete run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("shape", metavar="SHAPE")
    parser.add_argument("--param", action="append", default=[], metavar="K=V", help="a parameter of the shape")
    parser.add_argument("--format", choices=("table", "json", "csv", "arrow"), default="table")
    parser.add_argument("--stats", action="store_true", help="tell what reading cost")


def main(args: argparse.Namespace) -> int:
    """Run the query shape."""
    with open_pack(args) as pack:
        from decreta_runtime.cli.output import print_answer

        shape = pack.manifest.queries.get(args.shape)
        kinds = shape.parameters if shape else {}
        answer = pack.answer(args.shape, dict(_parameter(text, kinds) for text in args.param))
        print_answer(answer, args.format, args.stats)
    return EXIT_DONE


def _parameter(text: str, kinds: dict[str, str]) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InputInvalid(f"`{text}` is no parameter", help="write --param NAME=VALUE")
    kind = kinds.get(name, "string")
    try:
        return name, value_of(kind, value)
    except (ValueError, InvalidOperation):
        raise InputInvalid(f"`{value}` is no {kind}", help=f"give `{name}` a value of type {kind}") from None
