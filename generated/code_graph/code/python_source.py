"""Source adapter `python_source`: the files of a folder or installed package, and what the syntax of each one says.

A unit is one `.py` or `.pyi` file. Its rows are facts of its own syntax alone: nothing is looked up in another file, so
a file read by itself gives the same rows. What cannot be read, decoded or parsed is a row of `file` with its
`parse_error`.
"""

from __future__ import annotations

import fnmatch
import gc
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from decreta_runtime.adapter import Unit, UnitChanged

from . import syntax
from .text import SourceFile, identity, read_text

_OPTIONS = {"exclude": list, "source_roots": list}
_SUFFIXES = (".py", ".pyi")
_RECURSION = 20_000
"""Frames for the walk of one tree: expressions such as `a + b + …` nest once for each operator."""


def units(root: str, path: str, options: Mapping[str, Any]) -> Iterable[Unit]:
    """Yield every Python file at `path`: a folder, a file, or the name of an installed package.

    Options: `exclude`, patterns for single parts of a path; `source_roots`, folders such as `src` that are no part of
    module names.
    """
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ValueError(f"there is no option `{name}`; there are {', '.join(f'`{o}`' for o in _OPTIONS)}")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"the option `{name}` needs a list of text")
    exclude, roots = options.get("exclude", []), options.get("source_roots", [])
    for base, file in _files(_located(path), exclude):
        relative = file.relative_to(base).as_posix()
        module_path = next((relative[len(r) + 1 :] for r in roots if relative.startswith(f"{r}/")), relative)
        try:
            data = file.read_bytes()
        except OSError:
            data = b""  # the row that says so comes from `extract`, which meets the same error
        # What `extract` needs to know of the place goes along in the location, apart from the path by a line end.
        location = f"{file}\n{module_path}"
        plain = _plain(relative)
        yield Unit(f"{root}:{plain}", _fingerprint(data), location, len(data), identity(root, plain))


def extract(units: Sequence[Unit], schemas: Mapping[str, pa.Schema]) -> Mapping[str, pa.RecordBatch]:
    """Return the rows of `units` for each stream: file, scope, definition, reference, import."""
    rows = syntax.Rows()
    limit, collecting = sys.getrecursionlimit(), gc.isenabled()
    sys.setrecursionlimit(max(limit, _RECURSION))
    # A tree is one large structure that dies whole; the collector would only walk it again and again.
    gc.disable()
    try:
        for unit in units:
            syntax.read_file(_source_file(unit), rows)
    finally:
        sys.setrecursionlimit(limit)
        if collecting:
            gc.enable()
    return {name: _batch(rows.of(name), syntax.COLUMNS[name], schema) for name, schema in schemas.items()}


def file_of(unit: Unit) -> str:
    """Return the file that a unit is read from."""
    return unit.location.rpartition("\n")[0]


def _source_file(unit: Unit) -> SourceFile:
    root, _, path = unit.key.partition(":")
    location, _, module_path = unit.location.rpartition("\n")
    error = None
    try:
        data = Path(location).read_bytes()
    except OSError as problem:
        data, error = b"", f"cannot be read: {problem.strerror}"
    if _fingerprint(data) != unit.fingerprint:
        raise UnitChanged(path)
    pure = PurePosixPath(_plain(module_path))
    is_package = pure.stem == "__init__"
    parts = pure.parent.parts if is_package else (*pure.parent.parts, pure.stem)
    return read_text(root, path, ".".join(parts), is_package, pure.suffix == ".pyi", data, error)


def _batch(rows: list[tuple[Any, ...]], names: tuple[str, ...], schema: pa.Schema) -> pa.RecordBatch:
    columns = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _located(path: str) -> Path:
    given = Path(path).expanduser()
    if given.exists():
        return given.absolute()
    if path.isidentifier() and (found := importlib.util.find_spec(path)) is not None:
        if found.submodule_search_locations:
            return Path(next(iter(found.submodule_search_locations)))
        if found.origin and found.origin.endswith(_SUFFIXES):
            return Path(found.origin)
    raise FileNotFoundError(f"`{path}` is neither a file or folder nor an installed Python package")


def _files(path: Path, exclude: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """Yield each Python file with the folder that its path is relative to, in the order of those paths."""
    if path.is_file():
        if path.suffix in _SUFFIXES:
            yield path.parent, path
        return
    base = path.parent if (path / "__init__.py").is_file() else path
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(f for f in folders if not _excluded(f, exclude))
        for name in sorted(names):
            file = Path(folder, name)
            if name.endswith(_SUFFIXES) and not _excluded(name, exclude) and file.is_file():
                yield base, file


def _excluded(part: str, exclude: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(part, pattern) for pattern in exclude)


def _plain(path: str) -> str:
    """Return a path as text that any reader can take: bytes that are no UTF-8 become escapes."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _fingerprint(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
