"""`decreta compare`: what two sides differ in, and which of the changes explains a difference in what a run costs."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decreta.project import Project, find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

if TYPE_CHECKING:
    from decreta.blame.cause import Answer
    from decreta.blame.edits import Edit
    from decreta.blame.mixes import Mixer

HELP = "say what two sides differ in; with --find-cause which change explains what a run costs"
_SHOWN = 6
"""Symptoms that are told of each cause; JSON has all."""
_WIDTH = 160
"""Characters of a change in a line of text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("a", metavar="A", help="a git revision, or a folder with specs")
    parser.add_argument("b", metavar="B", help="the same")
    parser.add_argument("--pack", help="the pack (default: the only one)")
    parser.add_argument("--env", default="local", help="the environment (default: local)")
    parser.add_argument(
        "--find-cause", choices=("latency", "bytes", "rows", "digest"), help="search for the smallest change behind it"
    )
    place = "NAME=[ROOT:]PATH"
    parser.add_argument("--source", action="append", default=[], metavar=place, help="where a source is, for both")
    parser.add_argument("--source-b", action="append", default=[], metavar=place, help="where it is for B alone")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Compare the sides; exit 1 if they differ, or if a cause was found."""
    project = find_project(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="decreta-compare-") as folder:
        mixer = _mixer(args, project, Path(folder))
        if args.find_cause:
            return _find_cause(args, mixer)
    return EXIT_DONE


def _mixer(args: argparse.Namespace, project: Project, folder: Path) -> Mixer:
    from decreta.blame.edits import edits
    from decreta.blame.mixes import Mixer
    from decreta.blame.sides import of_pack, packs_of, spec_files

    sides = [spec_files(asked, project) for asked in (args.a, args.b)]
    known = [pack for pack in packs_of(sides[0]) if pack in packs_of(sides[1])]
    chosen = [args.pack] if args.pack in known else known if args.pack is None else []
    if len(chosen) != 1:
        raise InputInvalid(f"there are {len(chosen)} packs to compare", help=f"name one by --pack: {', '.join(known)}")
    a, b = (of_pack(files, chosen[0]) for files in sides)
    given = _given(args.source, args.source_b)
    inputs = [name for name in sorted(given[1]) if given[0].get(name) != given[1][name]]
    found = edits(a, b)
    return Mixer(a, b, found, inputs, given, chosen[0], args.env, folder, progress=_progress)


def _given(both: Sequence[str], only_b: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    from decreta_runtime.cli.run import given_sources

    a = given_sources(both)
    return a, {**a, **given_sources(only_b)}


def _progress(words: str) -> None:
    print(words, file=sys.stderr)


def _find_cause(args: argparse.Namespace, mixer: Mixer) -> int:
    from decreta.blame.cause import cause_of

    answer = cause_of(mixer, args.find_cause)
    if args.format == "json":
        print(json.dumps(_json(args, mixer, answer), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(args, mixer, answer)))
    return EXIT_DONE if answer.finding is None else EXIT_FINDINGS


def _causes(mixer: Mixer, answer: Answer) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield each cause as data, with the symptoms that it explains."""
    assert answer.finding is not None
    for number in answer.finding.changes:
        explained = [name for name, by in answer.finding.symptoms.items() if number in by]
        if number >= len(mixer.edits):
            name = mixer.inputs[number - len(mixer.edits)]
            a, b = mixer.sources
            yield {"kind": "input", "name": name, "before": a.get(name), "after": b[name]}, explained
        else:
            edit = mixer.edits[number]
            yield {"kind": "spec", **_edit(edit)}, explained


def _edit(edit: Edit) -> dict[str, Any]:
    return {
        "place": f"{edit.place.file}:{edit.place.line}",
        "key": edit.key,
        "before": edit.before,
        "after": edit.after,
    }


def _json(args: argparse.Namespace, mixer: Mixer, answer: Answer) -> dict[str, Any]:
    found = [] if answer.finding is None else [{**c, "explains": names} for c, names in _causes(mixer, answer)]
    return {
        "a": args.a,
        "b": args.b,
        "pack": mixer.pack,
        "environment": mixer.environment,
        "of": args.find_cause,
        "causes": found,
        "changes": len(mixer.edits) + len(mixer.inputs),
        "runs": answer.runs,
        "undone": None if answer.finding is None else answer.finding.undone,
        "symptoms": {name: [answer.before[name], answer.after[name]] for name in answer.before},
        "unsteady": list(answer.unsteady),
    }


def _lines(args: argparse.Namespace, mixer: Mixer, answer: Answer) -> Iterator[str]:
    count = len(mixer.edits) + len(mixer.inputs)
    yield f"{args.a} → {args.b}, {mixer.pack} in `{mixer.environment}`: {count} changes, {answer.runs} runs"
    if answer.finding is None:
        yield f"no difference in {args.find_cause}"
        return
    for cause, names in _causes(mixer, answer):
        yield ""
        where = f"{cause['place']}  {cause['key']}".rstrip() if cause["kind"] == "spec" else f"input {cause['name']}"
        yield f"{where}: {_short(cause['before'])} → {_short(cause['after'])}"
        yield from (
            f"  {name}  {_short(answer.before[name])} → {_short(answer.after[name])}" for name in names[:_SHOWN]
        )
        if len(names) > _SHOWN:
            yield f"  and {len(names) - _SHOWN} more"
    yield ""
    yield _certainty(args.find_cause, answer)


def _certainty(of: str, answer: Answer) -> str:
    assert answer.finding is not None
    alone = "this change" if len(answer.finding.changes) == 1 else f"these {len(answer.finding.changes)} changes"
    undone = {
        True: f"; B without {'it' if len(answer.finding.changes) == 1 else 'them'} is as A",
        False: "; B without it still differs from A: another change does the same",
        None: "; B without it cannot be run",
    }[answer.finding.undone]
    return f"A with {alone} is as B in {of}, by counters{undone}"


def _short(value: Any) -> str:
    if value is None:
        return "none"
    words = f"{value:,}" if type(value) is int else value if isinstance(value, str) else json.dumps(value, default=str)
    words = " ".join(words.split())
    return words if len(words) <= _WIDTH else words[: _WIDTH - 1] + "…"
