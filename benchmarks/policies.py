"""Other policies for a compiled pack: a decision's value is edited and the pack sealed again, as its compiler would have.

The runtime knows nothing of it: a policy that a benchmark has edited is loaded, verified and obeyed like any other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decreta_runtime.load import digest_of

Policy = dict[str, Any]
Edit = Callable[[Policy], None]

SCAN, WRITE, INDEX, SESSION = (
    "scan_policy_by_dataset", "write_policy_by_dataset", "index_policy_by_dataset", "session_profile_by_workload"
)  # fmt: skip
ENGINE_SCAN = {"log_pruning": False, "pushdown": False, "page_index": True, "bloom_filters": True, "columns": "all"}
"""How the engine reads a table of files if nobody tells it how."""
ENGINE_WRITE = {"sort": [], "target_file_bytes": 104857600, "row_group_rows": 1048576, "compression": "snappy", "bloom_columns": []}  # fmt: skip
"""How delta-rs writes a table if nobody tells it how."""
_MEANING = "datafusion.execution.time_zone"
"""The one setting that is no matter of cost."""


def variant(pack: Path, folder: Path, *edits: Edit) -> Path:
    """Return a copy of a compiled pack in `folder` whose policy the edits have changed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pack, folder, ignore=shutil.ignore_patterns("tests"))
    path = folder / "policy/local.json"
    policy = json.loads(path.read_bytes())
    for edit in edits:
        edit(policy)
    path.write_text(json.dumps(policy, sort_keys=True))
    reseal(folder)
    return folder


def reseal(pack: Path) -> None:
    """Make a pack's digests agree with its files; a file that was left out is named no more."""
    manifest = json.loads((pack / "manifest.json").read_bytes())
    named = [path for path in manifest["files"] if (pack / path).exists()]
    manifest["files"] = {path: digest_of((pack / path).read_bytes()) for path in named}
    data = json.dumps(manifest, sort_keys=True).encode()
    (pack / "manifest.json").write_bytes(data)
    (pack / "manifest.sha256").write_text(digest_of(data) + "\n")


def set_values(section: str, **values: Any) -> Edit:
    """Return an edit that gives fields of every decision of a section these values, its fallback too."""

    def edit(policy: Policy) -> None:
        for decision in policy[section].values():
            for part in ("value", "otherwise", "baseline"):
                if decision[part] is not None:
                    decision[part] |= values

    return edit


def set_setting(name: str, text: str) -> Edit:
    """Return an edit that gives an engine setting this value in every workload class."""

    def edit(policy: Policy) -> None:
        for decision in policy[SESSION].values():
            decision["value"]["settings"][name] = {"value": text, "because": "measured by a benchmark"}

    return edit


def engine_session(policy: Policy) -> None:
    """Leave every setting to the engine."""
    for decision in policy[SESSION].values():
        kept = {n: s for n, s in decision["value"]["settings"].items() if n == _MEANING}
        decision["value"]["settings"] = kept


def engine_scan(policy: Policy) -> None:
    """Read files as the engine does by itself, where they are read as files at all."""
    for decision in policy[SCAN].values():
        for part in ("value", "otherwise", "baseline"):
            if decision[part] is not None and decision[part]["path"] != "delta":
                decision[part] |= ENGINE_SCAN


def engine_write(policy: Policy) -> None:
    """Write as delta-rs does by itself, without an index."""
    set_values(WRITE, **ENGINE_WRITE)(policy)
    set_values(INDEX, build=False, shapes=[])(policy)
