"""What one edited file of the standard library costs: `python benchmarks/incremental.py [EDITS]`.

Runs the code graph over a copy of the standard library, then after each of some edits (5) inside a function's body, and
one that changes what a file exports. Rows and files come from the ledger; times are medians. Writes
`benchmarks/results/incremental.md`.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from report import machine

import decreta_runtime

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ("test", "tests", "idle_test", "site-packages", "__pycache__", "config-*", "lib-dynload")
EDITED = "collections/__init__.py"


def noted(lake: Path, run_seq: int, kind: str) -> list[dict[str, Any]]:
    """Return what the ledger says of one run."""
    rows = pa.table(DeltaTable(str(lake / "_decreta/ledger")).scan().read_all()).to_pylist()
    return [row for row in rows if row["run_seq"] == run_seq and row["kind"] == kind]


def rows_of(lake: Path, run_seq: int) -> int:
    """Return the rows that a run has computed: those that it wrote, and those of views that it kept."""
    return sum(row["rows"] or 0 for kind in ("write", "step") for row in noted(lake, run_seq, kind))


def measure(pack: decreta_runtime.Pack, lake: Path, source: Path) -> dict[str, Any]:
    """Run once; return seconds from end to end, rows computed and the most files that a table had rewritten."""
    start = time.perf_counter()
    result = pack.run({"python": str(source)})
    seconds = time.perf_counter() - start
    details = [json.loads(row["detail"]) for row in noted(lake, result.run_seq, "write") if row["detail"]]
    written = sum(table.action not in ("carried", "unchanged") for table in result.tables.values())
    files = max((detail.get("files_rewritten", 0) for detail in details), default=0)
    rows = 0 if result.unchanged else rows_of(lake, result.run_seq)
    return {"seconds": seconds, "rows": rows, "files": files, "tables": written}


def main(edits: int) -> None:
    """Measure, and write the table of results."""
    with tempfile.TemporaryDirectory() as folder:
        source, lake = Path(folder, "source"), Path(folder, "lake")
        shutil.copytree(sysconfig.get_path("stdlib"), source, ignore=shutil.ignore_patterns(*LEFT_OUT))
        with decreta_runtime.open(ROOT / "generated/code_graph", lake=str(lake)) as pack:
            full, nothing = measure(pack, lake, source), measure(pack, lake, source)
            file, bodies = source / EDITED, []
            text = file.read_text()
            inside = text.rindex("\n        return ")
            for i in range(edits):
                file.write_text(f"{text[:inside]}\n        edit_{'i' * i} = {i}{text[inside:]}")
                bodies.append(measure(pack, lake, source))
            file.write_text(f"{text}\nclass Edited(OrderedDict):\n    pass\n")
            export = measure(pack, lake, source)
    body = {name: statistics.median(one[name] for one in bodies) for name in full}
    write_table(
        {"first run": full, "nothing changed": nothing, "a body edited": body, "an export added": export}, source
    )


def write_table(found: dict[str, dict[str, Any]], source: Path) -> None:
    """Write the results as a table beside what they are measured against."""
    whole = found["first run"]
    lines = [
        "# One edited file",
        "",
        f"{(__doc__ or '').strip()} Made on {machine()}.",
        "",
        "| run | seconds | rows computed | of a first run | tables written | files rewritten in one table, at most |",
    ]
    lines += ["|---|---|---|---|---|---|"]
    for name, one in found.items():
        share = f"{100 * one['rows'] / whole['rows']:.2f} %"
        lines.append(
            f"| {name} | {one['seconds']:.2f} | {one['rows']:,.0f} | {share} | {one['tables']:.0f} | {one['files']:.0f} |"
        )
    path = ROOT / "benchmarks/results/incremental.md"
    path.write_text("\n".join(lines) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
