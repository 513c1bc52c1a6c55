"""`kpi`: the key figures of a policy and the runs under it."""

from __future__ import annotations

import argparse

import msgspec

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE
from decreta_runtime.contract.kpi import Kpi, Pruning

HELP = "count what a policy and its runs show: fallbacks, derivations, decisions with confidence"
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Print the figures."""
    pack = open_pack(args)
    from decreta_runtime.kpi import key_figures

    found = key_figures(pack.manifest.pack, pack.policy, pack.lake)
    print(msgspec.json.format(msgspec.json.encode(found)).decode() if args.json else "\n".join(_lines(found)))
    return EXIT_DONE


def _lines(found: Kpi) -> list[str]:
    share, maintained = found.inference_decisions_with_confidence, found.writes_using_outcome_based_maintenance
    figures = {
        "compile_context_fallback_callsites": _figure(found.compile_context_fallback_callsites),
        "dataset_bindings_fallback_callsites": _figure(found.dataset_bindings_fallback_callsites),
        "runtime_policy_derivation_points": _figure(found.runtime_policy_derivation_points),
        "inference_decisions_with_confidence": f"{share.share or 'unknown'}  "
        f"{share.count} of {share.of}, {share.declared} of them declared",
        "writes_using_outcome_based_maintenance": f"{maintained.share or 'unknown'}  "
        f"{maintained.count:,} of {maintained.of:,}",
    }
    runs = f"{found.runs:,} run{'s' if found.runs != 1 else ''} and {found.actions:,} actions under this policy"
    lines = [f"{found.pack}, {found.environment}: {runs}", f"policy {found.policy_digest}", ""]
    lines += [f"{name:<36} {figure}" for name, figure in figures.items()]
    for workload, pruning in (found.pruning_effectiveness_score or {}).items():
        lines.append(f"{'pruning_effectiveness_score':<36} {_pruning(pruning)}, {workload}")
    for point in found.derivation_points[:_SHOWN]:
        cause = f"no such entry {point.pointer}" if point.pointer is not None else "no pointer"
        lines.append(f"  {point.kind} {point.subject}: {point.action} ({cause}, {point.count:,} times)")
    if (more := len(found.derivation_points) - _SHOWN) > 0:
        lines.append(f"  and {more:,} more; --json shows all")
    lines += ["", "decisions"]
    for name, counts in msgspec.structs.asdict(found.decisions).items():
        words = ", ".join(f"{word}: {count:,}" for word, count in counts.items())
        lines.append(f"  {name.replace('_', ' '):<22} {words}")
    return lines


def _figure(figure: int | None) -> str:
    return "unknown: no run under this policy" if figure is None else f"{figure:,}"


def _pruning(found: Pruning) -> str:
    avoided = f"{found.bytes_avoided:,} of {found.bytes_avoidable:,} bytes avoided" if found.known else "no counters"
    return f"{found.score or 'unknown'}  {avoided}, {found.known:,} of {found.queries:,} look-ups known"
