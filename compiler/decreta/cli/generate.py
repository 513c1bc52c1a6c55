"""`decreta generate`: write `generated/<pack>`, or say with `--check` how the disk differs from it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from decreta.cli.formats import print_diagnostics
from decreta.output import Stamp, diff, differences, other_toolchain, write
from decreta.project import Project, find_project
from decreta.toolchain import toolchain
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS

HELP = "compile specs into builders, tests and policies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("packs", nargs="*", metavar="PACK", help="packs to generate (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything would change")
    parser.add_argument("--diff", action="store_true", help="write nothing; print what would change")


def main(args: argparse.Namespace) -> int:
    """Generate the packs; exit 1 if the specs have mistakes or, with --check, the disk differs."""
    project = find_project(Path.cwd())
    return max([_generate(project, name, args) for name in project.chosen(args.packs)], default=EXIT_DONE)


def _generate(project: Project, name: str, args: argparse.Namespace) -> int:
    folder, tools = project.generated / name, toolchain()
    if args.check and (other := other_toolchain(folder, tools)):
        print_diagnostics([other], project, "text")
        return EXIT_FINDINGS
    stamp = Stamp(project, name, tools)
    if stamp.holds(folder):
        print(f"{name}: unchanged", file=sys.stderr)
        return EXIT_DONE
    from decreta.diagnostics import Report  # the engine and the models load only when there is work
    from decreta.pipeline import compile_pack

    report = Report()
    compiled = compile_pack(project, name, report)
    print_diagnostics(report.diagnostics(), project, "text")
    if compiled is None:
        return EXIT_FINDINGS
    if args.diff:
        sys.stdout.writelines(diff(folder, compiled.files))
    if args.check:
        found = differences(folder, compiled.files)
        print_diagnostics(found, project, "text")
        return EXIT_FINDINGS if found else EXIT_DONE
    if not args.diff:
        changed = write(folder, compiled.files)
        stamp.keep(folder)
        what = f"{len(changed)} of {len(compiled.files)} files written" if changed else "unchanged"
        print(f"{name}: {what}", file=sys.stderr)
    return EXIT_DONE
