"""First step of a run: read a compiled pack once, compare every digest, and execute nothing but verified bytes."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import msgspec

from decreta_runtime.contract.errors import DigestMismatch, IncompatibleEngine, InputInvalid
from decreta_runtime.contract.manifest import FORMAT, Manifest
from decreta_runtime.contract.policy import Policy
from decreta_runtime.tally import Tally

_HELP = "regenerate the pack with `decreta generate`; generated files are never edited"


@dataclass(frozen=True)
class LoadedPack:
    """A compiled pack whose every byte is the one its manifest names."""

    folder: Path
    manifest: Manifest
    digest: str
    files: Mapping[str, bytes]
    package: str

    def policy(self, environment: str) -> Policy:
        """Return the policy of an environment. Raises InputInvalid if the pack has none for it."""
        data = self.files.get(f"policy/{environment}.json")
        if data is None:
            known = [p.removeprefix("policy/").removesuffix(".json") for p in self.files if p.startswith("policy/")]
            raise InputInvalid(
                f"pack `{self.manifest.pack}` has no environment `{environment}`",
                help="its environments are " + ", ".join(f"`{name}`" for name in known),
            )
        return Policy(data)

    def module(self, name: str) -> ModuleType:
        """Return the pack's module `name` (`relations.defines`, `code.python_source`, `queries`), loading it once."""
        return importlib.import_module(f"{self.package}.{name}")

    def builder(self, relation: str) -> Callable[[Any], Any]:
        """Return the `build` function of a relation."""
        build: Callable[[Any], Any] = self.module(f"relations.{relation}").build
        return build

    def modules(self) -> dict[str, bytes]:
        """Return the source of every module of the pack, for workers that load the same bytes."""
        return {path: data for path, data in self.files.items() if path.endswith(".py")}


def load(folder: Path, tally: Tally, expect: str | None = None) -> LoadedPack:
    """Read and verify the compiled pack in `folder`, counted in `tally`.

    `expect` pins the digest of the manifest from elsewhere; without it the file beside the manifest is taken, which
    proves integrity, not origin. Raises DigestMismatch, IncompatibleEngine, InputInvalid.
    """
    tally.once("load")
    manifest_bytes = _read(folder, "manifest.json")
    digest = digest_of(manifest_bytes)
    if expect is not None:
        if not hmac.compare_digest(digest.encode(), expect.encode(errors="replace")):
            words = f"the manifest has digest {digest}, {expect} was asked for"
            raise DigestMismatch(words, help="deploy the pinned pack")
    elif not hmac.compare_digest(digest.encode() + b"\n", _read(folder, "manifest.sha256")):
        raise DigestMismatch(f"{folder / 'manifest.json'} is not the manifest that was generated", help=_HELP)
    manifest = decode(manifest_bytes, folder)
    files = {}
    for path, wanted in manifest.files.items():
        if path.startswith("/") or ".." in Path(path).parts:
            raise DigestMismatch(f"the manifest names `{path}`, which leaves the pack's folder", help=_HELP)
        files[path] = _read(folder, path)
        if not hmac.compare_digest(digest_of(files[path]), wanted):
            raise DigestMismatch(f"{folder / path} was changed after it was generated", help=_HELP)
    package = f"decreta_pack_{digest.removeprefix('sha256:')[:16]}"
    pack = LoadedPack(folder, manifest, digest, files, package)
    serve(package, pack.modules())
    return pack


def digest_of(data: bytes) -> str:
    """Return the digest of bytes as manifests name it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _read(folder: Path, path: str) -> bytes:
    try:
        return (folder / path).read_bytes()
    except FileNotFoundError:
        if path == "manifest.json":
            raise InputInvalid(f"{folder} holds no compiled pack", help="run `decreta generate` first") from None
        raise DigestMismatch(f"{folder / path} is missing", help=_HELP) from None
    except OSError as error:
        raise InputInvalid(f"{folder / path} cannot be read: {error.strerror}") from None


def decode(data: bytes, folder: Path) -> Manifest:
    """Return the manifest in `data`. Raises IncompatibleEngine if it has another form than this runtime reads."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise IncompatibleEngine(f"{folder / 'manifest.json'} has another form: {error}", help=_HELP) from None
    if manifest.format != FORMAT:
        raise IncompatibleEngine(
            f"the pack has format {manifest.format}, this runtime reads {FORMAT}", help="install the matching decreta"
        )
    return manifest


class _VerifiedCode(MetaPathFinder, InspectLoader):
    """Imports a pack's modules from bytes in memory: no path, no cache of compiled code, nothing unverified."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[bytes | None, str]] = {}

    def add(self, package: str, modules: Mapping[str, bytes]) -> None:
        """Serve `modules` (path → source) under `package`; folders become packages."""
        self._sources.setdefault(package, (None, ""))
        for path, data in modules.items():
            parts = path.removesuffix(".py").split("/")
            for i in range(1, len(parts)):
                self._sources.setdefault(".".join([package, *parts[:i]]), (None, ""))
            self._sources[".".join([package, *parts])] = (data, path)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module that is served here."""
        if fullname not in self._sources:
            return None
        return ModuleSpec(fullname, self, is_package=self._sources[fullname][0] is None)

    def get_source(self, fullname: str) -> str:
        """Return a module's source; tracebacks show it."""
        return (self._sources[fullname][0] or b"").decode()

    def get_code(self, fullname: str) -> CodeType:
        """Compile a module from its verified bytes."""
        data, path = self._sources[fullname]
        return compile(data or b"", f"<{fullname.partition('.')[0]}>/{path}", "exec", dont_inherit=True)


_finder = _VerifiedCode()


def serve(package: str, modules: Mapping[str, bytes]) -> None:
    """Make the modules importable under `package` in this interpreter."""
    _finder.add(package, modules)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
