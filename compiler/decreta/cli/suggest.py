"""`decreta suggest`: spec text for a person to keep, with the evidence for it. Compiling never guesses; this does."""

from __future__ import annotations

import argparse
from pathlib import Path

from decreta.cli.manifest import read_manifest
from decreta.diagnostics import did_you_mean
from decreta.project import find_project
from decreta.suggest import joins, layouts
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

HELP = "suggest joins and layouts, as spec text to review"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("what", choices=("join", "layout"))
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument("relations", nargs="*", metavar="RELATION", help="join: LEFT and RIGHT")


def main(args: argparse.Namespace) -> int:
    """Print suggestions; exit 1 if there is none."""
    project = find_project(Path.cwd())
    (pack,) = project.chosen([args.pack])
    manifest = read_manifest(project, pack)
    if args.what == "join":
        if len(args.relations) != 2:
            raise InputInvalid("a join has two sides", help="write `decreta suggest join PACK LEFT RIGHT`")
        for name in args.relations:
            if name not in manifest.everything():
                hint = did_you_mean(name, manifest.everything())
                raise InputInvalid(f"there is no object or relation `{name}`", help=hint)
        found = joins(manifest, *args.relations)
    else:
        found = layouts(manifest, project.generated / pack)
    print("\n".join(found) if found else "nothing to suggest")
    return EXIT_DONE if found else EXIT_FINDINGS
