"""`decreta generate`: write `generated/<pack>`, or say with `--check` how the disk differs from it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from decreta.cli.formats import FORMATS, print_diagnostics
from decreta.diagnostics import Diagnostic
from decreta.output import Stamp, diff, differences, other_toolchain, write
from decreta.project import Project, find_project
from decreta.toolchain import toolchain
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

_SCHEMAS = "schemas"
"""The folder beside the packs for the schemas of specs and artefacts."""
HELP = "compile specs into builders, tests and policies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("packs", nargs="*", metavar="PACK", help="packs to generate (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything would change")
    parser.add_argument("--diff", action="store_true", help="write nothing; print what would change")
    parser.add_argument("--format", choices=FORMATS, default="text", help="how mistakes are told")


def main(args: argparse.Namespace) -> int:
    """Generate the packs; exit 1 if the specs have mistakes or, with --check, the disk differs."""
    if args.diff and args.format != "text":
        raise InputInvalid(f"`--diff` and `--format {args.format}` both print to stdout", help="ask for one of the two")
    project = find_project(Path.cwd())
    found = _generate(project, project.chosen(args.packs), args)
    print_diagnostics(found, project, args.format)
    return EXIT_FINDINGS if found else EXIT_DONE


def _generate(project: Project, packs: list[str], args: argparse.Namespace) -> list[Diagnostic]:
    """Generate packs; return what is wrong with them.

    All are compiled before any is written: beside a mistake nothing changes.
    """
    tools = toolchain()
    others = [other_toolchain(project.generated / name, tools) for name in packs] if args.check else []
    if found := [other for other in others if other]:
        return found
    stamps = {name: Stamp(project, name, tools) for name in packs}
    stale = [name for name in packs if not stamps[name].holds()]
    for name in packs:
        if name not in stale:
            print(f"{name}: unchanged", file=sys.stderr)
    compiled, mistakes = _compile(project, stale)
    if mistakes:
        return mistakes
    stamp = Stamp(project, _SCHEMAS, tools)
    if not stamp.holds():
        from decreta.schemas import schemas

        compiled[_SCHEMAS] = schemas()
        stamps[_SCHEMAS] = stamp
    return [d for name, files in compiled.items() for d in _put(project, name, files, stamps[name], args)]


def _compile(project: Project, packs: list[str]) -> tuple[dict[str, dict[str, bytes]], list[Diagnostic]]:
    """Return the files of each pack, and what is wrong with any of them. Warnings are for `check`."""
    if not packs:
        return {}, []
    from decreta.diagnostics import Report  # the engine and the models load only when there is work
    from decreta.pipeline import compile_pack

    report = Report()
    found = {name: compile_pack(project, name, report) for name in packs}
    mistakes = [d for d in report.diagnostics() if d.severity == "error"]
    return {name: pack.files for name, pack in found.items() if pack is not None}, mistakes


def _put(
    project: Project, name: str, files: dict[str, bytes], stamp: Stamp, args: argparse.Namespace
) -> list[Diagnostic]:
    folder = project.generated / name
    if args.diff:
        sys.stdout.writelines(diff(folder, files))
    if args.check:
        return differences(folder, files)
    if not args.diff:
        changed = write(folder, files)
        stamp.keep()
        gone = len(set(changed) - files.keys())
        written = f"{len(changed) - gone} of {len(files)} files written" + (f", {gone} removed" if gone else "")
        what = written if changed else "unchanged"
        print(f"{name}: {what}", file=sys.stderr)
    return []
