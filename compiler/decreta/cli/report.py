"""`decreta report`: one page about a pack and its lake, from the figures that `decreta kpi` has."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from decreta.output import replace_file
from decreta.project import find_project
from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.calibration import decoded, overrides
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid
from decreta_runtime.contract.kpi import Overrides

if TYPE_CHECKING:
    from decreta_runtime.pack import Pack

HELP = "write one page about a pack and its lake: decisions, pruning, maintenance, runs, lineage"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("-o", "--output", metavar="FILE", type=Path, help="where the page goes")
    form.add_argument("--json", action="store_true", help="print what the page is made from as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Write the page, or print its data."""
    from decreta_runtime.report import report

    with open_pack(args) as pack:
        found = report(pack, counted(pack))
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return EXIT_DONE
    from decreta.page import page

    replace_file(args.output, page(found).encode())
    print(args.output)
    return EXIT_DONE


def counted(pack: Pack) -> Overrides | None:
    """Return how many overrides of a pack's calibration lock are alive; None where its specs are not to be seen."""
    specs = _specs(pack)
    if specs is None:
        return None
    path = specs / "locks" / f"{pack.policy.environment}.calibration.json"
    try:
        lock = decoded(path.read_bytes()) if path.is_file() else None
    except (ValueError, OSError) as error:
        raise InputInvalid(
            f"{path}: {error}", help="restore it, or delete it: `decreta calibrate` begins anew"
        ) from None
    told = overrides(lock, pack.manifest.version)
    return Overrides(alive=len(told.alive), expired=len(told.expired))


def _specs(pack: Pack) -> Path | None:
    """Return the specs of a pack: of the project that it lies in, else of the one that we are in."""
    for start in (pack.folder, Path.cwd()):
        with contextlib.suppress(InputInvalid):
            specs = find_project(start).specs / pack.manifest.pack
            if specs.is_dir():
                return specs
    return None
