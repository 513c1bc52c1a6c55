"""`decreta check`: compile packs and print what is wrong; write nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from decreta.cli.show import print_diagnostics
from decreta.project import find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS

HELP = "check specs and print every mistake with its place"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("packs", nargs="*", metavar="PACK", help="packs to check (default: all)")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Check the packs; exit 1 if there is a mistake."""
    from decreta.diagnostics import Report
    from decreta.pipeline import compile_pack

    project = find_project(Path.cwd())
    packs = project.chosen(args.packs)
    report = Report()
    for name in packs:
        compile_pack(project, name, report)
    found = report.diagnostics()
    print_diagnostics(found, project, args.format)
    if not found:
        print(f"checked {', '.join(packs)}: no mistakes", file=sys.stderr)
    return EXIT_FINDINGS if found else EXIT_DONE
