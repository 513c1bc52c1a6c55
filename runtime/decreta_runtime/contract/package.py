"""An execution package: one run as a file that can be kept and run again. Its index; all else are its members."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from decreta_runtime.contract.records import RunRecord

PACKAGE_FORMAT = 3

Divergence = Literal["input", "engine", "settings", "builder", "nondeterminism"]
"""Why a replay came to something else: what it was given, what it ran on, how, what ran; or none of these."""


class TableInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of others at the version that the run read."""

    table_id: str
    version: int
    contents: str
    """Digest of what its log says: schema, and each file's partition; the same before and after a checkpoint."""
    files: dict[str, str]
    """Data file → its `sha256:` digest. The log is not among them: it is cleaned while its versions stay."""

    def differing(self, other: TableInput) -> list[str]:
        """Return the data files that are others or not there, or in words that the log says something else."""
        names = sorted(at for at in self.files.keys() | other.files.keys() if self.files.get(at) != other.files.get(at))
        return names or ([] if self.contents == other.contents else ["its schema or partitions"])


class PlanPrints(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the engine makes of a relation's statement: digests of its plans as text, before and after optimizing."""

    logical: str
    optimized: str


class Rows(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rows of a dataset, in whatever order and files they lie."""

    count: int
    digest: str


class PackageIndex(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a package is of. `decreta replay` compares each of these with what it finds."""

    format: int
    pack: str
    version: str
    environment: str
    workload: str
    run_seq: int
    manifest_digest: str
    policy_digest: str
    engine: dict[str, str]
    """Library → version that ran."""
    settings: dict[str, str | None]
    """All settings of the run's session, as the engine has them."""
    sources: dict[str, str]
    """Source → fingerprint over its units."""
    tables: dict[str, TableInput]
    """Table of others → what the run read of it."""
    roots: dict[str, tuple[str, ...]]
    """Source or table whose data the package holds → its roots, each by its place below `data/NAME/`: its name, and of
    a source the last part of its path too, which may be part of what it is, as that of a Python package."""
    plans: dict[str, PlanPrints]
    results: dict[str, Rows]
    """Dataset → its rows without the columns that vary."""
    varies: dict[str, dict[str, str]]
    """Dataset → column of it → the share of its value by which a replay may differ, or `any`; as its spec declares."""
    members: dict[str, str]
    """Path in the archive → its `sha256:` digest."""


class KeptPackage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a lake notes of a package that it keeps: the versions of its run are not vacuumed."""

    fingerprint: str
    run: RunRecord


class Parts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The digests that the fingerprint of a package is made from, each of one thing that may differ alone."""

    semantic_manifest: str
    execution_policy: str
    runtime_capability: str
    plan_bundle: str
    session_config: str


class Difference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that a replay found otherwise than the package has it."""

    what: Literal["source", "table", "engine", "setting", "plan", "rows"]
    subject: str
    packed: str | None
    found: str | None


class Replayed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a replay came to."""

    fingerprint: str
    equal: bool
    kind: Divergence | None
    """Null where it is equal."""
    first: Difference | None
    """Where rows differ first, in the pack's own order; else the first difference of another kind."""
    differences: tuple[Difference, ...]
    """All of them. Engines, settings and plans may differ while the rows do not: then the replay is equal."""
    seconds: float
