"""`verify`: check a compiled pack, and a lake if one is named; write nothing."""

from __future__ import annotations

import argparse
import sys

import msgspec

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS
from decreta_runtime.contract.integrity import Finding, Verification

HELP = "check digests, policy, engine and bindings, and a lake against what was written to it; write nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)
    parser.add_argument("--data", action="store_true", help="compare every byte of the lake's data files, too")
    parser.add_argument("--json", action="store_true", help="print what the lake shows as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Verify the pack, then the lake if --lake or --data asks for it; exit 1 if something is found."""
    pack = open_pack(args)
    from decreta_runtime.guards import installed_engine

    out = sys.stderr if args.json else sys.stdout
    for line in (*pack.verify(), *pack.verify_tables()):
        print(line, file=out)
    engine, probed = installed_engine(), pack.policy.engine().value
    words = ", ".join(f"{name} {version}" for name, version in engine.items())
    other = "" if engine == probed else "; compiled for others: what guards on the engine name `otherwise` is taken"
    print(f"engine         {words}{other}", file=out)
    if not (args.lake or args.data):
        return EXIT_DONE
    found = pack.verify_lake(args.data)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print("\n".join(_lines(found)))
        for state in () if found.findings else pack.index_states():
            print(f"index          `{state.subject}` {state.action}: {state.words}")
    return EXIT_FINDINGS if found.findings else EXIT_DONE


def _lines(found: Verification) -> list[str]:
    what = "every byte" if found.data else "log, counts, keys and indexes"
    count = len(found.findings) or "nothing"
    lines = [f"lake           {what} of run {found.run_seq}: {found.tables:,} tables, {found.files:,} files compared"]
    for finding in found.findings:
        lines += ["", *_finding(finding)]
    return [*lines, "", f"found          {count}"] if found.findings else [*lines, f"found          {count}"]


def _finding(finding: Finding) -> list[str]:
    origin = finding.origin
    inputs = f", from {', '.join(origin.inputs)}" if origin.inputs else ""
    return [
        f"{finding.kind:<14} {finding.file or finding.table}: {finding.words}",
        f"{'':<14} rows of `{finding.table}`, made by {origin.made_by}{inputs}",
        f"{'':<14} rebuild: {finding.rebuild}",
    ]
