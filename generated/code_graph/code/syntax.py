"""The facts of one file's syntax: scopes, definitions, references, imports.

Names are found in the source's bytes, not by a tokenizer: after `def` and `class` only blanks and continued lines can
stand before the name, and every other name sits at an end of a node that has a span.

Rules of scope (Python's language reference, "Naming and binding"): decorators, defaults, annotations and bases belong
to the scope around the function or class, the first iterable of a comprehension to the scope around it, a walrus binds
past comprehensions, `global` and `nonlocal` move a binding, and `__x` inside a class is `_Class__x`.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Callable
from typing import Any

from .text import SourceFile, identity

COLUMNS: dict[str, tuple[str, ...]] = {
    "file": (
        "file_id", "path", "module", "is_package", "is_stub", "content_sha", "n_bytes", "line_start", "parse_error",
        "export_sha",
    ),
    "scope": ("file_id", "span_start", "span_stop", "scope_id", "parent_id", "kind", "owner_def_id", "depth"),
    "definition": (
        "file_id", "span_start", "span_stop", "definition_id", "symbol", "name", "qualname", "kind", "scope_id",
        "body_scope_id", "name_start", "name_stop", "is_async", "is_conditional", "signature", "doc", "n_decorators",
    ),
    "reference": ("file_id", "span_start", "span_stop", "reference_id", "scope_id", "name", "ctx", "role"),
    "import": (
        "file_id", "span_start", "span_stop", "import_id", "scope_id", "module", "level", "name", "asname",
        "bound_name", "is_star", "is_type_checking", "in_try",
    ),
}  # fmt: skip
"""Stream → the columns of the rows collected for it."""

_BLANK = rb"(?:[ \t\f]|\\\r?\n)+"
_DEF = re.compile(rb"(?:async" + _BLANK + rb")?def" + _BLANK)
_CLASS = re.compile(rb"class" + _BLANK)
_NAME = re.compile(rb"[A-Za-z0-9_\x80-\xff]+")
_AS = re.compile(rb"(?:[\s)\\]|#[^\n]*)*as(?:[\s\\])+")
_SIGNATURE_END = re.compile(rb"(?:[\s,()/*\\]|#[^\n]*)*")
_STARS = re.compile(rb"[*\s\\]*")
_SPACE = re.compile(r"\s+")
_FSTRINGS_MISPLACED = sys.version_info < (3, 12)
_EMPTY_EXPORT = hashlib.sha256(b"").digest()


class Rows:
    """The rows of several files, a list of tuples a stream."""

    def __init__(self) -> None:
        self.file: list[tuple[Any, ...]] = []
        self.scope: list[tuple[Any, ...]] = []
        self.definition: list[tuple[Any, ...]] = []
        self.reference: list[tuple[Any, ...]] = []
        self.imported: list[tuple[Any, ...]] = []

    def of(self, stream: str) -> list[tuple[Any, ...]]:
        """Return the rows of a stream."""
        found: list[tuple[Any, ...]] = self.imported if stream == "import" else getattr(self, stream)
        return found


def read_file(source: SourceFile, rows: Rows) -> None:
    """Add the rows of one file."""
    file_id = identity(source.root, source.path)
    export, error = _EMPTY_EXPORT, source.error
    if source.tree is not None:
        marks = [len(part) for part in (rows.scope, rows.definition, rows.reference, rows.imported)]
        try:
            export = _Walk(source, file_id, rows).walk(source.tree)
        except RecursionError:
            error = "nested too deeply"
            for part, mark in zip((rows.scope, rows.definition, rows.reference, rows.imported), marks, strict=True):
                del part[mark:]
    rows.file.append(
        (file_id, source.path, source.module, source.is_package, source.is_stub, source.content_sha, source.n_bytes,
         source.line_start, error, export)
    )  # fmt: skip


class _Scope:
    """One scope while its file is walked."""

    __slots__ = (
        "bound", "class_name", "conditional", "counts", "depth", "functions", "globals", "id", "kind", "nonlocals",
        "parent", "prefix", "qualname",
    )  # fmt: skip

    def __init__(self, kind: str, scope_id: int, parent: _Scope | None, prefix: str, qualname: str) -> None:
        self.kind, self.id, self.parent, self.prefix, self.qualname = kind, scope_id, parent, prefix, qualname
        self.depth: int = parent.depth + 1 if parent else 0
        self.class_name: str | None = parent.class_name if parent else None
        self.conditional = 0
        self.counts: dict[str, int] = {}
        self.bound: dict[str, _Scope] = {}
        """Names that a variable binding of this scope has a definition for, with the scope that holds it."""
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()


class _Walk:
    """One pass over one tree."""

    def __init__(self, source: SourceFile, file_id: int, rows: Rows) -> None:
        self.source, self.file_id, self.data, self.lines = source, file_id, source.data, source.line_start
        self.key = f"{file_id}\x1f"
        self.rows = rows
        self.ordinals: dict[str, int] = {}
        self.exports: list[str] = []
        self.fstring: tuple[int, int] | None = None
        self.fstring_names = 0
        self.type_checking = self.trying = 0
        self.module: _Scope
        self.handlers: dict[type[ast.AST], Callable[[Any, _Scope, str], None]] = {
            kind: getattr(self, f"_{kind.__name__}") for kind in _HANDLED
        }

    def walk(self, tree: ast.Module) -> bytes:
        """Add the rows of the tree; return the digest of what the file exports."""
        prefix = f"{self.source.module}/"
        self.module = scope = _Scope("module", self._scope_id(prefix), None, prefix, "")
        start = self.source.first_column
        self._scope_row(scope, start, len(self.data), None)
        _declare(tree.body, scope)
        self._body(tree.body, scope)
        return hashlib.sha256("\n".join(sorted(self.exports)).encode(errors="surrogatepass")).digest()

    # -- the walk

    def visit(self, node: ast.AST, scope: _Scope, role: str) -> None:
        """Visit a node by its handler, or all that is in it."""
        kind = node.__class__
        handler = self.handlers.get(kind)
        if handler is not None:
            handler(node, scope, role)
            return
        for name in _FIELDS[kind]:
            value = getattr(node, name)
            if value.__class__ is list:
                for item in value:
                    if item is not None:
                        self.visit(item, scope, role)
            elif value is not None:
                self.visit(value, scope, role)

    def _body(self, statements: list[ast.stmt], scope: _Scope) -> None:
        for statement in statements:
            self.visit(statement, scope, "plain")

    def _branches(self, node: ast.AST, scope: _Scope, role: str) -> None:
        """Visit a statement whose blocks may not run: what they define is conditional."""
        scope.conditional += 1
        for name in _FIELDS[node.__class__]:
            value = getattr(node, name)
            if value.__class__ is list:
                for item in value:
                    self.visit(item, scope, role)
            elif value is not None:
                self.visit(value, scope, role)
        scope.conditional -= 1

    _For = _AsyncFor = _While = _With = _AsyncWith = _Match = _branches

    def _If(self, node: ast.If, scope: _Scope, role: str) -> None:  # noqa: N802 - named as the node
        checking = _is_type_checking(node.test)
        self.visit(node.test, scope, "plain")
        scope.conditional += 1
        self.type_checking += checking
        self._body(node.body, scope)
        self.type_checking -= checking
        self._body(node.orelse, scope)
        scope.conditional -= 1

    def _Try(self, node: ast.Try, scope: _Scope, role: str) -> None:  # noqa: N802
        scope.conditional += 1
        self.trying += 1
        self._body(node.body, scope)
        for handler in node.handlers:
            self.visit(handler, scope, "plain")
        self._body(node.orelse, scope)
        self.trying -= 1
        self._body(node.finalbody, scope)
        scope.conditional -= 1

    _TryStar = _Try

    def _ExceptHandler(self, node: ast.ExceptHandler, scope: _Scope, role: str) -> None:  # noqa: N802
        if node.type is not None:
            self.visit(node.type, scope, "plain")
            if node.name:
                found = _AS.match(self.data, self._stop(node.type))
                start = found.end() if found else self._start(node)
                self._bind(node.name, start, self._name_end(start), scope)
        self._body(node.body, scope)

    # -- definitions

    def _FunctionDef(self, node: Any, scope: _Scope, role: str) -> None:  # noqa: N802
        for decorator in node.decorator_list:
            self._leftmost(decorator, scope, "decorator")
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default, scope, "default")
        start, stop = self._start(node), self._stop(node)
        found = _DEF.match(self.data, start)
        name_start = found.end() if found else start
        name_stop = self._name_end(name_start)
        kind = "method" if scope.kind == "class" else "function"
        signature = self._signature(node, name_stop)
        symbol, definition_id, home, name = self._new_symbol(node.name, "().", scope)
        body = self._inner(scope, "function", symbol, node.name)
        outer = self._type_params(node, node.name, scope, symbol)
        for argument in _arguments(arguments):
            if argument.annotation is not None:
                self.visit(argument.annotation, outer, "annotation")
        if node.returns is not None:
            self.visit(node.returns, outer, "annotation")
        body.parent = outer
        body.depth = outer.depth + 1
        self._definition(
            start, stop, definition_id, symbol, name, _join(scope, node.name), kind, home, body.id, name_start,
            name_stop, isinstance(node, ast.AsyncFunctionDef), scope.conditional > 0, signature, _doc(node),
            len(node.decorator_list),
        )  # fmt: skip
        self._scope_row(body, start, stop, definition_id)
        self._parameters(arguments, body, symbol)
        _declare(node.body, body)
        self._body(node.body, body)

    _AsyncFunctionDef = _FunctionDef

    def _Lambda(self, node: ast.Lambda, scope: _Scope, role: str) -> None:  # noqa: N802
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default, scope, "default")
        body = self._anonymous(scope, "lambda", node)
        self._parameters(node.args, body, body.prefix.removesuffix("<locals>."))
        self.visit(node.body, body, "plain")

    def _parameters(self, arguments: ast.arguments, scope: _Scope, symbol: str) -> None:
        for argument in _arguments(arguments):
            start = self._start(argument)
            stop = self._name_end(start)
            name = _mangled(argument.arg, scope)
            scope.bound[name] = scope
            full = f"{symbol}({argument.arg})"
            self._definition(
                start, self._stop(argument), identity(self.source.root, self.source.path, full), full, name,
                _join(scope, argument.arg), "param", scope, None, start, stop, False, False, None, None, 0,
            )  # fmt: skip

    def _ClassDef(self, node: Any, scope: _Scope, role: str) -> None:  # noqa: N802
        for decorator in node.decorator_list:
            self._leftmost(decorator, scope, "decorator")
        start, stop = self._start(node), self._stop(node)
        found = _CLASS.match(self.data, start)
        name_start = found.end() if found else start
        symbol, definition_id, home, name = self._new_symbol(node.name, "#", scope)
        body = self._inner(scope, "class", symbol, node.name)
        outer = self._type_params(node, node.name, scope, symbol)
        bases = [*node.bases, *(keyword.value for keyword in node.keywords)]
        for base in bases:
            self._leftmost(base, outer, "base")
        body.parent, body.depth, body.class_name = outer, outer.depth + 1, node.name
        texts = [self._text(self._start(base), self._stop(base)) for base in bases]
        self._definition(
            start, stop, definition_id, symbol, name, _join(scope, node.name), "class", home, body.id, name_start,
            self._name_end(name_start), False, scope.conditional > 0, f"({', '.join(texts)})" if texts else None,
            _doc(node), len(node.decorator_list),
        )  # fmt: skip
        self._scope_row(body, start, stop, definition_id)
        _declare(node.body, body)
        self._body(node.body, body)

    def _type_params(self, node: Any, name: str, scope: _Scope, symbol: str) -> _Scope:
        """Return the scope that annotations and bases belong to: one of its own if there are type parameters."""
        parameters = getattr(node, "type_params", None)
        if not parameters:
            return scope
        prefix = f"{symbol}<type_params>."
        inner = _Scope("type_params", self._scope_id(prefix), scope, prefix, _join(scope, name))
        self._scope_row(inner, self._start(node), self._stop(node), None)
        for parameter in parameters:
            start = self._start(parameter)
            name_start = _end(_STARS, self.data, start)
            full = f"{prefix}[{parameter.name}]"
            inner.bound[parameter.name] = inner
            self._definition(
                start, self._stop(parameter), identity(self.source.root, self.source.path, full), full, parameter.name,
                _join(inner, parameter.name), "type_param", inner, None, name_start, self._name_end(name_start), False,
                False, None, None, 0,
            )  # fmt: skip
            for part in (getattr(parameter, "bound", None), getattr(parameter, "default_value", None)):
                if part is not None:
                    self.visit(part, inner, "annotation")
        return inner

    def _TypeAlias(self, node: Any, scope: _Scope, role: str) -> None:  # noqa: N802
        self.visit(node.name, scope, "plain")
        outer = self._type_params(node, node.name.id, scope, f"{scope.prefix}{node.name.id}.")
        self.visit(node.value, outer, "annotation")

    def _comprehension(self, node: Any, scope: _Scope, role: str) -> None:
        first = node.generators[0]
        self.visit(first.iter, scope, "plain")
        inner = self._anonymous(scope, "comp", node)
        for generator in node.generators:
            self.visit(generator.target, inner, "plain")
            if generator is not first:
                self.visit(generator.iter, inner, "plain")
            for condition in generator.ifs:
                self.visit(condition, inner, "plain")
        for name in ("key", "value", "elt"):
            if (part := getattr(node, name, None)) is not None:
                self.visit(part, inner, "plain")

    _ListComp = _SetComp = _DictComp = _GeneratorExp = _comprehension

    def _inner(self, scope: _Scope, kind: str, symbol: str, name: str) -> _Scope:
        prefix = f"{symbol}<locals>." if kind == "function" else symbol
        return _Scope(kind, self._scope_id(prefix), scope, prefix, _join(scope, name))

    def _anonymous(self, scope: _Scope, kind: str, node: ast.AST) -> _Scope:
        """Open the scope of a lambda or comprehension: named by its ordinal in the scope around it."""
        n = scope.counts[kind] = scope.counts.get(kind, -1) + 1
        prefix = f"{scope.prefix}<{kind}>{n}." + ("<locals>." if kind == "lambda" else "")
        inner = _Scope(kind, self._scope_id(prefix), scope, prefix, _join(scope, f"<{kind}>"))
        start, stop = self._inside(self._start(node), self._stop(node))
        self._scope_row(inner, start, stop, None)
        return inner

    # -- names

    def _Name(self, node: ast.Name, scope: _Scope, role: str) -> None:  # noqa: N802
        start, stop = self._start(node), self._stop(node)
        name = node.id
        key = f"{self.key}r\x1f{start}\x1f{stop}"
        if self.fstring is not None and self.data[start:stop] != name.encode():
            # Python 3.11 misplaces names in some f-strings: the whole string is the best place there is.
            start, stop = self.fstring
            self.fstring_names += 1
            key = f"{self.key}f\x1f{start}\x1f{stop}\x1f{self.fstring_names}"
        context = node.ctx.__class__
        where = scope
        if context is ast.Store:
            where = self._bind(name, start, stop, scope)
            word = "store"
        else:
            word = "load" if context is ast.Load else "del"
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        if name[:2] == "__":
            name = _mangled(name, scope)
        self.rows.reference.append(
            (self.file_id, start, stop, int.from_bytes(digest, "big", signed=True), where.id, name, word, role)
        )

    def _Call(self, node: ast.Call, scope: _Scope, role: str) -> None:  # noqa: N802
        inside = role if role in ("annotation", "default") else "plain"
        if node.func.__class__ is ast.Name:
            self._Name(node.func, scope, "call_func" if inside == "plain" and role == "plain" else role)  # type: ignore[arg-type]
        else:
            self.visit(node.func, scope, role)
        for argument in node.args:
            self.visit(argument, scope, inside)
        for keyword in node.keywords:
            self.visit(keyword.value, scope, inside)

    def _leftmost(self, node: ast.AST, scope: _Scope, role: str) -> None:
        """Visit an expression whose leftmost name alone has the role: `a` of `@a.b(c)`."""
        if isinstance(node, ast.Attribute):
            self._leftmost(node.value, scope, role)
        elif isinstance(node, ast.Subscript):
            self._leftmost(node.value, scope, role)
            self.visit(node.slice, scope, "plain")
        elif isinstance(node, ast.Name | ast.Call):
            self.visit(node, scope, role)
        else:
            self.visit(node, scope, "plain")

    def _JoinedStr(self, node: ast.JoinedStr, scope: _Scope, role: str) -> None:  # noqa: N802
        outer = self.fstring
        if _FSTRINGS_MISPLACED and outer is None:
            self.fstring = (self._start(node), self._stop(node))
        for value in node.values:
            self.visit(value, scope, role)
        self.fstring = outer

    def _AnnAssign(self, node: ast.AnnAssign, scope: _Scope, role: str) -> None:  # noqa: N802
        self.visit(node.annotation, scope, "annotation")
        if node.value is not None:
            self.visit(node.value, scope, "plain")
        self.visit(node.target, scope, "plain")

    def _Assign(self, node: ast.Assign, scope: _Scope, role: str) -> None:  # noqa: N802
        self.visit(node.value, scope, "plain")
        for target in node.targets:
            self.visit(target, scope, "plain")
            if scope.kind == "module" and isinstance(target, ast.Name) and target.id == "__all__":
                self.exports.append("__all__ = " + self._text(self._start(node.value), self._stop(node.value)))

    def _NamedExpr(self, node: ast.NamedExpr, scope: _Scope, role: str) -> None:  # noqa: N802
        self.visit(node.value, scope, role)
        target = scope
        while target.kind == "comp" and target.parent is not None:
            target = target.parent
        self.visit(node.target, target, role)

    def _MatchAs(self, node: ast.MatchAs, scope: _Scope, role: str) -> None:  # noqa: N802
        if node.pattern is not None:
            self.visit(node.pattern, scope, "plain")
        if node.name:
            self._capture(node.name, self._stop(node), scope)

    def _MatchStar(self, node: ast.MatchStar, scope: _Scope, role: str) -> None:  # noqa: N802
        if node.name:
            self._capture(node.name, self._stop(node), scope)

    def _MatchMapping(self, node: ast.MatchMapping, scope: _Scope, role: str) -> None:  # noqa: N802
        for part in (*node.keys, *node.patterns):
            self.visit(part, scope, "plain")
        if node.rest:
            stars = self.data.rfind(b"**", self._start(node), self._stop(node))
            start = _end(_STARS, self.data, stars)
            self._bind(node.rest, start, self._name_end(start), scope)

    def _capture(self, name: str, stop: int, scope: _Scope) -> None:
        start = stop
        while start and _NAME.match(self.data, start - 1):
            start -= 1
        self._bind(name, start, stop, scope)

    def _Global(self, node: ast.AST, scope: _Scope, role: str) -> None:  # noqa: N802
        """Taken in by `_declare` when the scope opened."""

    _Nonlocal = _Constant = _Pass = _Break = _Continue = _Global

    def _bind(self, name: str, start: int, stop: int, scope: _Scope) -> _Scope:
        """Note that a name is bound, with a definition at the first place; return the scope that the name lives in."""
        name_here = _mangled(name, scope) if name[:2] == "__" else name
        if name_here in scope.bound:
            return scope
        home = self._home(name_here, scope)
        scope.bound[name_here] = home
        if home is not scope and name_here in home.bound:
            return scope
        home.bound[name_here] = home
        symbol, definition_id, _, _ = self._new_symbol(name, ".", home, moved=True)
        conditional = scope.conditional > 0 or home is not scope
        self._definition(
            start, stop, definition_id, symbol, name_here, _join(home, name), "variable", home, None, start, stop,
            False, conditional, None, None, 0,
        )  # fmt: skip
        return scope

    def _home(self, name: str, scope: _Scope) -> _Scope:
        """Return the scope that a name bound in `scope` lives in, by its `global` and `nonlocal` statements."""
        if name in scope.globals:
            return self.module
        if name in scope.nonlocals:
            around = scope.parent
            while around is not None and not (around.kind in ("function", "lambda") and name not in around.nonlocals):
                around = around.parent
            # The nearest function that declares it `global` ends the search as well; the compiler allows no other.
            return around or scope
        return scope

    def _new_symbol(
        self, name: str, suffix: str, scope: _Scope, *, moved: bool = False
    ) -> tuple[str, int, _Scope, str]:
        """Return symbol, id, home scope and name of a new definition; equal symbols are told apart by their order."""
        mangled = _mangled(name, scope)
        home = scope if moved else self._home(mangled, scope)
        symbol = f"{home.prefix}{name}{suffix}"
        n = self.ordinals[symbol] = self.ordinals.get(symbol, -1) + 1
        if n:
            symbol = f"{home.prefix}{name}(+{n}){suffix.removeprefix('()')}"
        if not moved:
            home.bound[mangled] = home
        return symbol, identity(self.source.root, self.source.path, symbol), home, mangled

    # -- imports

    def _Import(self, node: ast.Import, scope: _Scope, role: str) -> None:  # noqa: N802
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            self._import(alias, alias.name, 0, None, bound, scope)

    def _ImportFrom(self, node: ast.ImportFrom, scope: _Scope, role: str) -> None:  # noqa: N802
        for alias in node.names:
            name = None if alias.name == "*" else alias.name
            self._import(alias, node.module or "", node.level, name, alias.asname or alias.name, scope)

    def _import(self, alias: ast.alias, module: str, level: int, name: str | None, bound: str, scope: _Scope) -> None:
        start, stop = self._start(alias), self._stop(alias)
        star = alias.name == "*"
        digest = hashlib.blake2b(f"{self.key}i\x1f{start}\x1f{stop}".encode(), digest_size=8).digest()
        self.rows.imported.append(
            (self.file_id, start, stop, int.from_bytes(digest, "big", signed=True), scope.id, module, level, name,
             alias.asname, bound, star, self.type_checking > 0, self.trying > 0)
        )  # fmt: skip
        if scope.kind in ("module", "class"):
            self.exports.append(f"import {'.' * level}{module} {name} as {bound} in {scope.prefix}")
        if star:
            return
        name_start, name_stop = start, self._name_end(start)
        if alias.asname:
            name_start = name_stop = stop
            while name_start > start and _NAME.match(self.data, name_start - 1):
                name_start -= 1
        symbol, definition_id, home, mangled = self._new_symbol(bound, ".", scope)
        self._definition(
            start, stop, definition_id, symbol, mangled, _join(home, bound), "import_alias", home, None, name_start,
            name_stop, False, scope.conditional > 0, None, None, 0,
        )  # fmt: skip

    # -- rows and places

    def _definition(
        self, start: int, stop: int, definition_id: int, symbol: str, name: str, qualname: str, kind: str,
        scope: _Scope, body: int | None, name_start: int, name_stop: int, is_async: bool, conditional: bool,
        signature: str | None, doc: str | None, decorators: int,
    ) -> None:  # fmt: skip
        start, stop = self._inside(start, stop)
        if not start <= name_start <= name_stop <= stop:
            name_start, name_stop = start, stop
        self.rows.definition.append(
            (self.file_id, start, stop, definition_id, symbol, name, qualname, kind, scope.id, body, name_start,
             name_stop, is_async, conditional, signature, doc, decorators)
        )  # fmt: skip
        if scope.kind in ("module", "class"):
            self.exports.append(f"{symbol} {kind} {signature}")

    def _scope_row(self, scope: _Scope, start: int, stop: int, owner: int | None) -> None:
        parent = scope.parent.id if scope.parent else None
        self.rows.scope.append((self.file_id, start, stop, scope.id, parent, scope.kind, owner, scope.depth))

    def _scope_id(self, prefix: str) -> int:
        return identity(self.source.root, self.source.path, "scope", prefix)

    def _inside(self, start: int, stop: int) -> tuple[int, int]:
        """Return a span, or that of the f-string around it where Python 3.11 has misplaced it."""
        if self.fstring is not None and not self.fstring[0] <= start <= stop <= self.fstring[1]:
            return self.fstring
        return start, stop

    def _start(self, node: Any) -> int:
        return self.lines[node.lineno - 1] + node.col_offset

    def _stop(self, node: Any) -> int:
        return self.lines[node.end_lineno - 1] + node.end_col_offset

    def _name_end(self, start: int) -> int:
        return _end(_NAME, self.data, start)

    def _text(self, start: int, stop: int) -> str:
        return _SPACE.sub(" ", self.data[start:stop].decode(errors="replace"))

    def _signature(self, node: Any, start: int) -> str:
        """Return the text from the name to the colon before the body, comments left out, blanks folded."""
        parts = [*_arguments(node.args), *node.args.defaults, *node.args.kw_defaults, node.returns]
        last = max((self._stop(part) for part in parts if part is not None), default=start)
        text = self.data[start : _end(_SIGNATURE_END, self.data, last)]
        if b"#" in text and b"'" not in text and b'"' not in text:
            text = re.sub(rb"#[^\n]*", b"", text)
        return _SPACE.sub(" ", text.decode(errors="replace")).strip()


_HANDLED = [
    kind
    for name in dir(_Walk)
    if name[0] == "_" and isinstance(kind := getattr(ast, name[1:], None), type) and issubclass(kind, ast.AST)
]
# Fields that hold no nodes worth a visit: operators, contexts, names, flags.
_PLAIN_FIELDS = {"ctx", "op", "ops", "operator", "kind", "type_comment", "name", "id", "attr", "arg", "level", "simple"}
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {
    kind: tuple(f for f in kind._fields if f not in _PLAIN_FIELDS and f not in ("kwd_attrs", "is_async", "conversion"))
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}


def _end(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    found = pattern.match(data, start)
    return found.end() if found else start


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    found = [*arguments.posonlyargs, *arguments.args]
    if arguments.vararg:
        found.append(arguments.vararg)
    found += arguments.kwonlyargs
    if arguments.kwarg:
        found.append(arguments.kwarg)
    return found


def _join(scope: _Scope, name: str) -> str:
    """Return a name behind its scope's, as `__qualname__` does."""
    if not scope.qualname:
        return name
    inner = ".<locals>." if scope.kind in ("function", "lambda") else "."
    return scope.qualname + inner + name


