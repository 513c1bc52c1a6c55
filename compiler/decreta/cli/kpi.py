"""`decreta kpi`: the runtime's verb, with the overrides of the environment's calibration lock beside."""

from __future__ import annotations

import argparse

from decreta.cli.report import counted
from decreta_runtime.cli import kpi

HELP = kpi.HELP
add_arguments = kpi.add_arguments


def main(args: argparse.Namespace) -> int:
    """Print the figures; exit 1 if one of them is not what was asked for."""
    return kpi.main(args, counted)
