"""`decreta compare`: what two sides differ in, which change explains it, what each does, and whether it pays."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

if TYPE_CHECKING:
    from decreta.blame.cause import Answer
    from decreta.blame.each import Effects
    from decreta.blame.edits import Edit
    from decreta.blame.latency import Timed
    from decreta.blame.mixes import Mixer
    from decreta.blame.parts import Part
    from decreta.blame.search import Finding
    from decreta.blame.sides import Side, Sides

HELP = "say what two sides differ in, which change explains a difference in cost, and whether decisions pay"
_SHOWN = 6
"""Symptoms that are told of each cause; JSON has all."""
_WIDTH = 160
"""Characters of a change in a line of text."""
_AROUND = 3
"""Words beside those that differ in a text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    words = (
        "a git revision, a folder with specs, a compiled pack's folder, a package, or a run: LAKE:PACK@RUN (or @last)"
    )
    parser.add_argument("a", metavar="A", help=words)
    parser.add_argument("b", metavar="B", help="the same")
    parser.add_argument("--pack", help="the pack (default: the only one)")
    parser.add_argument("--env", help="the environment (default: that of packages, else local)")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--find-cause", choices=("latency", "bytes", "rows", "digest"), help="search for the smallest change behind it"
    )
    asked.add_argument("--each", action="store_true", help="measure the effect of each changed decision alone")
    asked.add_argument("--gate", action="store_true", help="replay both; exit 0 only if what B promises is kept")
    place = "NAME=[ROOT:]PATH"
    parser.add_argument("--source", action="append", default=[], metavar=place, help="where a source is, for both")
    parser.add_argument("--source-b", action="append", default=[], metavar=place, help="where it is for B alone")
    parser.add_argument("--lake", metavar="DIR", help="the lake that relative places of bound tables start at")
    help = "refuse a package that has none of these fingerprints"
    parser.add_argument("--expect", action="append", default=[], metavar="DIGEST", help=help)
    parser.add_argument("--rounds", type=int, help="repetitions by the clock (default: 17, of --each 7)")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Compare the sides; exit 1 if they differ, a cause was found, or a gate is not passed."""
    if args.rounds is not None and args.rounds < 1:
        raise InputInvalid(f"{args.rounds} rounds measure nothing", help="give --rounds of 1 or more")
    from decreta.blame.sides import Asked, both, read_side

    a, b = (read_side(name, asked, args.expect) for name, asked in (("A", args.a), ("B", args.b)))
    if a.run is not None or b.run is not None:
        return _compare_runs(args, a, b)
    asked = Asked(args.pack, args.env, _given(args), args.lake)
    with tempfile.TemporaryDirectory(prefix="decreta-compare-") as folder:
        sides = both(a, b, asked, Path(folder), _progress)
        if args.find_cause == "latency":
            return _find_latency(args, sides.mixer())
        if args.find_cause:
            return _find_cause(args, sides.mixer())
        if args.each:
            return _each(args, sides)
        return _gate(args, sides) if args.gate else _compare(args, sides)


def _given(args: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    from decreta_runtime.cli.run import given_sources

    a = given_sources(args.source)
    return a, {**a, **given_sources(args.source_b)}


def _progress(words: str) -> None:
    print(words, file=sys.stderr)


# -- plain


def _compare(args: argparse.Namespace, sides: Sides) -> int:
    from decreta.blame.edits import edits
    from decreta.blame.parts import of_packages, of_packs

    a, b = sides.a.package, sides.b.package
    if a is not None and b is not None:
        parts = of_packages(a, b, sides.packs, sides.environment)
    else:  # where one side is a package, the other has read nothing yet
        parts = of_packs(*sides.packs, None if a or b else sides.sources, sides.environment)
    changed = [] if sides.compiled else edits(*sides.specs())
    return _print_parts(args, parts, changed, {"pack": sides.pack, "environment": sides.environment})


def _compare_runs(args: argparse.Namespace, a: Side, b: Side) -> int:
    from decreta.blame.parts import of_run_and_package, of_runs
    from decreta.compare import moved

    if args.find_cause or args.each or args.gate:
        words = "a ledger keeps what a run did, not the specs that it was compiled from"
        raise InputInvalid(words, help="name the revisions of the specs, or package the runs: `decreta package`")
    packs = {side.name: pack for side in (a, b) if (pack := _pack_of(side)) is not None}
    if len(set(packs.values())) > 1:
        its = " and ".join(f"{name} is of `{pack}`" for name, pack in packs.items())
        raise InputInvalid(f"these are runs of two packs: {its}", help="compare two runs of one pack")
    if a.run is None or b.run is None:
        run, package = a.run or b.run, a.package or b.package
        if run is None or package is None:
            words = "a run of a ledger is compared with a run or a package"
            raise InputInvalid(words, help="write both as LAKE:PACK@RUN, or make packages: `decreta package`")
        return _print_parts(args, of_run_and_package(run, package, swapped=a.run is None), [], {})
    figures = moved(dict(a.run.measured.counters), dict(b.run.measured.counters))
    seconds = [sum(side.measured.seconds.values()) for side in (a.run, b.run)]
    more = {"counters": {name: list(pair) for name, pair in figures.items()}, "seconds": seconds}
    status = _print_parts(args, of_runs(a.run, b.run), [], more)
    if args.format == "text":
        for name, (x, y) in figures.items():
            print(f"  {name}  {_short(x)} → {_short(y)}")
        print(f"seconds of its steps and writes: {seconds[0]:.3f} → {seconds[1]:.3f}")
    return status


def _pack_of(side: Side) -> str | None:
    if side.run is not None:
        return side.run.record.pack
    return side.package.index.pack if side.package is not None else None


def _print_parts(args: argparse.Namespace, parts: list[Part], edits: list[Edit], more: dict[str, Any]) -> int:
    differ = bool(edits) or any(part.differs for part in parts)
    if args.format == "json":
        told = {p.name: {"a": p.a, "b": p.b, "differs": p.differs, "differences": p.differences} for p in parts}
        whole = {"a": args.a, "b": args.b, **more, "parts": told, "edits": [_edit(edit) for edit in edits]}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
        return EXIT_FINDINGS if differ else EXIT_DONE
    print(f"{args.a} → {args.b}")
    for part in parts:
        known = "not known" if part.a is None or part.b is None else "differs" if part.differs else "the same"
        print(f"{part.name:<20} {known}")
        for line in part.differences:
            print(f"  {_short(line)}")
    if edits:
        print(f"\n{_numbered(len(edits), 'change')} of the specs")
        for edit in edits:
            print(f"  {_place(edit)}: {_change(edit.before, edit.after)}")
    return EXIT_FINDINGS if differ else EXIT_DONE


# -- the cause


def _find_cause(args: argparse.Namespace, mixer: Mixer) -> int:
    from decreta.blame.cause import cause_of

    answer = cause_of(mixer, args.find_cause)
    if args.format == "json":
        print(json.dumps(_json(args, mixer, answer), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(args, mixer, answer)))
    return EXIT_DONE if answer.finding is None else EXIT_FINDINGS


def causes(mixer: Mixer, finding: Finding) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield each cause as data, with the symptoms that it explains."""
    moved = _moved_by(mixer)
    for number in finding.changes:
        explained = [name for name, by in finding.symptoms.items() if number in by]
        if number >= len(mixer.edits):
            name = mixer.inputs[number - len(mixer.edits)]
            a, b = mixer.sources
            yield {"kind": "input", "name": name, "before": a.get(name), "after": b[name]}, explained
        else:
            told = _edit(mixer.edits[number])
            yield (told | {"moved_by": moved[told["key"]]} if told["key"] in moved else told), explained


