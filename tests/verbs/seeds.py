"""Plant a cause, or two, among changes that make no difference, drawn at random, over small data of both packs.

What is planted is known here alone: the verb under test is given two folders of specs and where the sources are.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from decreta.blame.mixes import Mixer, between
from decreta.blame.sides import of_pack, spec_files
from decreta.project import Project

ROOT = Path(__file__).resolve().parents[2]
PACKS = ("retail", "code_graph")
ENVIRONMENT = 'engine = "datafusion-55.0.0+deltalake-1.6.6"'
LADDER = re.compile(r'\[\[threshold\]\]\nid = "([^"]+)"\nvalue = (.+)\nunit = .+\nladder = \[(.+)\]')


@dataclass
class Seeded:
    """Two sides and what was planted between them: any of each group is a right answer for it."""

    a: Path
    b: Path
    pack: str
    rng: random.Random
    base: dict[str, str] = field(default_factory=dict)
    """Where the sources are."""
    moved: dict[str, str] = field(default_factory=dict)
    """Where they are for B."""
    planted: list[list[tuple[str, str]]] = field(default_factory=list)
    """For each cause the pairs (file, beginning of key) or ("input", name), each a right name of it."""

    @property
    def specs(self) -> Path:
        return self.b / "specs"


Plant = Callable[[Seeded], list[tuple[str, str]]]


def lay_out(folder: Path, pack: str, rng: random.Random, sources: dict[str, Path]) -> Seeded:
    """Lay two like sides out. Both build external indexes over however few files, so that one can be missed."""
    a, b = folder / "a", folder / "b"
    for side in (a, b):
        keep = shutil.ignore_patterns(*(other for other in PACKS if other != pack))
        shutil.copytree(ROOT / "specs", side / "specs", ignore=keep)
        (side / "decreta.toml").touch()
        lock = side / f"specs/{pack}/locks/local.evidence.json"
        seen = json.loads(lock.read_bytes())
        for dataset in seen["datasets"].values():
            dataset["facts"]["files"]["value"] = 16
        lock.write_text(json.dumps(seen, indent=1))
    name, place = ("tpch", sources["tpch"]) if pack == "retail" else ("python", sources["python"])
    return Seeded(a, b, pack, rng, {name: str(place)})


# -- causes


def threshold(seeded: Seeded) -> list[tuple[str, str]]:
    id, value = _rung(seeded, exclude=QUIET)
    _to_environment(seeded, f'thresholds."{id}"', value)
    return [(_environment(seeded), f"thresholds.{id}")]


def threshold_of_the_library(seeded: Seeded) -> list[tuple[str, str]]:
    id, value = _rung(seeded, exclude=QUIET)
    _set_rung(seeded, id, value)
    return [(f"specs/std/rules/{id.partition('.')[0]}.toml", f"threshold.{id}.value")]


def dropped_index(seeded: Seeded) -> list[tuple[str, str]]:
    found = [p for p in seeded.specs.glob(f"{seeded.pack}/*/*.yaml") if "\nindexes:" in p.read_text()]
    path = seeded.rng.choice(sorted(found))
    lines = [line for line in path.read_text().split("\n") if not line.startswith("indexes:")]
    path.write_text("\n".join(lines))
    return [(_name(seeded, path), "indexes")]


SETTINGS = (
    ("datafusion.optimizer.enable_dynamic_filter_pushdown", "false"),
    ("datafusion.optimizer.enable_join_dynamic_filter_pushdown", "false"),
    ("datafusion.optimizer.enable_topk_dynamic_filter_pushdown", "false"),
    ("datafusion.execution.parquet.pruning", "false"),
    ("datafusion.execution.parquet.enable_page_index", "false"),
    ("datafusion.execution.parquet.bloom_filter_on_read", "false"),
    ("datafusion.execution.collect_statistics", "false"),
    ("datafusion.optimizer.filter_null_join_keys", "true"),
)


def setting(seeded: Seeded) -> list[tuple[str, str]]:
    """Give an engine setting another value in the rules of a kind of workload."""
    name, value = seeded.rng.choice(SETTINGS)
    rule = seeded.rng.choice(("session.selective", "session.baseline"))
    path = seeded.specs / "std/rules/session.toml"
    head, mark, tail = path.read_text().partition(f'id = "{rule}"')
    table = "[rule.then.settings]\n"
    line = f'"{name}" = {{ value = {value}, because = "tried" }}\n'
    path.write_text(head + mark + tail.replace(table, table + line, 1))
    return [("specs/std/rules/session.toml", f"rule.{rule}.then.settings.{name}")]


CHANGES = (
    (" <= ", " < "), (" >= ", " > "), (" < ", " <= "), (" > ", " >= "), ("LEFT JOIN", "JOIN"), (" DESC", ""),
    (" = '", " <> '"), (" AND ", " OR "), ("sum(", "max("), ("min(", "max("), ("max(", "min("),
)  # fmt: skip


def template(seeded: Seeded) -> list[tuple[str, str]]:
    """Change a body of the library's templates, or of the pack's relations and query shapes."""
    folders = ("std/templates", f"{seeded.pack}/relations", f"{seeded.pack}/queries")
    places = []
    for path in (p for f in folders for p in sorted((seeded.specs / f).iterdir())):
        text = path.read_text()
        start = 0 if path.suffix == ".sql" else text.find("\nbody:")
        stop = len(text) if path.suffix == ".sql" else _after(text, start)
        places += [(path, start, stop, o, n) for o, n in CHANGES if start >= 0 and o in text[start:stop]]
    path, start, stop, old, new = seeded.rng.choice(places)
    text = path.read_text()
    path.write_text(text[:start] + text[start:stop].replace(old, new, 1) + text[stop:])
    return [(_name(seeded, path), "" if path.suffix == ".sql" else "body")]


def stale_statistics(seeded: Seeded) -> list[tuple[str, str]]:
    """Make the lock tell of a table or view as it was when it was much smaller, or will be when it is much larger."""
    path = seeded.specs / f"{seeded.pack}/locks/local.evidence.json"
    seen = json.loads(path.read_bytes())
    kind = seeded.rng.choice(("datasets", "views"))
    name = seeded.rng.choice(sorted(seen[kind]))
    facts = seen[kind][name]["facts"] if kind == "datasets" else seen[kind][name]
    share = seeded.rng.choice((0.001, 0.1, 100, 10_000))
    for fact in facts.keys() & {"rows", "bytes", "files"}:
        facts[fact]["value"] = max(1, int(facts[fact]["value"] * share))
    path.write_text(json.dumps(seen, indent=1))
    return [(_name(seeded, path), f"{kind}.{name}")]


UPSTREAM = (
    ("orders", "o_orderstatus", "char"), ("customer", "c_mktsegment", "char"), ("part", "p_brand", "char"),
    ("lineitem", "l_shipmode", "char"), ("orders", "o_totalprice", "float"), ("lineitem", "l_extendedprice", "float"),
    ("supplier", "s_acctbal", "float"), ("nation", "n_name", "char"),
)  # fmt: skip


def upstream_schema(seeded: Seeded) -> list[tuple[str, str]]:
    """Have a source write a column as another type: text padded to a width, or money as a float of cents lost."""
    table, column, kind = seeded.rng.choice(UPSTREAM)
    source = Path(seeded.base["tpch"])
    moved = seeded.b / "tpch"
    shutil.copytree(source, moved)
    rows = pq.read_table(moved / f"{table}.parquet")
    old = rows[column]
    new = pc.utf8_rpad(old.cast("string"), 16) if kind == "char" else pc.round(old.cast("float64"))
    rows = rows.set_column(rows.schema.get_field_index(column), column, new)
    pq.write_table(rows, moved / f"{table}.parquet")
    seeded.moved["tpch"] = str(moved)
    return [("input", "tpch")]


def upstream_files(seeded: Seeded) -> list[tuple[str, str]]:
    """Have other files where a source is read."""
    root, _, place = seeded.base["python"].partition(":")
    moved = seeded.b / "python"
    shutil.copytree(place, moved, ignore=shutil.ignore_patterns("__pycache__"))
    path = seeded.rng.choice(sorted(moved.glob("*.py")))
    path.write_text(path.read_text() + "\n\ndef added_upstream():\n    return None\n")
    seeded.moved["python"] = f"{root}:{moved}"
    return [("input", "python")]


KINDS: dict[str, Plant] = {
    "threshold": threshold,
    "threshold of the library": threshold_of_the_library,
    "dropped index": dropped_index,
    "setting": setting,
    "template": template,
    "stale statistics": stale_statistics,
    "upstream": lambda s: upstream_schema(s) if s.pack == "retail" else upstream_files(s),
}


# -- changes that make no difference

QUIET = (
    "maintenance.lease_seconds", "maintenance.pin_seconds", "maintenance.time_limit_seconds", "session.ledger_buffer_rows",
    "session.source_chunks_ahead", "maintenance.retention_hours",
)  # fmt: skip
"""Thresholds that act, but on nothing that is counted."""


def distract(seeded: Seeded, count: int) -> None:
    """Make up to `count` edits that change what is written and no figure, away from what was planted."""
    files = {file for group in seeded.planted for file, _ in group}
    rng = seeded.rng
    quiet = rng.sample(QUIET, rng.randint(1, len(QUIET)))
    for id in quiet:
        _set_rung(seeded, id, rng.choice(_other_rungs(seeded, id)))
    summary = re.compile(r"\nsummary: (?=[A-Z])")
    texts = [p for p in sorted(seeded.specs.rglob("*.yaml")) if summary.search(p.read_text())]
    texts = [p for p in texts if _name(seeded, p) not in files]
    for path in rng.sample(texts, min(len(texts), max(0, count - len(quiet)) // 2)):
        path.write_text(summary.sub("\nsummary: Said anew. ", path.read_text(), count=1))
    lock = seeded.specs / f"{seeded.pack}/locks/local.evidence.json"
    seen = json.loads(lock.read_bytes())
    for name in rng.sample(sorted(seen["datasets"]), min(len(seen["datasets"]), count // 4)):
        seen["datasets"][name]["facts"]["rows"]["version"] += 1
    lock.write_text(json.dumps(seen, indent=1))
    rules = seeded.specs / "std/rules/write.toml"
    rules.write_text(re.sub(r'because = "(?=Row|Several|One)', 'because = "Said anew: ', rules.read_text()))


# -- edits of files


def _rungs(seeded: Seeded) -> dict[str, tuple[str, list[str], Path]]:
    found = {}
    for path in sorted((seeded.specs / "std/rules").glob("*.toml")):
        for id, value, ladder in LADDER.findall(path.read_text()):
            found[id] = (value, [rung.strip() for rung in ladder.split(",")], path)
    return found


def _other_rungs(seeded: Seeded, id: str) -> list[str]:
    value, ladder, _ = _rungs(seeded)[id]
    return [rung for rung in ladder if rung != value]


def _rung(seeded: Seeded, exclude: Iterable[str]) -> tuple[str, str]:
    id = seeded.rng.choice(sorted(_rungs(seeded).keys() - set(exclude)))
    return id, seeded.rng.choice(_other_rungs(seeded, id))


def _set_rung(seeded: Seeded, id: str, value: str) -> None:
    old, _, path = _rungs(seeded)[id]
    text = path.read_text()
    path.write_text(text.replace(f'id = "{id}"\nvalue = {old}', f'id = "{id}"\nvalue = {value}'))


def _environment(seeded: Seeded) -> str:
    return f"specs/{seeded.pack}/env/local.toml"


def _to_environment(seeded: Seeded, key: str, value: str) -> None:
    path = seeded.b / _environment(seeded)
    path.write_text(path.read_text().replace(ENVIRONMENT, f"{ENVIRONMENT}\n{key} = {value}", 1))


def _name(seeded: Seeded, path: Path) -> str:
    return path.relative_to(seeded.b).as_posix()


def _after(text: str, start: int) -> int:
    """Return where the key after the one at `start` begins."""
    found = re.compile(r"\n(?=[a-z_]+:)").search(text, start + 1)
    return found.start() if found else len(text)


def planted(
    folder: Path, rng: random.Random, sources: dict[str, Path], kinds: list[str], pack: str
) -> Iterator[Seeded]:
    """Yield two sides with a cause of the first kind between them, then with one of the next as well, and so on."""
    seeded = lay_out(folder, pack, rng, sources)
    for i, kind in enumerate(kinds):
        seeded.planted.append(KINDS[kind](seeded))
        if i < len(kinds) - 1:
            kept = folder / f"b{i}"
            shutil.copytree(seeded.b, kept)
            yield replace(seeded, b=kept, moved=dict(seeded.moved), planted=list(seeded.planted))
    yield seeded


def mixed_of(seeded: Seeded, folder: Path) -> Mixer:
    """Return what measures the sides, and mixes of them, in a folder of its own."""
    project = Project(seeded.a)
    a, b = (of_pack(spec_files(str(side), project), seeded.pack) for side in (seeded.a, seeded.b))
    base = {name: [at] for name, at in seeded.base.items()}
    moved = base | {name: [at] for name, at in seeded.moved.items()}
    return between((a, b), (base, moved), seeded.pack, "local", folder)


def is_named(group: list[tuple[str, str]], causes: list[dict[str, Any]]) -> bool:
    """Whether one of the causes found is this one."""
    return any(_names(cause, pair) for cause in causes for pair in group)


def is_right(causes: list[dict[str, Any]], groups: list[list[tuple[str, str]]]) -> bool:
    """Whether each planted cause is named and nothing else is."""
    pairs = [pair for group in groups for pair in group]
    return all(is_named(g, causes) for g in groups) and all(any(_names(c, p) for p in pairs) for c in causes)


def _names(cause: dict[str, Any], pair: tuple[str, str]) -> bool:
    file, key = pair
    if cause["kind"] == "input":
        return pair == ("input", cause["name"])
    return bool(cause["place"].rpartition(":")[0] == file and f"{cause['key']}.".startswith(f"{key}." if key else ""))
