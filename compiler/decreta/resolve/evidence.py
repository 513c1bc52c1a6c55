"""Read the evidence locks of a pack: written by `decreta observe`, merged by people, and so checked like a spec."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec

from decreta.diagnostics import Report, did_you_mean
from decreta.facts import COLUMN_FACTS, DATASET_FACTS, VIEW_FACTS
from decreta.model.facts import MOST, FactInfo
from decreta.model.files import PackFiles
from decreta.source import SourceText
from decreta_runtime.contract.evidence import EVIDENCE_FORMAT, EvidenceLock, Seen

_FOLDER, _ENDING = "locks/", "evidence.json"
_OTHER = "calibration.json"
_ANEW = "write it anew: delete it and run `decreta observe`"
_TABLE_FACTS = {n: i for n, i in DATASET_FACTS.items() if i.source == "statistics" and n not in COLUMN_FACTS}
_OF_COLUMNS = {name: DATASET_FACTS[name] for name in COLUMN_FACTS}
_OUTCOMES = {n: i for n, i in VIEW_FACTS.items() if i.source == "outcome" and not n.startswith("estimated_")}
_FORMS = {"bool": bool, "int64": int, "decimal": str, "string": str, "list<string>": tuple}


def evidence_locks(files: PackFiles, environments: Collection[str], report: Report) -> dict[str, EvidenceLock]:
    """Return the evidence lock of each environment that has one, after reporting those that cannot be relied on."""
    found: dict[str, EvidenceLock] = {}
    for path, text in files.texts.items():
        if not path.startswith(_FOLDER):
            continue
        name, _, ending = path.removeprefix(_FOLDER).partition(".")
        if ending == _OTHER:
            continue
        if ending != _ENDING or name not in environments:
            hint = did_you_mean(name, environments)
            help = (
                hint if ending == _ENDING else f"locks are named `<environment>.{_ENDING}` or `<environment>.{_OTHER}`"
            )
            report.error("D205", f"`{path}` is of no environment", text.span(0, 0), help=help)
        elif (lock := _lock(text, report)) is not None:
            found[name] = lock
    return found


def _lock(text: SourceText, report: Report) -> EvidenceLock | None:
    nowhere = text.span(0, 0)
    try:
        lock = msgspec.json.decode(text.text, type=EvidenceLock)
    except (msgspec.DecodeError, RecursionError) as error:
        report.error("D203", f"no evidence lock: {error}", nowhere, help=_ANEW)
        return None
    if lock.format != EVIDENCE_FORMAT:
        words = f"the lock has format {lock.format}, this decreta reads {EVIDENCE_FORMAT}"
        report.error("D203", words, nowhere, help=_ANEW)
    for where, fact, seen, table in _facts(lock):
        if fact not in table:
            help = did_you_mean(fact, table) or _ANEW
            report.error("D402", f"{where} has no fact `{fact}` that is observed", nowhere, help=help)
        elif not _fits(seen, table[fact]):
            unit = f" ({table[fact].unit})" if table[fact].unit else ""
            words = f"`{fact}` of {where} is {table[fact].type}{unit}, not {seen.value!r}"
            report.error("D203", words, nowhere, help=_ANEW)
    return lock


def _facts(lock: EvidenceLock) -> Iterator[tuple[str, str, Seen, Mapping[str, FactInfo]]]:
    for name, dataset in lock.datasets.items():
        yield from ((f"dataset `{name}`", fact, seen, _TABLE_FACTS) for fact, seen in dataset.facts.items())
        for column, facts in dataset.columns.items():
            yield from ((f"column `{name}.{column}`", fact, seen, _OF_COLUMNS) for fact, seen in facts.items())
    for name, facts in lock.views.items():
        yield from ((f"view `{name}`", fact, seen, _OUTCOMES) for fact, seen in facts.items())


def _fits(seen: Seen, info: FactInfo) -> bool:
    if isinstance(seen.value, bool) and info.type != "bool":
        return False
    if isinstance(seen.value, int) and not 0 <= seen.value < MOST:
        return False
    form = r"0\.\d\d|1\.00" if info.unit == "share" else r"\d{1,15}\.\d\d"
    decimal = info.type != "decimal" or re.fullmatch(form, str(seen.value)) is not None
    return isinstance(seen.value, _FORMS[info.type]) and decimal
