"""The pruning ladder of a statement as a picture: a line a rung, with what led from one figure to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from decreta_runtime.contract.records import IndexRung, Ladder, Switch
from decreta_runtime.ladder import effectiveness


def picture(ladders: Mapping[str, Ladder]) -> list[str]:
    """Return the lines that show how a statement came down to the rows that it took."""
    lines = []
    for dataset, ladder in ladders.items():
        times = f", read {ladder.scans} times" if ladder.scans > 1 else ""
        lines += [f"{dataset} ({ladder.path}{times})", *(f"  {line}" for line in _rungs(ladder))]
    return lines


def _rungs(ladder: Ladder) -> Iterator[str]:
    yield f"files       {_files(ladder)}"
    if (why := _not_narrowed(ladder)) is not None:
        yield f"            {why}"
    if ladder.path == "delta":
        yield "the rest    unknown: delta-rs reads it, which leaves no counters"
        yield from _statistics(ladder)
        return
    if ladder.files_opened and ladder.filtered:
        yield f"row groups  {_row_groups(ladder)}"
        yield f"pages       {_pages(ladder)}"
    if ladder.files_opened:
        yield f"rows        {_rows(ladder)}"
    yield f"bytes       {_bytes(ladder)}"
    yield from _statistics(ladder)


def _statistics(ladder: Ladder) -> Iterator[str]:
    """Say what keeps the log's statistics from telling which files hold what is asked for."""
    for column, files in ladder.unbounded.items():
        if files:
            yield f"statistics  missing on `{column}` in {files:,} of {ladder.files:,} files"
    if ladder.fresh is False:
        yield "statistics  not fresh: deletion vectors hide rows that they still count and bound"
    if ladder.fresh is None:
        yield "statistics  perhaps not fresh: a deletion vector cannot be read"


def _files(ladder: Ladder) -> str:
    steps = [f"{ladder.files:,} in the snapshot"]
    if ladder.files_log is not None:
        steps.append(f"{ladder.files_log:,} by the log's statistics")
    steps += map(_index, ladder.indexes)
    if ladder.files_steps is not None:
        values = ", ".join(f"{step.values:,} values of `{step.given_by}`" for step in ladder.steps)
        steps.append(f"{ladder.files_steps:,} by {values}")
    steps += map(_index, ladder.step_indexes)
    if ladder.files_opened is not None:
        footers = " (footers)" if ladder.asked and ladder.files_opened < ladder.files_listed else ""
        steps.append(f"{ladder.files_opened:,} opened{footers}")
    return " → ".join(steps)


def _index(rung: IndexRung) -> str:
    left = f"{rung.files:,} by" if rung.files is not None else "nothing from"
    behind = f" ({rung.unknown:,} of which it does not know)" if rung.unknown else ""
    return f"{left} the index {rung.name}{behind}"


def _not_narrowed(ladder: Ladder) -> str | None:
    """Return why the log's statistics were not asked, None if they were."""
    if any(step.values is None for step in ladder.steps):
        given = _listed(step.given_by for step in ladder.steps if step.values is None)
        return f"more values of {given} than the policy lets narrow"
    if ladder.files_log is not None or ladder.files_steps is not None:
        return None
    if ladder.filtered and not ladder.asked:
        return "no condition that the log can answer reaches this table; a filter inside the scan does"
    if not ladder.asked:
        return "no condition reaches this table"
    return f"asked for {_listed(ladder.asked)}, but the policy has log_pruning off"


def _row_groups(ladder: Ladder) -> str:
    if ladder.row_groups is None:
        return "unknown"
    steps = [f"{ladder.row_groups:,}", f"{ladder.row_groups_statistics:,} (statistics)"]
    if ladder.row_groups_bloom is not None:
        steps.append(f"{ladder.row_groups_bloom:,} (bloom filters)")
    return " → ".join(steps) + _off(ladder, "bloom_filters")


def _pages(ladder: Ladder) -> str:
    if ladder.pages is not None:
        return f"{ladder.pages:,} → {ladder.pages_kept:,} (page index)"
    return (
        "not asked" + _off(ladder, "page_index") if "page_index" in ladder.switched_off else "no page index was asked"
    )


def _rows(ladder: Ladder) -> str:
    if ladder.rows_read is None:
        return "unknown"
    whole = f"{ladder.rows:,} in the snapshot → " if ladder.rows is not None else ""
    if not ladder.filtered:
        return f"{whole}{ladder.rows_out:,} out of the scan"
    if "pushdown" in ladder.switched_off:
        return f"{whole}{ladder.rows_out:,} out of the scan" + _off(ladder, "pushdown")
    return f"{whole}{ladder.rows_read:,} read → {ladder.rows_out:,} out of the scan's filter"


def _bytes(ladder: Ladder) -> str:
    if ladder.bytes_read is None:
        return "unknown"
    said = f"{ladder.bytes_read:,} of {ladder.bytes_eligible:,}"
    if ladder.bytes_columns is not None:
        said += f", {ladder.bytes_columns:,} of them in the columns read"
    if ladder.bytes_perfect is not None:
        said += f"; a perfect index would read {ladder.bytes_perfect:,}"
    found = effectiveness([ladder])
    return said + (f"; pruning_effectiveness_score {found.score}" if found else "")


def _off(ladder: Ladder, switch: Switch) -> str:
    return f"; the policy has {switch} off" if switch in ladder.switched_off else ""


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(f"`{column}`" for column in columns)
