"""Causes planted at random are named by `decreta compare --find-cause`, in few runs, by counters alone.

`python -m pytest tests/verbs/test_compare_seeds.py -m long -s` reports the rate; DECRETA_SEED draws others.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from decreta.blame.cause import Kind, alike, cause_of, symptoms
from decreta.blame.mixes import Mixer
from decreta.cli.compare import causes
from decreta_runtime.measure import Measured
from tests.packs.retail.conftest import generate
from tests.verbs.seeds import KINDS, PACKS, distract, is_right, mixed_of, planted

SEED = int(os.environ.get("DECRETA_SEED", "8"))
AT_MOST_RUNS = 12
AT_LEAST = 0.95
DRAWS = 200
"""Times that a case is drawn anew where what was planted changes nothing that is counted."""


class Told(NamedTuple):
    """What was planted and what was said of it."""

    kinds: list[str]
    pack: str
    of: str
    right: bool
    runs: int
    changes: int
    causes: list[dict[str, Any]]
    planted: list[list[tuple[str, str]]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sources")
    library = folder / "python"
    shutil.copytree(Path(sysconfig.get_path("stdlib")) / "json", library, ignore=shutil.ignore_patterns("__pycache__"))
    return {
        "tpch": lambda: generate(folder / "tpch", "0.01"),
        "python": lambda: f"stdlib:{library}",
        "_": {},
        "known": {},
        "again": {},
        "compiled": {},
    }


def place(sources: dict[str, Any], name: str) -> Any:
    if name not in sources["_"]:
        sources["_"][name] = sources[name]()
    return sources["_"][name]


def told(folder: Path, rng: random.Random, sources: dict[str, Any], kinds: list[str], pack: str) -> Told:
    """Plant until each of the causes makes a difference, and ask for those of one that there is."""
    name = "tpch" if pack == "retail" else "python"
    for draw in range(DRAWS):
        case = folder / str(draw)
        kinds = [kinds[0], *(rng.choice([k for k in KINDS if k != kinds[0]]) for _ in kinds[1:])]
        stages = list(planted(case, rng, {name: place(sources, name)}, kinds, pack))
        bare = [mixed_of(seeded, case / f"bare{i}") for i, seeded in enumerate(stages)]
        for mixer in bare:  # A is the same in every draw
            mixer.known = sources["known"]
            mixer.compiled |= sources["compiled"].get(pack, {})
        of = in_effect(bare, rng, sources["again"])
        sources["compiled"][pack] = {frozenset(): bare[0].generated(frozenset())}
        if of is not None:
            seeded = stages[-1]
            distract(seeded, rng.randint(8, 28))
            mixer = mixed_of(seeded, case / "work")
            answer = cause_of(mixer, of)
            found = [] if answer.finding is None else [cause for cause, _ in causes(mixer, answer.finding)]
            right = is_right(found, seeded.planted)
            return Told(kinds, pack, of, right, answer.runs, mixer.count, found, seeded.planted)
        shutil.rmtree(case)
    raise AssertionError(f"{kinds} of {pack} changed nothing in {DRAWS} draws")


def in_effect(stages: list[Mixer], rng: random.Random, again: dict[str, Measured]) -> Kind | None:
    """Return a kind of figure in which each cause makes a difference beside those before it; None if there is none.

    Ends are measured twice: what differs from run to run of the same is no difference that a cause makes.
    """
    kinds: list[Kind] = ["bytes", "rows", "digest"]
    for i, mixer in enumerate(stages):
        every = frozenset(range(mixer.count))
        last = (mixer, frozenset[int]()) if i == 0 else (stages[i - 1], frozenset(range(stages[i - 1].count)))
        ends = (last, (mixer, every))
        if mixer.key(frozenset()) == mixer.key(every):
            return None
        first = [which.measured(mix) for which, mix in ends]
        if None in first or not any(differ(first, kind) for kind in kinds):
            return None
        for which, mix in ends:
            key = which.key(mix)
            if key is not None and key not in again and (found := which.measured(mix, again=True)) is not None:
                again[key] = found
        second = [again.get(which.key(mix) or "") for which, mix in ends]
        pairs = list(zip(first, second, strict=True))
        kinds = [kind for kind in kinds if differ(first, kind).difference(*(differ(pair, kind) for pair in pairs))]
    return rng.choice(kinds) if kinds else None


def differ(ends: Sequence[Measured | None], kind: Kind) -> set[str]:
    """Return the figures that differ by more than the order of rows makes of them."""
    one, other = ({} if end is None else symptoms(end, kind) for end in ends)
    return {name for name in one.keys() | other.keys() if not alike(name, one.get(name), other.get(name))}


def cases(count: int, rng: random.Random) -> Iterator[tuple[list[str], str]]:
    """Yield what is to be planted: one of each kind in turn, in every fourth case another one beside it."""
    for i in range(count):
        yield [list(KINDS)[i % len(KINDS)]] * (2 if i % 4 == 3 else 1), rng.choice((*PACKS, "code_graph"))


@pytest.mark.parametrize("kind", ["threshold", "template", "stale statistics", "dropped index"])
def test_a_planted_cause_is_named(kind: str, tmp_path: Path, sources: dict[str, Any]) -> None:
    found = told(tmp_path, random.Random(f"{SEED} {kind}"), sources, [kind], "code_graph")
    assert found.right, found
    assert found.runs <= AT_MOST_RUNS


@pytest.mark.long
def test_fifty_planted_causes(tmp_path: Path, sources: dict[str, Any]) -> None:
    rng = random.Random(SEED)
    found = []
    for i, (kinds, pack) in enumerate(cases(int(os.environ.get("DECRETA_CASES", "50")), rng)):
        found.append(told(tmp_path / str(i), rng, sources, kinds, pack))
        shutil.rmtree(tmp_path / str(i), ignore_errors=True)
        it = found[-1]
        print(
            f"{i:3} {'right' if it.right else 'WRONG'} {it.pack} {it.of} {it.runs} runs {it.changes} changes {it.kinds}",
            flush=True,
        )
        if not it.right:
            print("    planted", it.planted, "named", json.dumps(it.causes)[:1500], flush=True)
    rate = sum(it.right for it in found) / len(found)
    ones = [it.runs for it in found if len(it.kinds) == 1]
    print(f"{rate:.0%} of {len(found)} named rightly; runs of one cause: {max(ones)} at most")
    assert rate >= AT_LEAST
    assert max(ones) <= AT_MOST_RUNS
