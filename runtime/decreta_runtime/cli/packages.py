"""`packages`: which packages a lake keeps; keep one, so that nothing it names is vacuumed, or let go of it."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid

HELP = "list the packages that a lake keeps, keep one so that nothing it names is vacuumed, or drop it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("action", choices=("list", "keep", "drop"))
    help = "a package's file for `keep`, its fingerprint for `drop`"
    parser.add_argument("package", nargs="?", metavar="FILE|DIGEST", help=help)
    parser.add_argument("--lake", required=True, metavar="DIR", help="the lake that the package was made of")
    parser.add_argument("--expect", metavar="DIGEST", help="refuse to keep a package that has another fingerprint")
    parser.add_argument("--json", action="store_true", help="print a JSON list of the packages")


def main(args: argparse.Namespace) -> int:
    """Do it, and print the packages that were listed, kept or dropped."""
    if (args.package is None) != (args.action == "list"):
        what = {"list": "nothing", "keep": "the FILE of a package", "drop": "the DIGEST of a package"}[args.action]
        raise InputInvalid(f"`packages {args.action}` is given {what}", help="see `packages --help`")
    from decreta_runtime.kept import drop, kept_packages
    from decreta_runtime.lake import Lake

    lake = Lake(args.lake)
    lake.check_readable()
    if args.action == "list":
        found = kept_packages(lake)
    elif args.action == "drop":
        found = [drop(lake, args.package)]
    else:
        from decreta_runtime.package import read_package
        from decreta_runtime.packages import keep

        found = [keep(lake, read_package(Path(args.package), args.expect))]
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        word = {"list": "", "keep": "kept ", "drop": "dropped "}[args.action]
        for kept in found:
            tables = len(kept.run.versions) + len(kept.run.quarantine)
            print(f"{word}{kept.fingerprint} {kept.run.pack} run {kept.run.run_seq}: versions of {tables} tables")
    return EXIT_DONE
