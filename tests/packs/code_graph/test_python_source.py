"""The adapter against independent witnesses: the bytes themselves, `symtable`, `ast`, and laws that must hold."""

from __future__ import annotations

import ast
import random
import symtable
import sys
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.packs.code_graph.conftest import ADAPTER, Rows, read, rows, schemas

from decreta_runtime.adapter import UnitChanged


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__dot__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# -- the standard library


def test_every_file_is_read(stdlib: tuple[Path, Rows]) -> None:
    _, found = stdlib
    assert len(found["file"]) > 600
    assert [f["path"] for f in found["file"] if f["parse_error"]] == []
    if sys.version_info[:3] == (3, 11, 7):
        assert len(found["file"]) == 733


def test_keys_are_unique(stdlib: tuple[Path, Rows]) -> None:
    _, found = stdlib
    keys = {"file": "file_id", "scope": "scope_id", "definition": "definition_id", "reference": "reference_id",
            "import": "import_id"}  # fmt: skip
    for stream, key in keys.items():
        counts = Counter(row[key] for row in found[stream])
        assert len(counts) == len(found[stream]), stream


def test_spans_hold_the_names_they_claim(stdlib: tuple[Path, Rows]) -> None:
    folder, found = stdlib
    data = {f["file_id"]: utf8(folder / f["path"]) for f in found["file"]}
    wrong = []
    for d in found["definition"]:
        text = normal(data[d["file_id"]][d["name_start"] : d["name_stop"]])
        if text != d["name"] and not (d["name"].endswith(text) and text.startswith("__")):
            wrong.append((d["symbol"], text))
    assert wrong == []
    loose = [r for r in found["reference"] if not same(data[r["file_id"]][r["span_start"] : r["span_stop"]], r["name"])]
    # Python 3.11 misplaces names inside some f-strings; those carry the span of the whole string.
    assert all(data[r["file_id"]][r["span_stop"] - 1] in b"'\"" for r in loose)
    assert len(loose) < len(found["reference"]) / 500


def same(text: bytes, name: str) -> bool:
    found = normal(text)
    return found == name or (found.startswith("__") and name.endswith(found))


def normal(text: bytes) -> str:
    return unicodedata.normalize("NFKC", text.decode())


def utf8(path: Path) -> bytes:
    import io
    import tokenize

    data = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data if encoding.startswith("utf-8") else data.decode(encoding).encode()


def test_lines_begin_where_they_say(stdlib: tuple[Path, Rows]) -> None:
    folder, found = stdlib
    for f in found["file"]:
        data = utf8(folder / f["path"])
        assert f["n_bytes"] == (folder / f["path"]).stat().st_size
        assert all(data[start - 1 : start] in (b"\n", b"\r") for start in f["line_start"][1:])


def test_functions_and_classes_are_those_of_the_tree(stdlib: tuple[Path, Rows]) -> None:
    folder, found = stdlib
    names: dict[int, Counter[str]] = defaultdict(Counter)
    for d in found["definition"]:
        if d["kind"] in ("function", "method", "class"):
            names[d["file_id"]][d["qualname"].rpartition(".")[2]] += 1
    for f in found["file"]:
        tree = ast.parse((folder / f["path"]).read_bytes())
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert names[f["file_id"]] == Counter(n.name for n in ast.walk(tree) if isinstance(n, kinds)), f["path"]


def test_every_name_of_the_tree_is_a_reference(stdlib: tuple[Path, Rows]) -> None:
    folder, found = stdlib
    counts = Counter((r["file_id"], r["ctx"]) for r in found["reference"])
    for f in found["file"]:
        tree = ast.parse((folder / f["path"]).read_bytes())
        wanted = Counter(type(n.ctx).__name__.lower() for n in ast.walk(tree) if isinstance(n, ast.Name))
        assert {c: counts[(f["file_id"], c)] for c in wanted} == dict(wanted), f["path"]


def test_imports_are_those_of_the_tree(stdlib: tuple[Path, Rows]) -> None:
    folder, found = stdlib
    counts = Counter(r["file_id"] for r in found["import"])
    for f in found["file"]:
        tree = ast.parse((folder / f["path"]).read_bytes())
        assert counts[f["file_id"]] == sum(
            len(n.names) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)
        )


_IMPLICIT = {"__type_params__", "__classdict__", "__static_attributes__", "__firstlineno__"}
"""Names that the compiler binds in classes by itself from Python 3.12 on."""


