"""`package`: write one complete run into a file that can be kept, and replayed anywhere."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path

import msgspec

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.cli.run import given_sources
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid

HELP = "write a complete run into one file: code, policy, settings, inputs by digest, plans and results by digest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("--run", type=int, metavar="ID", help="the run (default: the last complete one)")
    parser.add_argument("--with-data", action="store_true", help="put the inputs themselves into the file")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=[ROOT:]PATH", help="where an input is")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="where the package goes")
    parser.add_argument("--json", action="store_true", help="print its fingerprint and parts as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Write the package and print its fingerprint."""
    given = given_sources(args.source)
    with open_pack(args) as pack:
        from decreta_runtime.package import make_package, read_package

        place = _place(args.output)
        data = make_package(pack, given, args.run, with_data=args.with_data)
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        try:
            fresh.write_bytes(data)
            package = read_package(fresh)
            fresh.replace(place)
        except OSError as error:
            raise InputInvalid(
                f"{args.output} cannot be written: {error.strerror}", help="name another place"
            ) from None
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
    parts = msgspec.to_builtins(package.parts)
    if args.json:
        print(json.dumps({"file": str(args.output), "fingerprint": package.fingerprint, "parts": parts}, indent=2))
    else:
        print(f"{args.output}: {len(data):,} bytes, run {package.index.run_seq} of {package.index.pack}")
        print(f"fingerprint          {package.fingerprint}")
        print(*(f"{name:<20} {digest}" for name, digest in parts.items()), sep="\n")
    return EXIT_DONE


def _place(output: Path) -> Path:
    """Return the file that the package becomes, links followed: what stood there is replaced in one step."""
    if output.exists() and not output.is_file():
        raise InputInvalid(f"{output} is no file that a package can be written to", help="name a file")
    return output.resolve()
