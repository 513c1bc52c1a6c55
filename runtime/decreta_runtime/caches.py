"""What a session may keep of files between its statements: listings, footers, statistics.

The engine tells how large it lets each cache grow, and neither entries nor hits. What a cache spares is seen by what a
second read costs: `QueryDetail.footer_seconds` and `seconds` of look-ups, compared by the ready query `caches`.
"""

from __future__ import annotations

import msgspec
from datafusion import SessionContext

from decreta_runtime.contract.policy import Choice, SessionValue
from decreta_runtime.contract.records import CacheDetail
from decreta_runtime.record import Ledger

_LIMITS = {
    "listing": "datafusion.runtime.list_files_cache_limit",
    "footers": "datafusion.runtime.metadata_cache_limit",
    "statistics": "datafusion.runtime.file_statistics_cache_limit",
}
"""Cache -> the engine's setting with its limit."""


def note_caches(ledger: Ledger, workload: str, profile: Choice[SessionValue], context: SessionContext) -> None:
    """Note the limit of each cache of a session that was just built, as the engine has taken it from the profile."""
    asked = "SELECT name, value FROM information_schema.df_settings WHERE name LIKE 'datafusion.runtime.%'"
    found = {row["name"]: row["value"] for row in context.sql(asked).to_pylist()}
    for cache, setting in _LIMITS.items():
        pointer = (
            f"{profile.pointer}/value/settings/{setting}" if setting in profile.value.settings else profile.pointer
        )
        detail = CacheDetail(limit=found[setting], entries=None, hits=None)
        ledger.add("cache", workload, cache, pointer, detail=msgspec.to_builtins(detail))
