"""`kpi`: the key figures of a policy and the runs under it."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid
from decreta_runtime.contract.kpi import Confidence, Kpi, Outcomes, Overrides, Pruning, Replays
from decreta_runtime.contract.package import Divergence
from decreta_runtime.contract.policy import DOMAINS, FallbackReason, Guard, Mode, Origin
from decreta_runtime.contract.records import REPLAYED_EQUAL

if TYPE_CHECKING:
    from decreta_runtime.pack import Pack

HELP = "count what a policy and its runs show: fallbacks, derivations, decisions with confidence"
_SHOWN = 20
_FIGURE_OF = ("share", "score", "change")
"""The figure that stands for a group of figures in which it is."""
_WIDE = len("writes_using_outcome_based_maintenance")
_UNTOLD = "nothing in this lake tells it under this policy"
_UNSEEN = {"overrides": "locks stand in the specs, and no project is to be seen here that has this pack"}
"""Why a group of figures is unknown that no lake tells."""
_NO_OUTCOMES = dict.fromkeys(Outcomes.__struct_fields__, 0) | {"coverage": None, "right_share": None}
_REPLAYED = (REPLAYED_EQUAL, *get_args(Divergence))
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for name, relation in (("under", "below"), ("over", "above")):
        parser.add_argument(
            f"--fail-{name}",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=f"exit 1 if a figure is {relation} a value, or unknown; NAME as the JSON has it, with dots inside it",
        )


def main(args: argparse.Namespace, counted: Callable[[Pack], Overrides | None] | None = None) -> int:
    """Print the figures; exit 1 if one of them is not what was asked for. Overrides are `counted` where specs are."""
    bounds = [(*_bound(text), True) for text in args.fail_under] + [(*_bound(text), False) for text in args.fail_over]
    pack = open_pack(args)
    from decreta_runtime.kpi import key_figures

    found = key_figures(pack.manifest.pack, pack.policy, pack.lake, counted(pack) if counted else None)
    print(msgspec.json.format(msgspec.json.encode(found)).decode() if args.json else "\n".join(_lines(found)))
    failed = list(_failures(_with_zeros(found), bounds))
    print(*(f"fail: {words}" for words in failed), sep="\n", end="\n" if failed else "", file=sys.stderr)
    return EXIT_FINDINGS if failed else EXIT_DONE


def _bound(text: str) -> tuple[str, Decimal]:
    name, equals, value = text.partition("=")
    try:
        bound = Decimal(value)
    except InvalidOperation:
        bound = Decimal("NaN")
    if not (name and equals and bound.is_finite()):
        raise InputInvalid(f"`{text}` does not say a figure and a number", help="write NAME=VALUE, the value as 0.95")
    return name, bound


def _with_zeros(found: Kpi) -> dict[str, Any]:
    """Return the figures as data, with zeros for what might have been counted and was not: bounds are set for that."""
    from decreta_runtime.confidence import Told

    plain: dict[str, Any] = msgspec.to_builtins(found)
    tenths = [f"{tenth / 10:.1f}" for tenth in range(11)]
    for table, members, nothing in (
        (plain["decisions"]["by_domain"], DOMAINS, 0),
        (plain["decisions"]["by_origin"], get_args(Origin), 0),
        (plain["decisions"]["by_mode"], get_args(Mode), 0),
        (plain["decisions"]["by_confidence"], tenths, 0),
        (plain["decisions"]["by_fallback_reason"], ("none", *get_args(FallbackReason)), 0),
        (plain["fallbacks"]["by_reason"], get_args(FallbackReason), 0),
        (plain["fallbacks"]["by_guard"], get_args(Guard), {"asked": 0, "failed": 0}),
        (plain["confidence"]["by_band"], tenths, _NO_OUTCOMES),
        (plain["confidence"]["by_domain"], DOMAINS, _NO_OUTCOMES),
        (plain["confidence"]["by_evidence"], get_args(Told), 0),
        ((plain["artifact_replay_success_rate"] or {}).get("by_outcome", {}), _REPLAYED, 0),
    ):
        table.update(dict.fromkeys(members, nothing) | table)
    return plain


def _failures(found: dict[str, Any], bounds: list[tuple[str, Decimal, bool]]) -> Iterator[str]:
    for name, bound, least in bounds:
        figure = _named(found, name)
        if figure is None:
            yield f"{name} is unknown: {_UNSEEN.get(name.partition('.')[0], _UNTOLD)}"
        elif (figure < bound) if least else (figure > bound):
            yield f"{name} is {figure}, {'below' if least else 'above'} {bound}"


def _named(found: dict[str, Any], name: str) -> Decimal | None:
    """Return a figure by its name in the JSON, None if it is unknown. Raises InputInvalid if it is no figure."""
    node = _reached(found, name)
    if isinstance(node, dict):
        node = next((node[figure] for figure in _FIGURE_OF if figure in node), node)
    try:
        return None if node is None else Decimal(node)
    except (InvalidOperation, TypeError, ValueError):
        raise _no_figure(found, name) from None


def _reached(found: dict[str, Any], name: str) -> Any:
    """Return what stands under a name; parts of it may have dots in them, as the band `0.9`."""
    node, rest = found, name
    while rest:
        part = next((key for key in node if rest == key or rest.startswith(f"{key}.")), None)
        if part is None:
            raise _no_figure(found, name)
        node, rest = node[part], rest[len(part) + 1 :]
        if not isinstance(node, dict):
            if node is not None and rest:
                raise _no_figure(found, name)
            break
    return node


def _no_figure(found: dict[str, Any], name: str) -> InputInvalid:
    known = [figure for figure in _figures("", found) if not figure.startswith("derivation_points")]
    near = difflib.get_close_matches(name, known, 1, 0.5)
    meant = f"did you mean `{near[0]}`?" if near else "`--json` shows what figures there are"
    return InputInvalid(f"`{name}` is no figure of this policy and lake", help=meant)


def _figures(path: str, node: Any) -> Iterator[str]:
    """Yield the names of what `_named` takes for a figure."""
    if path and _is_figure(node):
        yield path
    for name, inner in node.items() if isinstance(node, dict) else ():
        yield from _figures(f"{path}.{name}" if path else name, inner)


def _is_figure(node: Any) -> bool:
    if isinstance(node, dict):
        return any(figure in node for figure in _FIGURE_OF)
    return node is None or isinstance(node, int) or (isinstance(node, str) and _NUMBER.fullmatch(node) is not None)


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
    lines += [f"{name:<{_WIDE}} {figure}" for name, figure in figures.items()]
    for workload, pruning in (found.pruning_effectiveness_score or {}).items():
        lines.append(f"{'pruning_effectiveness_score':<{_WIDE}} {_pruning(pruning)}, {workload}")
    for workload, trend in (found.pruning_effectiveness_trend or {}).items():
        words = f"{trend.change or 'unknown'} since the run before, over {len(trend.points):,} runs looked up in"
        lines.append(f"{'pruning_effectiveness_trend':<{_WIDE}} {words}, {workload}")
    lines.append(f"{'artifact_replay_success_rate':<{_WIDE}} {_replays(found.artifact_replay_success_rate)}")
    if (overrides := found.overrides) is not None:
        lines.append(f"{'overrides':<{_WIDE}} {overrides.alive:,} alive, {overrides.expired:,} expired")
    for point in found.derivation_points[:_SHOWN]:
        cause = f"no such entry {point.pointer}" if point.pointer is not None else "no pointer"
        lines.append(f"  {point.kind} {point.subject}: {point.action} ({cause}, {point.count:,} times)")
    if (more := len(found.derivation_points) - _SHOWN) > 0:
        lines.append(f"  and {more:,} more; --json shows all")
    lines += ["", *_of_guards(found), *_of_confidence(found.confidence), "", "decisions"]
    for name, counts in msgspec.structs.asdict(found.decisions).items():
        words = ", ".join(f"{word}: {count:,}" for word, count in counts.items())
        lines.append(f"  {name.replace('_', ' '):<22} {words}")
    return lines


def _figure(figure: int | None) -> str:
    return "unknown: no run under this policy" if figure is None else f"{figure:,}"


def _pruning(found: Pruning) -> str:
    avoided = (
        f"{found.bytes_avoided:,} of {found.bytes_avoidable:,} bytes avoided"
        if found.known
        else "nothing known to be avoidable"
    )
    return f"{found.score or 'unknown'}  {avoided}, {found.known:,} of {found.queries:,} look-ups known"


def _replays(found: Replays | None) -> str:
    if found is None:
        return "unknown: nothing was replayed under this policy"
    others = ", ".join(f"{name}: {count:,}" for name, count in found.by_outcome.items())
    return f"{found.share or 'unknown'}  {found.count:,} of {found.of:,} equal ({others})"


def _of_guards(found: Kpi) -> Iterator[str]:
    """Tell the guards that failed, if any did."""
    failed = {name: counts for name, counts in found.fallbacks.by_guard.items() if counts.failed}
    if failed:
        yield "guards that failed"
        yield from (f"  {name:<22} {counts.failed:,} of {counts.asked:,} times" for name, counts in failed.items())
        yield ""


def _of_confidence(found: Confidence) -> Iterator[str]:
    yield "was confidence right"
    for band, outcomes in found.by_band.items():
        yield f"  {band:<22} {_outcomes(outcomes)}"
    yield f"  {'all':<22} {_outcomes(found.whole)}; coverage {found.whole.coverage or 'unknown'}"
    if found.brier_score is not None:
        words = f"{found.brier_score}, of a constant {found.brier_score_constant}"
        yield f"  {'brier score':<22} {words}: {found.whole.right + found.whole.wrong:,} decisions"


def _outcomes(found: Outcomes) -> str:
    words = {"right": found.right, "wrong": found.wrong, "ties": found.ties, "mixed": found.mixed}
    said = [f"{name}: {count:,}" for name, count in words.items() if count]
    rest = {"unknown": found.unknown, "as the baseline": found.as_baseline}
    return ", ".join(said + [f"{name}: {count:,}" for name, count in rest.items() if count])
