"""`verify`: check a compiled pack, and a lake if one is named; write nothing."""

from __future__ import annotations

import argparse

from decreta_runtime.cli.arguments import add_pack, open_pack
from decreta_runtime.contract.errors import EXIT_DONE

HELP = "check digests, policy, engine and bindings; write nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_pack(parser)


def main(args: argparse.Namespace) -> int:
    """Verify the pack."""
    pack = open_pack(args)
    from decreta_runtime.guards import installed_engine

    for line in (*pack.verify(), *pack.verify_tables()):
        print(line)
    engine, probed = installed_engine(), pack.policy.engine().value
    words = ", ".join(f"{name} {version}" for name, version in engine.items())
    other = "" if engine == probed else "; compiled for others: what guards on the engine name `otherwise` is taken"
    print(f"engine         {words}{other}")
    if args.lake:
        versions = pack.versions()
        print(f"lake           {len(versions)} tables of the last complete run can be read")
        for state in pack.index_states():
            print(f"index          `{state.subject}` {state.action}: {state.words}")
    return EXIT_DONE
