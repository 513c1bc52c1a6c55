"""Give templates their arguments: relations by name, their columns by role or by the caller, values by type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decreta.diagnostics import Report, did_you_mean
from decreta.model import spec
from decreta.model.program import Application, Object, RelationArgument, Template, Written
from decreta.resolve.names import find


class Arguments:
    """Binds the arguments of relations to what they name."""

    def __init__(
        self,
        objects: Mapping[str, Object],
        relations: Mapping[str, Written[spec.RelationSpec]],
        templates: Mapping[str, Template],
        report: Report,
    ) -> None:
        self.objects, self.relations, self.templates, self.report = objects, relations, templates, report

    def application(self, written: Written[spec.RelationSpec]) -> Application | None:
        """Return the template that a relation uses with all of its arguments, or None after reporting."""
        s = written.spec
        assert s.use is not None
        template = find(s.use, self.templates, written.place("use"), "template", self.report)
        if template is None:
            return None
        parameters = template.written.spec.parameters
        for given in s.with_:
            if given not in parameters:
                self.report.error(
                    "D209",
                    f"`{s.use}` has no parameter `{given}`",
                    written.key("with", given),
                    help=did_you_mean(given, parameters),
                )
        relations: dict[str, RelationArgument] = {}
        choices: dict[str, str] = {}
        scalars: dict[str, bool | int | str] = {}
        for name, parameter in parameters.items():
            if isinstance(parameter, spec.RelationParameter):
                if argument := self._relation_argument(written, name, parameter):
                    relations[name] = argument
            elif isinstance(parameter, spec.OneOfParameter):
                if (pick := self._choice(written, name, parameter)) is not None:
                    choices[name] = pick
            elif (value := self._scalar(written, name, parameter)) is not None:
                scalars[name] = value
        return Application(template, relations, choices, scalars, self._carry(written, relations, template))

    def _relation_argument(
        self, written: Written[spec.RelationSpec], name: str, parameter: spec.RelationParameter
    ) -> RelationArgument | None:
        given = written.spec.with_.get(name)
        if given is None:
            self._missing(written, name, "a relation")
            return None
        path: tuple[str, ...] = ("with", name)
        columns: Mapping[str, Any] = {}
        target = given
        if isinstance(given, dict):
            unknown = set(given) - {"relation", "columns"}
            for key in sorted(unknown):
                hint = did_you_mean(key, ["relation", "columns"])
                self.report.error("D201", f"unknown key `{key}`", written.key("with", name, key), help=hint)
            target, columns, path = given.get("relation"), given.get("columns", {}), (*path, "relation")
        if not isinstance(target, str) or not isinstance(columns, dict):
            self.report.error(
                "D209",
                f"`{name}` needs a relation",
                written.place("with", name),
                help="write its name, or {relation: …, columns: {…}}",
            )
            return None
        if target not in self.objects and target not in self.relations:
            known = [*self.objects, *self.relations]
            self.report.error(
                "D205", f"unknown relation `{target}`", written.place(*path), help=did_you_mean(target, known)
            )
            return None
        return self._local_columns(written, name, parameter, target, columns)

    def _local_columns(
        self,
        written: Written[spec.RelationSpec],
        name: str,
        parameter: spec.RelationParameter,
        target: str,
        given: Mapping[str, Any],
    ) -> RelationArgument | None:
        for local in given:
            if local not in parameter.relation:
                self.report.error(
                    "D209",
                    f"`{name}` has no local column `{local}`",
                    written.key("with", name, "columns", local),
                    help=did_you_mean(local, parameter.relation),
                )
        columns: dict[str, str | tuple[str, ...]] = {}
        for local, form in parameter.relation.items():
            value = given.get(local)
            if value is None and form.startswith("@"):
                value = self._by_role(written, name, target, local, form[1:])
            elif value is None:
                self.report.error(
                    "D209",
                    f"`{name}` needs its column{'s' if form == 'columns' else ''} `{local}`",
                    written.place("with", name),
                    help=f"write {name}: {{relation: {target}, columns: {{{local}: …}}}}",
                )
            elif not self._fits(value, form):
                self.report.error(
                    "D209",
                    f"`{local}` needs {'a list of columns' if form == 'columns' else 'a column'}",
                    written.place("with", name, "columns", local),
                )
                value = None
            if value is not None:
                columns[local] = tuple(value) if isinstance(value, list) else value
        complete = set(columns) == set(parameter.relation)
        return RelationArgument(target, columns, written.place("with", name)) if complete else None

    @staticmethod
    def _fits(value: Any, form: str) -> bool:
        if form == "columns":
            return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
        return isinstance(value, str)

    def _by_role(
        self, written: Written[spec.RelationSpec], name: str, target: str, local: str, role: str
    ) -> str | None:
        found = [column for column, r in self._roles(target) if r == role]
        if len(found) == 1:
            return found[0]
        what = f"no column of role `{role}`" if not found else f"several columns of role `{role}` ({', '.join(found)})"
        self.report.error(
            "D209",
            f"`{target}` has {what} for `{local}` of `{name}`",
            written.place("with", name),
            help=f"write {name}: {{relation: {target}, columns: {{{local}: …}}}}",
        )
        return None

    def _roles(self, name: str) -> list[tuple[str, str]]:
        if name in self.objects:
            return [(c.name, c.role) for c in self.objects[name].columns if c.role]
        outputs = self.relations[name].spec.columns
        return [(o.as_ or n, o.role) for n, o in outputs.items() if o.role]

    def _choice(self, written: Written[spec.RelationSpec], name: str, parameter: spec.OneOfParameter) -> str | None:
        given = written.spec.with_.get(name, parameter.default)
        if given is None:
            self._missing(written, name, f"one of {', '.join(f'`{v}`' for v in parameter.one_of)}")
        elif given not in parameter.one_of:
            self.report.error(
                "D209",
                f"`{name}` cannot be `{given}`",
                written.place("with", name),
                help=did_you_mean(str(given), parameter.one_of),
            )
            return None
        return given

    def _scalar(
        self, written: Written[spec.RelationSpec], name: str, parameter: spec.ScalarParameter
    ) -> bool | int | str | None:
        given: Any = written.spec.with_.get(name, parameter.default)
        if given is None:
            self._missing(written, name, f"a value of type `{parameter.type}`")
            return None
        kinds: dict[str, type] = {"bool": bool, "int": int, "decimal": str, "string": str}
        if not isinstance(given, kinds[parameter.type]) or (parameter.type == "int" and isinstance(given, bool)):
            self.report.error("D209", f"`{name}` needs a value of type `{parameter.type}`", written.place("with", name))
            return None
        return given if isinstance(given, bool | int | str) else None

    def _missing(self, written: Written[spec.RelationSpec], name: str, what: str) -> None:
        self.report.error(
            "D209", f"`{name}` is missing: {what}", written.key("with"), help=f"add `{name}` under `with`"
        )

    def _carry(
        self, written: Written[spec.RelationSpec], relations: Mapping[str, RelationArgument], template: Template
    ) -> dict[str, tuple[tuple[str, str], ...]]:
        carried: dict[str, tuple[tuple[str, str], ...]] = {}
        for name, columns in written.spec.carry.items():
            parameter = template.written.spec.parameters.get(name)
            if not isinstance(parameter, spec.RelationParameter):
                known = [
                    p for p, s in template.written.spec.parameters.items() if isinstance(s, spec.RelationParameter)
                ]
                self.report.error(
                    "D209",
                    f"`{name}` is no relation parameter",
                    written.key("carry", name),
                    help=did_you_mean(name, known),
                )
            elif isinstance(columns, list) and all(isinstance(c, str) for c in columns):
                carried[name] = tuple((c, c) for c in columns)
            elif isinstance(columns, dict) and all(isinstance(c, str) for c in columns.values()):
                carried[name] = tuple(columns.items())
            else:
                self.report.error(
                    "D209",
                    f"`{name}` needs a list of columns, or {{column: name in the output}}",
                    written.place("carry", name),
                )
        return carried
