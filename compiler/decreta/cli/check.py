"""`decreta check`: compile packs and print what is wrong; write nothing, unless asked to mend what is safe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from decreta.cli.formats import FORMATS, print_diagnostics
from decreta.project import find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS

HELP = "check specs and print every mistake with its place"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("packs", nargs="*", metavar="PACK", help="packs to check (default: all)")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--fix", action="store_true", help="mend misspelt names and missing quotes, where that is safe")


def main(args: argparse.Namespace) -> int:
    """Check the packs; exit 1 if there is a mistake. A warning is none."""
    from decreta.diagnostics import Report
    from decreta.fix import fix_pack
    from decreta.pipeline import compile_pack

    project = find_project(Path.cwd())
    packs = project.chosen(args.packs)
    report = Report()
    for name in packs:
        for mended in fix_pack(project, name) if args.fix else ():
            print(f"mended {mended}", file=sys.stderr)
        compile_pack(project, name, report)
    found = report.diagnostics()
    print_diagnostics(found, project, args.format)
    if not found:
        print(f"checked {', '.join(packs)}: no mistakes", file=sys.stderr)
    return EXIT_FINDINGS if report.failed else EXIT_DONE
