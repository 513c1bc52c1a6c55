"""One file's text: its bytes as UTF-8, its lines, and places in it."""

from __future__ import annotations

import ast
import hashlib
import io
import re
import tokenize
import unicodedata
import warnings
from dataclasses import dataclass, field

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


@dataclass
class SourceFile:
    """A file as `extract` sees it. Spans are half-open byte offsets into `data`.

    `data` is the file itself where it is UTF-8, its byte-order mark included. A file in another encoding is transcoded
    first, and its spans are places in the transcoded text.
    """

    root: str
    path: str
    module: str
    is_package: bool
    is_stub: bool
    data: bytes
    content_sha: bytes
    n_bytes: int
    line_start: list[int] = field(default_factory=lambda: [0])
    first_column: int = 0
    """Bytes before the first character of line 1: the length of a byte-order mark."""
    tree: ast.Module | None = None
    error: str | None = None


def identity(*parts: str) -> int:
    """Return the 64-bit id of a thing named by `parts` (blake2b, as the design fixes it)."""
    text = "\x1f".join(parts)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big", signed=True
    )


def read_text(
    root: str, path: str, module: str, is_package: bool, is_stub: bool, data: bytes, error: str | None
) -> SourceFile:
    """Decode and parse a file; what goes wrong ends up in its `error`."""
    found = SourceFile(root, path, module, is_package, is_stub, data, hashlib.sha256(data).digest(), len(data))
    if error is not None:
        found.error = error
        return found
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as problem:
        found.error = f"cannot be decoded: {_one_line(problem)}"
        return found
    if encoding == "utf-8-sig":
        found.first_column = len(_BOM)
    elif encoding not in ("utf-8", "ascii"):
        found.data = text.encode(errors="surrogatepass")
    found.line_start = _line_starts(found.data)
    found.line_start[0] = found.first_column
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.tree = ast.parse(text)
    except SyntaxError as problem:
        found.error = f"line {problem.lineno or 0}: {problem.msg}"
    except (ValueError, RecursionError, MemoryError) as problem:
        found.error = f"cannot be parsed: {_one_line(problem)}"
    return found


def _line_starts(data: bytes) -> list[int]:
    starts = [0]
    starts += [m.end() for m in _LINE_END.finditer(data)]
    if len(starts) > 1 and starts[-1] == len(data):
        starts.pop()
    return starts


def _one_line(problem: BaseException) -> str:
    return str(problem).split("\n")[0] or type(problem).__name__
