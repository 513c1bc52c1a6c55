"""Mixes of two compiled packs: A's policy with single entries of B's, loaded and verified as any policy is."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from decreta.blame.edits import Edit
from decreta.blame.mixes import Mixer, acting, effective
from decreta.blame.search import Mix
from decreta.compare import compare
from decreta.source import SourceText
from decreta_runtime.contract.policy import DOMAINS, PolicyFile, pointer_to
from decreta_runtime.measure import Sources

Files = Mapping[str, bytes]
SEMANTIC = "manifest.json"
"""The file that stands for manifest, statements and code together: they belong to each other."""


class PackMixer(Mixer):
    """Mixes two compiled packs: what they mean is one change, each entry of the policy that acts another."""

    def generated(self, mix: Mix) -> dict[str, bytes] | None:
        """Return A's pack with these changes of B's, sealed anew."""
        edited = frozenset(i for i in mix if i < len(self.edits))
        if edited not in self.compiled:
            self.compiled[edited] = self._taken([self.edits[i] for i in sorted(edited)])
        return self.compiled[edited]

    def _taken(self, edits: list[Edit]) -> dict[str, bytes]:
        name = f"policy/{self.environment}.json"
        meaning = self.b if any(edit.file == SEMANTIC for edit in edits) else self.a
        files = {path: data for path, data in meaning.items() if not path.startswith(("tests/", "policy/"))}
        policy, theirs = json.loads(self.a[name]), json.loads(self.b[name])
        for edit in edits:
            if edit.file != SEMANTIC:
                _take(policy, theirs, edit.path)
        policy["inputs"] = policy["inputs"] | {k: v for k, v in theirs["inputs"].items() if k not in policy["inputs"]}
        policy["rules"] = policy["rules"] | theirs["rules"]
        files[name] = json.dumps(policy, sort_keys=True).encode()
        return sealed(files)


def sealed(files: Files) -> dict[str, bytes]:
    """Return a pack whose manifest names these files by their digests."""
    found = dict(files)
    manifest = json.loads(found.pop("manifest.json"))
    found.pop("manifest.sha256", None)
    manifest["files"] = {path: _digest(data) for path, data in sorted(found.items())}
    data = json.dumps(manifest, sort_keys=True).encode()
    return {**found, "manifest.json": data, "manifest.sha256": (_digest(data) + "\n").encode()}


def decision_edits(a: Files, b: Files, environment: str) -> list[Edit]:
    """Return what acts otherwise in B's pack than in A's: its meaning as one, then each entry of the policy."""
    name = f"policy/{environment}.json"
    sides = [effective(json.loads(files[name])) for files in (a, b)]
    found = []
    if _meaning(a, environment) != _meaning(b, environment):
        before, after = (_digest(files[SEMANTIC])[:19] for files in (a, b))
        found.append(Edit(SEMANTIC, (), before, after, SourceText(SEMANTIC, "").span(0, 0)))
    for section in sides[0].keys() | sides[1].keys():
        found += _entries(name, section, *(side.get(section) for side in sides))
    order = {section: i for i, (section, _) in enumerate(DOMAINS.values())}
    return sorted(found, key=lambda e: (e.file != SEMANTIC, order.get(str(e.path[0]) if e.path else "", -1), e.path))


def of_domain(files: Files, environment: str, domain: str | None, *, baseline: bool) -> dict[str, bytes]:
    """Return a pack in which the decisions of a domain, or of all, are obeyed whatever their mode, or none is."""
    name = f"policy/{environment}.json"
    policy = json.loads(files[name])
    for section in [section for known, (section, _) in DOMAINS.items() if domain in (None, known)]:
        for decision in policy[section].values():
            decision["mode"] = "off" if baseline else "enforce"
    kept = {path: data for path, data in files.items() if not path.startswith(("tests/", "policy/"))}
    return sealed({**kept, name: json.dumps(policy, sort_keys=True).encode()})


def same_meaning(a: Files, b: Files, environment: str) -> bool:
    """Whether two packs differ in what runs cost alone."""
    return _meaning(a, environment) == _meaning(b, environment)


def packs_between(a: Files, b: Files, sources: tuple[Sources, Sources], env: str, folder: Path) -> PackMixer:
    """Return what mixes two compiled packs."""
    inputs = [name for name in sorted(sources[1]) if sources[0].get(name) != sources[1][name]]
    pack = json.loads(b["manifest.json"])["pack"]
    return PackMixer(a, b, decision_edits(a, b, env), inputs, sources, pack, env, folder)


def _meaning(files: Files, environment: str) -> str:
    name = f"policy/{environment}.json"
    policy: dict[str, Any] = {section: {} for section, _ in DOMAINS.values()}
    return acting({**files, name: json.dumps(policy).encode()}, environment)


def _entries(name: str, section: str, before: Any, after: Any) -> list[Edit]:
    nowhere = SourceText(name, "")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [] if before == after else [Edit(name, (section,), before, after, nowhere.span(0, 0))]
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return [Edit(name, (section, key), before.get(key), after.get(key), nowhere.span(0, 0)) for key in changed]


def _take(policy: dict[str, Any], theirs: dict[str, Any], path: tuple[str | int, ...]) -> None:
    *way, last = map(str, path)
    for key in way:
        policy, theirs = policy[key], theirs[key]
    if last in theirs:
        policy[last] = copy.deepcopy(theirs[last])
    else:
        policy.pop(last, None)


def moved_by(a: Files, b: Files, environment: str) -> dict[str, list[str]]:
    """Return for each decision that changes, by its pointer, what moved among all that its rules read."""
    name = f"policy/{environment}.json"
    old, new = (msgspec.json.decode(files[name], type=PolicyFile) for files in (a, b))
    return {d.pointer: [cause.words for cause in d.causes] for d in compare(old, new).differences}


def pointer(edit: Edit) -> str:
    """Return the JSON pointer of an entry that differs; of the meaning, the file."""
    return pointer_to(*map(str, edit.path)) if edit.path else edit.file


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
