"""A parameter or local column of a template that no branch of its body mentions."""

from __future__ import annotations

import re

from decreta.diagnostics import Report
from decreta.model import spec
from decreta.model.program import Bound, Checked, Template


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Warn of every parameter of the pack's own templates that nothing reads."""
    own = program.resolved.header.spec.name + "/"
    for name, template in program.resolved.templates.items():
        if name.startswith(own):
            _check_template(template, report)


def _check_template(template: Template, report: Report) -> None:
    words = set(re.findall(r"\$?\w+", " ".join(text.text for text in template.bodies.values())))
    written = template.written
    for name, parameter in written.spec.parameters.items():
        if isinstance(parameter, spec.RelationParameter):
            for local in parameter.relation:
                if local not in words:
                    place = written.key("parameters", name, "relation", local)
                    report.warning("D602", f"no branch of the body reads `{name}.{local}`", place, help="remove it")
        elif isinstance(parameter, spec.ScalarParameter):
            checks = str(written.spec.provides)
            if f"${name}" not in words and f"${name}" not in checks:
                place = written.key("parameters", name)
                report.warning("D602", f"no branch of the body reads `${name}`", place, help="remove it")
