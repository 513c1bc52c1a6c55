"""The runtime's errors: each says what happened, where, why, and what to do, and carries a code and an exit status."""

from __future__ import annotations

import os
from typing import ClassVar

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_INPUT = 2
EXIT_INTERNAL = 3
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130


def without_secrets(text: str) -> str:
    """Return `text` with the names of variables in the place of credentials that the environment holds.

    Nothing here puts one into words, but engines pass on what an object store says, and some quote the question.
    """
    secret = {
        value: name
        for name, value in os.environ.items()
        if value and name.upper().startswith("AWS_") and any(word in name.upper() for word in _SECRET)
    }
    for value in sorted(secret, key=len, reverse=True):
        text = text.replace(value, f"${secret[value]}")
    return text


_SECRET = ("KEY", "SECRET", "TOKEN", "PASSWORD")


class DecretaError(Exception):
    """An error meant for a person. `help` says what to do about it."""

    code: ClassVar[str] = "R100"
    exit_status: ClassVar[int] = EXIT_INPUT

    def __init__(self, message: str, *, help: str = "") -> None:
        self.message = without_secrets(message)
        self.help = without_secrets(help)
        super().__init__(self.message)


class InputInvalid(DecretaError):
    """Something given on the command line or by the caller cannot be used."""

    code = "R101"


class DigestMismatch(DecretaError):
    """A generated file is not the one the manifest names."""

    code = "R102"


class IncompatibleEngine(DecretaError):
    """The pack was compiled for a format or engine that this runtime does not serve."""

    code = "R103"


class SourceUnreadable(DecretaError):
    """A source has nothing to read, changed while it was read, or its adapter broke its contract."""

    code = "R104"


class SchemaMismatch(DecretaError):
    """A table or stream does not have the columns that its contract promises."""

    code = "R105"


class LakeUnusable(DecretaError):
    """The lake is missing, read-only, incomplete, or written by a newer format."""

    code = "R106"


class StatementFailed(DecretaError):
    """The engine gave up on a compiled statement: a value that does not cast, or more memory than its budget."""

    code = "R107"

    def __init__(self, subject: str, error: BaseException) -> None:
        words = str(error).strip().split("\n")[0].removeprefix("DataFusion error: ")
        super().__init__(
            f"`{subject}` cannot be computed, the engine says: {words}",
            help="mend the data or the statement, or raise budgets.session_memory; nothing of this run is visible",
        )


class FunctionFailed(DecretaError):
    """A table function of the pack raised, or returned something else than rows."""

    code = "R108"

    def __init__(self, subject: str, function: str, words: str) -> None:
        super().__init__(
            f"`{subject}` cannot be computed, the pack's function `{function}` {words}",
            help="mend the function; nothing of this run is visible",
        )


class TimeLimitReached(DecretaError):
    """An engine at a table's maintenance, or an adapter, did not come back in the time that the policy gives it."""

    code = "R109"


class ContentDiffers(DecretaError):
    """A table's maintenance would not have kept its rows, or did not: what it did was not committed, or taken back."""

    code = "R110"


class PackageInvalid(DecretaError):
    """A file is no execution package, or not as it was written."""

    code = "R111"


class PolicyIncomplete(DecretaError):
    """The policy has no entry for something the runtime must decide; nothing is guessed."""

    code = "R201"
    exit_status = EXIT_REFUSED

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(
            f"policy entry `{pointer or '/'}`: {reason}",
            help="regenerate the pack with `decreta generate`; a policy file is never edited by hand",
        )
        self.pointer = pointer


class PreconditionFailed(DecretaError):
    """A guard or precondition failed and the policy names nothing to do instead."""

    code = "R202"
    exit_status = EXIT_REFUSED


class CheckViolated(DecretaError):
    """A check whose `on_violation` is `refuse` found rows; no run is recorded, nothing becomes visible."""

    code = "R203"
    exit_status = EXIT_REFUSED


class SchemaChangeRefused(DecretaError):
    """A dataset's contract has changed in a way that its `on_schema_change` does not allow; nothing was written."""

    code = "R205"
    exit_status = EXIT_REFUSED

    def __init__(self, name: str, mode: str, changes: list[str]) -> None:
        super().__init__(
            f"`{name}` has another contract than its table, and says `on_schema_change: {mode}`: {'; '.join(changes)}",
            help="take the change back, or write `on_schema_change: rebuild`; earlier versions stay readable",
        )


class WriteConflict(DecretaError):
    """Another writer holds the pack or changed a table during the write."""

    code = "R204"
    exit_status = EXIT_REFUSED