def scopes_of_symtable(table: symtable.SymbolTable) -> list[tuple[str, str, frozenset[str]]]:
    """Return (kind, name, names bound here) of every block, as the compiler sees it."""
    found = []
    kind = str(getattr(table.get_type(), "value", table.get_type())).lower()
    bound = set()
    for symbol in table.get_symbols():
        here = symbol.is_assigned() or symbol.is_imported() or symbol.is_parameter() or symbol.is_namespace()
        # The module's table lists what functions declare global as assigned nowhere; those that bind are bound there.
        if here and symbol.is_local() and not symbol.get_name().startswith(".") and symbol.get_name() not in _IMPLICIT:
            bound.add(symbol.get_name())
    found.append((kind, table.get_name(), frozenset(bound)))
    for child in table.get_children():
        found += scopes_of_symtable(child)
    return found


def test_bindings_agree_with_symtable(stdlib: tuple[Path, Rows]) -> None:
    """For each scope of the standard library: the names bound in it are those that the compiler binds there."""
    folder, found = stdlib
    by_file: dict[int, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for d in found["definition"]:
        by_file[d["file_id"]][d["scope_id"]].add(d["name"])
    scopes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for s in found["scope"]:
        scopes[s["file_id"]].append(s)
    disagree, compared = [], 0
    for f in found["file"]:
        code = (folder / f["path"]).read_bytes()
        theirs = Counter()
        for kind, _, bound in scopes_of_symtable(symtable.symtable(code, f["path"], "exec")):
            if kind in ("module", "class", "function"):
                theirs[(kind, bound)] += 1
        ours = Counter()
        for s in scopes[f["file_id"]]:
            kind = s["kind"] if s["kind"] in ("module", "class") else "function"
            ours[(kind, frozenset(by_file[f["file_id"]][s["scope_id"]]))] += 1
        compared += sum(theirs.values())
        # A module also holds what its functions bind by `global`; symtable does not call those local to the module.
        left = (theirs - ours, ours - theirs)
        # From Python 3.12 on a function holds the targets of the comprehensions that are inlined into it (PEP 709).
        comps = {s["scope_id"] for s in scopes[f["file_id"]] if s["kind"] == "comp"}
        inlined = set().union(*(by_file[f["file_id"]][c] for c in comps)) if sys.version_info >= (3, 12) else set()
        for (kind, bound), _ in left[0].items():
            near = [b for (k, b) in left[1] if k == kind and bound <= b]
            extra = min((b - bound for b in near), key=len, default=None)
            declared = {n for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Global) for n in node.names}
            if any(k == kind and b <= bound and bound - b <= inlined for (k, b) in left[1]):
                continue
            if extra is None or not (kind == "module" and extra <= declared):
                disagree.append((f["path"], kind, sorted(bound)[:6], sorted(extra)[:6] if extra else None))
    assert compared > 15_000
    assert disagree == [], (len(disagree), disagree[:5])


# -- laws


def test_a_file_alone_gives_the_same_rows(stdlib: tuple[Path, Rows]) -> None:
    folder, _ = stdlib
    units = list(ADAPTER.units("main", str(folder / "json"), {}))
    together = rows(ADAPTER.extract(units, schemas()))
    shuffled = random.Random(1).sample(units, len(units))
    alone: Rows = {name: [] for name in together}
    for unit in shuffled:
        for name, found in rows(ADAPTER.extract([unit], schemas())).items():
            alone[name] += found
    for name in together:
        assert sorted(map(repr, together[name])) == sorted(map(repr, alone[name]))


def test_a_moved_folder_keeps_its_ids(tmp_path: Path) -> None:
    text = "import os\nclass C:\n    def m(self, x):\n        return [y for y in x]\n"
    one, two = write(tmp_path / "one", a=text), write(tmp_path / "two" / "deeper", a=text)
    assert read(one) == read(two)
    assert read(one, root="other")["file"][0]["file_id"] != read(one)["file"][0]["file_id"]


