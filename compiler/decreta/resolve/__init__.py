"""Second stage: documents become typed specs, and every name in them is bound to what it names."""

from __future__ import annotations

import ast
import builtins
import keyword
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast

import msgspec
from pydantic import BaseModel

from decreta.diagnostics import Related, Report, did_you_mean
from decreta.indexes import indexes
from decreta.model import spec
from decreta.model.files import PackFiles
from decreta.model.program import Function, Object, Query, Relation, Resolved, Written
from decreta.resolve.arguments import Binder
from decreta.resolve.calibration import calibration_locks
from decreta.resolve.changes import changes
from decreta.resolve.evidence import evidence_locks
from decreta.resolve.names import find, text_of
from decreta.resolve.rulebook import rule_book
from decreta.resolve.templates import Templates
from decreta.source import SourceText, Span
from decreta.validate import validate
from decreta_runtime.contract import types
from decreta_runtime.contract.capabilities import CapabilityFile
from decreta_runtime.contract.manifest import RUN_WORKLOAD, SQL_WORKLOAD, Column, Source
from decreta_runtime.contract.policy import DOMAINS

M = TypeVar("M", bound=BaseModel)
_GENERATED_NAMES = {*dir(builtins), "datetime", "decimal", "pa"}
"""What a query function would hide from the functions beside it: builtins and the module's imports."""


def resolve(files: PackFiles, library: PackFiles, report: Report) -> Resolved | None:
    """Return the pack with all names bound, or None after reporting every name and value that does not fit."""
    return _Resolver(files, library, report).pack()


