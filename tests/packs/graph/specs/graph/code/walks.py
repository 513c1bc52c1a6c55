"""Functions of the graph pack."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SCHEMA = pa.schema([("map_id", pa.int64()), ("node_id", pa.int64()), ("depth", pa.int64())])


def shout(text: pa.Array) -> pa.Array:
    """Return each text in capitals with an exclamation mark."""
    return pc.binary_join_element_wise(pc.utf8_upper(text), "!", "")


def depths(inputs: dict[str, pa.RecordBatchReader], arguments: dict[str, Any]) -> pa.RecordBatchReader:
    """Walk each group from its least node."""
    steps: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for row in inputs["edges"].read_all().to_pylist():
        steps[row["group"]][row["source"]].add(row["target"])
    rows = [row for group in sorted(steps) for row in _walk(group, steps[group], arguments["limit"])]
    return pa.RecordBatchReader.from_batches(_SCHEMA, [pa.RecordBatch.from_pylist(rows, _SCHEMA)])


def _walk(group: int, steps: dict[int, set[int]], limit: int) -> list[dict[str, int]]:
    found = {min(steps): 0}
    frontier = [min(steps)]
    for depth in range(1, limit + 1):
        frontier = sorted({t for s in frontier for t in steps.get(s, ()) if t not in found})
        found |= dict.fromkeys(frontier, depth)
    return [{"map_id": group, "node_id": node, "depth": depth} for node, depth in found.items()]
