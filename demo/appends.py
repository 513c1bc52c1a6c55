"""The second part: others append, and every verb of ours is killed at random moments and repeated."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pyarrow as pa
from deltalake import DeltaTable

import decreta_runtime
from demo import shop
from demo.terminal import Terminal

A_ROUND = 25
"""Appends to each table in a round."""
SPAN = 3
"""The first and the last rounds, held against each other: files grow in number and are brought together again."""
LOOK_UPS = 101
FLAT, AMPLIFICATION = 1.10, 3.0
VERBS = ("decreta run shop", "decreta maintain shop --lake .decreta/lake")
SHAPES = {"basket": "order", "orders_of": "customer", "sold": "product"}


class Appends:
    """The rounds and what they are held against."""

    def __init__(self, terminal: Terminal, tables: Path, bulk: int, rounds: int, draw: random.Random) -> None:
        self.terminal, self.tables, self.bulk, self.rounds, self.draw = terminal, tables, bulk, rounds, draw
        self.project = terminal.folder
        self.lakes = tables.parent / "lakes"
        """The lake as it was after each of the first and last rounds: it names the versions of the tables it reads."""
        self.took: dict[str, float] = {}
        self.killed = Counter[str]()

    def play(self) -> None:
        """Append in rounds, kill and repeat; then hold rows, bytes and times against what was promised."""
        count = self.rounds * A_ROUND
        self.terminal.heading(f"2. {count} appends by another writer, with kill -9 throughout")
        for verb in VERBS:
            begun = time.monotonic()
            self.terminal.run(verb, lines=8)
            self.took[verb] = time.monotonic() - begun
        self.terminal.say(
            "", f"In each round another process appends {A_ROUND} times to both tables while both verbs are killed:", ""
        )
        for number in range(1, self.rounds + 1):
            self._round(number)
            if number <= SPAN or number > self.rounds - SPAN:
                copytree(self.project / ".decreta/lake", self.lakes / f"{number}")
        self.terminal.say("")
        self._rows()
        self._bytes()
        self._latency()

    def _round(self, number: int) -> None:
        start = self.bulk * shop.BULK
        first = (number - 1) * A_ROUND
        words = [sys.executable, "-m", "demo.shop", str(self.tables), str(start), str(first), str(A_ROUND)]
        writer = self.terminal.start(" ".join(words))
        told = [self._kill(verb) for verb in self.draw.sample(VERBS, 2)]
        said, _ = writer.communicate()
        if writer.returncode:
            sys.exit(f"the writer of others failed: {said}")
        for verb in reversed(VERBS):
            self._finish(verb)
        places = [self.tables / "orders", self.tables / "lines", self.project / ".decreta/lake/shop/order_total"]
        files = {place.name: len(DeltaTable(str(place)).file_uris()) for place in places}
        left = ", ".join(f"{name} {n}" for name, n in files.items())
        self.terminal.say(f"round {number:2}: {', '.join(told)}; both again to their end. Files: {left}")

    def _kill(self, verb: str) -> str:
        """Start a verb and kill it at a random moment, with all its processes or the one alone; say what came of it."""
        process, name = self.terminal.start(verb), verb.split()[1]
        moment = self.draw.uniform(0.2, 1.0) * self.took[verb]
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            (os.killpg if self.draw.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
            process.communicate()
        if process.returncode != -signal.SIGKILL:
            return f"{name} ended first"
        self.killed[name] += 1
        return f"{name} killed after {moment:.2f} s"

    def _finish(self, verb: str) -> None:
        """Run a verb to its end, and note how long it takes."""
        begun, process = time.monotonic(), self.terminal.start(verb)
        told, _ = process.communicate()
        self.took[verb] = time.monotonic() - begun
        if process.returncode:
            sys.exit(f"{told}\n`{verb}` ended with {process.returncode} after a kill: that is a bug of ours")

    def _rows(self) -> None:
        """Hold every row, and what follows from them, against the writer's book."""
        orders, lines = book(self.tables, self.bulk)
        statement = "SELECT count(*) AS orders, sum(total) AS worth, sum(positions) AS positions FROM order_total"
        told = json.loads(self.terminal.run(f'decreta sql shop "{statement}" --format json', lines=9))
        worth = sum(line["quantity"] * line["price"] for line in lines.to_pylist())
        derived = told == [{"orders": len(orders), "worth": str(worth), "positions": len(lines)}]
        self.terminal.say(f"the writer's book: {len(orders):,} orders worth {worth:,}, in {len(lines):,} positions")
        self.terminal.run("decreta verify shop --lake .decreta/lake", lines=12)
        kills = ", ".join(f"{name} {count} times" for name, count in sorted(self.killed.items()))
        exact = holds(self.tables / "orders", orders) and holds(self.tables / "lines", lines)
        whole = len(orders) == self.bulk * shop.BULK + self.rounds * A_ROUND * shop.SMALL
        self.terminal.promise(f"no row lost or doubled; killed: {kills}", exact and derived and whole)

    def _bytes(self) -> None:
        """Count the bytes that the logs name: those that changed rows were written, the others rewritten."""
        for name in ("orders", "lines"):
            written, rewritten = _log_bytes(self.tables / name)
            ratio = rewritten / written
            words = (
                f"{name}: {rewritten:,} bytes rewritten for {written:,} written, {ratio:.2f} of at most {AMPLIFICATION}"
            )
            self.terminal.promise(words, ratio <= AMPLIFICATION)

    def _latency(self) -> None:
        """Ask the shapes in the lakes of the first rounds and of the last in turn."""
        pack = str(self.project / "generated/shop")
        numbers = [*range(1, SPAN + 1), *range(self.rounds - SPAN + 1, self.rounds + 1)]
        with contextlib.ExitStack() as stack:
            lakes = [stack.enter_context(decreta_runtime.open(pack, lake=str(self.lakes / f"{n}"))) for n in numbers]
            for shape, parameter in SHAPES.items():
                medians = self._in_turn(lakes, shape, parameter)
                before, after = (1_000 * statistics.mean(found) for found in (medians[:SPAN], medians[SPAN:]))
                words = f"{shape}: {before:.2f} ms in the first rounds, {after:.2f} ms in the last"
                self.terminal.promise(f"{words}, {after / before:.2f} of at most {FLAT:.2f}", after / before <= FLAT)

    def _in_turn(self, lakes: list[decreta_runtime.Pack], shape: str, parameter: str) -> list[float]:
        """Return the median seconds of the same look-ups in each lake."""
        highest = {"order": self.bulk * shop.BULK, "customer": shop.CUSTOMERS, "product": shop.PRODUCTS}[parameter]
        times: list[list[float]] = [[] for _ in lakes]
        for i in range(LOOK_UPS + 1):
            given = self.draw.randrange(highest)
            for n in self.draw.sample(range(len(lakes)), len(lakes)):
                begun = time.perf_counter()
                lakes[n].answer(shape, {parameter: given})
                if i:  # the first is cold
                    times[n].append(time.perf_counter() - begun)
        return [statistics.median(found) for found in times]


def book(tables: Path, count: int) -> tuple[pa.Table, pa.Table]:
    """Return the orders and lines that others have written: `count` deliveries, and each later one that is noted."""
    later = (tables / "book").read_text().split() if (tables / "book").exists() else []
    orders, lines = zip(*shop.bulk(count), *(shop.small(int(n), count * shop.BULK) for n in later), strict=True)
    return pa.concat_tables(orders), pa.concat_tables(lines)


def holds(table: Path, rows: pa.Table) -> bool:
    """Whether a table has these rows, each once, and no others."""
    found = pa.table(DeltaTable(str(table)).scan().read_all()).cast(rows.schema)
    return bool(_sorted(found).equals(_sorted(rows)))


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in table.column_names]).combine_chunks()


def _log_bytes(table: Path) -> tuple[int, int]:
    """Return the bytes written and rewritten over a table's life."""
    found = {True: 0, False: 0}
    for add in _adds(table):
        found[add["dataChange"]] += add["size"]
    return found[True], found[False]


def _adds(table: Path) -> Iterator[dict[str, object]]:
    for commit in sorted((table / "_delta_log").glob("*.json")):
        for line in commit.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                yield action["add"]
