"""`decreta calibrate` on a real lake: from a bad threshold the loop of run, observe, calibrate and generate goes to a good one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pytest
from deltalake import write_deltalake

import decreta_runtime
from decreta_runtime.contract.calibration import CalibrationLock, encoded
from tests.conftest import ROOT, Command, run_command, sales, shop_tables

ROWS = 40_000
KNOB = "write.sorted_row_group_rows"
LOCK = "specs/shop/locks/local.calibration.json"
BAD = """
[[threshold]]
id = "write.sorted_row_group_rows"
value = 131072
unit = "rows"
ladder = [8192, 16384, 32768, 131072]
because = "As bad as can be: a look-up reads the whole file."
calibration = { objective = "lookup_bytes", guards = ["stored_bytes"], samples = 2, dead_band = "0.02", cool_down = 1, lasts = 20 }
"""

PINNED = {"scan.min_readers": 1, "scan.min_selective_readers": 1, "maintenance.small_files": 8, "write.target_file_bytes": 33554432}  # fmt: skip
"""Thresholds that a person has set, so that the loop has one alone to turn."""


class Epoch(NamedTuple):
    """What one turn of the loop has left."""

    said: str
    lock: bytes
    policy: dict[str, Any]
    read: int
    """Bytes of the last look-up."""


class Loop:
    """A shop whose revenue is one large sorted table, asked for single customers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "tests/packs/shop", folder, ignore=shutil.ignore_patterns("generated", ".decreta"))
        shop_tables(folder / "tables")
        shutil.rmtree(folder / "tables/sale")
        write_deltalake(str(folder / "tables/sale"), sales([(i, i, 7 + i % 2, 1 + i % 5) for i in range(ROWS)]))
        shutil.rmtree(folder / "tables/customer")
        ids = pa.array(range(ROWS), pa.int64())
        names = pa.array([f"c{i}" for i in range(ROWS)])
        days = pa.array([18_262] * ROWS, pa.int32()).cast(pa.date32())
        customers = pa.table({"customer_id": ids, "name": names, "since": days})
        write_deltalake(str(folder / "tables/customer"), customers)
        self.write("rules/declared.toml", BAD)
        self.rollout("enforce")

    def write(self, name: str, text: str) -> None:
        path = self.folder / "specs/shop" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def rollout(self, mode: str, **thresholds: int) -> None:
        text = (ROOT / "tests/packs/shop/specs/shop/env/local.toml").read_text()
        pinned = "".join(f'"{name}" = {value}\n' for name, value in ({**PINNED, **thresholds}).items())
        self.write("env/local.toml", f'{text}\n[rollout]\ncalibration = "{mode}"\n\n[thresholds]\n{pinned}')

    def verb(self, *args: str, status: int = 0) -> str:
        done = run_command(*args, cwd=self.folder)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def policy(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "generated/shop/policy/local.json").read_bytes())
        return found

    def live(self) -> int:
        """Generate, run, and ask in two openings; return the bytes of the last look-up."""
        self.verb("generate", "shop")
        pack, lake = self.folder / "generated/shop", str(self.folder / "lake")
        with decreta_runtime.open(pack, lake=lake) as opened:
            opened.run({})
        for _ in range(2):
            with decreta_runtime.open(pack, lake=lake) as opened:
                for customer in (5, 20_000, 39_000):
                    read = opened.answer("revenue_of", {"customer": customer}).stats.bytes_scanned
        assert read is not None
        return read

    def epoch(self) -> Epoch:
        read = self.live()
        said = self.verb("calibrate", "shop")
        return Epoch(said, (self.folder / LOCK).read_bytes(), self.policy(), read)

    def relock(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the lock and seal it, as no person does."""
        lock = json.loads((self.folder / LOCK).read_bytes())
        change(lock)
        (self.folder / LOCK).write_bytes(encoded(msgspec.convert(lock, CalibrationLock)))

    def knob(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / LOCK).read_bytes())["knobs"][KNOB]
        return found


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loop, list[Epoch]]]:
    """A loop that has kept an override, and its epochs."""
    loop = Loop(tmp_path_factory.mktemp("calibrate") / "shop")
    epochs = [loop.epoch()]
    while loop.knob()["value"] == 131072:
        epochs.append(loop.epoch())
        assert len(epochs) < 9, epochs[-1].said
    yield loop, epochs


@pytest.fixture
def kept(turned: tuple[Loop, list[Epoch]], tmp_path: Path) -> Loop:
    """A copy of that project, to change at will."""
    shutil.copytree(turned[0].folder, tmp_path / "shop")
    loop = Loop.__new__(Loop)
    loop.folder = tmp_path / "shop"
    return loop


def test_the_loop_goes_from_a_bad_threshold_to_a_better_one(turned: tuple[Loop, list[Epoch]]) -> None:
    loop, epochs = turned
    assert "is to be tried" in epochs[0].said and KNOB in epochs[0].said
    assert epochs[0].policy["inputs"][KNOB] == 131072
    assert epochs[1].policy["inputs"][KNOB] == 32768, "one rung an epoch, by the next generate"
    state = loop.knob()
    assert state["value"] < 131072 and state["proof"]["votes"][-1]["verdict"] == "better"
    assert len(state["proof"]["votes"]) == 2 and state["expires"] is not None
    assert epochs[-1].read < 0.8 * epochs[0].read


def test_what_would_decide_nothing_is_never_tried(turned: tuple[Loop, list[Epoch]]) -> None:
    loop, _ = turned
    states = json.loads((loop.folder / LOCK).read_bytes())["knobs"]
    idle = {name for name, state in states.items() if "no other rung changes a decision" in state["why"]}
    assert idle and KNOB not in idle
    assert all(states[name]["trial"] is None and states[name]["value"] == states[name]["declared"] for name in idle)


def test_nothing_new_leaves_the_same_bytes_and_the_same_ledger_gives_them_again(kept: Loop) -> None:
    before = (kept.folder / LOCK).read_bytes()
    assert "nothing new" in kept.verb("calibrate", "shop")
    assert (kept.folder / LOCK).read_bytes() == before
    kept.live()
    kept.verb("calibrate", "shop", "--check", status=1)
    assert (kept.folder / LOCK).read_bytes() == before, "--check writes nothing"
    kept.verb("calibrate", "shop")
    first = (kept.folder / LOCK).read_bytes()
    (kept.folder / LOCK).write_bytes(before)
    kept.verb("calibrate", "shop")
    assert (kept.folder / LOCK).read_bytes() == first != before


def test_an_override_is_explained_and_told_apart(kept: Loop) -> None:
    value = kept.knob()["value"]
    kept.verb("generate", "shop")
    assert f"on trial beside {value}" in kept.verb("explain", "shop/write/revenue")
    kept.relock(lambda lock: lock["knobs"][KNOB].update(trial=None))
    kept.verb("generate", "shop")
    decision = kept.policy()["write_policy_by_dataset"]["revenue"]
    assert decision["origin"] == "calibrated"
    told = kept.verb("explain", "shop/write/revenue")
    assert KNOB in told and "lookup_bytes" in told and "expires at epoch" in told
    old = kept.folder / "old.json"
    shutil.copy(kept.folder / "generated/shop/policy/local.json", old)
    kept.rollout("warn")
    kept.verb("generate", "shop")
    differs = kept.verb("policy", "diff", str(kept.folder / "generated/shop/policy/local.json"), str(old), status=1)
    assert f"131,072 → {value:,} (calibrated)" in differs
    figures = json.loads(run_command("kpi", "shop", "--json", cwd=kept.folder).stdout)
    assert figures["overrides"] == {"alive": 1, "expired": 0}


def test_warn_proposes_and_off_refuses(kept: Loop) -> None:
    kept.rollout("warn")
    kept.verb("generate", "shop")
    policy = kept.policy()
    assert policy["inputs"][KNOB] == 131072, "the lock proposes, and nothing obeys it"
    assert policy["write_policy_by_dataset"]["revenue"]["origin"] != "calibrated"
    assert "proposals only" in kept.verb("calibrate", "shop") or "nothing new" in kept.verb("calibrate", "shop")
    kept.rollout("off")
    kept.verb("generate", "shop")
    assert "is off" in kept.verb("calibrate", "shop", status=2)


def test_a_person_stands_above_it_and_a_new_version_ends_it(kept: Loop) -> None:
    kept.rollout("enforce", **{KNOB: 16384})
    kept.verb("generate", "shop")
    assert kept.policy()["inputs"][KNOB] == 16384
    assert kept.policy()["write_policy_by_dataset"]["revenue"]["origin"] != "calibrated"
    kept.rollout("enforce")
    pack = kept.folder / "specs/shop/pack.toml"
    text = pack.read_text()
    version = next(line for line in text.splitlines() if line.startswith("version"))
    pack.write_text(text.replace(version, 'version = "9.9.9"'))
    kept.verb("generate", "shop")
    assert kept.policy()["inputs"][KNOB] == 131072, "it was proven for another version"


def broken(text: str, how: str) -> str:
    lock = json.loads(text)
    return {
        "no json": "{",
        "another format": json.dumps(lock | {"format": 99}),
        "an unknown field": json.dumps(lock | {"more": 1}),
        "another form": json.dumps(lock | {"epoch": "many"}),
        "an edit by hand": text.replace('"reversals": 0', '"reversals": 1', 1),
        "of another pack": encoded(msgspec.convert(lock | {"pack": "others"}, CalibrationLock)).decode(),
    }[how]


@pytest.mark.parametrize(
    "how", ["no json", "another format", "an unknown field", "another form", "an edit by hand", "of another pack"]
)
def test_a_broken_lock_is_refused_with_its_place(kept: Loop, how: str) -> None:
    text = broken((kept.folder / LOCK).read_text(), how)
    assert text != (kept.folder / LOCK).read_text()
    (kept.folder / LOCK).write_text(text)
    for verb in ("generate", "calibrate"):
        told = kept.verb(verb, "shop", status=1)
        assert LOCK in told and "D203" in told and "decreta calibrate" in told
    kept.verb("kpi", "shop", status=0 if how == "of another pack" else 2)


def test_a_rung_that_no_ladder_has_is_obeyed_by_nobody(kept: Loop) -> None:
    kept.relock(lambda lock: lock["knobs"][KNOB].update(value=3, trial=None))
    kept.verb("generate", "shop")
    assert kept.policy()["inputs"][KNOB] == 131072
    kept.live()
    kept.verb("calibrate", "shop")
    assert kept.knob()["value"] == 131072, "begun anew"


def test_what_cannot_be_calibrated_is_said(kept: Loop, decreta: Command) -> None:
    assert "environment" in kept.verb("calibrate", "shop", "--env", "locl", status=2)
    assert kept.verb("calibrate", "shops", status=2)
    shutil.rmtree(kept.folder / "lake")
    assert "lake" in kept.verb("calibrate", "shop", status=2)


@pytest.mark.long
def test_the_regret_of_bad_thresholds_is_given_back() -> None:
    """Of the code graph; `python benchmarks/calibrate.py` asks the same of both packs, in twenty minutes."""
    command = [sys.executable, str(ROOT / "benchmarks/calibrate.py"), "--quick", "--epochs", "12"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    lookups = next(line for line in done.stdout.splitlines() if line.startswith("| code_graph | lookups |"))
    assert lookups.endswith("% |"), "there was something to give back"
