"""Sixth stage: the program becomes files, as bytes. Nothing is written here; templates decide nothing."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from decreta.emit.code import builders, query_functions, tests
from decreta.emit.manifest import manifest
from decreta.model.program import Decided


def emit(program: Decided, toolchain: dict[str, str]) -> dict[str, bytes]:
    """Return the files of `generated/<pack>/`, each under its path there."""
    texts = {**builders(program.checked), **query_functions(program.checked), **tests(program.checked)}
    texts |= {path: source.text for path, source in program.checked.resolved.code.items()}
    texts |= {f"policy/{name}.json": canonical(policy) for name, policy in program.policies.items()}
    files = {path: text.encode() for path, text in sorted(texts.items())}
    digests = {path: digest(data) for path, data in files.items()}
    files["manifest.json"] = canonical(manifest(program, toolchain, digests)).encode()
    files["manifest.sha256"] = (digest(files["manifest.json"]) + "\n").encode()
    return files


def canonical(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, two spaces, LF; it holds no floats."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2).decode() + "\n"


def digest(data: bytes) -> str:
    """Return the digest of a file's bytes as the manifest names it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
