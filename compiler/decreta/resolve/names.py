"""What references and file names stand for."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

from decreta.diagnostics import Report, did_you_mean
from decreta.model import spec
from decreta.model.files import PackFiles
from decreta.model.program import Written
from decreta.source import Embedded, SourceText, Span

V = TypeVar("V")


def find(
    reference: str, known: Mapping[str, V], place: Span, what: str, report: Report, broken: Container[str] = ()
) -> V | None:
    """Return what a reference such as `std/equi_join@1` names, or None after reporting that there is none.

    What stands in a file that is `broken` has been reported there, and is not unknown.
    """
    if found := known.get(reference):
        return found
    stem = reference.partition("@")[0]
    if stem in broken:
        return None
    if versions := [name.partition("@")[2] for name in known if name.partition("@")[0] == stem]:
        report.error(
            "D207",
            f"{what} `{stem}` has no version {reference.partition('@')[2]}",
            place,
            help=f"it has {', '.join(versions)}",
        )
    else:
        report.error("D205", f"unknown {what} `{reference}`", place, help=did_you_mean(reference, known))
    return None


def text_of(
    text: str | spec.FileText,
    written: Written[Any],
    path: tuple[str, ...],
    files: PackFiles,
    folder: str,
    report: Report,
) -> Embedded | None:
    """Return a body's text with its places, inline or from a file of `folder`; None after reporting a missing file."""
    if isinstance(text, str):
        return written.text(*path)
    source = files.texts.get(f"{folder}/{text.file}")
    if source is None:
        known = [PurePosixPath(p).name for p in files.texts if p.startswith(f"{folder}/") and p.endswith(".sql")]
        report.error(
            "D108",
            f"there is no file `{folder}/{text.file}`",
            written.place(*path, "file"),
            help=did_you_mean(text.file, known),
        )
        return None
    return whole_text(source)


def whole_text(source: SourceText) -> Embedded:
    """Return a file's whole text as embedded text."""
    offsets, offset = [], 0
    for line in source.text.split("\n"):
        offsets.append(offset)
        offset += len(line) + 1
    return Embedded(source, source.text, tuple(offsets))