def _moved_by(mixer: Mixer) -> dict[str, list[str]]:
    """Return what moved the decisions of compiled packs; specs are told by their lines."""
    from decreta.blame.decisions import PackMixer, moved_by

    return moved_by(mixer.a, mixer.b, mixer.environment) if isinstance(mixer, PackMixer) else {}


def _edit(edit: Edit) -> dict[str, Any]:
    from decreta.blame.decisions import pointer

    values = {"before": edit.before, "after": edit.after}
    if edit.file.startswith("specs/"):
        return {"kind": "spec", "place": f"{edit.place.file}:{edit.place.line}", "key": edit.key, **values}
    return {"kind": "decision", "place": edit.file, "key": pointer(edit), **values}


def _place(edit: Edit) -> str:
    return f"{edit.place.file}:{edit.place.line}  {edit.key}".rstrip()


def _json(args: argparse.Namespace, mixer: Mixer, answer: Answer) -> dict[str, Any]:
    found = [] if answer.finding is None else [{**c, "explains": n} for c, n in causes(mixer, answer.finding)]
    return {
        "a": args.a,
        "b": args.b,
        "pack": mixer.pack,
        "environment": mixer.environment,
        "of": args.find_cause,
        "causes": found,
        "changes": mixer.count,
        "runs": answer.runs,
        "undone": None if answer.finding is None else answer.finding.undone,
        "symptoms": {name: [answer.before[name], answer.after[name]] for name in answer.before},
        "unsteady": list(answer.unsteady),
    }