def _doc(node: Any) -> str | None:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value.value.encode(errors="replace").decode()
    return None


def _mangled(name: str, scope: _Scope) -> str:
    """Return a private name as the compiler stores it inside a class."""
    owner = (scope.class_name or "").lstrip("_")
    if not owner or not name.startswith("__") or name.endswith("__") or "." in name:
        return name
    return f"_{owner}{name}"


def _declare(body: list[ast.stmt], scope: _Scope) -> None:
    """Take in the `global` and `nonlocal` statements of a scope, wherever in it they stand."""
    stack: list[Any] = list(body)
    while stack:
        node = stack.pop()
        kind = node.__class__
        if kind is ast.Global:
            scope.globals.update(_mangled(name, scope) for name in node.names)
        elif kind is ast.Nonlocal:
            scope.nonlocals.update(_mangled(name, scope) for name in node.names)
        elif kind in _BLOCKS:
            for name in _BLOCKS[kind]:
                stack += getattr(node, name)


_BLOCKS: dict[type[ast.AST], tuple[str, ...]] = {
    kind: tuple(f for f in ("body", "orelse", "finalbody", "handlers", "cases") if f in kind._fields)
    for kind in (
        ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.ExceptHandler,
        ast.Match, ast.match_case,
    )
}  # fmt: skip


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"
