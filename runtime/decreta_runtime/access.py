"""How object stores are asked: what the environment must say of it, and how their answers are told to people.

Credentials stand in the standard `AWS_*` variables, which three clients read by themselves: the engine's, delta-rs' and
that of `locations.py`. Here it is only asked whether they are there, and seen to that nobody repeats them.
"""

from __future__ import annotations

import logging
import os
import re

from decreta_runtime.contract.errors import InputInvalid, without_secrets

_PROVIDERS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables one of which says where credentials are; without any, the clients would ask the network for minutes."""
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_YES = frozenset({"true", "1", "on", "yes", "y"})
"""How a variable says yes: the clients' words for it."""
HELP = "check the place, AWS_ENDPOINT_URL, AWS_REGION and the credentials in the environment"
"""What to do where a store cannot be reached."""
_STORE_SAYS = re.compile(r"Generic S3 error|<Error>")
_ANSWER = re.compile(r"<Code>(\w+)</Code>")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LOGGERS = ("datafusion.datasource.listing_table_factory", "object_store.client.retry")
"""Which loggers of the engines repeat what stores answer."""


def require_settings() -> None:
    """Raise InputInvalid unless the environment says how object stores are asked, and nowhere else is it said."""
    said = os.environ
    if not any(said.get(name) for name in _PROVIDERS) and not says_yes("AWS_SKIP_SIGNATURE"):
        words = "the environment has no credentials for object stores"
        raise InputInvalid(words, help="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, see docs/object-stores.md")
    if not (said.get("AWS_REGION") or said.get("AWS_DEFAULT_REGION")):
        words = "the environment does not say the region of its object store"
        raise InputInvalid(words, help="set AWS_REGION; stores that know no regions take any, such as us-east-1")
    for name in _ENDPOINTS:
        endpoint = said.get(name, "")
        if "@" in endpoint:
            words = f"{name} has credentials in it, which error messages of the engines would show"
            raise InputInvalid(words, help="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
        if endpoint.startswith("http://") and not says_yes("AWS_ALLOW_HTTP"):
            words = f"{name} is {endpoint}, which sends everything in the clear"
            raise InputInvalid(words, help="set an https:// endpoint, or AWS_ALLOW_HTTP=true if that is meant")


def require_exclusive_commits() -> None:
    """Raise InputInvalid if the environment tells delta-rs to commit without asking whether another has done so."""
    if says_yes("AWS_S3_ALLOW_UNSAFE_RENAME") or os.environ.get("AWS_CONDITIONAL_PUT", "etag") != "etag":
        words = "the environment tells the Delta engine to commit to object stores without a condition"
        help = "unset AWS_S3_ALLOW_UNSAFE_RENAME and AWS_CONDITIONAL_PUT: two runs could take each other's commits away"
        raise InputInvalid(words, help=help)


def says_yes(name: str) -> bool:
    """Whether the environment switches something on."""
    return os.environ.get(name, "").lower() in _YES


def environment() -> int:
    """Return a number that changes when the variables do."""
    return hash(tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


def is_of_store(error: Exception) -> bool:
    """Whether an engine passes on that an object store could not be asked, or what it answered."""
    return _STORE_SAYS.search(str(error)) is not None


def said_by(error: Exception) -> str:
    """Return what the system or an engine says, in a line; of a store's answer its code alone, which quotes nothing."""
    if strerror := getattr(error, "strerror", None):
        return str(strerror)
    text = _COLOURS.sub("", str(error)).strip()
    if not is_of_store(error):
        return text.split("\n")[0]
    code = _ANSWER.search(text)
    before = text.partition("<")[0].partition("Debug source")[0]
    words = " ".join(before.replace("↳", ":").split()).replace(" :", ":").rpartition(" - ")[-1].rstrip(": ")
    return f"{words} ({code[1]})" if code else words


class _Quiet(logging.Filter):
    """Takes credentials that a store quotes out of what the engines log."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage()), None
        return True


_QUIET = _Quiet()


def keep_logs_quiet() -> None:
    """Let the engines log no credentials. Again does nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_QUIET)
