"""`run`: read the sources, compute the relations, write the lake; or say with --plan what would be done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid
from decreta_runtime.contract.manifest import QUARANTINE, RUN_WORKLOAD

if TYPE_CHECKING:
    from decreta_runtime.execute import TableOutcome
    from decreta_runtime.run import RunResult

HELP = "run a pack into a lake"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME=[ROOT:]PATH",
        help="where a source or bound table is; again for further roots",
    )
    parser.add_argument("--plan", action="store_true", help="print what would be done and why; touch nothing")
    parser.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="[+]NAME[+]",
        help="compute this part alone; + before takes what it is made from, + after what is made from it",
    )
    parser.add_argument(
        "--workload", default=RUN_WORKLOAD, metavar="CLASS", help="run with the session of this class (%(default)s)"
    )
    parser.add_argument(
        "--range",
        dest="days",
        metavar="FROM..TO",
        help="fill these days again in the objects that are replaced by days, changed or not",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Run the pack."""
    given = given_sources(args.source)
    pack = open_pack(args)
    if args.plan:
        from decreta_runtime.plan import plan

        pack.places(given)
        steps = plan(pack, args.workload)
        print(json.dumps(steps, indent=2) if args.json else "\n".join(_line(step) for step in steps))
        return EXIT_DONE
    with pack:
        result = pack.run(given, _progress(), args.select, args.workload, args.days)
        tables, quarantine = _tables(result.tables), _tables(result.quarantine)
        for line in _violations(result):
            print(line, file=sys.stderr)
        if args.json:
            whole = {
                "pack": pack.manifest.pack,
                "run_seq": result.run_seq,
                "run_key": result.run_key,
                "unchanged": result.unchanged,
                "seconds": round(result.seconds, 3),
                "lake": str(pack.lake.root),
                "tables": tables,
                "quarantine": quarantine,
                "violations": [violation._asdict() for violation in result.violations],
            }
            print(json.dumps(whole, indent=2))
        elif result.unchanged:
            print(f"unchanged since run {result.run_seq}; nothing was written; the lake is {pack.lake.root}")
        else:
            _print_tables(result.run_seq, result.seconds, str(pack.lake.root), tables)
    return EXIT_DONE


def given_sources(given: Sequence[str]) -> dict[str, list[str]]:
    """Return the places named on the command line, by source. Raises InputInvalid."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not (name and equals and place):
            raise InputInvalid(f"`{text}` is no source", help="write --source NAME=PATH or NAME=ROOT:PATH")
        found.setdefault(name, []).append(place)
    return found


def _tables(found: Mapping[str, TableOutcome]) -> dict[str, dict[str, Any]]:
    return {
        name: {"action": t.action, "version": t.version, "rows": t.rows, "files": t.files, "bytes": t.bytes}
        for name, t in found.items()
    }


def _violations(result: RunResult) -> Iterator[str]:
    """Say for each violation that the run went on with what became of its rows."""
    for violation in result.violations:
        yield f"{violation.outcome} {violation.subject}.{violation.check}: {violation.rows:,} rows"
    for name, table in result.quarantine.items():
        if table.rows != 0:
            rows = "unknown" if table.rows is None else f"{table.rows:,}"
            yield f"{rows} rows of {name} are set aside: SELECT * FROM {name}{QUARANTINE}"


def _print_tables(run_seq: int, seconds: float, lake: str, tables: dict[str, dict[str, Any]]) -> None:
    width = max(map(len, tables), default=0)
    for name, table in tables.items():
        rows = "" if table["rows"] is None else f"{table['rows']:>12,} rows"
        print(f"{name:<{width}}  {rows:>17}  {table['files']:>4} files  {table['bytes']:>12,} bytes  {table['action']}")
    print(f"run {run_seq} complete in {seconds:.1f} s; the lake is {lake}")


def _line(step: dict[str, Any]) -> str:
    detail = json.dumps(step["value"], sort_keys=True)
    guards = f"  unless {', '.join(step['requires'])} hold: {json.dumps(step['otherwise'])}" if step["requires"] else ""
    warned = f"  in warn: {json.dumps(step['shadow'], sort_keys=True)}" if step["shadow"] else ""
    return f"{step['action']:<8} {step['subject']:<24} {detail}\n{'':<8} {step['pointer']}{guards}{warned}"


def _progress() -> Callable[[str, str], None]:
    """Return a sink for progress: one changing line a stage on a terminal, a line for each end elsewhere."""
    terminal = sys.stderr.isatty()
    last = ""

    def told(stage: str, words: str) -> None:
        nonlocal last
        if terminal:
            end = "\n" if stage != "extract" else ""
            print(f"\r\x1b[K{stage:<8} {words}", end=end, file=sys.stderr, flush=True)
            if stage != "extract" and last == "extract":
                print(end="", file=sys.stderr)
        elif stage != "extract" or _whole(words):
            print(f"{stage:<8} {words}", file=sys.stderr, flush=True)
        if terminal and stage == "extract" and _whole(words):
            print(file=sys.stderr)
        last = stage

    return told


def _whole(words: str) -> bool:
    """Whether `NAME: n of n units` says that all are done."""
    parts = words.split()
    return len(parts) >= 4 and parts[-4] == parts[-2]
