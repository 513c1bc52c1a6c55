"""What every verb shares: parse the command line, load the verb's module, turn errors into words and exit statuses."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Mapping

from decreta_runtime.cli.signals import exit_on_signals
from decreta_runtime.contract.errors import EXIT_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED, DecretaError, without_secrets


def dispatch(program: str, summary: str, verbs: Mapping[str, str]) -> int:
    """Run the verb named on the command line and return its exit status. Only the verb's own module is loaded."""
    exit_on_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever a terminal's encoding lacks
    as_json = False
    try:
        if len(sys.argv) < 2 or sys.argv[1] not in verbs:
            return _overview(program, summary, verbs)
        name = sys.argv[1]
        verb = importlib.import_module(verbs[name])
        parser = argparse.ArgumentParser(prog=f"{program} {name}", description=verb.HELP)
        verb.add_arguments(parser)
        args = parser.parse_intermixed_args(sys.argv[2:])  # what is optional may stand behind options, too
        as_json = getattr(args, "json", False) is True
        status = int(verb.main(args))
        sys.stdout.flush()  # here, where a reader that has gone is no error of ours
        return status
    except DecretaError as error:
        if os.environ.get("DECRETA_TRACEBACK"):
            print(without_secrets(traceback.format_exc()), end="", file=sys.stderr)
        return print_error(error, as_json=as_json)
    except BaseException as error:
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise
        if _reader_has_gone(error):
            # Python would complain once more when it flushes on exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_INTERRUPTED
        return _internal(error, as_json=as_json)


def print_error(error: DecretaError, *, as_json: bool = False) -> int:
    """Print an error for a person and return its exit status; `as_json` also as an object on standard output."""
    return _print(error.code, error.message, error.help, error.exit_status, as_json=as_json)


def _internal(error: BaseException, *, as_json: bool) -> int:
    if os.environ.get("DECRETA_TRACEBACK"):
        print(without_secrets("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    words = str(error).strip().split("\n")[0]
    help = "this is a bug; run again with DECRETA_TRACEBACK=1 and report what it prints"
    return _print("R999", without_secrets(f"{type(error).__name__}: {words}"), help, EXIT_INTERNAL, as_json=as_json)


def _print(code: str, message: str, help: str, status: int, *, as_json: bool) -> int:
    print(f"error[{code}]: {message}", file=sys.stderr)
    if help:
        print(f"help: {help}", file=sys.stderr)
    if as_json:
        whole = {"error": {"code": code, "message": message, "help": help, "exit_status": status}}
        print(json.dumps(whole, indent=2), flush=True)
    return status


def _reader_has_gone(error: BaseException) -> bool:
    return isinstance(error, BrokenPipeError) or getattr(error, "errno", None) == errno.EPIPE


def _overview(program: str, summary: str, verbs: Mapping[str, str]) -> int:
    asked = len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help", "help")
    lines = [f"usage: {program} VERB …", "", summary, ""]
    lines += [f"  {name:<10} {importlib.import_module(module).HELP}" for name, module in verbs.items()]
    lines += ["", f"`{program} VERB --help` tells a verb's arguments."]
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr, flush=True)
    if len(sys.argv) > 1 and not asked:
        print(f"error: there is no verb `{sys.argv[1]}`", file=sys.stderr)
    return 0 if asked else EXIT_INPUT
