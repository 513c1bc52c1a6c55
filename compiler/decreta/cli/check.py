"""`decreta check`: compile packs and print what is wrong; write nothing, unless asked to mend what is safe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from decreta.cli.formats import FORMATS, print_diagnostics
from decreta.project import find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS

if TYPE_CHECKING:
    from decreta.fix import Outcome

HELP = "check specs and print every mistake with its place"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("packs", nargs="*", metavar="PACK", help="packs to check (default: all)")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--fix", action="store_true", help="mend what is surely a slip; show what may be one")


def main(args: argparse.Namespace) -> int:
    """Check the packs; exit 1 if there is a mistake. A warning is none."""
    from decreta.diagnostics import Report
    from decreta.pipeline import compile_pack

    if args.fix:
        from decreta.fix import fix_pack

    project = find_project(Path.cwd())
    packs = project.chosen(args.packs)
    report = Report()
    for name in packs:
        for outcome in fix_pack(project, name) if args.fix else ():
            print(_told(outcome), file=sys.stderr)
        compile_pack(project, name, report)
    found = report.diagnostics()
    print_diagnostics(found, project, args.format)
    if not found:
        print(f"checked {', '.join(packs)}: no mistakes", file=sys.stderr)
    return EXIT_FINDINGS if report.failed else EXIT_DONE


def _told(outcome: Outcome) -> str:
    patch = outcome.patch
    change = f"`{patch.old}` becomes `{patch.new}`" if patch.new else f"`{patch.old.strip()}` is removed"
    verb = "mended" if outcome.written else "not mended, for it may mean something else:"
    return f"{verb} {patch.span}: {change}"
