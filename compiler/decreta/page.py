"""Draw a report as one self-contained page: no network, nothing executed but its own script, named by its digest.

Every word comes through a template that escapes; pictures are SVG made here from numbers. What is too much for a page
is cut, and the page says how much more there is: the JSON of the same report has all of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

import msgspec
from jinja2 import Environment, FunctionLoader, StrictUndefined

from decreta_runtime.contract.records import Ladder
from decreta_runtime.contract.report import LineageNode, Report, ReportedDecision

T = TypeVar("T")
SHOWN = {
    "decisions": 300,
    "guards": 40,
    "maintenance": 60,
    "runs": 12,
    "parts": 40,
    "shapes": 25,
    "points": 60,
    "nodes": 90,
}
"""How many of each a page shows, so that it stays below 500 KiB whatever the lake has seen."""
_WIDE, _HIGH, _GAP = 176, 40, 56
"""A node of the lineage picture, and what stands between two columns, in pixels."""


class Some(NamedTuple):
    """The first of many, and how many more there are."""

    shown: Sequence[Any]
    more: int


class Node(NamedTuple):
    """A table, relation or shape where the lineage picture has it, with its decisions."""

    name: str
    kind: str
    x: int
    y: int
    decisions: Sequence[ReportedDecision]


def page(report: Report) -> str:
    """Return the page of a report as HTML."""
    texts = {
        name: (files("decreta") / "pages" / name).read_text("utf-8") for name in ("page.css", "page.js", "page.html.j2")
    }
    environment = Environment(
        loader=FunctionLoader(texts.__getitem__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "bytes": in_bytes,
        "number": lambda n: "unknown" if n is None else f"{n:,}",
        "plain": _plain,
    }
    nodes, edges, size = lineage(report.lineage, report.decisions)
    return environment.get_template("page.html.j2").render(
        r=report,
        style=texts["page.css"],
        script=texts["page.js"],
        policy=_policy(texts["page.css"], texts["page.js"]),
        decisions=_some(report.decisions, "decisions"),
        guards=_some([guard for guard in report.guards if guard.failed], "guards"),
        maintenance=_some(report.maintenance[::-1], "maintenance"),
        runs=_some(report.runs[::-1], "runs"),
        parts=_some(_compared(report), "parts"),
        shapes=_some(report.profile.shapes, "shapes"),
        rungs=rungs,
        domains=_matrix(report.decisions),
        trends=_trends(report),
        runs_line=_line([run.seconds for run in report.runs[-SHOWN["points"] :]]),
        files_line=_line(
            [float(m.files_after if m.files_after is not None else m.files_before) for m in report.maintenance]
        ),
        nodes=nodes,
        edges=edges,
        size=size,
        wide=_WIDE,
        high=_HIGH,
        nodes_more=max(0, len(report.lineage) - SHOWN["nodes"]),
    )


def _policy(style: str, script: str) -> str:
    """Return the content policy: nothing but the style and the script that the page itself carries."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    rules = ["default-src 'none'", f"style-src 'sha256-{digests[0]}'", f"script-src 'sha256-{digests[1]}'"]
    return "; ".join([*rules, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _some(found: Sequence[T], what: str) -> Some:
    return Some(found[: SHOWN[what]], max(0, len(found) - SHOWN[what]))


def _plain(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value), sort_keys=True, ensure_ascii=False)


def in_bytes(size: float | None) -> str:
    """Return a size for people."""
    if size is None:
        return "unknown"
    for unit in ("B", "KB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def rungs(ladder: Ladder) -> list[tuple[str, int | None, int | None]]:
    """Return the rungs of a look-up that are known: what each is of, what it left, and of how many."""
    listed = ladder.files_listed
    found: list[tuple[str, int | None, int | None]] = [
        ("files, by the log's statistics", ladder.files_log, ladder.files),
        ("files, by indexes and look-ups before", listed, ladder.files),
        ("row groups, by statistics", ladder.row_groups_statistics, ladder.row_groups),
        ("row groups, by bloom filters", ladder.row_groups_bloom, ladder.row_groups),
        ("pages", ladder.pages_kept, ladder.pages),
        ("rows that the filter saw", ladder.rows_read, ladder.rows),
        ("bytes", ladder.bytes_read, ladder.bytes_eligible),
    ]
    return [rung for rung in found if None not in rung]


def _matrix(decisions: Iterable[ReportedDecision]) -> list[tuple[str, Counter[str], Counter[str]]]:
    """Return for each domain how many decisions stand in each mode, and in each band of confidence."""
    found: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for each in decisions:
        modes, bands = found.setdefault(each.domain, (Counter(), Counter()))
        modes[each.mode] += 1
        bands[band(each.confidence)] += 1
    return [(domain, modes, bands) for domain, (modes, bands) in sorted(found.items())]


def band(confidence: str) -> str:
    """Return the third of the scale that a confidence is in."""
    worth = float(confidence)
    return "high" if worth >= 0.9 else "middle" if worth >= 0.6 else "low"


def _trends(report: Report) -> list[tuple[str, str | None, str]]:
    """Return of each workload class its pruning score over runs: the newest, and a line."""
    found = []
    for workload, trend in (report.kpi.pruning_effectiveness_trend or {}).items():
        known = [float(p.score) for p in trend.points[-SHOWN["points"] :] if p.score is not None]
        found.append((workload, next((p.score for p in trend.points[::-1] if p.score is not None), None), _line(known)))
    return found


def _line(values: Sequence[float]) -> str:
    """Return the points of a line 300 wide and 48 high over values from zero on; empty below two values."""
    if len(values) < 2:
        return ""
    top = max(values) or 1.0
    step = 300 / (len(values) - 1)
    return " ".join(f"{i * step:.1f},{46 - 44 * value / top:.1f}" for i, value in enumerate(values))


class Compared(NamedTuple):
    """What an object or relation took in the last run and in the one before."""

    name: str
    before: Any
    after: Any


def _compared(report: Report) -> list[Compared]:
    if len(report.runs) < 2:
        return []
    before, after = (run.parts for run in report.runs[-2:])
    found = [Compared(name, before.get(name), after.get(name)) for name in dict.fromkeys([*after, *before])]
    return sorted(found, key=lambda c: -max(p.seconds or 0.0 for p in (c.before, c.after) if p is not None))


def lineage(
    told: Sequence[LineageNode], decisions: Sequence[ReportedDecision]
) -> tuple[list[Node], list[str], tuple[int, int]]:
    """Place nodes in columns, each right of its inputs; return them, the paths of the edges, and the picture's size."""
    chosen = {node.name: node for node in told[: SHOWN["nodes"]]}
    of: dict[str, list[ReportedDecision]] = {}
    for each in decisions:
        of.setdefault(each.subject.partition(".")[0], []).append(each)
    depth: dict[str, int] = {}
    for name, node in chosen.items():
        depth[name] = 1 + max((depth[i] for i in node.inputs if i in depth), default=-1)
    rows: Counter[int] = Counter()
    placed: dict[str, Node] = {}
    for name, node in chosen.items():
        column = depth[name]
        x, y = 8 + column * (_WIDE + _GAP), 8 + rows[column] * (_HIGH + 16)
        rows[column] += 1
        placed[name] = Node(name, node.kind, x, y, of.get(name, ()))
    edges = [
        _edge(placed[i], placed[name])
        for name, node in chosen.items()
        for i in node.inputs
        if i in placed and i != name
    ]
    width = 16 + (max(depth.values(), default=0) + 1) * (_WIDE + _GAP) - _GAP
    return list(placed.values()), edges, (width, 16 + max(rows.values(), default=1) * (_HIGH + 16))


def _edge(a: Node, b: Node) -> str:
    x1, y1, x2, y2 = a.x + _WIDE, a.y + _HIGH // 2, b.x, b.y + _HIGH // 2
    middle = (x1 + x2) // 2
    return f"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}"
