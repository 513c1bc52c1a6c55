"""`decreta calibrate`: take what the ledger tells into an environment's calibration lock, for a person to review."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from decreta.calibrate import Owner, advance
from decreta.calibrate.knobs import bounds_of, knobs_of
from decreta.cli.formats import print_diagnostics
from decreta.diagnostics import Report, did_you_mean
from decreta.output import replace_file
from decreta.project import find_project
from decreta_runtime.cli.arguments import open_pack
from decreta_runtime.contract.calibration import CalibrationLock, KnobState, encoded, overrides
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid
from decreta_runtime.contract.policy import PolicyFile

HELP = "turn thresholds by what came of them, a rung an epoch, into an environment's calibration lock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument("--lake", metavar="DIR", help="the lake (default: the environment's)")
    parser.add_argument("--env", default="local", help="the environment (default: local)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the lock would change")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Advance the lock by one epoch if the ledger has something new; exit 1 if the specs have mistakes."""
    from decreta.pipeline import check_pack

    project = find_project(Path.cwd())
    (pack,) = project.chosen([args.pack])
    known = [found.stem for found in (project.specs / pack / "env").glob("*.toml")]
    if args.env not in known:
        raise InputInvalid(f"`{pack}` has no environment `{args.env}`", help=did_you_mean(args.env, known))
    report = Report()
    checked = check_pack(project, pack, report)
    print_diagnostics(report.diagnostics(), project, "text")
    if checked is None:
        return EXIT_FINDINGS
    resolved = checked.resolved
    mode, version = resolved.environments[args.env].spec.rollout.calibration, resolved.header.spec.version
    if mode == "off":
        help = f'set [rollout] calibration = "warn" in specs/{pack}/env/{args.env}.toml'
        raise InputInvalid(f"calibration of `{pack}` is off in `{args.env}`", help=help)
    capability = resolved.capabilities.get(resolved.environments[args.env].spec.engine)
    old = resolved.calibration.get(args.env)
    generated = str(project.generated)
    given = argparse.Namespace(pack=pack, lake=args.lake, env=args.env, generated=generated, expect=None)
    with open_pack(given) as opened:
        seen = opened.samples(old.until_us if old else 0, capability.features if capability else {})
    policy = msgspec.json.decode(
        (project.generated / pack / "policy" / f"{args.env}.json").read_bytes(), type=PolicyFile
    )
    knobs = knobs_of(checked, args.env, policy)
    new = advance(old, seen, knobs, bounds_of(resolved.rules), Owner(pack, args.env, version))
    path = project.specs / pack / "locks" / f"{args.env}.calibration.json"
    name, changed = path.relative_to(project.root).as_posix(), new is not None and new != old
    if new is not None and changed and not args.check:
        replace_file(path, encoded(new))
    print(_json(new, version, mode, changed) if args.format == "json" else _text(new, mode, name, changed))
    if changed:
        then = "review it, then `decreta generate`" if mode == "enforce" else "proposals only: calibration is in `warn`"
        print(f"{name}: {then}", file=sys.stderr)
    return EXIT_FINDINGS if args.check and changed else EXIT_DONE


def _json(lock: CalibrationLock | None, version: str, mode: str, changed: bool) -> str:
    knobs: Any = msgspec.to_builtins(lock.knobs) if lock else {}
    whole = {"mode": mode, "epoch": lock.epoch if lock else 0, "changed": changed, "knobs": knobs}
    return json.dumps(whole | {"overrides": msgspec.to_builtins(overrides(lock, version))}, indent=2, sort_keys=True)


def _text(lock: CalibrationLock | None, mode: str, name: str, changed: bool) -> str:
    if lock is None:
        return "the ledger tells nothing of this policy yet: run the pack and ask its query shapes"
    head = f"epoch {lock.epoch} ({mode})" + (
        "" if changed else f": the ledger has nothing new since {name} was written"
    )
    return "\n".join([head, *(f"  {_line(knob, state)}" for knob, state in sorted(lock.knobs.items()))])


def _line(knob: str, state: KnobState) -> str:
    now = f"{state.declared}" if state.value == state.declared else f"{state.declared} -> {state.value}"
    trial = "" if state.trial is None else f", {'back over' if state.back else 'trial of'} {state.trial}"
    frozen = ", frozen" if state.frozen else ""
    return f"{knob}: {now}{trial}{frozen}: {state.why}"
