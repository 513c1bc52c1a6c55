"""`decreta lineage`: what relations, or one column, are made from, by the committed manifest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from decreta.cli.manifest import read_manifest
from decreta.diagnostics import did_you_mean
from decreta.project import find_project
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid
from decreta_runtime.contract.manifest import Manifest

HELP = "say what relations and columns are made from"
_Edge = tuple[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument(
        "what", nargs="?", metavar="RELATION[.COLUMN]", help="all that it is made from (default: the pack)"
    )
    parser.add_argument("--format", choices=("text", "mermaid", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    """Print the edges from inputs to what is made from them."""
    project = find_project(Path.cwd())
    (pack,) = project.chosen([args.pack])
    manifest = read_manifest(project, pack)
    edges = list(dict.fromkeys(_edges(manifest, args.what)))
    if args.format == "json":
        print(json.dumps([{"from": a, "to": b} for a, b in edges], indent=2))
    elif args.format == "mermaid":
        print("flowchart LR", *(f"  {_id(a)}[{a}] --> {_id(b)}[{b}]" for a, b in edges), sep="\n")
    else:
        for target in dict.fromkeys(b for _, b in edges):
            print(f"{target}  <-  {', '.join(a for a, b in edges if b == target)}")
    return EXIT_DONE


def _edges(manifest: Manifest, what: str | None) -> Iterator[_Edge]:
    if what is None:
        for name in manifest.order:
            yield from ((given, name) for given in manifest.relations[name].inputs)
        return
    name, dot, column = what.partition(".")
    known = manifest.everything()
    if name not in known:
        raise InputInvalid(f"there is no object or relation `{name}`", help=did_you_mean(name, known))
    columns = [c.name for c in manifest.columns_of(name)]
    if dot and column not in columns:
        raise InputInvalid(f"`{name}` has no column `{column}`", help=did_you_mean(column, columns))
    yield from _columns(manifest, name, column) if dot else _relations(manifest, name)


def _relations(manifest: Manifest, name: str) -> Iterator[_Edge]:
    if name in manifest.relations:
        for given in manifest.relations[name].inputs:
            yield from _relations(manifest, given)
            yield given, name


def _columns(manifest: Manifest, name: str, column: str) -> Iterator[_Edge]:
    if name in manifest.relations:
        for given in manifest.relations[name].lineage.get(column, ()):
            yield from _columns(manifest, *given.split(".", 1))
            yield given, f"{name}.{column}"


def _id(name: str) -> str:
    return name.replace(".", "__")
