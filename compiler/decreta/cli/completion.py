"""`decreta completion`: a script that completes verbs and options in a shell."""

from __future__ import annotations

import argparse
import importlib

from decreta_runtime.contract.errors import EXIT_DONE

HELP = "print a completion script for a shell"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def main(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from decreta.cli.verbs import VERBS

    whole = argparse.ArgumentParser(prog="decreta")
    verbs = whole.add_subparsers()
    for name, module in VERBS.items():
        verb = importlib.import_module(module)
        verb.add_arguments(verbs.add_parser(name, help=verb.HELP))
    print(shtab.complete(whole, args.shell))
    return EXIT_DONE