@given(comment=st.text(st.characters(exclude_characters="\r\n\x0c\x00", exclude_categories=["Cs"]), max_size=40))
@settings(max_examples=40, deadline=None)
def test_a_comment_on_line_one_moves_spans_and_nothing_else(
    comment: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if "coding" in comment:
        return  # an encoding cookie is no comment
    text = "import os as o\nclass C(dict):\n    x: int = 1\n    def m(self, *a, k=o):\n        return lambda q: q + a\n"
    folder = tmp_path_factory.mktemp("law")
    before, after = read(write(folder, a=text)), read(write(folder, a=f"#{comment}\n{text}"))
    shift = len(f"#{comment}\n".encode())
    ids = {(d["definition_id"], d["symbol"]) for d in before["definition"]}
    assert ids == {(d["definition_id"], d["symbol"]) for d in after["definition"]}
    assert [s["scope_id"] for s in before["scope"]] == [s["scope_id"] for s in after["scope"]]
    for stream in ("definition", "reference", "import"):
        for a, b in zip(before[stream], after[stream], strict=True):
            assert (b["span_start"] - a["span_start"], b["span_stop"] - a["span_stop"]) == (shift, shift)
    assert before["file"][0]["export_sha"] == after["file"][0]["export_sha"]


# -- small cases with the rows written out


def names(found: Rows, kind: str | None = None) -> list[tuple[str, str]]:
    kinds = {s["scope_id"]: s["kind"] for s in found["scope"]}
    return [(d["name"], kinds[d["scope_id"]]) for d in found["definition"] if kind in (None, d["kind"])]


def test_scopes_of_bindings(tmp_path: Path) -> None:
    text = """
g = 1
def f(a, *b, c=g, **d):
    global g, h
    g = h = a
    def inner():
        nonlocal a
        a = 2
        k = [w := q for q in b]
    try:
        pass
    except (ValueError) as e:
        pass
class K:
    __x = 1
    def m(self):
        self.__x = __y = 2
"""
    found = read(write(tmp_path, a=text))
    assert Counter(names(found)) == Counter(
        {
            ("g", "module"): 1, ("h", "module"): 1, ("f", "module"): 1, ("K", "module"): 1,
            ("a", "function"): 1, ("b", "function"): 1, ("c", "function"): 1, ("d", "function"): 1,
            ("inner", "function"): 1, ("k", "function"): 1, ("w", "function"): 1, ("q", "comp"): 1, ("e", "function"): 1,
            ("_K__x", "class"): 1, ("m", "class"): 1, ("self", "function"): 1, ("_K__y", "function"): 1,
        }
    )  # fmt: skip


def test_references_are_evaluated_where_they_belong(tmp_path: Path) -> None:
    text = "@dec\ndef f(x: ann = default) -> ret:\n    return [i for i in outer if inner]\nclass C(base, metaclass=meta): pass\ncall(1)\n"
    found = read(write(tmp_path, a=text))
    kinds = {s["scope_id"]: s["kind"] for s in found["scope"]}
    where = {r["name"]: (kinds[r["scope_id"]], r["role"]) for r in found["reference"] if r["ctx"] == "load"}
    assert where["dec"] == ("module", "decorator")
    assert where["ann"] == ("module", "annotation")
    assert where["default"] == ("module", "default")
    assert where["ret"] == ("module", "annotation")
    assert where["outer"] == ("function", "plain")
    assert where["inner"] == ("comp", "plain")
    assert where["base"] == ("module", "base")
    assert where["meta"] == ("module", "base")
    assert where["call"] == ("module", "call_func")


def test_redefinitions_are_told_apart(tmp_path: Path) -> None:
    text = "if x:\n    def f(): pass\nelse:\n    def f(): pass\nclass P:\n    @property\n    def v(self): pass\n    @v.setter\n    def v(self, to): pass\n"
    found = read(write(tmp_path, a=text))
    symbols = [d["symbol"] for d in found["definition"] if d["kind"] in ("function", "method")]
    assert symbols == ["a/f().", "a/f(+1).", "a/P#v().", "a/P#v(+1)."]
    conditional = {d["symbol"]: d["is_conditional"] for d in found["definition"]}
    assert conditional["a/f()."] and not conditional["a/P#v()."]


def test_imports(tmp_path: Path) -> None:
    text = "import a.b, c.d as e\nfrom . import f\nfrom ..g.h import i as j\nfrom k import *\ntry:\n    import l\nexcept ImportError:\n    l = None\nif TYPE_CHECKING:\n    import m\n"
    found = read(write(tmp_path, a=text))
    rows_ = [(i["module"], i["level"], i["name"], i["asname"], i["bound_name"], i["is_star"]) for i in found["import"]]
    assert rows_ == [
        ("a.b", 0, None, None, "a", False),
        ("c.d", 0, None, "e", "e", False),
        ("", 1, "f", None, "f", False),
        ("g.h", 2, "i", "j", "j", False),
        ("k", 0, None, None, "*", True),
        ("l", 0, None, None, "l", False),
        ("m", 0, None, None, "m", False),
    ]
    assert [i["in_try"] for i in found["import"]][5] and [i["is_type_checking"] for i in found["import"]][6]


def test_signatures_and_exports(tmp_path: Path) -> None:
    text = "def f(a, b=')', *, c: 'x:y' = 1) -> int:  # a comment: with a colon\n    return 1\nasync def g(\n    x,  # first\n): pass\n"
    found = read(write(tmp_path, a=text))
    signatures = {d["name"]: d["signature"] for d in found["definition"] if d["kind"] == "function"}
    assert signatures == {"f": "(a, b=')', *, c: 'x:y' = 1) -> int", "g": "( x, )"}
    assert [d["is_async"] for d in found["definition"] if d["name"] == "g"] == [True]
    exported = found["file"][0]["export_sha"]
    assert read(write(tmp_path, a=text.replace("return 1", "return 2")))["file"][0]["export_sha"] == exported
    assert read(write(tmp_path, a=text.replace("def f(a", "def f(z")))["file"][0]["export_sha"] != exported


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", None),
        (b"\xef\xbb\xbfx = 1\n", None),
        (b"# -*- coding: latin-1 -*-\nname = '\xe9'\nother = name\n", None),
        (b"def f():\r\n    y = 1\r\n    return y\r\n", None),
        (b"x = 1\x0c\ny = x\n\ta = 1\n", "unexpected indent"),
        (b"x = 1\n\x0cy = x\n", None),
        ("größe = ſ = 1\nprint(größe)\n".encode(), None),
        (b"def f(:\n", "line 1"),
        (b"x = '\x00'\n", "null bytes"),
        (b"x = '\xff'\n", "cannot be decoded"),
        (b"# coding: nonsense\n", "cannot be decoded"),
        (b"(" * 5000 + b")" * 5000, "too many nested"),
        (b"x = " + b"-" * 100_000 + b"1\n", ""),
        (b"x = " + b"1+" * 4000 + b"1\n", None),
    ],
)
def test_odd_files_are_rows(tmp_path: Path, data: bytes, error: str | None) -> None:
    (tmp_path / "odd.py").write_bytes(data)
    (tmp_path / "fine.py").write_text("fine = 1\n")
    found = read(tmp_path)
    odd = next(f for f in found["file"] if f["path"] == "odd.py")
    if error is None:
        assert odd["parse_error"] is None
        text = utf8(tmp_path / "odd.py")
        for r in found["reference"]:
            if r["file_id"] == odd["file_id"]:
                assert same(text[r["span_start"] : r["span_stop"]], r["name"])
    else:
        assert error in (odd["parse_error"] or "none"), odd["parse_error"]
        assert str(tmp_path) not in odd["parse_error"] and "\n" not in odd["parse_error"]
        assert {r["file_id"] for s in ("scope", "definition", "reference") for r in found[s]} == {
            f["file_id"] for f in found["file"] if f["path"] == "fine.py"
        }


