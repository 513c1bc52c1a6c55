"""`decreta report`: one page about a pack and its lake, from the figures that `decreta kpi` has."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from decreta.cli.manifest import read_manifest
from decreta.output import replace_file
from decreta.project import Project, find_project
from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.calibration import decoded, overrides
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid
from decreta_runtime.contract.kpi import Overrides

HELP = "write one page about a pack and its lake: decisions, pruning, maintenance, runs, lineage"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where the page goes")
    parser.add_argument("--json", action="store_true", help="print what the page is made from as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Write the page, or print its data."""
    if args.output is None and not args.json:
        raise InputInvalid("nothing says where the page goes", help="give -o FILE, or --json for its data")
    from decreta_runtime.report import report

    with open_pack(args) as pack:
        found = report(pack, counted(find_project(Path.cwd()), pack.manifest.pack, args.env))
    if args.output is not None:
        from decreta.page import page

        replace_file(args.output, page(found).encode())
        print(args.output)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    return EXIT_DONE


def counted(project: Project, pack: str, environment: str) -> Overrides | None:
    """Return how many overrides of an environment's calibration lock are alive; None without a lock."""
    path = project.specs / pack / "locks" / f"{environment}.calibration.json"
    if not path.is_file():
        return None
    try:
        lock = decoded(path.read_bytes())
    except (ValueError, OSError) as error:
        raise InputInvalid(
            f"{path}: {error}", help="restore it, or delete it: `decreta calibrate` begins anew"
        ) from None
    told = overrides(lock, read_manifest(project, pack).version)
    return Overrides(alive=len(told.alive), expired=len(told.expired))
