"""Read YAML 1.2 into plain data with places, refusing what makes a spec read differently than it looks."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from decreta.diagnostics import Fix, Related, Report
from decreta.read.stretches import Stretch, folded, literal
from decreta.source import Document, Embedded, Extent, Path, SourceText, Span

# Plain scalars that YAML 1.1 readers turn into something else than 1.2's do (yaml.org/type/{bool,int,float}.html):
# booleans; octal, binary and base-60 numbers and such with underscores; exponents without a point or a sign; dates.
_AMBIGUOUS = re.compile(
    r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|y|Y|n|N|="
    r"|[-+]?0o?[0-9_]+|[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]*_[0-9a-fA-F_]*"
    r"|[-+]?[0-9][0-9_]*_[0-9_]*|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
    r"|[-+]?(?=[0-9_.]*_)[0-9._]*[0-9][0-9._]*([eE][-+]?[0-9]+)?"
    r"|[-+]?([0-9]+[eE][-+]?|[0-9]*\.[0-9]*[eE])[0-9]+"
    r"|\d{4}-\d{1,2}-\d{1,2}.*"
)
_TAG = "tag:yaml.org,2002:"
_DIRECTIVE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*%")
"""A line that begins with `%` before anything else than comments: it can change what all others mean."""


def is_ambiguous(text: str) -> bool:
    """Whether `text`, written without quotes, means different things to different YAML readers."""
    return _AMBIGUOUS.fullmatch(text) is not None


def read_yaml(source: SourceText, report: Report) -> Document | None:
    """Return the document in `source`, or None after reporting why there is none."""
    if directive := _DIRECTIVE.match(source.text):
        place = source.span(directive.end() - 1, directive.end())
        report.error("D104", "directives are not used in specs", place, help="remove the `%` line")
        return None
    try:
        # One loader a file: ruamel keeps state from a failed document.
        node = YAML(typ="safe").compose(source.text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        offset = mark.index if mark else 0
        begun = error.context_mark
        elsewhere = begun is not None and begun.index != offset
        related = [Related(source.span(begun.index, begun.index + 1), str(error.context))] if elsewhere else []
        place = source.span(offset, offset + 1)
        report.error("D103", f"not YAML: {error.problem}", place, help=_advice(error), related=related)
        return None
    except YAMLError as error:
        # A character that no YAML may hold; its place comes in bytes or in characters, so it is looked for.
        named = re.search(r"#x([0-9a-f]+)", str(error))
        at = max(0, source.text.find(chr(int(named[1], 16)))) if named else 0
        report.error("D103", f"not YAML: {str(error).splitlines()[0]}", source.span(at, at + 1))
        return None
    except RecursionError:
        report.error("D103", "not YAML: nested too deeply", source.span(0, 0))
        return None
    if node is None:
        report.error("D102", "the file is empty", source.span(0, 0), help="write the spec, or delete the file")
        return None
    reader = _Reader(source, report)
    data = reader.convert(node, ())
    reader.refuse_tabs()
    return Document(source, data, reader.values, reader.keys, reader.texts)


def refuse_nul(place: Span, report: Report) -> None:
    """Report a text that holds a NUL by an escape: Python, SQL and paths end at it or refuse it."""
    report.error("D101", "the text holds a NUL", place, help="remove it")


def _advice(error: MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "cannot start any token" in problem:
        return "indent with spaces, not tabs, and put quotes around text that begins with `@`, `%` or a backtick"
    if "mapping values are not allowed" in problem:
        return "put quotes around text that holds `: `"
    if "another document" in problem:
        return "one spec a file: remove the `---`"
    return ""


class _Reader:
    """Converts a node tree and drops it, keeping a place for each key and value."""

    def __init__(self, source: SourceText, report: Report) -> None:
        self.source, self.report = source, report
        self.values: dict[Path, Extent] = {}
        self.keys: dict[Path, Extent] = {}
        self.texts: dict[Path, Embedded] = {}
        self._scalars: list[Extent] = []

    def convert(self, node: Any, path: Path) -> Any:
        extent = self.values[path] = self._extent(node)
        sigil = self.source.text[node.start_mark.index : node.start_mark.index + 1]
        if (sigil in "&*!" and not getattr(node, "style", None)) or not node.tag.startswith(_TAG):
            self.report.error(
                "D104",
                "anchors, aliases and tags are not used in specs",
                self.source.span(*extent),
                help="write the value out",
            )
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.convert(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, path, extent)

    def refuse_tabs(self) -> None:
        """Report tabs between words, which some readers refuse; inside texts and comments they are content."""
        text = self.source.text
        for i in (i for i, char in enumerate(text) if char == "\t"):
            line = text[text.rfind("\n", 0, i) + 1 : i]
            comment = line.lstrip().startswith("#") or " #" in line
            if not comment and not any(start <= i < stop for start, stop in self._scalars):
                span = self.source.span(i, i + 1)
                fix = Fix(span, "\t", " ", safe=True)
                self.report.error("D103", "a tab stands between words", span, help="use spaces", fix=fix)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            extent = self._extent(key_node)
            self._scalars.append(extent)
            if not isinstance(key_node, ScalarNode) or key_node.tag == _TAG + "merge":
                place = self.source.span(*extent)
                self.report.error("D104", "a key is plain text", place, help="merge keys and complex keys are not used")
                continue
            key = key_node.value
            if "\0" in key:
                refuse_nul(self.source.span(*extent), self.report)
            if key in data:
                first = Related(self.source.span(*self.keys[(*path, key)]), "first written here")
                place = self.source.span(*extent)
                again = self._again(extent, self._extent(value_node), self.values[(*path, key)])
                help = "the two say the same: remove one" if again else ""
                self.report.error("D105", f"`{key}` is written twice", place, help=help, related=[first], fix=again)
                continue
            if not key_node.style and is_ambiguous(key):
                self._ambiguous(key, extent)
            self.keys[(*path, key)] = extent
            data[key] = self.convert(value_node, (*path, key))
        return data

    def _scalar(self, node: ScalarNode, path: Path, extent: Extent) -> Any:
        text: str = node.value
        self._scalars.append(extent)
        if not node.style and is_ambiguous(text):
            self._ambiguous(text, extent)
            return text
        kind = str(node.tag).removeprefix(_TAG) if not node.style else "str"
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0)
        if kind == "float":
            return float(text) if re.search(r"\d", text) else text
        if "\0" in text:
            refuse_nul(self.source.span(*extent), self.report)
        self.texts[path] = self._embedded(node)
        return text

    def _again(self, key: Extent, value: Extent, first: Extent) -> Fix | None:
        """Return the fix that removes a key on lines of its own whose value was written before, letter by letter."""
        text = self.source.text
        start, stop = text.rfind("\n", 0, key[0]) + 1, text.find("\n", value[1]) + 1 or len(text)
        alone = not text[start : key[0]].strip() and not text[value[1] : stop].strip()
        if not alone or text[slice(*value)] != text[slice(*first)]:
            return None
        return Fix(self.source.span(start, stop), text[start:stop], "", safe=True)

    def _ambiguous(self, text: str, extent: Extent) -> None:
        words = f"`{text}` means different things to different YAML readers"
        span = self.source.span(*extent)
        fix = Fix(span, text, f'"{text}"', safe=True)
        self.report.error("D106", words, span, help=f'write "{text}" in quotes', fix=fix)

    def _embedded(self, node: ScalarNode) -> Embedded:
        start, text = int(node.start_mark.index), str(node.value)
        written = self.source.text[start : node.end_mark.index]
        found: list[Stretch]
        if node.style == "|":
            found = list(literal(written, text, start))
        elif node.style == ">":
            below = written.find("\n") + 1
            found = list(folded(written[below:], text, start + below, ">"))
        else:
            quotes = 1 if node.style else 0
            written = written[quotes : len(written) - quotes]
            plain = written == text
            found = [(0, start + quotes)] if plain else list(folded(written, text, start + quotes, node.style))
        starts, offsets = zip(*found or [(0, start)], strict=True)
        return Embedded(self.source, text, offsets, starts)

    def _extent(self, node: Any) -> Extent:
        start, stop = node.start_mark.index, node.end_mark.index
        return start, start + max(1, len(self.source.text[start:stop].rstrip()))
