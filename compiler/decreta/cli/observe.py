"""`decreta observe`: take what a lake is like into the evidence lock of an environment, for a person to review."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec

from decreta.cli.formats import print_diagnostics
from decreta.diagnostics import Report, did_you_mean
from decreta.observe import Change, changes, encoded, merge, open_lock
from decreta.output import replace_file
from decreta.project import Project, find_project
from decreta_runtime.cli.arguments import open_pack
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid
from decreta_runtime.contract.evidence import EVIDENCE_FORMAT, Observations, Seen

HELP = "take what a lake is like into an environment's evidence lock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument("file", nargs="?", metavar="FILE", help="observations that `decreta-run observe` wrote")
    parser.add_argument("--lake", metavar="DIR", help="observe this lake now (default: the environment's)")
    parser.add_argument("--env", default="local", help="the environment (default: local)")


def main(args: argparse.Namespace) -> int:
    """Merge the observations and say which facts have changed; exit 1 if the specs have mistakes."""
    if args.file and args.lake:
        raise InputInvalid("FILE and --lake both say what was observed", help="name one of them")
    project = find_project(Path.cwd())
    (pack,) = project.chosen([args.pack])
    path = project.specs / pack / "locks" / f"{args.env}.evidence.json"
    known = [found.stem for found in (project.specs / pack / "env").glob("*.toml")]
    if args.env not in known:
        raise InputInvalid(f"`{pack}` has no environment `{args.env}`", help=did_you_mean(args.env, known))
    report = Report()
    opened = open_lock(project, pack, args.env, report)
    print_diagnostics(report.diagnostics(), project, "text")
    if opened is None:
        return EXIT_FINDINGS
    scope, old = opened
    seen = _read(Path(args.file)) if args.file else _observe(project, pack, args, max(scope.runs, 1))
    if (seen.pack, seen.environment) != (pack, args.env):
        words = f"these are observations of `{seen.pack}` in `{seen.environment}`, not of `{pack}` in `{args.env}`"
        raise InputInvalid(words, help="name that pack and --env, or observe again")
    new = merge(old, seen, scope)
    found = changes(old, new)
    name = path.relative_to(project.root).as_posix()
    if old is None or old != new:
        replace_file(path, encoded(new))
    print("\n".join(map(_line, found)) if found else f"nothing has changed that {name} tells")
    if found:
        print(f"{name}: {len(found)} facts changed; review them, then `decreta generate {pack}`")
    return EXIT_DONE


def _read(path: Path) -> Observations:
    try:
        seen = msgspec.json.decode(path.read_bytes(), type=Observations)
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}", help="name a file of observations") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputInvalid(f"{path} holds no observations: {error}", help="make it by `decreta-run observe`") from None
    if seen.format != EVIDENCE_FORMAT:
        words = f"{path} has format {seen.format}, this decreta reads {EVIDENCE_FORMAT}"
        raise InputInvalid(words, help="observe again with the runtime of this version")
    return seen


def _observe(project: Project, pack: str, args: argparse.Namespace, runs: int) -> Observations:
    generated = str(project.generated)
    with open_pack(argparse.Namespace(pack=pack, lake=args.lake, env=args.env, generated=generated, expect=None)) as it:
        return it.observe(runs)


def _line(change: Change) -> str:
    return f"{change.path}: {_told(change.old)} -> {_told(change.new)}"


def _told(seen: Seen | None) -> str:
    if seen is None:
        return "unknown"
    value = seen.value if isinstance(seen.value, str) else json.dumps(seen.value)
    weight = (
        f" in {seen.share} of the files"
        if seen.share
        else f" in {seen.runs} run{'s' if seen.runs > 1 else ''}"
        if seen.runs
        else ""
    )
    return value + weight
