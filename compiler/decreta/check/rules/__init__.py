"""What compiles and is still probably wrong: one module a rule, found by its place in this folder.

Each module has `check(program, bound, report)`. A false alarm is worse than a miss, so a rule speaks only of what it
can show in the specs alone.
"""

from __future__ import annotations

import importlib
import pkgutil

from decreta.diagnostics import Report
from decreta.model.program import Bound, Checked


def apply_rules(program: Checked, bound: Bound, report: Report) -> None:
    """Let every rule of this folder look at a checked pack."""
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}").check(program, bound, report)