def _lines(args: argparse.Namespace, mixer: Mixer, answer: Answer) -> Iterator[str]:
    yield _head(args, mixer, answer.runs)
    if answer.finding is None:
        yield f"no difference in {args.find_cause}"
        return
    for cause, names in causes(mixer, answer.finding):
        yield from ("", _cause(cause))
        yield from (
            f"  {name}  {_short(answer.before[name])} → {_short(answer.after[name])}" for name in names[:_SHOWN]
        )
        if len(names) > _SHOWN:
            yield f"  and {len(names) - _SHOWN} more"
    count = len(answer.finding.changes)
    yield ""
    yield f"A with {_counted(count)} is as B in {args.find_cause}, by counters{_undone(answer.finding)}"


def _head(args: argparse.Namespace, mixer: Mixer, runs: int) -> str:
    counts = f"{_numbered(mixer.count, 'change')}, {_numbered(runs, 'run')}"
    return f"{args.a} → {args.b}, {mixer.pack} in `{mixer.environment}`: {counts}"


def _numbered(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _cause(cause: Mapping[str, Any]) -> str:
    from decreta.compare import brief, moved

    before, after = cause["before"], cause["after"]
    if cause["kind"] == "decision" and isinstance(before, dict) and isinstance(after, dict):
        found = moved(before.get("value"), after.get("value")) or moved(before, after)
        parts = ", ".join(f"{name} {brief(x)} → {brief(y)}" for name, (x, y) in found.items())
        by = f" (by {', '.join(cause['moved_by'])})" if cause.get("moved_by") else ""
        return f"{cause['key']}{by}: {_short(parts)}"
    where = f"input {cause['name']}" if cause["kind"] == "input" else f"{cause['place']}  {cause['key']}".rstrip()
    return f"{where}: {_change(before, after)}"


def _change(before: Any, after: Any) -> str:
    """Return what a change changes: of a fact its parts that differ, of a text the words that do."""
    from decreta.compare import brief, moved

    if isinstance(before, dict) and isinstance(after, dict):
        return _short(", ".join(f"{name} {brief(x)} → {brief(y)}" for name, (x, y) in moved(before, after).items()))
    if isinstance(before, str) and isinstance(after, str):
        before, after = _differing(before.split(), after.split())
    return f"{_short(before)} → {_short(after)}"


def _differing(a: list[str], b: list[str]) -> tuple[str, str]:
    """Return two texts without the words that both begin and end with, a few apart."""
    same = _alike(a, b)
    ends = _alike(a[same:][::-1], b[same:][::-1])
    first, rest = max(0, same - _AROUND), max(0, ends - _AROUND)
    left, right = (" ".join(["…"][:first] + side[first : len(side) - rest] + ["…"][:rest]) for side in (a, b))
    return left, right


def _alike(a: list[str], b: list[str]) -> int:
    """Return how many words both begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _counted(count: int) -> str:
    return "this change" if count == 1 else f"these {count} changes"


def _undone(finding: Finding) -> str:
    it = "it" if len(finding.changes) == 1 else "them"
    return {
        True: f"; B without {it} is as A",
        False: f"; B without {it} still differs from A: other changes do the same",
        None: f"; B without {it} cannot be run",
    }[finding.undone]


def _find_latency(args: argparse.Namespace, mixer: Mixer) -> int:
    from decreta.blame.clock import ROUNDS
    from decreta.blame.latency import cause_of_latency

    timed = cause_of_latency(mixer, args.rounds or ROUNDS)
    if timed is None:
        whole = {"a": args.a, "b": args.b, "pack": mixer.pack, "environment": mixer.environment, "of": "latency"}
        same = {**whole, "too_noisy": False, "causes": [], "changes": mixer.count, "runs": 0}
        print(json.dumps(same, indent=2) if args.format == "json" else "no difference in latency: both act as one")
        return EXIT_DONE
    if args.format == "json":
        found = [] if timed.finding is None else [{**c, "explains": n} for c, n in causes(mixer, timed.finding)]
        counted = timed.by_counters.finding
        whole = {
            "a": args.a, "b": args.b, "pack": mixer.pack, "environment": mixer.environment, "of": "latency",
            "too_noisy": timed.finding is None, "causes": found, "slower": timed.slower,
            "certainty": round(timed.certainty, 4), "rounds": timed.rounds, "runs": timed.runs,
            "by_counters": [] if counted is None else [c for c, _ in causes(mixer, counted)],
        }  # fmt: skip
        print(json.dumps(whole, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_timed_lines(args, mixer, timed)))
    return EXIT_FINDINGS


def _timed_lines(args: argparse.Namespace, mixer: Mixer, timed: Timed) -> Iterator[str]:
    yield _head(args, mixer, timed.runs)
    if timed.finding is None:
        yield f"too noisy: {timed.rounds} repetitions in turn do not say which change made it, and nothing is guessed"
        counted = timed.by_counters.finding
        if counted is not None:
            yield "what counters name, not shown to be the cause of any time:"
            yield from (f"  {_cause(cause)}" for cause, _ in causes(mixer, counted))
        return
    for cause, names in causes(mixer, timed.finding):
        yield from ("", _cause(cause))
        yield from (f"  {name}  {'slower' if timed.slower[name] > 0 else 'quicker'} in B" for name in names[:_SHOWN])
    yield ""
    count = len(timed.finding.changes)
    certain = f"certain by {timed.certainty:.3f}, {timed.rounds} repetitions each"
    yield f"A with {_counted(count)} takes as long as B: {certain}"


# -- each


def _each(args: argparse.Namespace, sides: Sides) -> int:
    from decreta.blame.each import ROUNDS, effects

    mixer = sides.pack_mixer()
    if not mixer.count:
        print("no decision differs" if args.format == "text" else json.dumps({"each": []}))
        return EXIT_DONE
    found = effects(mixer, args.rounds or ROUNDS)
    if args.format == "json":
        print(json.dumps(_effects_json(args, sides, found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_effect_lines(args, found)))
    return EXIT_FINDINGS


def _effects_json(args: argparse.Namespace, sides: Sides, found: Effects) -> dict[str, Any]:
    def told(figures: Mapping[str, Any] | None) -> Any:
        return None if figures is None else {name: interval._asdict() for name, interval in figures.items()}

    return {
        "a": args.a,
        "b": args.b,
        "pack": sides.pack,
        "environment": sides.environment,
        "rounds": found.rounds,
        "each": [{"change": effect.name, "figures": told(effect.figures)} for effect in found.each],
        "whole": told(found.whole),
        "residual": told(found.residual),
    }


def _effect_lines(args: argparse.Namespace, found: Effects) -> Iterator[str]:
    from decreta.blame.each import FIGURES, UNITS

    certain = min(interval.certainty for interval in found.whole.values())
    bounds = f"bounds that hold it by {certain:.2f}" if certain else "no bounds of one round"
    yield f"{args.a} → {args.b}: median effect of {_numbered(found.rounds, 'round')} in turn [{bounds}]"
    rows = [(effect.name, effect.figures) for effect in found.each]
    rows += [("no single decision", found.residual), ("A → B", found.whole)]
    for name, figures in rows:
        yield f"\n{name}"
        if figures is None:
            yield "  cannot stand alone"
            continue
        for figure in FIGURES:
            it = figures[figure]
            yield f"  {figure:<17} {it.middle:+,.1f} [{it.low:+,.1f}, {it.high:+,.1f}] {UNITS[figure]}"


# -- the gate


def _gate(args: argparse.Namespace, sides: Sides) -> int:
    import msgspec

    from decreta.blame.clock import ROUNDS
    from decreta.blame.gate import Gate
    from decreta_runtime.contract.manifest import Manifest

    a, b = sides.packs
    manifest = msgspec.json.decode(b["manifest.json"], type=Manifest)
    gate = Gate(a, b, manifest, sides.environment, sides.sources, sides.folder, args.rounds or ROUNDS, args.lake)
    found = list(gate.verdicts())
    passed = all(verdict.answer == "pays" for verdict in found)
    if args.format == "json":
        answers = {verdict.answer for verdict in found}
        answer = "passed" if passed else "failed" if "does not pay" in answers else "too noisy"
        whole = {"a": args.a, "b": args.b, "pack": sides.pack, "environment": sides.environment, "answer": answer}
        print(json.dumps({**whole, "runs": gate.runs, "verdicts": msgspec.to_builtins(found)}, indent=2))
    else:
        for it in found:
            print(f"{it.answer:<12} {it.subject} {it.measure}: {it.found}; {it.wanted}")
    return EXIT_DONE if passed else EXIT_FINDINGS


def _short(value: Any) -> str:
    if value is None:
        return "none"
    words = f"{value:,}" if type(value) is int else value if isinstance(value, str) else json.dumps(value, default=str)
    words = " ".join(words.split())
    return words if len(words) <= _WIDTH else words[: _WIDTH - 1] + "…"
