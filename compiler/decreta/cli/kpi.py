"""`decreta kpi`: the runtime's verb, with the overrides of the environment's calibration lock beside."""

from __future__ import annotations

import argparse
from pathlib import Path

from decreta.cli.report import counted
from decreta.project import find_project
from decreta_runtime.cli import kpi
from decreta_runtime.contract.errors import InputInvalid

HELP = kpi.HELP
add_arguments = kpi.add_arguments


def main(args: argparse.Namespace) -> int:
    """Print the figures; exit 1 if one of them is not what was asked for."""
    try:
        project = find_project(Path.cwd())
    except InputInvalid:  # outside of a project nobody knows its locks
        return kpi.main(args)
    return kpi.main(args, counted(project, args.pack, args.env))
