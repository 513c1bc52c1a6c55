"""Arguments that several verbs share, and what they mean."""

from __future__ import annotations

import argparse
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decreta_runtime.contract.errors import InputInvalid

if TYPE_CHECKING:
    from decreta_runtime.pack import Pack


def add_pack(parser: argparse.ArgumentParser) -> None:
    """Declare PACK, --lake, --env, --generated and --expect."""
    parser.add_argument("pack", metavar="PACK", help="a compiled pack: its name under --generated, or its folder")
    parser.add_argument("--lake", metavar="DIR", help="the lake (default: the environment's)")
    parser.add_argument("--env", default="local", help="the environment (default: local)")
    parser.add_argument("--generated", metavar="DIR", help="where compiled packs are (default: generated)")
    parser.add_argument("--expect", metavar="DIGEST", help="refuse a pack whose manifest has another digest")


def open_pack(args: argparse.Namespace) -> Pack:
    """Open the pack that the arguments name. Raises DecretaError."""
    folder = pack_folder(args)
    from decreta_runtime.pack import Pack  # the engines load here, not for --help

    return Pack(folder, lake=args.lake, env=args.env, expect=args.expect)


def pack_folder(args: argparse.Namespace) -> Path:
    """Return the folder of the compiled pack. Raises InputInvalid if there is none."""
    generated = Path(args.generated) if args.generated else _nearest_generated()
    candidates: list[Path] = [generated / args.pack, Path(args.pack)]
    for folder in candidates:
        if (folder / "manifest.json").is_file():
            return folder
    raise InputInvalid(
        f"there is no compiled pack `{args.pack}` in {generated}",
        help="run `decreta generate`, or name --generated DIR",
    )


def _nearest_generated() -> Path:
    """Return the nearest `generated` folder at or above the current one."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "generated").is_dir():
            return folder / "generated"
    return here / "generated"


def value_of(kind: str, text: str) -> Any:
    """Return the value of a spec type that `text` stands for. Raises ValueError or InvalidOperation."""
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _refuse(text)
    if kind.startswith("int"):
        return int(text)
    if kind.startswith("float"):
        return float(text)
    if kind.startswith("decimal"):
        return Decimal(text)
    if kind == "date":
        return date.fromisoformat(text)
    if kind.startswith("timestamp"):
        return datetime.fromisoformat(text)
    if kind == "binary":
        return bytes.fromhex(text)
    return text


def _refuse(text: str) -> Any:
    raise ValueError(text)
