"""A parameter or local column of a template that no branch of its body mentions."""

from __future__ import annotations

import re

from decreta.diagnostics import Report
from decreta.model import spec
from decreta.model.program import Bound, Checked, Template

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def check(program: Checked, bound: Bound, report: Report) -> None:
    """Warn of every parameter of the pack's own templates that nothing reads."""
    own = program.resolved.header.spec.name + "/"
    for name, template in program.resolved.templates.items():
        if name.startswith(own):
            _check_template(template, report)


def _check_template(template: Template, report: Report) -> None:
    text = _COMMENT.sub(" ", " ".join(body.text for body in template.bodies.values()))
    words = set(re.findall(r"\$?\w+", text))
    written = template.written
    checks = str(written.spec.provides)
    for name, parameter in written.spec.parameters.items():
        place = written.key("parameters", name)
        if isinstance(parameter, spec.RelationParameter | spec.RelationsParameter):
            key = "relation" if isinstance(parameter, spec.RelationParameter) else "relations"
            if name not in words:
                report.warning("D602", f"no branch of the body reads `{name}`", place, help="remove it")
                continue
            for local in getattr(parameter, key):
                if local not in words:
                    place = written.key("parameters", name, key, local)
                    report.warning("D602", f"no branch of the body reads `{name}.{local}`", place, help="remove it")
        elif name != template.branch and f"${name}" not in words and f"${name}" not in checks:
            report.warning("D602", f"no branch of the body reads `${name}`", place, help="remove it")
