"""Second stage: documents become typed specs, and every name in them is bound to what it names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel

from decreta.diagnostics import Related, Report, did_you_mean
from decreta.model import spec
from decreta.model.files import PackFiles
from decreta.model.program import (
    Application,
    Domain,
    Object,
    Query,
    Relation,
    RelationArgument,
    Resolved,
    RuleBook,
    Template,
    Written,
)
from decreta.source import Embedded, SourceText, Span
from decreta.validate import validate
from decreta_runtime.contract import types
from decreta_runtime.contract.manifest import Column, Source

M = TypeVar("M", bound=BaseModel)


def resolve(files: PackFiles, library: PackFiles, report: Report) -> Resolved | None:
    """Return the pack with all names bound, or None after reporting every name and value that does not fit."""
    return _Resolver(files, library, report).pack()


class _Resolver:
    def __init__(self, files: PackFiles, library: PackFiles, report: Report) -> None:
        self.files, self.library, self.report = files, library, report
        self.object_templates: dict[str, Written[spec.ObjectTemplateSpec]] = {}
        self.templates: dict[str, Template] = {}
        self.objects: dict[str, Object] = {}
        self.relations: dict[str, Written[spec.RelationSpec]] = {}

    def pack(self) -> Resolved | None:
        header = self._header(self.files)
        self._imports(header)
        self._templates()
        written_objects = self._all("objects", spec.ObjectSpec, "object")
        self.objects = {name: self._object(name, written) for name, written in written_objects.items()}
        self.relations = self._all("relations", spec.RelationSpec, "relation")
        queries = self._all("queries", spec.QuerySpec, "query")
        self._one_name_space(written_objects, self.relations, queries)
        relations = {name: self._relation(name, written) for name, written in self.relations.items()}
        rules = self._rules()
        environments = self._all("env", spec.EnvironmentSpec, None)
        if not environments:
            where = self.files.place("env/local.toml").span(0, 0)
            self.report.error("D108", "the pack has no environment", where, help="create env/local.toml")
        for environment in environments.values():
            self._bindings(environment)
        shapes = {n: self._query(n, w, header) for n, w in queries.items()} if header else {}
        self._required_adapters()
        if self.report.failed or header is None:
            return None
        return Resolved(
            header,
            self.objects,
            self.object_templates,
            self.templates,
            {name: relation for name, relation in relations.items() if relation},
            {name: shape for name, shape in shapes.items() if shape},
            rules,
            environments,
            self._capabilities(),
            {path: text for path, text in self.files.texts.items() if path.startswith("code/")},
        )

    # -- files and headers

    def _header(self, files: PackFiles) -> Written[spec.PackSpec] | None:
        doc = files.header
        if doc is None or (header := validate(doc, spec.PackSpec, self.report)) is None:
            return None
        if header.name != files.name:
            self.report.error(
                "D203",
                f"pack `{header.name}` stands in the folder `{files.name}`",
                doc.place("name"),
                help="rename one",
            )
        return Written(header, doc)

    def _imports(self, header: Written[spec.PackSpec] | None) -> None:
        if header is None:
            return
        library = self._header(self.library)
        for i, reference in enumerate(header.spec.imports):
            name, _, major = reference.partition("@")
            if name != self.library.name:
                hint = did_you_mean(name, [self.library.name])
                self.report.error("D205", f"unknown library `{name}`", header.place("imports", i), help=hint)
            elif library and library.spec.version.split(".")[0] != major:
                self.report.error(
                    "D207", f"`{name}` has no version {major}; it is {library.spec.version}", header.place("imports", i)
                )

    def _all(self, folder: str, form: type[M], name_key: str | None) -> dict[str, Written[M]]:
        found: dict[str, Written[M]] = {}
        for path, doc in self.files.documents.get(folder, {}).items():
            stem = PurePosixPath(path).stem
            if (written := validate(doc, form, self.report)) is None:
                continue
            name = getattr(written, name_key) if name_key else stem
            if name != stem:
                self.report.error(
                    "D203",
                    f"{name_key} `{name}` stands in `{path}`",
                    doc.place(name_key or ""),
                    help=f"name the file {folder}/{name}.yaml",
                )
            found[name] = Written(written, doc)
        return found

    def _one_name_space(self, *kinds: Mapping[str, Written[Any]]) -> None:
        first: dict[str, Written[Any]] = {}
        for kind in kinds:
            for name, written in kind.items():
                if other := first.get(name):
                    related = [Related(other.place(), "the other")]
                    self.report.error("D206", f"`{name}` is used twice", written.place(), related=related)
                first.setdefault(name, written)

    # -- templates and objects

    def _templates(self) -> None:
        for files in (self.library, self.files):
            for path, doc in files.documents.get("templates", {}).items():
                written = validate(doc, spec.TemplateSpec, self.report)
                if written is None:
                    continue
                name = f"{files.name}/{written.template}@{written.version.split('.')[0]}"
                if PurePosixPath(path).stem.partition("@")[0] != written.template:
                    self.report.error(
                        "D203", f"template `{written.template}` stands in `{path}`", doc.place("template")
                    )
                if isinstance(written, spec.ObjectTemplateSpec):
                    self.object_templates[name] = Written(written, doc)
                elif template := self._template(name, Written(written, doc), files):
                    self.templates[name] = template

    def _template(self, name: str, written: Written[spec.RelationTemplateSpec], files: PackFiles) -> Template | None:
        body = written.spec.body
        if not isinstance(body, dict):
            text = self._text(body, written, ("body",), files, "templates")
            return Template(name, written, {"": text}, None) if text else None
        branch = next(
            (
                p
                for p, s in written.spec.parameters.items()
                if isinstance(s, spec.OneOfParameter) and set(s.one_of) == set(body)
            ),
            None,
        )
        if branch is None:
            self.report.error(
                "D203",
                "the branches of `body` are not the values of any parameter",
                written.key("body"),
                help="name one branch for each value of a `one_of` parameter",
            )
        texts = {pick: self._text(text, written, ("body", pick), files, "templates") for pick, text in body.items()}
        if branch is None or not all(texts.values()):
            return None
        return Template(name, written, {pick: text for pick, text in texts.items() if text}, branch)

    def _text(
        self,
        text: str | spec.FileText,
        written: Written[Any],
        path: tuple[str, ...],
        files: PackFiles,
        folder: str,
    ) -> Embedded | None:
        if isinstance(text, str):
            return written.text(*path)
        source = files.texts.get(f"{folder}/{text.file}")
        if source is None:
            known = [PurePosixPath(p).name for p in files.texts if p.startswith(f"{folder}/") and p.endswith(".sql")]
            self.report.error(
                "D108",
                f"there is no file `{folder}/{text.file}`",
                written.place(*path, "file"),
                help=did_you_mean(text.file, known),
            )
            return None
        return whole_text(source)

    def _object(self, name: str, written: Written[spec.ObjectSpec]) -> Object:
        columns: list[Column] = []
        if written.spec.extends:
            template = self._find(
                written.spec.extends, self.object_templates, written.place("extends"), "object template"
            )
            if template:
                columns += [self._column(n, c, template, ("columns", n)) for n, c in template.spec.columns.items()]
        inherited = {column.name for column in columns}
        for column_name, column in written.spec.columns.items():
            if column_name in inherited:
                self.report.error(
                    "D206",
                    f"`{column_name}` comes from `{written.spec.extends}` already",
                    written.key("columns", column_name),
                )
            columns.append(self._column(column_name, column, written, ("columns", column_name)))
        if not columns:
            self.report.error("D202", f"object `{name}` has no columns", written.place())
        source = written.spec.source
        sort = tuple(written.spec.layout.sort) if written.spec.layout else ()
        result = Object(
            name,
            written.spec.version,
            written.spec.summary,
            tuple(columns),
            tuple(written.spec.key or ()),
            Source(name=source.name, adapter=source.adapter, stream=source.stream)
            if isinstance(source, spec.SourceSpec)
            else None,
            sort,
            written.spec.checks,
            written.doc,
        )
        known = {column.name: column for column in columns}
        self._columns_exist(result.key, known, written, "key")
        self._columns_exist(sort, known, written, "layout", "sort")
        for i, column_name in enumerate(result.key):
            if column_name in known and known[column_name].nullable:
                self.report.error("D311", f"the key column `{column_name}` is nullable", written.place("key", i))
        return result

    def _column(self, name: str, column: spec.ColumnSpec, written: Written[Any], path: tuple[str, ...]) -> Column:
        names = types.names_of(column.type)
        if names is None:
            known = [*types.SCALARS, "decimal(18,2)", "list<string>"]
            self.report.error(
                "D203",
                f"unknown type `{column.type}`",
                written.place(*path, "type"),
                help=did_you_mean(column.type, known),
            )
        if column.length is not None and column.type != "binary":
            self.report.error("D203", "`length` is of `binary` columns", written.place(*path, "length"))
        if column.values is not None and column.type != "string":
            self.report.error("D203", "`values` are of `string` columns", written.place(*path, "values"))
        return Column(
            name=name,
            type=names.spec if names else "string",
            nullable=column.nullable,
            role=column.role,
            domain=spec.domains(column.domain),
            values=tuple(column.values or ()),
            length=column.length,
        )

    def _columns_exist(self, names: Iterable[str], known: Mapping[str, Any], written: Written[Any], *path: str) -> None:
        for i, name in enumerate(names):
            if name not in known:
                self.report.error(
                    "D303", f"there is no column `{name}`", written.place(*path, i), help=did_you_mean(name, known)
                )

    # -- relations and queries

    def _relation(self, name: str, written: Written[spec.RelationSpec]) -> Relation | None:
        s = written.spec
        if (s.use is None) == (s.body is None):
            self.report.error("D202", f"relation `{name}` needs either `use` or `body`", written.place())
            return None
        if s.export and s.version is None:
            self.report.error("D202", "an exported relation has a `version`", written.key("export"))
        if s.layout and not s.store:
            self.report.error(
                "D203", "`layout` is of stored relations", written.key("layout"), help="add `store: true`"
            )
        if s.body is not None:
            self._no_arguments(written)
            text = self._text(s.body, written, ("body",), self.files, "relations")
            summary = s.summary or name.replace("_", " ")
            return Relation(name, written, summary, None, text, s.columns) if text else None
        application = self._application(written)
        if application is None:
            return None
        summary = s.summary or application.template.written.spec.summary
        return Relation(name, written, summary, application, None, s.columns)

    def _no_arguments(self, written: Written[spec.RelationSpec]) -> None:
        for key, given in (("with", written.spec.with_), ("carry", written.spec.carry)):
            if given:
                self.report.error(
                    "D209", f"`{key}` is for a template", written.key(key), help="add `use`, or remove it"
                )

    def _application(self, written: Written[spec.RelationSpec]) -> Application | None:
        s = written.spec
        assert s.use is not None
        template = self._find(s.use, self.templates, written.place("use"), "template")
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

    def _query(self, name: str, written: Written[spec.QuerySpec], header: Written[spec.PackSpec]) -> Query | None:
        s = written.spec
        if s.class_ not in header.spec.workloads:
            known = header.spec.workloads
            self.report.error(
                "D205",
                f"unknown workload class `{s.class_}`",
                written.place("class"),
                help=did_you_mean(s.class_, known),
            )
        parameters: dict[str, str] = {}
        for parameter, type_name in s.parameters.items():
            if (names := types.names_of(type_name)) is None:
                hint = did_you_mean(type_name, types.SCALARS)
                self.report.error(
                    "D203", f"unknown type `{type_name}`", written.place("parameters", parameter), help=hint
                )
            else:
                parameters[parameter] = names.spec
        if s.example and set(s.example) != set(s.parameters):
            wanted = ", ".join(f"`{p}`" for p in s.parameters)
            self.report.error("D203", f"an example gives each of {wanted}", written.key("example"))
        text = self._text(s.body, written, ("body",), self.files, "queries")
        return Query(name, written, text, parameters) if text else None

    # -- rules, environments, code

    def _rules(self) -> RuleBook:
        domains_: dict[str, Domain] = {}
        rules: dict[str, Written[spec.RuleSpec]] = {}
        thresholds: dict[str, Written[spec.ThresholdSpec]] = {}
        confidence: dict[str, str] = {}
        for files in (self.library, self.files):
            own_rules: dict[str, Written[spec.RuleSpec]] = {}
            own_thresholds: dict[str, Written[spec.ThresholdSpec]] = {}
            for doc in files.documents.get("rules", {}).values():
                if (book := validate(doc, spec.RulesSpec, self.report)) is None:
                    continue
                confidence |= book.confidence
                for name, domain in book.domain.items():
                    place = doc.place("domain", name, "order")
                    domains_[name] = Domain(name, tuple(domain.order), domain.min_confidence, place)
                for i, rule in enumerate(book.rule):
                    self._once(own_rules, rule.id, Written(rule, doc, ("rule", i)))
                for i, threshold in enumerate(book.threshold):
                    self._once(own_thresholds, threshold.id, Written(threshold, doc, ("threshold", i)))
            rules |= own_rules
            thresholds |= own_thresholds
        return RuleBook(domains_, rules, thresholds, confidence)

    def _once(self, found: dict[str, Written[M]], name: str, written: Written[M]) -> None:
        if name in found:
            related = [Related(found[name].place("id"), "first written here")]
            self.report.error("D409", f"`{name}` is written twice", written.place("id"), related=related)
        found[name] = written

    def _bindings(self, environment: Written[spec.EnvironmentSpec]) -> None:
        tables = {name for name, obj in self.objects.items() if obj.source is None}
        sources = {obj.source.name for obj in self.objects.values() if obj.source}
        for name, binding in environment.spec.bindings.items():
            if name not in tables | sources:
                self.report.error(
                    "D205",
                    f"nothing is bound by the name `{name}`",
                    environment.key("bindings", name),
                    help=did_you_mean(name, tables | sources),
                )
            elif (binding.table is None) == (name in tables):
                need = "`table`" if name in tables else "`roots` and `options`"
                self.report.error("D203", f"`{name}` is bound by {need}", environment.place("bindings", name))

    def _required_adapters(self) -> None:
        for obj in self.objects.values():
            if obj.source and f"code/{obj.source.adapter}.py" not in self.files.texts:
                known = [PurePosixPath(p).stem for p in self.files.texts if p.startswith("code/")]
                self.report.error(
                    "D108",
                    f"there is no adapter `code/{obj.source.adapter}.py`",
                    obj.doc.place("source", "adapter"),
                    help=did_you_mean(obj.source.adapter, known),
                )

    def _capabilities(self) -> dict[str, Mapping[str, Any]]:
        folder = "capabilities/"
        return {
            path.removeprefix(folder).removesuffix(".json"): json.loads(text.text)
            for path, text in self.library.texts.items()
            if path.startswith(folder)
        }

    def _find(self, reference: str, known: Mapping[str, Any], place: Span, what: str) -> Any:
        if found := known.get(reference):
            return found
        stem = reference.partition("@")[0]
        if versions := [name.partition("@")[2] for name in known if name.partition("@")[0] == stem]:
            self.report.error(
                "D207",
                f"{what} `{stem}` has no version {reference.partition('@')[2]}",
                place,
                help=f"it has {', '.join(versions)}",
            )
        else:
            self.report.error("D205", f"unknown {what} `{reference}`", place, help=did_you_mean(reference, known))
        return None


def whole_text(source: SourceText) -> Embedded:
    """Return a file's whole text as embedded text."""
    offsets, offset = [], 0
    for line in source.text.split("\n"):
        offsets.append(offset)
        offset += len(line) + 1
    return Embedded(source, source.text, tuple(offsets))
