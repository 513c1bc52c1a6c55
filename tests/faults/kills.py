"""Kill attempts in the midst of their work, however long that takes on the machine at hand.

No moment is a number of seconds: each is drawn within what the attempt before, which nobody disturbed, has taken, and
most of them within the time after a sign that the work itself has begun.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.extent import ALL

KILLS = (
    {"run": 100, "maintain": 30, "maintain own": 20, "index": 50}
    if ALL
    else {"run": 8, "maintain": 3, "maintain own": 3, "index": 6}
)
"""Kills that meet a living process, by what they kill: 200 in all, or 20."""
MISSES = 4
"""Attempts that may end before they are killed, for each kill that is wanted."""


def start(*args: str) -> subprocess.Popen[str]:
    """Start a verb in a process and a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "decreta_runtime", *args], env={**os.environ, "PYTHONPATH": str(ROOT / "runtime")},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def children_of(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


class Attempts:
    """Attempts at one kind of work: some are killed, some end."""

    def __init__(self, *verb: str, sign: Callable[[], object], seed: int) -> None:
        """`sign` is another than before as soon as the work itself has begun."""
        self.verb, self.sign, self.draw = verb, sign, random.Random(seed)
        self.begins = self.works = 0.0
        self.met = self.missed = self.at_work = 0

    def finish(self, *verb: str) -> None:
        """Let one go to its end, and see how long it took to begin and to work."""
        begun = time.monotonic()
        process = start(*(verb or self.verb))
        signed = self._signed(process)
        at = time.monotonic()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        if signed:
            self.begins, self.works = at - begun, time.monotonic() - at

    def strike(self) -> bool:
        """Kill one, every other time with all processes of its group; return whether it was still alive."""
        process = start(*self.verb)
        signed = False
        if self.draw.random() < 0.2:
            time.sleep(self.draw.uniform(0, self.begins))
        else:
            signed = self._signed(process)
            time.sleep(self.draw.uniform(0, self.works))
        alone = bool((self.met + self.missed) % 2)
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        hit = process.wait() == -signal.SIGKILL
        process.communicate()
        self.met, self.missed = self.met + hit, self.missed + (not hit)
        self.at_work += hit and signed
        deadline = time.monotonic() + 60
        while children_of(process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not children_of(process.pid), "no process is left that might still commit"
        return hit

    def wanted(self, kills: int) -> bool:
        """Whether there are to be more attempts until so many have been killed, half of them at work."""
        assert self.missed <= MISSES * kills, f"only {self.met} kills met a living process, {self.missed} did not"
        if self.met < kills:
            return True
        assert self.at_work >= kills // 2, f"{self.at_work} of {self.met} were at work"
        return False

    def _signed(self, process: subprocess.Popen[str]) -> bool:
        before = self.sign()
        while self.sign() == before:
            if process.poll() is not None:
                return False
            time.sleep(0.001)
        return True
