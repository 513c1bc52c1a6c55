"""What a lake holds, table by table: where the rows of each come from, and how a person has them made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from decreta_runtime.contract.integrity import Finding, FindingKind, Origin
from decreta_runtime.contract.manifest import QUARANTINE, Manifest
from decreta_runtime.contract.policy import Policy
from decreta_runtime.contract.records import RunRecord
from decreta_runtime.lake import Lake
from decreta_runtime.locations import Location, exists, located


@dataclass
class Subject:
    """A table that is looked at, and what is found of it."""

    name: str
    path: Location
    origin: Origin
    rebuild_file: str
    """What a person does about one data file of it."""
    rebuild_table: str
    """What a person does about the table as a whole."""
    found: list[Finding] = field(default_factory=list)

    def say(self, kind: FindingKind, words: str, file: str | None = None, rebuild: str | None = None) -> None:
        """Note a finding."""
        again = rebuild or self.rebuild_file
        self.found.append(
            Finding(kind=kind, table=self.name, file=file, words=words, origin=self.origin, rebuild=again)
        )


@dataclass(frozen=True)
class Subjects:
    """The tables of a pack in a lake, and those of the lake itself."""

    manifest: Manifest
    policy: Policy
    lake: Lake

    def tables(self, run: RunRecord) -> Iterator[tuple[Subject, int]]:
        """Yield each table that a run names, with its version."""
        for name in self.manifest.datasets():
            if name in run.versions:
                yield self._dataset(name, run), run.versions[name]
        for name, version in run.quarantine.items():
            path = self.lake.dataset(self.manifest.pack, name + QUARANTINE)
            origin = Origin(kind="checks", made_by=f"the checks of `{name}`", inputs=(name,))
            yield Subject(name + QUARANTINE, path, origin, *self._again(path)), version

    def indexes(self) -> Iterator[Subject]:
        """Yield each external index that is there."""
        for dataset in self.manifest.datasets():
            for name, entry in self.manifest.indexes_of(dataset).items():
                path = self.lake.index(self.manifest.pack, dataset, name)
                by = f"the index `{name}` over {', '.join(entry.columns)}"
                again = f"remove {path}: every file is read until the next run with changes builds it anew"
                if exists(path):
                    origin = Origin(kind="index", made_by=by, inputs=(dataset,))
                    yield Subject(f"{dataset}.{name}", path, origin, again, again)

    def of_lake(self, path: Location) -> Subject:
        """Return the table of runs, or the ledger."""
        again = f"restore {path} from a backup"
        if path == self.lake.ledger:
            again += ", or move it away: no run needs it, and the next begins another"
        else:
            again += ", or move it away and run every pack of this lake again: their tables are written anew"
        origin = Origin(kind="lake", made_by="the runs of all packs, and readers")
        return Subject(path.name, path, origin, again, again)

    def shown(self, path: Location | str) -> str:
        """Return a path as findings name it: relative to the lake, where it lies in it."""
        return str(path).removeprefix(f"{self.lake.root}/")

    def record_again(self) -> str:
        """Say how a digest that lacks comes to be."""
        return f"{self._run()} notes the digests that lack, of the files as they are then"

    def _dataset(self, name: str, run: RunRecord) -> Subject:
        path = self.lake.dataset(self.manifest.pack, name)
        if (relation := self.manifest.relations.get(name)) is not None:
            call = relation.call
            by = relation.file if call is None else f"the function `{call.function}` of code/{call.module}.py"
            origin = Origin(kind="statement" if call is None else "function", made_by=by, inputs=relation.inputs)
            return Subject(name, path, origin, *self._again(path))
        source = self.manifest.objects[name].source
        if source is not None:
            by = f"source `{source.name}`, stream `{source.stream}` of code/{source.adapter}.py"
            roots = self.policy.source(source.name).value.roots
            return Subject(name, path, Origin(kind="source", made_by=by, inputs=tuple(roots)), *self._again(path))
        others = "restore it from its owner's backup: the pack reads this table and does not write it"
        origin = Origin(kind="bound", made_by="others, at a place that the environment or the caller binds")
        _, _, place = run.sources.get(name, "").partition("@")
        return Subject(name, located(place, self.lake.root), origin, others, others)

    def _again(self, path: Location) -> tuple[str, str]:
        """Return what to do about one file of a table, and about a table as a whole."""
        run = f"{self._run()} with the sources of before writes it anew"
        return f"move the file out of the lake, then {run}", f"move {path} out of the lake, then {run}"

    def _run(self) -> str:
        return f"`decreta run {self.manifest.pack} --lake {self.lake.root}`"
