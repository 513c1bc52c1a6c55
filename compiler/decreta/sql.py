"""SQL as a syntax tree: parse with places, print for DataFusion. A small subclass of sqlglot's Postgres dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.generator import Generator

from decreta.diagnostics import Related, Report
from decreta.model.program import Statement
from decreta.source import Embedded, Span
from decreta_runtime.contract import types


class DataFusion(Postgres):
    """What DataFusion reads: Postgres, but with QUALIFY, SEMI and ANTI joins of its own."""

    def generator(self, **opts: Any) -> Generator:
        """Return the Postgres generator without its rewriting of SELECT, which drops QUALIFY and ANTI JOIN.

        The compiled generator classes cannot be subclassed, so the one instance forgets that rewriting. STRING_AGG is
        printed from a copy, because its printer takes the argument out of the tree.
        """
        found = super().generator(**opts)
        list_of_texts = found._dispatch[exp.GroupConcat]
        found._dispatch = {
            **found._dispatch,
            exp.Select: lambda generator, node: generator.select_sql(node),
            exp.Identifier: _identifier,
            exp.GroupConcat: lambda generator, node: list_of_texts(generator, node.copy()),
        }
        return found


_NEVER_PLAIN = {"false", "not", "null", "select", "true"}
"""Words that are no name even after a dot, to the engine or to whoever parses what was printed."""


def _identifier(generator: Generator, node: exp.Identifier) -> str:
    quoted = f'"{node.name}"' if node.name.lower() in _NEVER_PLAIN else None
    return quoted or generator.identifier_sql(node)


_PRETTY = DataFusion().generator(pretty=True, normalize_functions=False)
_INLINE = DataFusion().generator(normalize_functions=False)


def parse_query(text: Embedded, origin: Span, report: Report) -> Statement | None:
    """Return the one query in `text`, or None after reporting why it is none."""
    try:
        trees = sqlglot.parse(text.text, dialect=DataFusion)
    except ParseError as error:
        _report_parse_error(error, text, origin, report)
        return None
    except TokenError:
        _report_unclosed(text, report, related=asked_for(text, origin))
        return None
    except (SqlglotError, RecursionError) as error:
        report.error("D301", f"not SQL: {str(error).splitlines()[0].lower()}", text.whole())
        return None
    tree = trees[0] if trees else None
    statement = Statement(tree, text, origin) if isinstance(tree, exp.Query) else None
    if len(trees) != 1 or statement is None:
        report.error("D313", "a body is one SELECT statement", text.whole(), related=asked_for(text, origin))
        return None
    return statement


def parse_expression(text: Embedded, report: Report, code: str = "D301") -> exp.Expr | None:
    """Return the expression in `text`, or None after reporting under `code` why it is none."""
    try:
        tree = sqlglot.parse_one(text.text, dialect=DataFusion)
    except ParseError as error:
        _report_parse_error(error, text, text.whole(), report, code)
        return None
    except TokenError:
        _report_unclosed(text, report, code)
        return None
    except (SqlglotError, RecursionError) as error:
        report.error(code, f"not SQL: {str(error).splitlines()[0].lower()}", text.whole())
        return None
    if isinstance(tree, exp.Query | exp.Command | exp.DDL | exp.DML):
        report.error(code, "a predicate is needed here, not a statement", text.whole())
        return None
    return tree


def parse_type(spec: str) -> exp.DataType:
    """Return the SQL type of the spec type `spec`."""
    names = types.names_of(spec)
    assert names is not None, spec
    return exp.DataType.build(names.sql, dialect=DataFusion)


def print_query(tree: exp.Expr) -> str:
    """Return `tree` as text for DataFusion, laid out for people."""
    return _PRETTY.generate(tree, copy=False)


def literal(value: bool | int | str | Decimal) -> exp.Expr:
    """Return a value as SQL; a decimal with its type, because the engine takes a plain 0.1 for a float."""
    if not isinstance(value, Decimal):
        return exp.convert(value)
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    kind = exp.DataType.build(f"DECIMAL({max(len(digits), scale, 1)}, {scale})", dialect=DataFusion)
    return exp.Cast(this=exp.Literal.string(str(value)), to=kind)


def print_inline(tree: exp.Expr) -> str:
    """Return `tree` as one line of text for DataFusion."""
    return _INLINE.generate(tree, copy=False)


def translate(sql: str, dialect: str) -> str:
    """Return a statement of DataFusion's in another engine's words."""
    return sqlglot.transpile(sql, read=DataFusion, write=dialect, pretty=True)[0]


def unknown_functions(sql: str) -> list[str]:
    """Return the functions of a statement that sqlglot has no node for, and so no translation."""
    tree = sqlglot.parse_one(sql, dialect=DataFusion)
    return sorted({call.name for call in tree.find_all(exp.Anonymous)})


def asked_for(text: Embedded, origin: Span) -> list[Related]:
    """Return the place that asked for a template's text, when the two differ."""
    return [Related(origin, "asked for here")] if text.source.name != origin.file else []


def _report_unclosed(text: Embedded, report: Report, code: str = "D301", related: Iterable[Related] = ()) -> None:
    """Report a quotation or comment that goes on to the end, at the first line that opens more than it closes."""
    start, stop, what = 0, len(text.text.rstrip()), "a quotation or comment"
    for line in re.finditer(r"[^\n]+", text.text):
        words = line[0].partition("--")[0]
        for mark in ("'", '"'):
            if words.count(mark) % 2:
                start, stop, what = line.start() + words.index(mark), line.end(), f"a quotation that {mark} opens"
                break
        else:
            if words.count("/*") <= words.count("*/"):
                continue
            start, stop, what = line.start() + words.index("/*"), line.end(), "a comment"
        break
    report.error(code, f"not SQL: {what} is not closed", text.span(start, stop), related=related)


def _report_parse_error(error: ParseError, text: Embedded, origin: Span, report: Report, code: str = "D301") -> None:
    first = error.errors[0] if error.errors else {}
    word = str(first.get("highlight") or "")
    # The line that sqlglot names is the one it had read up to; the text around the word says where it stands.
    around = str(first.get("start_context") or "")
    found = text.text.find(around + word + str(first.get("end_context") or ""))
    start = found + len(around) if found >= 0 else max(0, len(text.text.rstrip()) - 1)
    what = str(first.get("description") or error).split("\n")[0].rstrip(".")
    if what.startswith("Required keyword"):
        what = "something is missing"  # sqlglot names the class of the node that wants it
    near = f" near `{word}`" if word else ""
    report.error(
        code,
        f"not SQL: {what[:1].lower()}{what[1:]}{near}",
        text.span(start, start + max(1, len(word))),
        related=asked_for(text, origin),
    )
