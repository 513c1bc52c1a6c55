"""`python -m demo [--quick] [--seed N]`: the story a newcomer sees. Exit 1 if a promise is broken.

Tables that decreta did not write, a project for them, a policy to review; small appends under kill -9; slowdowns that a
harness plants and `decreta compare` names.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
from pathlib import Path

from deltalake import write_deltalake

from demo import shop
from demo.adopted import adopt
from demo.appends import Appends
from demo.slowdowns import Slowdowns
from demo.terminal import Terminal


def main() -> int:
    """Tell the story; return 1 if a promise is broken."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # whoever pipes it sees it come
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--quick", action="store_true", help="fewer files, appends and slowdowns: a minute or two")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="what is drawn (default: anew)")
    parser.add_argument("--files", type=int, help="files of each table to begin with")
    parser.add_argument("--rounds", type=int, help="rounds of appends")
    parser.add_argument("--slowdowns", type=int, help="slowdowns that are planted")
    args = parser.parse_args()
    files, rounds, slowdowns = (
        given or (quick if args.quick else whole)
        for given, quick, whole in ((args.files, 100, 400), (args.rounds, 6, 20), (args.slowdowns, 5, 10))
    )
    print(f"what is drawn follows from a seed: --seed {args.seed}")
    with tempfile.TemporaryDirectory(prefix="decreta-demo-") as temporary:
        tables = Path(temporary).resolve() / "shop"
        for rows in shop.bulk(files):
            shop.deliver(tables, rows)
        write_deltalake(str(tables / "customers"), shop.customers())
        print(f"a shop's tables, written by `write_deltalake`: orders and lines in {files} files each, unsorted")
        terminal = Terminal(tables.parent)
        adopt(terminal, tables)
        Appends(terminal, tables, files, rounds, random.Random(f"{args.seed} kills")).play()
        Slowdowns(terminal, tables, slowdowns, random.Random(f"{args.seed} slowdowns")).play()
        terminal.heading("What was promised")
        for words, kept in terminal.promises:
            print(f"{'kept  ' if kept else 'BROKEN'} {words}")
    return 0 if all(kept for _, kept in terminal.promises) else 1


if __name__ == "__main__":
    sys.exit(main())
