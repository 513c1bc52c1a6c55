"""A pack as it was read: documents with places, and texts. Nothing here knows what a spec means."""

from __future__ import annotations

from dataclasses import dataclass, field

from decreta.source import Document, SourceText


@dataclass
class PackFiles:
    """All that was read of one pack, by folder, each file under its path relative to the pack."""

    name: str
    prefix: str
    """What file names in messages begin with, such as `specs/shop`."""
    header: Document | None = None
    documents: dict[str, dict[str, Document]] = field(default_factory=dict)
    texts: dict[str, SourceText] = field(default_factory=dict)
    """SQL, pack code and capability files."""

    def place(self, path: str) -> SourceText:
        """Return an empty stand-in for a file that is not there, to point at in messages."""
        return self.texts.get(path) or SourceText(f"{self.prefix}/{path}", "")
