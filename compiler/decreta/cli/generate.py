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

_SCHEMAS = "schemas"
"""The folder beside the packs for the schemas of specs and artefacts."""
HELP = "compile specs into builders, tests and policies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("packs", nargs="*", metavar="PACK", help="packs to generate (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything would change")
    parser.add_argument("--diff", action="store_true", help="write nothing; print what would change")


def main(args: argparse.Namespace) -> int:
    """Generate the packs; exit 1 if the specs have mistakes or, with --check, the disk differs.

    All packs are compiled before any is written: beside a mistake nothing changes.
    """
    project, tools = find_project(Path.cwd()), toolchain()
    packs = project.chosen(args.packs)
    others = [other_toolchain(project.generated / name, tools) for name in packs] if args.check else []
    if found := [other for other in others if other]:
        print_diagnostics(found, project, "text")
        return EXIT_FINDINGS
    stamps = {name: Stamp(project, name, tools) for name in packs}
    stale = [name for name in packs if not stamps[name].holds()]
    for name in packs:
        if name not in stale:
            print(f"{name}: unchanged", file=sys.stderr)
    compiled = _compile(project, stale)
    if compiled is None:
        return EXIT_FINDINGS
    stamp = Stamp(project, _SCHEMAS, tools)
    if not stamp.holds():
        from decreta.schemas import schemas

        compiled[_SCHEMAS] = schemas()
        stamps[_SCHEMAS] = stamp
    return max([_put(project, name, files, stamps[name], args) for name, files in compiled.items()], default=EXIT_DONE)


def _compile(project: Project, packs: list[str]) -> dict[str, dict[str, bytes]] | None:
    """Return the files of each pack, or None after printing what is wrong with one. Warnings are for `check`."""
    if not packs:
        return {}
    from decreta.diagnostics import Report  # the engine and the models load only when there is work
    from decreta.pipeline import compile_pack

    report = Report()
    found = {name: compile_pack(project, name, report) for name in packs}
    print_diagnostics([d for d in report.diagnostics() if d.severity == "error"], project, "text")
    return None if report.failed else {name: pack.files for name, pack in found.items() if pack is not None}


def _put(project: Project, name: str, files: dict[str, bytes], stamp: Stamp, args: argparse.Namespace) -> int:
    folder = project.generated / name
    if args.diff:
        sys.stdout.writelines(diff(folder, files))
    if args.check:
        found = differences(folder, files)
        print_diagnostics(found, project, "text")
        return EXIT_FINDINGS if found else EXIT_DONE
    if not args.diff:
        changed = write(folder, files)
        stamp.keep()
        what = f"{len(changed)} of {len(files)} files written" if changed else "unchanged"
        print(f"{name}: {what}", file=sys.stderr)
    return EXIT_DONE