def test_where_files_are_found(tmp_path: Path) -> None:
    write(tmp_path, src__dot__pkg__dot__mod="x = 1\n", tool="y = 1\n")
    (tmp_path / "src/pkg/__init__.py").write_text("")
    (tmp_path / "src/pkg/typed.pyi").write_text("z: int\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    found = read(tmp_path, options={"source_roots": ["src"]})
    assert {f["path"]: f["module"] for f in found["file"]} == {
        "src/pkg/__init__.py": "pkg", "src/pkg/mod.py": "pkg.mod", "src/pkg/typed.pyi": "pkg.typed", "tool.py": "tool",
    }  # fmt: skip
    assert read("json")["file"][0]["path"].startswith("json/"), "an installed package, by its name"
    package = read(tmp_path / "src/pkg")
    assert {f["module"] for f in package["file"]} == {"pkg", "pkg.mod", "pkg.typed"}
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no option `excluded`"):
        read(tmp_path, options={"excluded": []})


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, a="x = 1\n")
    units = list(ADAPTER.units("main", str(tmp_path), {}))
    write(tmp_path, a="x = 2\n")
    with pytest.raises(UnitChanged):
        ADAPTER.extract(units, schemas())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters(tmp_path: Path) -> None:
    found = read(
        write(tmp_path, a="def f[T: int, *Ts, **P](x: T) -> T: ...\nclass C[U](list[U]): ...\ntype A[V] = list[V]\n")
    )
    assert ("T", "type_params") in names(found, "type_param")
    assert {n for n, _ in names(found, "type_param")} == {"T", "Ts", "P", "U", "V"}
