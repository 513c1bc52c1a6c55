"""Functions of the demo pack."""

import pyarrow as pa
import pyarrow.compute as pc


def tidy(text: pa.Array) -> pa.Array:
    """Return each text without spaces around it."""
    return pc.utf8_trim_whitespace(text)
