"""How much of each fault is tried: a quick set in the suite, all of it by `make faults`."""

from __future__ import annotations

import os

ALL = os.environ.get("DECRETA_FAULTS") == "all"
