"""`decreta init`: start a project in an empty folder, with a pack that runs, or with objects for tables that exist."""

from __future__ import annotations

import argparse
import keyword
import re
from pathlib import Path

from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid

HELP = "start a project"
_STARTER = Path(__file__).parents[1] / "starter"
_HIDDEN = {"gitignore": ".gitignore", "pre-commit-config.yaml": ".pre-commit-config.yaml"}
"""Files of the starter that begin with a dot where they are put: here they would be taken for our own."""
_OF_THE_EXAMPLE = ("data/", "/objects/", "/relations/", "/queries/", "/code/", "/env/")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("folder", nargs="?", default=".", metavar="DIR", help="an empty folder (default: this one)")
    parser.add_argument("--pack", metavar="NAME", help="the pack's name (default: the folder's)")
    parser.add_argument(
        "--from-delta", nargs="+", metavar="URL", default=[], help="write an object for each of these Delta tables"
    )


def main(args: argparse.Namespace) -> int:
    """Write the project and say what to do next."""
    folder = Path(args.folder).resolve()
    pack = args.pack or re.sub(r"\W+", "_", folder.name.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", pack) or pack == "std" or keyword.iskeyword(pack):
        help = "write --pack NAME, with a-z, 0-9 and _, and no word of Python"
        raise InputInvalid(f"`{pack}` cannot be a pack's name", help=help)
    if folder.exists() and (not folder.is_dir() or any(path.name != ".git" for path in folder.iterdir())):
        raise InputInvalid(f"{folder} is not empty", help="name a new folder: nothing is written over")
    files = _starter(pack, example=not args.from_delta)
    if args.from_delta:
        from decreta.adopt import adopt  # asks the runtime, which loads the engines

        files |= adopt(pack, args.from_delta)
    for path, text in sorted(files.items()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        print(f"wrote {path}")
    verb = "" if folder == Path.cwd() else f"cd {args.folder} && "
    print(f"next: {verb}decreta generate && decreta test {pack} && decreta run {pack}")
    return EXIT_DONE


def _starter(pack: str, *, example: bool) -> dict[str, str]:
    found = {}
    for path in sorted(p for p in _STARTER.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        name = path.relative_to(_STARTER).as_posix()
        if not example and (name == "Makefile" or any(part in name for part in _OF_THE_EXAMPLE)):
            continue
        text = path.read_text().replace("PACK", pack)
        if not example:
            text = text.replace("Orders and what customers spend.", "Tables of others.").replace('["std@1"]', "[]")
        found[_HIDDEN.get(name, name).replace("PACK", pack)] = text
    return found
