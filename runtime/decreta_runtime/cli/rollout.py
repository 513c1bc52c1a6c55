"""`rollout report`: what the decisions of each domain have shown in a lake, and whether its gate is met."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

if TYPE_CHECKING:
    from decreta_runtime.contract.rollout import DomainReport, RolloutReport

HELP = "report what decisions in `warn` would have changed, and whether gates are met"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("action", choices=("report",))
    add_pack(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    help = "exit 1 unless the pack's criteria for this domain are met"
    parser.add_argument("--gate", action="append", default=[], metavar="DOMAIN", help=help)


def main(args: argparse.Namespace) -> int:
    """Print the report; with `--gate` answer whether the domains named may be enforced."""
    pack = open_pack(args)
    import msgspec

    from decreta_runtime.rollout import rollout_report

    for domain in args.gate:
        if domain not in pack.manifest.gates:
            known = ", ".join(f"`{name}`" for name in pack.manifest.gates) or "none"
            words = f"`{args.pack}` has no gate for the domain `{domain}`"
            raise InputInvalid(words, help=f"write [gates.{domain}] in pack.toml; it has {known}")
    report = rollout_report(pack.manifest, pack.policy, pack.lake)
    if args.format == "json":
        print(json.dumps(msgspec.to_builtins(report), indent=2))
    else:
        print("\n".join(_lines(report)))
    closed = [found for found in report.domains if found.domain in args.gate and not found.met]
    return EXIT_FINDINGS if closed else EXIT_DONE


def _lines(report: RolloutReport) -> list[str]:
    lines = [
        f"{report.pack} in `{report.environment}`: {report.complete_runs} complete runs; policy {report.policy_digest}"
    ]
    for found in report.domains:
        modes = ", ".join(f"{mode} {count}" for mode, count in found.modes.items())
        lines += ["", f"{found.domain}: {modes}", *(f"  {line}" for line in _of_domain(found))]
    return lines


def _of_domain(found: DomainReport) -> list[str]:
    share = "none" if found.agreement is None else found.agreement
    lines = [
        f"decisions  {found.decisions}, {found.agreeing} as the baseline: agreement {share}",
        f"runs       {found.runs} with these decisions; {found.shadows} actions beside which one stood",
    ]
    if found.changes:
        listed = ", ".join(f"{field} {count}" for field, count in found.changes.items())
        lines.append(f"would have changed: {listed}")
    for name, effect in found.effects.items():
        unknown = f"; unknown of {effect.unknown}" if effect.unknown else ""
        lines.append(f"  {name:<13} {effect.baseline:>15,} → {effect.decision:>15,}{unknown}")
    failed = ", ".join(f"{guard} {count}" for guard, count in found.failed.items())
    lines.append(f"failures   {found.failures}" + (f": {failed}" if failed else ""))
    lines.append(f"gate       {_gate(found)}")
    for exempt in found.exceptions:
        lines.append(f"exception  {exempt.subject}: {exempt.mode} until {exempt.until}: {exempt.because}")
    return lines


def _gate(found: DomainReport) -> str:
    if found.gate is None:
        return "none is written"
    bounds = {"runs": "at least", "agreement": "at least", "failures": "at most"}
    told = [
        f"{name} {criterion.found} ({bounds[name]} {criterion.asked}){'' if criterion.met else ' ✗'}"
        for name, criterion in found.gate.items()
    ]
    return ("met: " if found.met else "not met: ") + ", ".join(told)
