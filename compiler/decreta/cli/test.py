"""`decreta test`: run a pack's generated tests; with `--mutate` ask whether they would notice a wrong spec."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from decreta.cli.formats import print_diagnostics
from decreta.diagnostics import Report
from decreta.project import Project, find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

HELP = "run the generated tests of a pack"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument("--mutate", action="store_true", help="change specs a little and count what the tests notice")
    parser.add_argument(
        "--at-least", type=int, default=95, metavar="N", help="the share of mutants, in percent, that must be noticed"
    )
    parser.add_argument(
        "--suggest", action="store_true", help="with --mutate: print an example to review for each mutant that survives"
    )
    parser.add_argument("pytest", nargs="*", metavar="ARG", help="passed on to pytest, after --")


def main(args: argparse.Namespace) -> int:
    """Run what was asked for; exit 1 if a test fails, none was run, or too many mutants survive."""
    project = find_project(Path.cwd())
    (pack,) = project.chosen([args.pack])
    folder = project.generated / pack / "tests"
    if not folder.is_dir():
        raise InputInvalid(f"{folder} does not exist", help=f"run `decreta generate {pack}` first")
    if args.mutate:
        return _mutate(project, pack, args.at_least, args.suggest)
    # Tests are loaded by path, from verified bytes; nothing may be written beside them, caches neither.
    options = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    command = [sys.executable, "-B", "-m", "pytest", *options, "-c", "/dev/null", str(folder), *args.pytest]
    done = subprocess.run(command, check=False)
    second = _second_engine(project, pack)
    return EXIT_DONE if done.returncode == 0 and second else EXIT_FINDINGS


def _second_engine(project: Project, pack: str) -> bool:
    if importlib.util.find_spec("duckdb") is None:
        print("second engine: not asked, `pip install duckdb` brings it")
        return True
    from decreta.second import compare

    result = compare(project.generated / pack)
    for name, words in sorted(result.differs.items()):
        print(f"second engine: `{name}` differs on {words}", file=sys.stderr)
    for name, words in sorted(result.passed_over.items()):
        print(f"second engine: `{name}` is passed over: {words}")
    print(f"second engine: {result.agree} relations agree with {result.engine}, {len(result.passed_over)} passed over")
    return not result.differs


def _mutate(project: Project, pack: str, at_least: int, suggest: bool) -> int:
    from decreta.mutation import mutate  # loads engine and tests, which the other verbs do without
    from decreta.mutation.report import suggestion

    report = Report()
    verdicts = mutate(project, pack, report, lambda done, total: print(f"{done} of {total}", end="\r", file=sys.stderr))
    if verdicts is None:
        print_diagnostics(report.diagnostics(), project, "text")
        return EXIT_FINDINGS
    for verdict in verdicts:
        if verdict.outcome != "killed":
            print(f"{verdict.outcome:8}  {verdict.mutant.place}: {verdict.mutant.words} ({verdict.by})")
            if suggest and verdict.outcome == "survived":
                print(suggestion(verdict))
    equal = sum(v.outcome == "equal" for v in verdicts)
    killed = sum(v.outcome == "killed" for v in verdicts)
    unlike = len(verdicts) - equal
    share = 100 * killed // unlike if unlike else 100
    print(f"{pack}: {killed} of {unlike} mutants noticed ({share} %), {equal} more are equal to the original")
    return EXIT_DONE if share >= at_least else EXIT_FINDINGS
