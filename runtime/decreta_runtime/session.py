"""The one module that builds an engine session, from the policy's profile of a workload class."""

from __future__ import annotations

from collections.abc import Iterable

from datafusion import ScalarUDF, SessionConfig, SessionContext

from decreta_runtime.contract.errors import PolicyIncomplete
from decreta_runtime.contract.policy import Choice, SessionValue
from decreta_runtime.tally import Tally

_RUNTIME = "datafusion.runtime."


def build_session(
    workload: str, profile: Choice[SessionValue], tally: Tally, functions: Iterable[ScalarUDF]
) -> SessionContext:
    """Return a session with the pack's functions and exactly the settings of `profile`.

    Raises PolicyIncomplete if the engine refuses a setting.
    """
    tally.once(f"session {workload}")
    config = SessionConfig().with_information_schema(True)
    settings = profile.value.settings
    try:
        for name, setting in settings.items():
            if not name.startswith(_RUNTIME):
                config = config.set(name, setting.value)
        context = SessionContext(config)
        for name, setting in settings.items():
            if name.startswith(_RUNTIME):
                # The engine takes these by SQL alone.
                context.sql(f"SET {name} = '{setting.value}'")
    except Exception as error:  # noqa: BLE001 - the binding raises bare Exception
        words = str(error).split("\n")[0]
        raise PolicyIncomplete(f"{profile.pointer}/value/settings/{name}", f"the engine says: {words}") from None
    for function in functions:
        context.register_udf(function)
    return context


def bare_session() -> SessionContext:
    """Return a session with the engine's own settings, for what no policy decides and nobody sees."""
    return SessionContext()
