"""Mixes of two sides as packs that run: compiled through the ordinary pipeline, measured once for all that act alike.

What acts of a pack are the values of its decisions, its statements and its code; a mix that acts as one before it needs
no run: edits of texts, and facts that move no decision, cost nothing to rule out.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from decreta.blame.edits import Edit, Files, edits, mixed
from decreta.blame.search import Mix
from decreta.diagnostics import Report
from decreta.output import write
from decreta.pipeline import compile_pack
from decreta.project import Project
from decreta_runtime.contract.errors import DecretaError
from decreta_runtime.contract.policy import DOMAINS
from decreta_runtime.measure import Measured, Sources, measure

_EXPLAINS = ("inputs", "rules")
"""Sections of a policy that say why, and that the runtime reads budgets of alone."""


@dataclass
class Mixer:
    """Makes packs of A's specs with some edits of B's, and of A's inputs with some of B's, and measures them."""

    a: Files
    b: Files
    edits: Sequence[Edit]
    inputs: Sequence[str]
    """Sources that B reads from elsewhere: each a change, numbered after the edits."""
    sources: tuple[Sources, Sources]
    pack: str
    environment: str
    folder: Path
    digests: bool = True
    lake: str | None = None
    """Where relative places of tables of others start; None for the environment's own lake."""
    progress: Callable[[str], None] = lambda _words: None
    asked: str = "passed over: a mix"
    """What messages call what is compiled here."""
    runs: int = 0
    refused: int = 0
    """Mixes that could not be measured."""
    known: dict[str, Measured | None] = field(default_factory=dict)
    compiled: dict[Mix, dict[str, bytes] | None] = field(default_factory=dict)
    acts: dict[Mix, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many changes there are."""
        return len(self.edits) + len(self.inputs)

    def measured(self, mix: Mix, *, again: bool = False) -> Measured | None:
        """Return what a mix came to; None if it does not compile or its run fails. `again` measures anew."""
        files, key = self.generated(mix), self.key(mix)
        if files is None or key is None:
            return None
        if key not in self.known or again:
            found = self._run(files, self._sources(mix))
            if again:
                return found
            self.known[key] = found
        return self.known[key]

    def key(self, mix: Mix) -> str | None:
        """Return what names all mixes that act as this one; None if it does not compile."""
        files = self.generated(mix)
        if files is None:
            return None
        places = {name: list(found) for name, found in self._sources(mix).items()}
        edited = frozenset(i for i in mix if i < len(self.edits))
        if edited not in self.acts:
            self.acts[edited] = acting(files, self.environment)
        return self.acts[edited] + json.dumps(places, sort_keys=True)

    def generated(self, mix: Mix) -> dict[str, bytes] | None:
        """Return the compiled pack of a mix; None if it does not compile."""
        edited = frozenset(i for i in mix if i < len(self.edits))
        if edited not in self.compiled:
            self.compiled[edited] = self._compiled(mixed(self.a, self.b, self.edits, edited))
        return self.compiled[edited]

    def _compiled(self, files: Files) -> dict[str, bytes] | None:
        report = Report()
        found = compile_pack(self._project(files), self.pack, report)
        if found is None:
            self.refused += 1
            first, *more = (found for found in report.diagnostics() if found.severity == "error")
            also = f", and {len(more)} more" if more else ""
            self.progress(f"{self.asked} does not compile: {first.span}: {first.code}: {first.message}{also}")
            return None
        return found.files

    def _project(self, files: Files) -> Project:
        root = self.folder / "mix"
        shutil.rmtree(root, ignore_errors=True)
        for name, data in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return Project(root)

    def _sources(self, mix: Mix) -> dict[str, Sequence[str]]:
        a, b = self.sources
        taken = {name for i, name in enumerate(self.inputs, len(self.edits)) if i in mix}
        return {name: (b if name in taken else a).get(name) or b[name] for name in a.keys() | b.keys()}

    def _run(self, files: dict[str, bytes], sources: Sources) -> Measured | None:
        self.runs += 1
        pack = self.folder / "pack" / self.pack
        write(pack, files)
        try:
            return measure(pack, self.environment, sources, digests=self.digests, tables_from=self.lake)
        except DecretaError as error:
            self.refused += 1
            self.progress(f"{self.asked} does not run: {error.message}")
            return None


def between(
    sides: tuple[Files, Files], sources: tuple[Sources, Sources], pack: str, environment: str, folder: Path
) -> Mixer:
    """Return what mixes two sides of a pack's specs, and of the places of its sources."""
    inputs = [name for name in sorted(sources[1]) if sources[0].get(name) != sources[1][name]]
    return Mixer(*sides, edits(*sides), inputs, sources, pack, environment, folder)


def acting(files: Mapping[str, bytes], environment: str) -> str:
    """Return a digest of all of a compiled pack that a run under an environment can show."""
    parts: list[Any] = [_meant(json.loads(files["manifest.json"]))]
    for path, data in sorted(files.items()):
        if path.endswith(".py") and not path.startswith("tests/"):
            parts.append((path, _code(data, generated=not path.startswith("code/"))))
    parts.append(effective(json.loads(files[f"policy/{environment}.json"])))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _meant(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest without what a run does not show: texts, versions, gates, and the digests of files."""
    found = {key: value for key, value in manifest.items() if key not in ("files", "gates", "toolchain", "version")}
    for section in ("objects", "relations", "queries"):
        found[section] = {name: _bare(entry) for name, entry in manifest[section].items()}
    return found


def _bare(entry: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in entry.items() if key not in ("summary", "version", "payoff")}
    checks = [{key: value for key, value in check.items() if key != "summary"} for check in entry.get("checks", ())]
    return found | {"checks": checks}


def effective(policy: dict[str, Any]) -> dict[str, Any]:
    """Return of a policy what is obeyed: of each decision what stands in its mode, without what explains it."""
    sections = {section for section, _ in DOMAINS.values()}
    found: dict[str, Any] = {}
    for name, section in policy.items():
        if name in sections:
            found[name] = {subject: obeyed(decision) for subject, decision in section.items()}
        elif name == "inputs":
            found[name] = {key: value for key, value in section.items() if key.startswith("budget.")}
        elif name not in _EXPLAINS:
            found[name] = section
    return found


def obeyed(decision: dict[str, Any]) -> dict[str, Any]:
    """Return of a decision what the runtime does by it."""
    if decision["mode"] != "enforce":
        return {"value": _plain(decision["baseline"])}
    return {name: _plain(decision[name]) for name in ("value", "requires", "otherwise")}


def _plain(value: Any) -> Any:
    """Return a value without the reasons that settings carry."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "because"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=512)
def _code(data: bytes, *, generated: bool) -> str:
    """Return a module as its tree, a generated one without the texts that explain it; mixes share most of them."""
    tree = ast.parse(data)
    for node in ast.walk(tree) if generated else ():
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value.value = ""
        if isinstance(node, ast.keyword) and node.arg == "summary":
            node.value = ast.Constant("")
    return ast.dump(tree)
