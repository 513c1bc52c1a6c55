"""`tour`: what is in a lake: rows a table, and each query shape tried with the example of its spec."""

from __future__ import annotations

import argparse
import shlex

from decreta_runtime.cli.arguments import add_pack, open_pack, value_of
from decreta_runtime.contract.errors import EXIT_DONE

HELP = "show what a lake holds: rows a table, and each query shape with its example"
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)


def main(args: argparse.Namespace) -> int:
    """Show the lake."""
    with open_pack(args) as pack:
        from decreta_runtime.cli.output import describe, print_rows

        names, lake = list(pack.versions()), shlex.quote(str(pack.lake.root))
        print(f"tables of the last complete run of {pack.manifest.pack}:")
        for name in names:
            count = pack.sql(f'SELECT count(*) AS n FROM "{name}"').rows["n"][0].as_py()
            print(f"  {name:<24} {count:>12,} rows")
        for name, shape in pack.manifest.queries.items():
            if not shape.example:
                continue
            given = " ".join(f"--param {shlex.quote(f'{k}={v}')}" for k, v in shape.example.items())
            print(f"\n{shape.summary}\n  decreta query {args.pack} {name} {given} --lake {lake}")
            typed = {k: value_of(shape.parameters[k], v) if isinstance(v, str) else v for k, v in shape.example.items()}
            answer = pack.answer(name, typed)
            print_rows(answer.rows.slice(0, _SHOWN))
            more = answer.rows.num_rows - _SHOWN
            print(f"  {describe(answer)}" + (f"; {more:,} more rows" if more > 0 else ""))
        print(f"\nthe lake is {pack.lake.root}; try next:")
        print(f'  decreta sql {args.pack} "SELECT * FROM {names[0]} LIMIT 10" --lake {lake}')
        print(f"  decreta run {args.pack} --plan         what a run does, and the decision behind each step")
        print(f"  decreta explain {args.pack}/scan/{names[0]}")
    return EXIT_DONE
