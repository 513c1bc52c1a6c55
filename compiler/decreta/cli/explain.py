"""`decreta explain`: what a diagnostic code means, or why a decision is what it is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import decreta
from decreta.codes import CODES
from decreta.diagnostics import did_you_mean
from decreta.project import Project, find_project
from decreta_runtime.contract import errors
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid
from decreta_runtime.contract.policy import DOMAINS

HELP = "explain a diagnostic code (D308), or a decision (PACK/cache/VIEW)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("what", metavar="CODE|DECISION")
    parser.add_argument("--env", default="local")


def main(args: argparse.Namespace) -> int:
    """Print the explanation."""
    if "/" in args.what:
        print(_decision(find_project(Path.cwd()), args.what, args.env))
    else:
        print(_code(args.what.upper()))
    return EXIT_DONE


def _code(code: str) -> str:
    if found := CODES.get(code):
        return f"{code}: {found.title}\n\n{found.why}\n\nWhat to do: {found.mend}{_examples(code)}"
    kinds = {e.code: e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.DecretaError)}
    if kind := kinds.get(code):
        return f"{code}: {kind.__name__} (exit status {kind.exit_status})\n\n{kind.__doc__}"
    raise InputInvalid(f"there is no code `{code}`", help=did_you_mean(code, [*CODES, *kinds]))


def _examples(code: str) -> str:
    """Return what the code's page shows beside its words: mistakes, what is said of them, and how they are mended."""
    package = Path(decreta.__file__).resolve().parent
    shipped = package / "diagnostics.md"
    pages = shipped if shipped.is_file() else package.parents[1] / "docs" / "diagnostics.md"
    page = pages.read_text(encoding="utf-8").partition(f"\n## {code}: ")[2].partition("\n## ")[0]
    _, mark, examples = page.partition("\n### ")
    return f"\n{mark}{examples}".rstrip() if mark else ""


def _decision(project: Project, what: str, env: str) -> str:
    parts = what.strip("/").split("/")
    if len(parts) != 3:
        raise InputInvalid(f"`{what}` names no decision", help="write PACK/DOMAIN/SUBJECT, such as PACK/cache/RELATION")
    pack, domain, subject = parts
    (pack,) = project.chosen([pack])
    sections = {name: section for name, (section, _) in DOMAINS.items()} | {s: s for s, _ in DOMAINS.values()}
    if domain not in sections:
        raise InputInvalid(f"there is no domain `{domain}`", help=did_you_mean(domain, DOMAINS))
    path = project.generated / pack / "policy" / f"{env}.json"
    if not path.is_file():
        raise InputInvalid(f"{path} does not exist", help=f"run `decreta generate {pack}`, or name another --env")
    decisions = json.loads(path.read_bytes())[sections[domain]]
    if subject not in decisions:
        raise InputInvalid(f"the domain decides nothing for `{subject}`", help=did_you_mean(subject, decisions))
    return _told(f"/{sections[domain]}/{subject}", decisions[subject])


def _told(pointer: str, decision: dict[str, Any]) -> str:
    lines = [pointer, "", f"value       {_short(decision['value'])}"]
    if decision["requires"]:
        lines += [f"requires    {', '.join(decision['requires'])}", f"otherwise   {_short(decision['otherwise'])}"]
    lines += [
        f"baseline    {_short(decision['baseline'])}",
        f"rule        {decision['rule']} ({decision['origin']}, {decision['mode']})",
        f"confidence  {decision['confidence_score']}",
        f"fallback    {decision['fallback_reason'] or 'none'}",
    ]
    if decision["passed_over"]:
        lines.append(f"passed over {', '.join(decision['passed_over'])}")
    lines += ["", "evidence"]
    for fact in decision["evidence_sources"]:
        value = "unknown" if fact["value"] is None else json.dumps(fact["value"])
        unit = f" {fact['unit']}" if fact.get("unit") else ""
        lines.append(f"  {fact['fact']} = {value}{unit}  ({fact['source']}, confidence {fact['confidence']})")
    return "\n".join(lines)


def _short(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
