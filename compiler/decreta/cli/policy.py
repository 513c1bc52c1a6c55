"""`decreta policy diff`: which decisions two policies make otherwise, and what moved them."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from decreta.project import Project, find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid
from decreta_runtime.contract.manifest import FORMAT
from decreta_runtime.contract.policy import DOMAINS, PolicyFile

if TYPE_CHECKING:
    from decreta.compare import Comparison, Difference

HELP = "compare two policies: decisions that changed, and what moved them"
_SHOWN = 240
"""Characters of a change in a line of text; JSON has all of it."""


class _Side(NamedTuple):
    """A policy and what it was asked for as."""

    name: str
    policy: PolicyFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    words = "a policy file, a generated pack's folder, REV:PACK/ENV, or a git revision"
    parser.add_argument("action", choices=("diff",))
    parser.add_argument("old", metavar="OLD", help=words)
    parser.add_argument("new", metavar="NEW", help="the same")
    parser.add_argument(
        "--pack", help="the pack whose policy a revision means (default: that of the other, or the only one)"
    )
    help = "the environment of folders and revisions (default: that of the other if it is a file, or local)"
    parser.add_argument("--env", help=help)
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Print what differs; exit 1 if anything does."""
    from decreta.compare import compare

    old, new = _sides(args.old, args.new, args.pack, args.env)
    found = compare(old.policy, new.policy)
    if args.format == "json":
        print(json.dumps(_json(old, new, found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(old, new, found, args.format == "markdown")))
    return EXIT_FINDINGS if found.differences or found.idle else EXIT_DONE


def _sides(old: str, new: str, pack: str | None, environment: str | None) -> tuple[_Side, _Side]:
    """Return the policies that are asked for: on disk if there is such a file or folder, else at a git revision.

    A bare revision beside a policy on disk means the same pack and environment.
    """
    on_disk = [_on_disk(asked, environment or "local") for asked in (old, new)]
    for side in on_disk:
        if side is not None:
            pack, environment = pack or side.policy.pack, environment or side.policy.environment
    found = [
        side or _committed(asked, pack, environment or "local") for asked, side in zip((old, new), on_disk, strict=True)
    ]
    return found[0], found[1]


def _on_disk(asked: str, environment: str) -> _Side | None:
    path = Path(asked)
    if not path.exists():
        return None
    if path.is_dir():
        path = path / "policy" / f"{environment}.json"
    return _Side(str(path), _decoded(str(path), _read(path)))


def _committed(asked: str, pack: str | None, environment: str) -> _Side:
    revision, colon, inside = asked.partition(":")
    project = find_project(Path.cwd())
    if colon:
        pack, _, environment = inside.partition("/")
        environment = environment or "local"
    packs = project.chosen([pack] if pack else [])
    if len(packs) != 1:
        raise InputInvalid(f"`{asked}` may mean {len(packs)} policies", help=f"write {asked}:{packs[0]}/{environment}")
    name = f"{revision}:{packs[0]}/{environment}"
    return _Side(name, _decoded(name, _shown(project, revision, packs[0], environment)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}", help="name a policy, or another --env") from None


def _shown(project: Project, revision: str, pack: str, environment: str) -> bytes:
    """Return a pack's policy as it was committed at a revision."""
    path = f"./generated/{pack}/policy/{environment}.json"
    help = "name a file, a generated pack's folder, or a revision at which the policy was committed"
    if revision.startswith("-"):
        raise InputInvalid(f"`{revision}` is neither a file nor a revision", help=help)
    command = ["git", "-C", str(project.root), "show", f"{revision}:{path}"]
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError:
        raise InputInvalid(f"`{revision}` is no file, and there is no git to ask", help=help) from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().split("\n")[0].removeprefix("fatal: ")
        raise InputInvalid(f"`{revision}` is no file, and git says: {words}", help=help)
    return done.stdout


def _decoded(name: str, data: bytes) -> PolicyFile:
    try:
        return msgspec.json.decode(data, type=PolicyFile)
    except (msgspec.DecodeError, RecursionError) as error:
        words = f"{name} is no policy of format {FORMAT}: {error}"
        raise InputInvalid(words, help="compare policies that this decreta can read") from None


def _json(old: _Side, new: _Side, found: Comparison) -> dict[str, object]:
    from decreta.compare import APART

    return {
        "old": old.name,
        "new": new.name,
        "differences": [{**msgspec.to_builtins(d), "apart": d.what in APART} for d in found.differences],
        "causes": [
            {"causes": msgspec.to_builtins(causes), "apart": apart, "pointers": [d.pointer for d in differences]}
            for apart in (False, True)
            for causes, differences in found.by_cause(apart).items()
        ],
        "idle": msgspec.to_builtins(found.idle),
    }


def _lines(old: _Side, new: _Side, found: Comparison, markdown: bool) -> Iterator[str]:
    title = f"{old.name} → {new.name}"
    yield f"### {title}" if markdown else title
    if not found.differences and not found.idle:
        yield "\nno differences" if markdown else "no differences"
    for apart in (False, True):
        for causes, differences in found.by_cause(apart).items():
            heading = f"{', '.join(cause.words for cause in causes)}: {_counted(differences, apart)}"
            yield f"\n**{heading}**\n" if markdown else f"\n{heading}"
            yield from (_line(d, [c.words for c in d.causes if c not in causes], markdown) for d in differences)
    for cause in found.idle:
        heading = f"{cause.words}: no decision changes"
        yield f"\n**{heading}**" if markdown else f"\n{heading}"


def _counted(differences: list[Difference], apart: bool) -> str:
    sections = {section for section, _ in DOMAINS.values()}
    decided = sum(d.pointer.split("/")[1] in sections for d in differences)
    counts = ((decided, "decision", "decisions"), (len(differences) - decided, "entry", "entries"))
    words = " and ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n)
    if not apart:
        return f"{words} {'changes' if len(differences) == 1 else 'change'}"
    return f"{words} {'stays' if len(differences) == 1 else 'stay'} the same on other grounds"


def _line(difference: Difference, others: list[str], markdown: bool) -> str:
    words = _change(difference)
    words = words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…"
    words = f"{difference.what}: {f'`{words}`' if markdown else words}"
    also = f"; perhaps by {', '.join(others)}" if others else ""
    return f"- `{difference.pointer}` {words}{also}" if markdown else f"  {difference.pointer}  {words}{also}"


def _change(difference: Difference) -> str:
    """Return the single parts that changed: of the value, or else of what changed instead, and of the mode."""
    from decreta.compare import brief, moved

    before, after = difference.before, difference.after
    if difference.what in ("added", "removed"):
        return brief(after if before is None else before)
    parts = moved(before, after)
    if isinstance(before, dict) and "value" in before:
        told = {name: part for name, part in parts.items() if name == "mode"}
        parts = moved(before["value"], after["value"]) | told
    elif difference.what != "evidence":
        parts = {name: part for name, part in parts.items() if not name.startswith("evidence_sources.")} or parts
    return ", ".join(f"{name} {brief(a)} → {brief(b)}".strip() for name, (a, b) in parts.items())
