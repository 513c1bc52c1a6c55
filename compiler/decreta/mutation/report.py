"""Words for what mutation found: examples that a person may keep."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from decreta.mutation import Verdict


def suggestion(verdict: Verdict) -> str:
    """Return an example that tells a surviving mutant apart; its rows are right only if a person says so."""
    assert verdict.given is not None
    assert verdict.expect is not None
    example = {
        "name": f"REVIEW {verdict.mutant.words}",
        "given": {name: [_flow(row) for row in rows] for name, rows in verdict.given.items()},
        "expect": [_flow(row) for row in verdict.expect],
    }
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump([example], out)
    return f"# for {verdict.relation}\n" + out.getvalue()


def _flow(row: Mapping[str, Any]) -> CommentedMap:
    found = CommentedMap((name, _plain(value)) for name, value in row.items())
    found.fa.set_flow_style()
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return [_plain(v) for v in value] if isinstance(value, list) else value
