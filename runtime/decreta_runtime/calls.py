"""Hold what views and query shapes call against what the policy requires, pack and engine, before data is touched."""

from __future__ import annotations

from collections.abc import Iterator

from datafusion import SessionContext

from decreta_runtime.contract.errors import IncompatibleEngine, PolicyIncomplete
from decreta_runtime.contract.manifest import FunctionEntry, Manifest
from decreta_runtime.contract.policy import FunctionRequirement, Policy, pointer_to
from decreta_runtime.record import Ledger


def required_functions(manifest: Manifest, policy: Policy) -> Iterator[str]:
    """Hold what views and query shapes call against what the policy requires; yield the pointer of each entry.

    Raises PolicyIncomplete if the policy requires another function, signature or module than the pack has.
    """
    for view, functions in callers(manifest).items():
        choice = policy.functions(view)
        yield choice.pointer
        for name in sorted({*functions, *choice.value}):
            pointer = choice.pointer + pointer_to(name)
            if name not in functions:
                raise PolicyIncomplete(pointer, f"`{view}` does not call `{name}`")
            if name not in choice.value:
                raise PolicyIncomplete(pointer, "the policy has no such entry")
            if choice.value[name].origin == "pack":
                _require_own(manifest, view, name, choice.value[name], pointer)


def _require_own(manifest: Manifest, view: str, name: str, wanted: FunctionRequirement, pointer: str) -> None:
    entry, relation = manifest.functions.get(name), manifest.relations.get(view)
    call = relation.call if relation is not None else None
    if entry is None and (call is None or call.function != name):
        raise PolicyIncomplete(pointer, f"the pack has no function `{name}`")
    module = entry.module if entry is not None else call.module if call is not None else ""
    if manifest.files.get(f"code/{module}.py") != wanted.digest:
        raise PolicyIncomplete(pointer + "/digest", f"`code/{module}.py` is not the module that the policy requires")
    if entry is not None and _signature(entry) != (wanted.arguments, wanted.returns, wanted.volatility):
        raise PolicyIncomplete(pointer, f"`{name}` has another signature than the policy requires")


def _signature(entry: FunctionEntry) -> tuple[tuple[str, ...], str, str]:
    return entry.arguments, entry.returns, entry.volatility


def require_engine_functions(
    context: SessionContext, workload: str, manifest: Manifest, policy: Policy, ledger: Ledger
) -> None:
    """Ask a new session for every function of the engine that the policy requires, and note that it was asked.

    Raises IncompatibleEngine, naming the entry, before the session reads anything.
    """
    views = callers(manifest)
    if not views:
        return
    listed = context.sql("SELECT DISTINCT routine_name AS name FROM information_schema.routines").to_pydict()["name"]
    known = set(listed)
    for view in views:
        choice = policy.functions(view)
        for name, wanted in choice.value.items():
            if wanted.origin == "engine" and name not in known:
                raise IncompatibleEngine(
                    f"`{view}` calls `{name}`, which the installed engine does not have ({choice.pointer})",
                    help="install the engine that the pack was compiled for",
                )
    ledger.add("step", workload, "functions", pointer_to("udf_requirements_by_view"), detail={"views": len(views)})


def callers(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """Return the views and query shapes that call functions, each with their names."""
    found = {name: entry.functions for name, entry in manifest.relations.items()}
    found |= {name: entry.functions for name, entry in manifest.queries.items()}
    return {name: functions for name, functions in found.items() if functions}
