"""`decreta test`: run a pack's generated tests."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from decreta.project import find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

HELP = "run the generated tests of a pack"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument("pytest", nargs="*", metavar="ARG", help="passed on to pytest, after --")


def main(args: argparse.Namespace) -> int:
    """Run pytest over the generated tests; exit 1 if one fails or none was run."""
    project = find_project(Path.cwd())
    (pack,) = project.chosen([args.pack])
    folder = project.generated / pack / "tests"
    if not folder.is_dir():
        raise InputInvalid(f"{folder} does not exist", help=f"run `decreta generate {pack}` first")
    # Tests are loaded by path, from verified bytes; nothing may be written beside them, caches neither.
    options = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    command = [sys.executable, "-B", "-m", "pytest", *options, "-c", "/dev/null", str(folder), *args.pytest]
    done = subprocess.run(command, check=False)
    return EXIT_DONE if done.returncode == 0 else EXIT_FINDINGS
