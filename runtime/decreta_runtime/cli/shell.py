"""What every verb shares: parse the command line, load the verb's module, turn errors into words and exit statuses."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from types import FrameType

from decreta_runtime.contract.errors import EXIT_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED, DecretaError


def dispatch(program: str, summary: str, verbs: Mapping[str, str]) -> int:
    """Run the verb named on the command line and return its exit status. Only the verb's own module is loaded."""
    _exit_on_signals()
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        return _overview(program, summary, verbs)
    name = sys.argv[1]
    try:
        verb = importlib.import_module(verbs[name])
        parser = argparse.ArgumentParser(prog=f"{program} {name}", description=verb.HELP)
        verb.add_arguments(parser)
        return int(verb.main(parser.parse_args(sys.argv[2:])))
    except DecretaError as error:
        if os.environ.get("DECRETA_TRACEBACK"):
            traceback.print_exc()
        return print_error(error)
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more when it flushes on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort, so that no traceback reaches a user
        return _internal(error)


def print_error(error: DecretaError) -> int:
    """Print an error for a person and return its exit status."""
    print(f"error[{error.code}]: {error.message}", file=sys.stderr)
    if error.help:
        print(f"help: {error.help}", file=sys.stderr)
    return error.exit_status


def _internal(error: Exception) -> int:
    if os.environ.get("DECRETA_TRACEBACK"):
        traceback.print_exc()
    words = str(error).strip().split("\n")[0]
    print(f"error[R999]: {type(error).__name__}: {words}", file=sys.stderr)
    print("help: this is a bug; run again with DECRETA_TRACEBACK=1 and report what it prints", file=sys.stderr)
    return EXIT_INTERNAL


def _overview(program: str, summary: str, verbs: Mapping[str, str]) -> int:
    asked = len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help", "help")
    lines = [f"usage: {program} VERB …", "", summary, ""]
    lines += [f"  {name:<10} {importlib.import_module(module).HELP}" for name, module in verbs.items()]
    lines += ["", f"`{program} VERB --help` tells a verb's arguments."]
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    if len(sys.argv) > 1 and not asked:
        print(f"error: there is no verb `{sys.argv[1]}`", file=sys.stderr)
    return 0 if asked else EXIT_INPUT


def _exit_on_signals() -> None:
    """Leave at once on Ctrl-C and SIGTERM.

    A long call into the engine would hold Python's own handler back. Nothing needs tidying: locks are freed by the
    system, what was committed without a run record is invisible, and the next run removes what it finds of this one.
    """

    def leave(_signal: int, _frame: FrameType | None) -> None:
        os.write(2, b"\ninterrupted\n")
        os._exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
