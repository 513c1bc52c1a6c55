"""First stage: the files of a pack become documents with places. Nothing here knows what a spec means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from decreta.diagnostics import Report
from decreta.model.files import PackFiles
from decreta.read.toml import read_toml
from decreta.read.yaml import read_yaml
from decreta.source import Document, SourceText

MAX_SPEC_BYTES = 1 << 20
"""No spec a person edits comes near this; a larger file is data in the wrong place."""

_FOLDERS = {
    "objects": (".yaml",),
    "templates": (".yaml", ".sql"),
    "relations": (".yaml", ".sql"),
    "queries": (".yaml", ".sql"),
    "rules": (".toml",),
    "env": (".toml",),
    "functions": (".yaml",),
    "code": (".py",),
    "capabilities": (".json",),
    "locks": (".json",),
}
_PASSED_OVER = ("__pycache__", "README.md")


def list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file of a pack with its POSIX path relative to the pack, in the order of those paths."""
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
        relative = path.relative_to(folder)
        if path.is_dir() or any(part in _PASSED_OVER or part.startswith(".") for part in relative.parts):
            continue
        yield relative.as_posix(), path


def read_pack(folder: Path, prefix: str, report: Report) -> PackFiles:
    """Read the pack in `folder`, reporting every file that cannot be read or that no stage would read."""
    files = PackFiles(folder.name, prefix)
    for relative, path in list_files(folder):
        name = f"{prefix}/{relative}"
        top, _, rest = relative.partition("/")
        if relative == "pack.toml":
            source = _text(path, name, report)
            files.header = read_toml(source, report) if source else None
        elif top not in _FOLDERS or "/" in rest or path.suffix not in _FOLDERS[top]:
            report.error("D107", f"no stage reads `{relative}`", SourceText(name, "").span(0, 0), help=_belongs(top))
        elif source := _text(path, name, report, None if path.suffix == ".json" else MAX_SPEC_BYTES):
            _keep(files, top, relative, source, report)
    if files.header is None and not (folder / "pack.toml").exists():
        span = SourceText(f"{prefix}/pack.toml", "").span(0, 0)
        report.error(
            "D108", f"pack `{files.name}` has no pack.toml", span, help="it names the pack, version and imports"
        )
    return files


def read_file(path: Path, name: str, report: Report) -> Document | None:
    """Return one spec as a document under the name that messages call it by, or None after reporting why not."""
    source = _text(path, name, report)
    if source is None:
        return None
    return read_yaml(source, report) if path.suffix == ".yaml" else read_toml(source, report)


def _keep(files: PackFiles, top: str, relative: str, source: SourceText, report: Report) -> None:
    if relative.endswith((".py", ".sql", ".json")):
        files.texts[relative] = source
        return
    read = read_yaml if relative.endswith(".yaml") else read_toml
    if document := read(source, report):
        files.documents.setdefault(top, {})[relative] = document


def _belongs(top: str) -> str:
    endings = ", ".join(f"*{ending}" for ending in _FOLDERS.get(top, ()))
    return f"`{top}/` holds {endings}" if endings else "a pack has " + ", ".join(f"`{folder}/`" for folder in _FOLDERS)


def _text(path: Path, name: str, report: Report, limit: int | None = MAX_SPEC_BYTES) -> SourceText | None:
    """Return the file's text with `\\n` line ends; a byte-order mark is dropped. What machines write has no limit."""
    nowhere = SourceText(name, "").span(0, 0)
    try:
        if limit is not None and path.stat().st_size > limit:
            report.error("D101", f"the file is larger than {limit} bytes", nowhere, help="split it")
            return None
        data = path.read_bytes()
    except OSError as error:
        report.error("D101", f"the file cannot be read: {error.strerror}", nowhere)
        return None
    if b"\0" in data:
        report.error("D101", "the file holds NUL bytes; it is no text", nowhere, help="save it as UTF-8 text")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source = SourceText(name, data[: error.start].decode("utf-8-sig"))
        end = len(source.text)
        report.error("D101", f"byte {error.start} is not UTF-8", source.span(end, end), help="save the file as UTF-8")
        return None
    return SourceText(name, text.replace("\r\n", "\n"))
