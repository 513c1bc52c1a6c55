"""Tables as other engines leave them, which delta-rs 1.6 cannot write: for the probe and for tests, not for runs."""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from pathlib import Path

from deltalake import DeltaTable

_FEATURE = ["deletionVectors"]


def delete_by_vector(path: Path) -> None:
    """Delete, by a vector committed by hand, the first two rows of the file that a table's last commit added."""
    version = DeltaTable(str(path)).version()
    written = map(json.loads, _log(path, version).read_text().splitlines())
    added = next(action["add"] for action in written if "add" in action)
    # A RoaringBitmapArray (Delta protocol, "Deletion Vector Format"): magic, one 32-bit bitmap of an array container.
    container = struct.pack("<IIHHI", 12346, 1, 0, 1, 16) + struct.pack("<HH", 0, 1)
    bitmap = struct.pack("<IQI", 1681511377, 1, 0) + container
    identity = uuid.uuid4()
    file = path / f"deletion_vector_{identity}.bin"
    file.write_bytes(b"\x01" + struct.pack(">I", len(bitmap)) + bitmap + struct.pack(">I", zlib.crc32(bitmap)))
    place = {"storageType": "u", "pathOrInlineDv": _z85(identity.bytes), "offset": 1}
    vector = {**place, "sizeInBytes": len(bitmap), "cardinality": 2}
    remove = {"path": added["path"], "deletionTimestamp": 1, "dataChange": True, "size": added["size"]}
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": _FEATURE, "writerFeatures": _FEATURE}
    actions = [{"protocol": protocol}, {"remove": remove}, {"add": {**added, "deletionVector": vector}}]
    _log(path, version + 1).write_text("\n".join(map(json.dumps, actions)) + "\n")


def _log(path: Path, version: int) -> Path:
    return path / "_delta_log" / f"{version:020}.json"


def _z85(data: bytes) -> str:
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    out = ""
    for i in range(0, len(data), 4):
        value = int.from_bytes(data[i : i + 4], "big")
        digits = []
        for _ in range(5):
            value, digit = divmod(value, 85)
            digits.append(alphabet[digit])
        out += "".join(reversed(digits))
    return out
