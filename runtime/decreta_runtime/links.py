"""A folder of links by which the engine finds the files of a partitioned snapshot: `_p=<ordinal>/<file>.parquet`.

Partition values stand in the Delta log, not in the files. Each distinct tuple of them is given an ordinal, which the
engine reads off a link's folder. What the ordinal stands for comes from the log alone.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from datafusion import ScalarUDF, udf

from decreta_runtime.lake import writing

ORDINAL = "_p"
"""The column that the ordinal is read into; no column of a contract begins so."""


class Links:
    """Links to some files of a snapshot, for as long as this object lives."""

    def __init__(self, files: Sequence[str], partitions: Mapping[str, pa.Array]) -> None:
        """Link `files`; `partitions` has the value of each partition column, file by file. Raises LakeUnusable."""
        self._files = tuple(files)
        self._firsts, ordinals = _numbered(partitions, len(files))
        self._partitions = partitions
        self._values: dict[str, pa.Array] = {}
        with writing("the folder of links in the system's temporary folder"):
            self.folder = Path(tempfile.mkdtemp(prefix="decreta-links-"))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
            for part in range(len(self._firsts)):
                (self.folder / f"{ORDINAL}={part}").mkdir()
            for i, (file, part) in enumerate(zip(files, ordinals, strict=True)):
                # Named by position: data files may share a name, or have one that the engine takes for a pattern.
                (self.folder / f"{ORDINAL}={part}" / f"{i:09}.parquet").symlink_to(file)

    def file_of(self, link: str) -> str:
        """Return the data file that a link stands for."""
        return self._files[int(Path(link).stem)]

    def values_of(self, column: str, kind: pa.DataType) -> ScalarUDF:
        """Return the function from an ordinal to the value of a partition column.

        Not immutable, though it is: by what is immutable the engine prunes partitions while it plans, drops the
        condition, and takes one that comes to null for whatever bit lies under the null.
        """
        self._values[column] = self._partitions[column].take(pa.array(self._firsts, pa.int64())).cast(kind)

        def look_up(ordinals: pa.Array) -> pa.Array:
            # Of `self`, so that the links last as long as a plan that reads them.
            return self._values[column].take(ordinals)

        return udf(look_up, [pa.int32()], kind, "stable", f"partition_value_{column}")


def _numbered(partitions: Mapping[str, pa.Array], files: int) -> tuple[list[int], list[int]]:
    """Return the first file of each distinct tuple of values, and the tuple's ordinal file by file."""
    tuples = zip(*(values.to_pylist() for values in partitions.values()), strict=True) if partitions else [()] * files
    known: dict[str, int] = {}
    firsts: list[int] = []
    ordinals: list[int] = []
    for i, values in enumerate(tuples):
        # As text: -0.0 equals 0.0, and NaN not itself.
        ordinal = known.setdefault(repr(values), len(known))
        if ordinal == len(firsts):
            firsts.append(i)
        ordinals.append(ordinal)
    return firsts, ordinals
