"""Draw a report as one self-contained page: no network, nothing executed but its own script, named by its digest.

Every word comes through a template that escapes; pictures are SVG made here from numbers. What is too much for a page
is cut, and the page says how much more there is: the JSON of the same report has all of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from decreta_runtime.contract.records import Ladder
from decreta_runtime.contract.report import LineageNode, Report, ReportedDecision, ReportedMaintenance

Caps = dict[str, dict[str, int]]
"""Section → what → the most of it that are shown."""
LIMIT = 500 * 1024
"""Bytes of a page."""
SHOWN = {
    "figures": {"workloads": 12},
    "decisions": {"decisions": 300, "evidence": 30},
    "fallbacks": {"guards": 40},
    "pruning": {"shapes": 25, "tables": 20, "limits": 10, "advice": 3},
    "maintenance": {"maintenance": 60, "lines": 12},
    "runs": {"runs": 12, "parts": 40},
    "lineage": {"nodes": 90, "edges": 400},
}
"""How many of each a section of a page shows at most; fewer, where the page would be too large."""
_POINTS = 60
"""Of a line."""
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
    """Return the page of a report as HTML: of the heaviest sections half and half again, until it is small enough."""
    caps = SHOWN
    while len((text := _drawn(report, caps)).encode()) >= LIMIT and (heavy := _heaviest(text, caps)):
        caps = caps | {heavy: {what: max(1, most // 2) for what, most in caps[heavy].items()}}
    return text


def _heaviest(text: str, caps: Caps) -> str | None:
    """Return the largest section of which something can still be cut; None if that is none."""
    sizes = {name: len(body.encode()) for name, body in re.findall(r'<section id="(\w+)"(.*?)</section>', text, re.S)}
    uncut = (name for name, found in caps.items() if any(most > 1 for most in found.values()))
    return max(uncut, key=sizes.__getitem__, default=None)


def _drawn(report: Report, caps: Caps) -> str:
    """Return the page with at most so many of each; what differs from its baseline is cut last."""
    some = partial(_some, {what: most for section in caps.values() for what, most in section.items()})
    texts = {
        name: (files("decreta") / "pages" / name).read_text("utf-8") for name in ("page.css", "page.js", "page.html.j2")
    }
    decisions = some(sorted(report.decisions, key=lambda each: each.outcome == "as_baseline"), "decisions")
    picture = lineage(some(report.lineage, "nodes").shown, report.decisions)
    names = {*map(table_of, decisions.shown), *(node.name for node in picture.nodes)} - {""}
    return _template(texts, some).render(
        r=report,
        style=texts["page.css"],
        script=texts["page.js"],
        policy=_policy(texts["page.css"], texts["page.js"]),
        decisions=decisions,
        table=table_of,
        names=sorted(names),
        guards=[guard for guard in report.guards if guard.failed],
        parts=_compared(report),
        rungs=rungs,
        domains=_matrix(report.decisions),
        trends=_trends(report),
        runs_line=_line([run.seconds for run in report.runs[-_POINTS:]]),
        files_lines=_files(report.maintenance),
        picture=picture,
        edges_in_all=_edges(report.lineage),
        wide=_WIDE,
        high=_HIGH,
    )


def _template(texts: dict[str, str], some: Callable[[Sequence[Any], str], Some]) -> Template:
    environment = Environment(
        loader=FunctionLoader(texts.__getitem__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "bytes": in_bytes,
        "number": lambda n: "unknown" if n is None else f"{n:,}",
        "plain": _plain,
        "some": some,
    }
    return environment.get_template("page.html.j2")


def _some(most: dict[str, int], found: Sequence[Any], what: str) -> Some:
    return Some(found[: most[what]], max(0, len(found) - most[what]))


def _policy(style: str, script: str) -> str:
    """Return the content policy: nothing but the style and the script that the page itself carries."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    rules = ["default-src 'none'", f"style-src 'sha256-{digests[0]}'", f"script-src 'sha256-{digests[1]}'"]
    return "; ".join([*rules, "img-src data:", "base-uri 'none'", "form-action 'none'"])


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


class Trend(NamedTuple):
    """A figure over runs or over time: its newest value, of what, how many values are known and of how many, a line."""

    newest: Any
    of: str
    known: int
    points: int
    line: str


def _trends(report: Report) -> list[Trend]:
    """Return the pruning score of each workload class from run to run."""
    found = []
    for workload, trend in (report.kpi.pruning_effectiveness_trend or {}).items():
        known = [point.score for point in trend.points if point.score is not None]
        line = _line([float(score) for score in known[-_POINTS:]])
        found.append(Trend(known[-1] if known else None, workload, len(known), len(trend.points), line))
    return found


def _files(told: Sequence[ReportedMaintenance]) -> list[Trend]:
    """Return the files of each table that was due twice or more, those that were most often first."""
    of: dict[str, list[int]] = {}
    for each in told:
        of.setdefault(each.dataset, []).append(each.files_before if each.files_after is None else each.files_after)
    found = [
        Trend(files[-1], dataset, len(files), len(files), _line(files[-_POINTS:]))
        for dataset, files in of.items()
        if len(files) > 1
    ]
    return sorted(found, key=lambda trend: -trend.points)


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


class Picture(NamedTuple):
    """Tables, relations and shapes as they stand in the picture, the paths between them, and its size in pixels."""

    nodes: Sequence[Node]
    edges: Sequence[str]
    width: int
    height: int


def lineage(told: Sequence[LineageNode], decisions: Sequence[ReportedDecision]) -> Picture:
    """Place nodes in columns, each right of its inputs."""
    of: dict[str, list[ReportedDecision]] = {}
    for each in decisions:
        of.setdefault(table_of(each), []).append(each)
    depth: dict[str, int] = {}
    rows: Counter[int] = Counter()
    placed: dict[str, Node] = {}
    for node in told:
        column = depth[node.name] = 1 + max((depth[i] for i in node.inputs if i in depth), default=-1)
        x, y = 8 + column * (_WIDE + _GAP), 8 + rows[column] * (_HIGH + 16)
        rows[column] += 1
        placed[node.name] = Node(node.name, node.kind, x, y, of.get(node.name, ()))
    edges = [
        _edge(placed[i], placed[node.name]) for node in told for i in node.inputs if i in placed and i != node.name
    ]
    width = 16 + (max(depth.values(), default=0) + 1) * (_WIDE + _GAP) - _GAP
    return Picture(list(placed.values()), edges, width, 16 + max(rows.values(), default=1) * (_HIGH + 16))


def table_of(decision: ReportedDecision) -> str:
    """Return the table or relation that a decision is about: an index's is the one it is of, a session has none."""
    return "" if decision.domain == "session" else decision.subject.partition(".")[0]


def _edges(told: Sequence[LineageNode]) -> int:
    names = {node.name for node in told}
    return sum(i in names and i != node.name for node in told for i in node.inputs)


def _edge(a: Node, b: Node) -> str:
    x1, y1, x2, y2 = a.x + _WIDE, a.y + _HIGH // 2, b.x, b.y + _HIGH // 2
    middle = (x1 + x2) // 2
    return f"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}"
