"""The runtime of decreta: it loads a compiled pack, verifies it, and obeys its policy; it decides nothing by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decreta_runtime.pack import Pack

__all__ = ["open"]

_QUIET = ",deltalake_aws=info"
# At `debug` delta-rs writes the access key's id to stderr, past Python. It takes its level once, when it is imported.
if (_level := os.environ.get("RUST_LOG")) and not _level.endswith(_QUIET):
    os.environ["RUST_LOG"] = _level + _QUIET


def open(pack_folder: str, *, lake: str | None = None, env: str = "local", expect: str | None = None) -> Pack:
    """Open the compiled pack in `pack_folder` for runs and queries.

    `lake` overrides the environment's; `expect` is the digest that the pack's manifest must have. Raises DecretaError.
    """
    from decreta_runtime.pack import Pack  # the engines load here, not with the package

    return Pack(pack_folder, lake=lake, env=env, expect=expect)
