"""Meet the policy's triggers with measured outcomes. Each is true, false or unknown; the policy has a word for that."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from decimal import Decimal

from decreta_runtime.contract.policy import Trigger
from decreta_runtime.contract.records import TableOutcomes, TriggerOutcome

_COMPARISONS = {"at_least": operator.ge, "at_most": operator.le}


def meet(triggers: Mapping[str, Trigger], outcomes: TableOutcomes) -> dict[str, TriggerOutcome]:
    """Return what each trigger comes to."""
    return {name: _met(trigger, getattr(outcomes, trigger.metric)) for name, trigger in sorted(triggers.items())}


def _met(trigger: Trigger, found: int | str | None) -> TriggerOutcome:
    holds = None if found is None else _compared(trigger, found)
    return TriggerOutcome(
        action=trigger.action,
        metric=trigger.metric,
        found=found,
        threshold=trigger.threshold,
        holds=holds,
        due=trigger.unknown == "act" if holds is None else holds,
    )


def _compared(trigger: Trigger, found: int | str) -> bool:
    return bool(_COMPARISONS[trigger.comparison](Decimal(found), Decimal(trigger.threshold)))
