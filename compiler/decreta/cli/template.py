"""`decreta template`: list the templates that packs may use, or show one with its parameters and examples."""

from __future__ import annotations

import argparse
from pathlib import Path

from decreta.cli.formats import print_diagnostics
from decreta.diagnostics import Report, did_you_mean
from decreta.model import spec
from decreta.model.program import Template
from decreta.project import Project, find_project
from decreta_runtime.contract.errors import EXIT_DONE, EXIT_FINDINGS, InputInvalid

HELP = "list templates, or show one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("action", choices=("list", "show"))
    parser.add_argument("name", nargs="?", metavar="LIBRARY/NAME", help="the template to show, such as std/closure")


def main(args: argparse.Namespace) -> int:
    """Print the templates."""
    project = find_project(Path.cwd())
    report = Report()
    found = _templates(project, report)
    if report.failed:
        print_diagnostics(report.diagnostics(), project, "text")
        return EXIT_FINDINGS
    if args.action == "list":
        width = max(map(len, found), default=0)
        for name, template in sorted(found.items()):
            print(f"{name:<{width}}  {template.written.spec.summary}")
        return EXIT_DONE
    if args.name is None:
        raise InputInvalid("no template is named", help="write `decreta template show LIBRARY/NAME`")
    wanted = [n for n in found if args.name in (n, n.partition("@")[0], n.partition("@")[0].partition("/")[2])]
    if not wanted:
        raise InputInvalid(f"there is no template `{args.name}`", help=did_you_mean(args.name, found))
    for name in wanted:
        print(_shown(name, found[name]))
    return EXIT_DONE


def _templates(project: Project, report: Report) -> dict[str, Template]:
    from decreta.read import read_pack
    from decreta.resolve.templates import Templates

    sources = [read_pack(project.library(), "specs/std", report)]
    sources += [read_pack(project.specs / name, f"specs/{name}", report) for name in project.packs()]
    return Templates(tuple(sources), report).relations


def _shown(name: str, template: Template) -> str:
    s = template.written.spec
    lines = [f"{name} ({s.version})", "", s.summary, "", "parameters"]
    for parameter, form in s.parameters.items():
        summary = f"  {form.summary}" if form.summary else ""
        lines.append(f"  {parameter}: {_form(form)}{summary and '  -' + summary[1:]}")
    for branch, text in template.bodies.items():
        lines += [
            "",
            f"body{' ' + branch if branch else ''}",
            *("  " + line for line in text.text.rstrip().split("\n")),
        ]
    if s.examples:
        lines += ["", "examples", *(f"  {example.name}" for example in s.examples)]
    lines += ["", f"use: {name}", f"see {template.written.doc.name}"]
    return "\n".join(lines)


def _form(parameter: spec.ParameterSpec) -> str:
    if isinstance(parameter, spec.RelationParameter):
        return "relation (" + ", ".join(f"{local} {form}" for local, form in parameter.relation.items()) + ")"
    if isinstance(parameter, spec.RelationsParameter):
        return "list of relations"
    if isinstance(parameter, spec.OneOfParameter):
        default = f" (default {parameter.default})" if parameter.default else ""
        return "one of " + ", ".join(parameter.one_of) + default
    default = "" if parameter.default is None else f" (default {parameter.default})"
    return parameter.type + (" (may be left out)" if parameter.picks else default)
