"""`decreta schema`: hold the given spec files against the language, one by one. For hooks: loads no engine."""

from __future__ import annotations

import argparse
from pathlib import Path

from decreta.cli.formats import FORMATS, print_diagnostics
from decreta.project import find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

HELP = "check the form of single spec files, quickly"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="specs of a pack")
    parser.add_argument("--format", choices=FORMATS, default="text")


def main(args: argparse.Namespace) -> int:
    """Check each file alone; exit 1 if one has a mistake."""
    from decreta.diagnostics import Report
    from decreta.read import read_file
    from decreta.schemas import FOLDERS, SPECS
    from decreta.validate import validate

    project = find_project(Path(args.files[0]).resolve().parent)
    report = Report()
    for text in args.files:
        path = Path(text).resolve()
        kind = "pack" if path.name == "pack.toml" else FOLDERS.get(path.parent.name)
        if kind is None or not path.is_relative_to(project.specs):
            raise InputInvalid(f"{text} is no spec", help="specs stand in specs/PACK/{" + ",".join(FOLDERS) + "}")
        document = read_file(path, path.relative_to(project.root).as_posix(), report)
        if document is not None:
            validate(document, SPECS[kind], report)
    print_diagnostics(report.diagnostics(), project, args.format)
    return EXIT_FINDINGS if report.failed else EXIT_DONE
