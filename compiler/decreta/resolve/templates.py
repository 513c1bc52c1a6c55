"""Templates of the library and of the pack, each with the text of its branches."""

from __future__ import annotations

from pathlib import PurePosixPath

from decreta.diagnostics import Related, Report, did_you_mean
from decreta.model import spec
from decreta.model.files import PackFiles
from decreta.model.program import Template, Written
from decreta.resolve.names import text_of
from decreta.validate import validate


class Templates:
    """The templates that a pack's specs may refer to, by `library/name@major`."""

    def __init__(self, sources: tuple[PackFiles, ...], report: Report) -> None:
        self.report = report
        self.objects: dict[str, Written[spec.ObjectTemplateSpec]] = {}
        self.relations: dict[str, Template] = {}
        self.broken: set[str] = set()
        """Templates whose files have mistakes, by `library/name`."""
        for files in sources:
            self._read(files)

    def _read(self, files: PackFiles) -> None:
        for path, doc in files.documents.get("templates", {}).items():
            written = validate(doc, spec.TemplateSpec, self.report)
            if written is None:
                self.broken.add(f"{files.name}/{PurePosixPath(path).stem}")
                continue
            name = f"{files.name}/{written.template}@{written.version.split('.')[0]}"
            if PurePosixPath(path).stem.partition("@")[0] != written.template:
                self.report.error("D203", f"template `{written.template}` stands in `{path}`", doc.place("template"))
            if isinstance(written, spec.ObjectTemplateSpec):
                self.objects[name] = Written(written, doc)
            elif template := self._template(name, Written(written, doc), files):
                self.relations[name] = template
            else:
                self.broken.add(name.partition("@")[0])

    def _template(self, name: str, written: Written[spec.RelationTemplateSpec], files: PackFiles) -> Template | None:
        body = written.spec.body
        if not isinstance(body, dict):
            text = text_of(body, written, ("body",), files, "templates", self.report)
            return Template(name, written, {"": text}, None) if text else None
        branch = next((p for p, s in written.spec.parameters.items() if _picked(s) == set(body)), None)
        if branch is None:
            self._no_branch(written, set(body))
        texts = {
            pick: text_of(text, written, ("body", pick), files, "templates", self.report) for pick, text in body.items()
        }
        if branch is None or not all(texts.values()):
            return None
        return Template(name, written, {pick: text for pick, text in texts.items() if text}, branch)

    def _no_branch(self, written: Written[spec.RelationTemplateSpec], branches: set[str]) -> None:
        """Report branches that nothing picks, at the parameter and the branch that fit least badly."""
        picks = {p: values for p, s in written.spec.parameters.items() if (values := _picked(s))}
        nearest = max(picks, key=lambda p: len(picks[p] & branches), default=None)
        help = "name one branch for each value of a `one_of` parameter, or the two that a parameter `picks`"
        if nearest is None or not picks[nearest] & branches:
            words = "the branches of `body` are not the values of any parameter"
            self.report.error("D203", words, written.entry("body"), help=help)
            return
        related = [Related(written.entry("parameters", nearest), f"`{nearest}` picks one")]
        for branch in sorted(branches - picks[nearest]):
            words, hint = (
                f"nothing picks the branch `{branch}`",
                did_you_mean(branch, picks[nearest] - branches) or help,
            )
            self.report.error("D203", words, written.key("body", branch), help=hint, related=related)
        if branches < picks[nearest]:
            listed = ", ".join(f"`{value}`" for value in sorted(picks[nearest] - branches))
            self.report.error("D202", f"`body` has no branch for {listed}", written.entry("body"), help=help)


def _picked(parameter: spec.ParameterSpec) -> set[str]:
    """Return the branches that the values of a parameter, or its presence, can pick."""
    if isinstance(parameter, spec.OneOfParameter):
        return set(parameter.one_of)
    if isinstance(parameter, spec.ScalarParameter) and parameter.picks:
        return {parameter.picks.given, parameter.picks.absent}
    return set()
