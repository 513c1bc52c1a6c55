"""What a generated relation builder says of itself."""

from __future__ import annotations

from msgspec import Struct

from decreta_runtime.contract.manifest import Column

__all__ = ["Column", "RelationInfo"]


class RelationInfo(Struct, frozen=True, kw_only=True):
    """The contract of one relation, as its builder carries it: enough to test it alone."""

    name: str
    version: str
    inputs: tuple[str, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
