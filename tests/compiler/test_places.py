"""A mistake inside a text points into the file, however YAML wrote the text."""

from __future__ import annotations

import pytest

from decreta.diagnostics import Report
from decreta.read.yaml import read_yaml
from decreta.source import SourceText

STYLES = {
    "plain": "body: SELECT a,\n  b,\n\n  marked\n  FROM t\n",
    "single": "body: 'SELECT ''a'',\n\n   ''b'' AS marked\n  FROM t'\n",
    "double": 'body: "SELECT \\"a\\",\\n \\u00e9, \\\n     \\x41 \\\n\n  marked\n  FROM t"\n',
    "literal": "body: |\n  SELECT a,\n\n    marked\n  FROM t\n",
    "indented": "body: |3+\n\n     SELECT a,\n   b, marked\n\n\n",
    "folded": "body: >\n\n  SELECT a,\n  b,\n\n     marked\n\n  FROM t\n",
    "stripped": "body: >-\n  SELECT a, marked\nkey: x\n",
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("before", ["", "summary: é😀\n"])
def test_a_word_is_found_where_it_is_written(style: str, before: str) -> None:
    written = before + STYLES[style]
    source, report = SourceText("x.yaml", written), Report()
    document = read_yaml(source, report)
    assert document is not None
    assert not report.failed
    text = document.embedded("body")
    at = text.text.index("marked")
    span = text.span(at, at + len("marked"))
    stop = written.index("marked") + len("marked")
    assert span == source.span(written.index("marked"), stop)
