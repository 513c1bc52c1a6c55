"""`ledger`: ask what runs and look-ups did, and why, by SQL or by a query that ships with the runtime."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from decimal import InvalidOperation
from typing import TYPE_CHECKING

from decreta_runtime.cli.arguments import add_pack, open_pack, value_of
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid

if TYPE_CHECKING:
    import pyarrow as pa

    from decreta_runtime.ledger import Ready

HELP = "ask the ledger by one reading SQL statement, or by a ready query"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument(
        "statement", metavar="SQL", nargs="?", help="over `ledger`, `ledger_KIND`, `runs`, `policy_decision`"
    )
    parser.add_argument(
        "--ready", metavar="NAME", nargs="?", const="", help="run a ready query; without NAME list them"
    )
    parser.add_argument("--param", action="append", default=[], metavar="K=V", help="a parameter of the ready query")
    parser.add_argument("--format", choices=("table", "json", "csv", "arrow"), default="table")


def main(args: argparse.Namespace) -> int:
    """Run the statement, or the ready query, or list the ready queries."""
    if (args.statement is None) == (args.ready is None):
        raise InputInvalid(
            "give one of the two: a statement, or --ready", help="`--ready` alone lists the ready queries"
        )
    pack = open_pack(args)
    from decreta_runtime.cli.output import print_table
    from decreta_runtime.ledger import ready_queries

    if args.ready == "":
        print("\n".join(_line(ready) for ready in ready_queries().values()))
        return EXIT_DONE
    if args.ready is None:
        if args.param:
            raise InputInvalid("a statement has no parameters here", help="write the value into the statement")
        print_table(pack.ledger(args.statement), args.format)
        return EXIT_DONE
    ready = ready_queries().get(args.ready)
    if ready is None:
        near = difflib.get_close_matches(args.ready, list(ready_queries()), n=1)
        known = f"did you mean `{near[0]}`?" if near else "there are " + ", ".join(ready_queries())
        raise InputInvalid(f"there is no ready query `{args.ready}`", help=known)
    print_table(pack.ledger(ready.sql, _values(ready, args.param)), args.format)
    return EXIT_DONE


def _line(ready: Ready) -> str:
    asked = [f"{name}={ready.defaults.get(name, kind.upper())}" for name, kind in ready.types.items()]
    return f"{ready.name:<30} {ready.summary}" + (f" --param {' '.join(asked)}" if asked else "")


def _values(ready: Ready, given: Sequence[str]) -> Mapping[str, pa.Scalar]:
    """Return the parameters as values of their types, those not given as the query has them. Raises InputInvalid."""
    import pyarrow as pa

    from decreta_runtime.ledger import typed

    texts = dict(ready.defaults)
    for text in given:
        name, _, value = text.partition("=")
        if name not in ready.types:
            known = ", ".join(f"`{name}`" for name in ready.types) or "none"
            raise InputInvalid(f"`{ready.name}` has no parameter `{name}`", help=f"its parameters: {known}")
        texts[name] = value
    found = {}
    for name, kind in ready.types.items():
        if name not in texts:
            raise InputInvalid(f"`{ready.name}` needs its parameter `{name}` ({kind})", help=f"give --param {name}=…")
        try:
            found[name] = pa.scalar(value_of(kind, texts[name]), typed(ready, name))
        except (ValueError, OverflowError, InvalidOperation, pa.ArrowInvalid):
            words = f"`{texts[name]}` is no {kind}"
            raise InputInvalid(words, help=f"give `{name}` a value of type {kind}") from None
    return found
