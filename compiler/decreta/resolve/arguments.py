"""Give templates and table functions their arguments: relations, columns, choices, values and expressions."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from decreta.diagnostics import Hint, Related, Report, did_you_mean
from decreta.model import spec
from decreta.model.program import (
    Application,
    Arguments,
    Call,
    Expressions,
    Function,
    Object,
    RelationArgument,
    Template,
    Written,
)
from decreta.resolve.names import find
from decreta.resolve.templates import Templates
from decreta_runtime.contract import types

_DURATION = re.compile(r"^\d+ (second|minute|hour|day|week|month|year)s?$")
_DECIMAL = re.compile(rf"^-?(?=[\d.]{{1,{types.MAX_DECIMAL_PRECISION}}}$)\d+(\.\d+)?$")
_WANTS = {
    "bool": "`true` or `false`",
    "int": "a whole number",
    "decimal": 'a decimal in quotes, such as "0.05"',
    "string": "text",
    "duration": "a duration such as `7 days`",
    "columns": "a list of columns",
    "expression": "an SQL expression",
    "expressions": "names with an SQL expression each",
}


class Binder:
    """Binds the arguments of relations to what they name."""

    def __init__(
        self,
        objects: Mapping[str, Object],
        relations: Mapping[str, Written[spec.RelationSpec]],
        templates: Templates,
        functions: Mapping[str, Function],
        broken: Container[str],
        report: Report,
    ) -> None:
        self.objects, self.relations, self.templates = objects, relations, templates
        self.functions, self.broken, self.report = functions, broken, report

    def application(self, written: Written[spec.RelationSpec]) -> Application | None:
        """Return the template that a relation uses with all of its arguments, or None after reporting."""
        s = written.spec
        assert s.use is not None
        template = find(
            s.use, self.templates.relations, written.place("use"), "template", self.report, self.templates.broken
        )
        if template is None:
            return None
        parameters = template.written.spec.parameters
        arguments = _Given(self, written, s.use, template.written).arguments()
        if arguments is None:
            return None
        branch = _branch(template, arguments)
        provides = template.written.spec.provides
        if isinstance(provides, dict):
            provides = provides.get(branch, spec.ProvidesSpec())
        return Application(template, arguments, branch, provides, self._carry(written, parameters))

    def call(self, written: Written[spec.RelationSpec]) -> Call | None:
        """Return the table function that a relation calls with all of its arguments, or None after reporting."""
        name = written.spec.function
        assert name is not None
        function = self.functions.get(name)
        if name in self.broken:
            return None
        if function is None or not isinstance(function.written.spec, spec.TableFunctionSpec):
            known = [n for n, f in self.functions.items() if isinstance(f.written.spec, spec.TableFunctionSpec)]
            hint = did_you_mean(name, known) or "declare it in `functions/`"
            self.report.error("D205", f"unknown table function `{name}`", written.place("function"), help=hint)
            return None
        arguments = _Given(self, written, name, function.written).arguments()
        return Call(function, arguments) if arguments else None

    def _carry(
        self, written: Written[spec.RelationSpec], parameters: Mapping[str, spec.ParameterSpec]
    ) -> dict[str, tuple[tuple[str, str], ...]]:
        carried: dict[str, tuple[tuple[str, str], ...]] = {}
        known = [p for p, s in parameters.items() if isinstance(s, spec.RelationParameter)]
        for name, columns in written.spec.carry.items():
            if name not in known:
                hint = did_you_mean(name, known)
                self.report.error("D209", f"`{name}` is no relation parameter", written.key("carry", name), help=hint)
            elif columns == "*":
                carried[name] = (("*", "*"),)
            elif isinstance(columns, list) and all(isinstance(c, str) for c in columns):
                carried[name] = tuple((c, c) for c in columns)
            elif isinstance(columns, dict) and all(isinstance(c, str) for c in columns.values()):
                carried[name] = tuple(columns.items())
            else:
                words = f'`{name}` needs a list of columns, {{column: name in the output}} or "*"'
                self.report.error("D209", words, written.place("carry", name))
        return carried


def _branch(template: Template, arguments: Arguments) -> str:
    name = template.branch
    if name is None:
        return ""
    parameter = template.written.spec.parameters[name]
    if isinstance(parameter, spec.ScalarParameter):
        assert parameter.picks is not None
        return parameter.picks.absent if name in arguments.absent else parameter.picks.given
    return arguments.choices[name]


@dataclass
class _Found:
    """Arguments as they are found."""

    relations: dict[str, RelationArgument] = field(default_factory=dict)
    united: dict[str, tuple[RelationArgument, ...]] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    scalars: dict[str, bool | int | str | Decimal] = field(default_factory=dict)
    durations: dict[str, str] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expressions: dict[str, Expressions] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)


class _Given:
    """The `with` of one relation, held against the parameters of the template or function that it uses."""

    def __init__(
        self,
        binder: Binder,
        written: Written[spec.RelationSpec],
        used: str,
        owner: Written[spec.RelationTemplateSpec] | Written[spec.TableFunctionSpec],
    ) -> None:
        self.objects, self.relations, self.broken = binder.objects, binder.relations, binder.broken
        self.written, self.used, self.owner = written, used, owner
        self.given, self.parameters = written.spec.with_, owner.spec.parameters
        self.total, self.report = binder.report, Report()
        self.found = _Found()
        self.misspelt: set[str] = set()

    def arguments(self) -> Arguments | None:
        """Return all arguments, or None after reporting what is unknown, missing or of the wrong form."""
        for name in self.given:
            if name not in self.parameters:
                words, hint = f"`{self.used}` has no parameter `{name}`", did_you_mean(name, self.parameters)
                related = [Related(self.owner.entry("parameters"), f"the parameters of `{self.used}`")]
                self.report.error("D209", words, self.written.key("with", name), help=hint, related=related)
                self.misspelt |= {hint.near} if isinstance(hint, Hint) else set()
        for name, parameter in self.parameters.items():
            self._bind(name, parameter)
        self.total.extend(self.report)
        if self.report.failed:
            return None
        return Arguments(**{**vars(self.found), "absent": frozenset(self.found.absent)})

    def _bind(self, name: str, parameter: spec.ParameterSpec) -> None:
        if isinstance(parameter, spec.RelationParameter):
            if name not in self.given:
                self._missing(name, "a relation")
            elif argument := self._relation(name, ("with", name), self.given[name], parameter.relation):
                self.found.relations[name] = argument
        elif isinstance(parameter, spec.RelationsParameter):
            self._relations(name, parameter)
        elif isinstance(parameter, spec.OneOfParameter):
            if (pick := self._choice(name, parameter)) is not None:
                self.found.choices[name] = pick
        else:
            self._value(name, parameter)

    # -- relations and their columns

    def _relations(self, name: str, parameter: spec.RelationsParameter) -> None:
        given = self.given.get(name)
        if not isinstance(given, list) or len(given) < 2:
            if given is None:
                self._missing(name, "a list of relations")
            else:
                words = f"`{name}` needs a list of two relations or more"
                self.report.error("D209", words, self.written.place("with", name))
            return
        bound = [self._relation(name, ("with", name, i), g, parameter.relations) for i, g in enumerate(given)]
        self.found.united[name] = tuple(b for b in bound if b)

    def _relation(
        self, name: str, path: tuple[str | int, ...], given: Any, locals_: Mapping[str, str]
    ) -> RelationArgument | None:
        columns: Mapping[str, Any] = {}
        target, at = given, path
        if isinstance(given, dict):
            unknown = set(given) - {"relation", "columns"}
            for key in sorted(unknown):
                hint = did_you_mean(key, ["relation", "columns"])
                self.report.error("D201", f"unknown key `{key}`", self.written.key(*path, key), help=hint)
            target, columns, at = given.get("relation"), given.get("columns", {}), (*path, "relation")
        if not isinstance(target, str) or not isinstance(columns, dict):
            words, help = f"`{name}` needs a relation", "write its name, or {relation: …, columns: {…}}"
            self.report.error("D209", words, self.written.place(*path), help=help)
            return None
        if target in self.broken:
            return None
        if target not in self.objects and target not in self.relations:
            hint = did_you_mean(target, [*self.objects, *self.relations])
            self.report.error("D205", f"unknown relation `{target}`", self.written.place(*at), help=hint)
            return None
        return self._columns(name, path, target, columns, locals_)

    def _columns(
        self,
        name: str,
        path: tuple[str | int, ...],
        target: str,
        given: Mapping[str, Any],
        locals_: Mapping[str, str],
    ) -> RelationArgument | None:
        for local in given:
            if local not in locals_:
                place = self.written.key(*path, "columns", local)
                hint = did_you_mean(local, locals_)
                self.report.error("D209", f"`{name}` has no local column `{local}`", place, help=hint)
        columns: dict[str, str | tuple[str, ...]] = {}
        for local, form in locals_.items():
            value = given.get(local)
            if value is None and form == "columns?":
                value = []
            elif value is None and form.startswith("@"):
                value = self._by_role(name, path, target, local, form[1:])
            elif value is None:
                self.report.error(
                    "D209",
                    f"`{name}` needs its column{'s' if form == 'columns' else ''} `{local}`",
                    self.written.place(*path),
                    help=f"write {name}: {{relation: {target}, columns: {{{local}: …}}}}",
                )
            elif not _fits(value, form):
                self.report.error(
                    "D209",
                    f"`{local}` needs {'a list of columns' if form.startswith('columns') else 'a column'}",
                    self.written.place(*path, "columns", local),
                )
                value = None
            if value is not None:
                columns[local] = tuple(value) if isinstance(value, list) else value
        complete = set(columns) == set(locals_)
        return RelationArgument(target, columns, self.written.place(*path)) if complete else None

    def _by_role(self, name: str, path: tuple[str | int, ...], target: str, local: str, role: str) -> str | None:
        found = [column for column, r in self._roles(target) if r == role]
        if len(found) == 1:
            return found[0]
        what = f"no column of role `{role}`" if not found else f"several columns of role `{role}` ({', '.join(found)})"
        self.report.error(
            "D209",
            f"`{target}` has {what} for `{local}` of `{name}`",
            self.written.place(*path),
            help=f"write {name}: {{relation: {target}, columns: {{{local}: …}}}}",
        )
        return None

    def _roles(self, name: str) -> list[tuple[str, str]]:
        if name in self.objects:
            return [(c.name, c.role) for c in self.objects[name].columns if c.role]
        outputs = self.relations[name].spec.columns
        return [(o.as_ or n, o.role) for n, o in outputs.items() if o.role]

    # -- choices and values

    def _choice(self, name: str, parameter: spec.OneOfParameter) -> str | None:
        given = self.given.get(name, parameter.default)
        if given is None:
            self._missing(name, f"one of {', '.join(f'`{v}`' for v in parameter.one_of)}")
        elif given not in parameter.one_of:
            hint = did_you_mean(str(given), parameter.one_of)
            self.report.error("D209", f"`{name}` cannot be `{given}`", self.written.place("with", name), help=hint)
            return None
        return given

    def _value(self, name: str, parameter: spec.ScalarParameter) -> None:
        value: Any = self.given.get(name, parameter.default)
        kind, found = parameter.type, self.found
        if value is None:
            if parameter.picks:
                found.absent.add(name)
            else:
                self._missing(name, _WANTS[kind])
            return
        if not _is_value(value, kind):
            words = f"`{name}` needs {_WANTS[kind]}"
            self.report.error("D209", words, self.written.place("with", name))
        elif kind == "columns":
            found.columns[name] = tuple(value)
        elif kind == "duration":
            found.durations[name] = value
        elif kind == "expression":
            inside, path = (self.written, ("with", name)) if name in self.given else (self.owner, _default(name))
            found.expressions[name] = Expressions(parameter.over or "", {"": inside.text(*path)})
        elif kind == "expressions":
            texts = {output: self.written.text("with", name, output) for output in value}
            found.expressions[name] = Expressions(parameter.over or "", texts)
        else:
            found.scalars[name] = Decimal(value) if kind == "decimal" else value

    def _missing(self, name: str, what: str) -> None:
        if name in self.misspelt:
            return
        words, help = f"`{name}` is missing: {what}", f"add `{name}` under `with`"
        self.report.error("D209", words, self.written.key("with"), help=help)


def _default(name: str) -> tuple[str, ...]:
    return ("parameters", name, "default")


def _fits(value: Any, form: str) -> bool:
    if form.startswith("columns"):
        enough = bool(value) or form.endswith("?")
        return isinstance(value, list) and enough and all(isinstance(v, str) for v in value)
    return isinstance(value, str)


def _is_value(value: Any, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "columns":
        return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
    if kind == "expressions":
        return isinstance(value, dict) and bool(value) and all(isinstance(v, str) for v in value.values())
    if kind == "duration":
        return isinstance(value, str) and _DURATION.match(value) is not None
    if kind == "decimal":
        return isinstance(value, str) and _DECIMAL.match(value) is not None
    return isinstance(value, str)
