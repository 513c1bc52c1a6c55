"""Turn a document into a typed spec, and pydantic's errors into diagnostics at their places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from decreta.diagnostics import Fix, Hint, Report, did_you_mean
from decreta.model import spec
from decreta.source import Document, Path

M = TypeVar("M", bound=BaseModel)

_WORDS = {
    "string_type": "needs text",
    "int_type": "needs a whole number",
    "bool_type": "needs `true` or `false`",
    "list_type": "needs a list",
    "dict_type": "needs keys and values",
    "model_type": "needs keys and values",
    "model_attributes_type": "needs keys and values",
    "too_short": "must not be empty",
}
_PATTERNS = {
    r"^[a-z][a-z0-9_]*$": ("D210", "lower-case letters, digits and `_`, beginning with a letter"),
    r"^\d+\.\d+\.\d+$": ("D203", "a version such as `1.0.0`"),
    r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*@\d+$": ("D203", "a reference such as `std/equi_join@1`"),
    r"^[1-9]\d*[KMG]$": ("D203", "a size such as `256M`"),
    r"^[a-z][a-z0-9_]*@\d+$": ("D203", "a library and its major version, such as `std@1`"),
    r"^(any|0\.[0-9]*[1-9])$": ("D203", 'a share in quotes, such as "0.000001", or `any`'),
    r"^(0\.\d\d|1\.00)$": ("D203", 'a confidence in quotes, such as "0.60"'),
    r"^\d+(\.\d\d)?$": ("D203", 'a whole number or two places in quotes, such as "0" or "0.10"'),
    r"^\d+\.\d\d$": ("D203", 'a share of two places in quotes, such as "0.20"'),
}


def validate(doc: Document, form: type[M] | Any, report: Report) -> M | None:
    """Return `doc` as `form`, or None after reporting each mistake once."""
    try:
        return TypeAdapter(form).validate_python(doc.data)  # type: ignore[no-any-return]
    except ValidationError as error:
        _report(doc, error.errors(include_url=False), report)
        return None
    except RecursionError:
        report.error("D203", "nested too deeply", doc.place())
        return None


def _report(doc: Document, errors: list[Any], report: Report) -> None:
    missing: dict[Path, list[str]] = {}
    for error in errors:
        if error["type"] == "missing":
            missing.setdefault(_path(doc, error["loc"][:-1]), []).append(str(error["loc"][-1]))
    told: set[Path] = set()
    for error in sorted(errors, key=lambda e: e["loc"][-1:] != ("[key]",)):
        path = _path(doc, error["loc"])
        if error["type"] == "extra_forbidden":
            _unknown_key(doc, path, error, missing, report)
        elif error["type"] != "missing" and path not in told:  # a union finds fault in each of its forms
            told.add(path)
            _wrong_value(doc, path, error, report)
    for path, names in missing.items():
        if names:
            listed = ", ".join(f"`{name}`" for name in names)
            words, help = (" is missing", "add it") if len(names) == 1 else (" are missing", "add them")
            report.error("D202", listed + words, doc.entry(*path), help=help)


def _unknown_key(doc: Document, path: Path, error: Any, missing: dict[Path, list[str]], report: Report) -> None:
    name, around = str(path[-1]), path[:-1]
    if any(name in names for names in spec.LATER.values()):
        report.error("D204", f"`{name}` is not in language 0.3", doc.key(*path), help="leave it out for now")
        return
    wanted = missing.get(around, [])
    hint = did_you_mean(name, wanted) if wanted else ""
    if isinstance(hint, Hint):
        wanted.remove(hint.near)
    else:
        hint = did_you_mean(name, _known_keys(doc, around, name))
    report.error("D201", f"unknown key `{name}`", doc.key(*path), help=hint)


def _known_keys(doc: Document, around: Path, unknown: str) -> Iterable[str]:
    """Return the keys of the model that most of the keys beside the unknown one belong to, and that one does not."""
    given = doc.data
    for part in around:
        given = given[part]
    models = (m for m in vars(spec).values() if isinstance(m, type) and issubclass(m, spec.Spec))
    keys = [[f.alias or name for name, f in model.model_fields.items()] for model in models]
    return max((names for names in keys if unknown not in names), key=lambda names: len(set(names) & set(given)))


def _wrong_value(doc: Document, path: Path, error: Any, report: Report) -> None:
    kind, context = error["type"], error.get("ctx", {})
    what = f"`{path[-1]}`" if path else "the file"
    if error["loc"] and error["loc"][-1] == "[key]":
        what, place = f"the name `{error['loc'][-2]}`", doc.key(*path)
    else:
        place = doc.place(*path)
    if kind == "string_pattern_mismatch" and context.get("pattern") in _PATTERNS:
        code, words = _PATTERNS[context["pattern"]]
        report.error(code, f"{what} needs {words}", place)
    elif kind == "literal_error":
        report.error("D203", f"{what} is `{error['input']}`, but can be {context['expected']}", place)
    elif kind in _WORDS:
        if kind == "string_type" and isinstance(error["input"], int | float) and path in doc.values:
            start, stop = doc.values[path]
            written = doc.source.text[start:stop]  # `1.10` as a number is 1.1
            fix = Fix(place, written, f'"{written}"', safe=True)
            report.error("D203", f"{what} {_WORDS[kind]}", place, help=f"write it in quotes: {fix.new}", fix=fix)
        else:
            report.error("D203", f"{what} {_WORDS[kind]}", place)
    else:
        words = error["msg"].removeprefix("Value error, ")
        report.error("D203", f"{what}: {words[:1].lower()}{words[1:]}", place)


def _path(doc: Document, loc: tuple[int | str, ...]) -> Path:
    """Strip from pydantic's location the tags of unions, which are no part of the document.

    A tag may be spelt as a key beside the one that is meant: of two ways as deep, the one that ends later is meant.
    """
    found: dict[Path, int] = {(): -1}
    for i, part in enumerate(loc):
        for path in list(found):
            if (*path, part) in doc.values or (*path, part) in doc.keys:
                found[*path, part] = i
    return max(found, key=lambda path: (len(path), found[path]))
