"""What the demonstration shows: commands as a user types them, what they say in short, and what was promised."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 118
"""Characters of a line that are shown."""


class Terminal:
    """A shell in a folder, whose commands are shown; `decreta` is the one of this checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.promises: list[tuple[str, bool]] = []
        self.began = time.monotonic()

    def heading(self, words: str) -> None:
        """Begin a part, with the minutes and seconds since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"\n== {words}  [{minutes}:{seconds:02}]\n")

    def say(self, *lines: str) -> None:
        """Print lines at once."""
        print(*lines, sep="\n", flush=True)

    def run(self, command: str, *, lines: int = 4, expected: tuple[int, ...] = (0,)) -> str:
        """Show a command and the first lines of what it says; return all of it. Exits if it fails."""
        self.say(f"$ {command}")
        started = self.start(command)
        told, _ = started.communicate()
        if started.returncode not in expected:
            sys.exit(f"{told}\n`{command}` ended with {started.returncode}: that is a bug of ours")
        self.trimmed(told, lines)
        return told

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command as a group of processes of its own."""
        words = shlex.split(command)
        if words[0] == "decreta":
            words[:1] = [sys.executable, "-m", "decreta"]
        paths = os.pathsep.join(str(ROOT / part) for part in ("compiler", "runtime", "."))
        env = {**os.environ, "PYTHONPATH": paths, "NO_COLOR": "1"}
        return subprocess.Popen(
            words, cwd=self.folder, env=env, text=True, start_new_session=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def trimmed(self, text: str, lines: int) -> None:
        """Print the first lines of a text, and how many more there are."""
        found = text.strip().split("\n")
        for line in found[:lines]:
            self.say(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…")
        if len(found) > lines:
            self.say(f"… {len(found) - lines} more lines")

    def promise(self, words: str, kept: bool) -> None:
        """Note whether a promise was kept."""
        self.promises.append((words, kept))
        self.say(f"{'kept  ' if kept else 'BROKEN'} {words}")
