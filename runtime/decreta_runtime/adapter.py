"""The interface of a source adapter, the one thing that a pack's own code offers the runtime.

An adapter is a module `code/<name>.py` of a pack with two functions, `units` and `extract`, and a third if packages may
hold its files, `file_of`. A source is cut into
*units* (for files: one unit a file) that can be read apart from each other and in any order. The runtime lists them,
compares their fingerprints with those of the last run, deals them out to worker processes and writes what comes back.
So both functions are pure in what they are given: no state between calls, no dependence on the order or grouping of
units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa


class Unit(NamedTuple):
    """One piece of a source. Pickled to worker processes, so it holds plain values only."""

    key: str
    """Names the unit within its source for good: `ROOT:relative/posix/path`; the same wherever the root lies."""
    fingerprint: str
    """Changes when, and only when, the unit's content does: `sha256:` and hexadecimal digits."""
    location: str
    """Where `extract` finds it on this machine; no row may depend on it."""
    size: int
    """Bytes, by which work is dealt out evenly."""
    group: int | str | None = None
    """What all rows of the unit have in the column by which their objects are replaced, a date as `YYYY-MM-DD`; so the
    rows of a unit that has changed or gone can be found. None if a unit is no such group."""
    streams: tuple[str, ...] | None = None
    """The streams that it may have rows for; None if that may be any."""


class UnitChanged(Exception):
    """Raised by `extract` when a unit's content is no longer the one its fingerprint names."""


class Adapter(Protocol):
    """What the module `code/<name>.py` offers."""

    def units(self, root: str, path: str, options: Mapping[str, Any]) -> Iterable[Unit]:
        """Yield the units found at `path`, whose keys begin with `root`.

        Raises FileNotFoundError or ValueError, with words for a person, if `path` or `options` cannot be used.
        """
        ...

    def extract(self, units: Sequence[Unit], schemas: Mapping[str, pa.Schema]) -> Mapping[str, pa.RecordBatch]:
        """Return one batch for each stream in `schemas`, in that schema, with the rows of all `units`.

        What cannot be understood in a unit is a row that says so, never an exception. Raises UnitChanged.
        """
        ...


class Packable(Adapter, Protocol):
    """What it offers too if `decreta package --with-data` is to hold its files."""

    def file_of(self, unit: Unit) -> str | None:
        """Return the file that a unit is read from, None if it is none.

        `units` of a copy that has these files alone, each where it was below `path`, are the same but for `location`.
        """
        ...