class _Resolver:
    def __init__(self, files: PackFiles, library: PackFiles, report: Report) -> None:
        self.files, self.library, self.report = files, library, report
        self.object_templates: Mapping[str, Written[spec.ObjectTemplateSpec]] = {}
        self.objects: dict[str, Object] = {}
        self.relations: dict[str, Written[spec.RelationSpec]] = {}
        self.broken: set[str] = set()
        """Names whose files have mistakes: they are reported there, and are not unknown elsewhere."""

    def pack(self) -> Resolved | None:
        header = self._header(self.files)
        self._imports(header)
        sources = (self.library, self.files)
        templates = Templates(sources, self.report)
        self.object_templates = templates.objects
        written_objects = self._all("objects", spec.ObjectSpec, "object")
        self.objects = {name: self._object(name, written) for name, written in written_objects.items()}
        self.relations = self._all("relations", spec.RelationSpec, "relation")
        queries = self._all("queries", spec.QuerySpec, "query")
        self._all_imported(header, written_objects, self.relations)
        self._one_name_space(written_objects, self.relations, queries)
        self._table_names(object=written_objects, relation=self.relations)
        functions = self._functions()
        arguments = Binder(self.objects, self.relations, templates, functions, self.broken, self.report)
        relations = {name: self._relation(name, written, arguments) for name, written in self.relations.items()}
        rules = rule_book(sources, self.report)
        environments = self._all("env", spec.EnvironmentSpec, None)
        if not environments and not self.files.documents.get("env"):
            where = self.files.place("env/local.toml").span(0, 0)
            self.report.error("D108", "the pack has no environment", where, help="create env/local.toml")
        for environment in environments.values():
            self._bindings(environment)
        shapes = {n: self._query(n, w, header) for n, w in queries.items()} if header else {}
        self._required_code(functions)
        capabilities = self._capabilities()
        if self.report.failed or header is None:
            return None
        return Resolved(
            header,
            self.objects,
            templates.objects,
            templates.relations,
            {name: relation for name, relation in relations.items() if relation},
            {name: shape for name, shape in shapes.items() if shape},
            functions,
            rules,
            environments,
            evidence_locks(self.files, environments, self.report),
            calibration_locks(self.files, environments, self.report),
            capabilities,
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
        if keyword.iskeyword(header.name):
            words, help = f"`{header.name}` is a word of Python", "the pack becomes a Python package: rename it"
            self.report.error("D210", words, doc.place("name"), help=help)
        for name in header.gates:
            if name not in DOMAINS:
                hint = did_you_mean(name, DOMAINS)
                self.report.error("D205", f"unknown domain `{name}`", doc.key("gates", name), help=hint)
        return Written(header, doc)

    def _imports(self, header: Written[spec.PackSpec] | None) -> None:
        if header is None:
            return
        for workload, use in ((RUN_WORKLOAD, "runs"), (SQL_WORKLOAD, "statements that people type")):
            if workload not in header.spec.workloads:
                self.report.error(
                    "D202",
                    f"the workload class `{workload}` is missing",
                    header.key("workloads"),
                    help=f"{use} belong to it: write [workloads.{workload}] with its `reads`",
                )
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

    def _all_imported(
        self,
        header: Written[spec.PackSpec] | None,
        objects: Mapping[str, Written[spec.ObjectSpec]],
        relations: Mapping[str, Written[spec.RelationSpec]],
    ) -> None:
        """Report templates of libraries that the pack does not import."""
        if header is None:
            return
        mine = {self.files.name, *(reference.partition("@")[0] for reference in header.spec.imports)}
        uses = [(o.spec.extends, o.place("extends")) for o in objects.values()]
        uses += [(r.spec.use, r.place("use")) for r in relations.values()]
        for reference, place in uses:
            library = (reference or "").partition("/")[0]
            if library and library not in mine and library == self.library.name:
                related = [Related(header.key("imports"), "the imports of the pack")]
                help = f'write imports = ["{library}@{self._major()}"] in pack.toml'
                words = f"`{library}` is not imported"
                self.report.error("D205", words, place, help=help, related=related, cause=library)

    def _major(self) -> str:
        version = self.library.header.data.get("version", "") if self.library.header else ""
        return str(version).partition(".")[0]

    def _all(self, folder: str, form: type[M], name_key: str | None) -> dict[str, Written[M]]:
        found: dict[str, Written[M]] = {}
        for path, doc in self.files.documents.get(folder, {}).items():
            stem = PurePosixPath(path).stem
            if (written := validate(doc, form, self.report)) is None:
                self.broken.add(stem)
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

    def _table_names(self, **kinds: Mapping[str, Written[Any]]) -> None:
        """Report names with the mark of tables that are made beside those of people: rounds, staging, quarantine."""
        for key, kind in kinds.items():
            for name, written in kind.items():
                if "__" in name:
                    stem, words = (
                        name.partition("__")[0],
                        f"`{name}` is a name that a table made beside others may have",
                    )
                    help = f"`{stem}__…` belongs to rounds, staging and quarantine: write single underscores"
                    self.report.error("D210", words, written.place(key), help=help)

    # -- objects

    def _object(self, name: str, written: Written[spec.ObjectSpec]) -> Object:
        columns: list[Column] = []
        template: Written[spec.ObjectTemplateSpec] | None = None
        if written.spec.extends:
            template = find(
                written.spec.extends, self.object_templates, written.place("extends"), "object template", self.report
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
            source.on_upstream_change if isinstance(source, spec.TableSpec) else written.spec.on_schema_change,
            template,
            indexes(written, written.spec.indexes, tuple(columns), self.report),
            changes(written, tuple(columns), self.report),
        )
        if isinstance(source, spec.TableSpec) and "on_schema_change" in written.spec.model_fields_set:
            place, help = written.key("on_schema_change"), "write `on_upstream_change` under `source`"
            self.report.error("D203", "the table of others is not ours to change", place, help=help)
        for column_name, column in written.spec.columns.items() if isinstance(source, spec.TableSpec) else ():
            if column.renamed_from:
                place = written.key("columns", column_name, "renamed_from")
                self.report.error("D203", "the table of others is not ours to change", place, help="remove it")
        known = {column.name: column for column in columns}
        self._columns_exist(result.key, result, written, "key")
        self._columns_exist(sort, result, written, "layout", "sort")
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
            renamed_from=column.renamed_from,
        )

    def _columns_exist(self, names: Iterable[str], obj: Object, written: Written[Any], *path: str) -> None:
        known = {column.name for column in obj.columns}
        for i, name in enumerate(names):
            if name not in known:
                hint = did_you_mean(name, known)
                related = [Related(at, "the columns there are") for at in obj.columns_at()]
                words = f"there is no column `{name}`"
                self.report.error("D303", words, written.place(*path, i), help=hint, related=related)

    # -- relations and queries

    def _relation(self, name: str, written: Written[spec.RelationSpec], arguments: Binder) -> Relation | None:
        s = written.spec
        ways = {"use": s.use, "body": s.body, "function": s.function}
        if sum(way is not None for way in ways.values()) != 1:
            words = f"relation `{name}` needs one of `use`, `body` and `function`"
            asked = next((key for key, given in (("with", s.with_), ("carry", s.carry)) if given), None)
            place = written.key(asked) if asked and s.use is None else written.place("relation")
            help = f"`{asked}` is for a template: add `use`" if asked and s.use is None else ""
            self.report.error("D202", words, place, help=help)
            return None
        if (s.kind == "table_function") != (s.function is not None):
            self.report.error(
                "D203",
                "`kind: table_function` and `function` go together",
                written.key("function" if s.function else "kind"),
            )
        if s.export and s.version is None:
            self.report.error("D202", "an exported relation has a `version`", written.key("export"))
        if "on_schema_change" in s.model_fields_set and not s.store:
            place = written.key("on_schema_change")
            self.report.error("D203", "`on_schema_change` is of stored relations", place, help="add `store: true`")
        for column, output in s.columns.items() if not s.store else ():
            if output.renamed_from:
                place = written.key("columns", column, "renamed_from")
                self.report.error("D203", "`renamed_from` is of stored relations", place, help="remove it")
        if s.layout and not s.store:
            self.report.error(
                "D203", "`layout` is of stored relations", written.key("layout"), help="add `store: true`"
            )
        if s.indexes and not s.store:
            place = written.key("indexes")
            self.report.error("D203", "`indexes` are of stored relations", place, help="add `store: true`")
        if s.body is not None:
            self._no_arguments(written)
            text = text_of(s.body, written, ("body",), self.files, "relations", self.report)
            summary = s.summary or name.replace("_", " ")
            return Relation(name, written, summary, None, text, s.columns) if text else None
        if s.function is not None:
            call = arguments.call(written)
            return (
                Relation(name, written, s.summary or call.function.written.spec.summary, None, None, s.columns, call)
                if call
                else None
            )
        application = arguments.application(written)
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

    def _query(self, name: str, written: Written[spec.QuerySpec], header: Written[spec.PackSpec]) -> Query | None:
        s = written.spec
        if s.class_ not in (*header.spec.workloads, RUN_WORKLOAD, SQL_WORKLOAD):  # those two are reported as missing
            known = header.spec.workloads
            self.report.error(
                "D205",
                f"unknown workload class `{s.class_}`",
                written.place("class"),
                help=did_you_mean(s.class_, known),
            )
        self._python_names(written)
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
        text = text_of(s.body, written, ("body",), self.files, "queries", self.report)
        return Query(name, written, text, parameters) if text else None

    def _python_names(self, written: Written[spec.QuerySpec]) -> None:
        """Report names that the generated function could not have."""
        names = [(written.spec.query, written.place("query"))]
        names += [(name, written.key("parameters", name)) for name in written.spec.parameters]
        for name, place in names:
            if keyword.iskeyword(name) or name == "pack":
                what = "a word of Python" if keyword.iskeyword(name) else "the first argument of every query function"
                self.report.error("D210", f"`{name}` is {what}", place, help="the query becomes a function: rename it")
        if written.spec.query in _GENERATED_NAMES:
            words = f"`{written.spec.query}` is a name that every Python module has, or the generated one"
            self.report.error("D210", words, written.place("query"), help="the query becomes a function: rename it")

    # -- rules, environments, code

    def _bindings(self, environment: Written[spec.EnvironmentSpec]) -> None:
        tables = {name for name, obj in self.objects.items() if obj.source is None}
        sources = {obj.source.name for obj in self.objects.values() if obj.source}
        for name, binding in environment.spec.bindings.items():
            if self._lost_objects():
                continue  # the name may be theirs
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

    def _lost_objects(self) -> bool:
        return any(PurePosixPath(path).stem in self.broken for path in self.files.documents.get("objects", {}))

    def _functions(self) -> dict[str, Function]:
        form = cast(type[BaseModel], spec.FunctionSpec)
        written_functions: dict[str, Written[Any]] = self._all("functions", form, "function")
        found = {name: Function(name, written) for name, written in written_functions.items()}
        for function in found.values():
            s, written = function.written.spec, function.written
            if isinstance(s, spec.ScalarFunctionSpec):
                for path, text in [(("returns",), s.returns), *((("arguments", a), t) for a, t in s.arguments.items())]:
                    self._type(text, written, path)
        return found

    def _type(self, text: str, written: Written[Any], path: tuple[str, ...]) -> None:
        if types.names_of(text) is None:
            hint = did_you_mean(text, types.SCALARS)
            self.report.error("D203", f"unknown type `{text}`", written.place(*path), help=hint)

    def _required_code(self, functions: Mapping[str, Function]) -> None:
        """Report every module and function of the pack's code that specs ask for and that is not there."""
        trees = {path: self._python(text) for path, text in self.files.texts.items() if path.startswith("code/")}
        for obj in self.objects.values():
            if obj.source:
                place = obj.doc.place("source", "adapter")
                self._required(trees, "adapter", obj.source.adapter, {"units", "extract"}, place)
        for name, function in functions.items():
            self._required(trees, "module", function.written.spec.module, {name}, function.written.place("module"))

    def _required(
        self, trees: Mapping[str, ast.Module | None], what: str, module: str, wanted: set[str], place: Span
    ) -> None:
        path = f"code/{module}.py"
        if path not in trees:
            hint = did_you_mean(module, [PurePosixPath(p).stem for p in trees])
            self.report.error("D108", f"there is no {what} `{path}`", place, help=hint)
        elif (tree := trees[path]) is not None:
            there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            for name in sorted(wanted - there):
                where = self.files.texts[path].span(0, 0)
                related = [Related(place, "asked for here")]
                self.report.error("D108", f"the {what} has no function `{name}`", where, related=related)

    def _python(self, source: SourceText) -> ast.Module | None:
        try:
            return ast.parse(source.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
            start = source.offset(line, column)
            words = getattr(error, "msg", None) or str(error)
            self.report.error("D103", f"not Python: {words}", source.span(start, start + 1))
            return None

    def _capabilities(self) -> dict[str, CapabilityFile]:
        """Return what probes saw of engines, the pack's own files over the library's."""
        folder, found = "capabilities/", dict[str, CapabilityFile]()
        for path, text in (*self.library.texts.items(), *self.files.texts.items()):
            if path.startswith(folder):
                try:
                    name = path.removeprefix(folder).removesuffix(".json")
                    found[name] = msgspec.json.decode(text.text, type=CapabilityFile)
                except (msgspec.DecodeError, RecursionError) as error:
                    help = "`make probe` writes it; it is never edited by hand"
                    self.report.error("D203", f"no capability file: {error}", text.span(0, 0), help=help)
        return found
