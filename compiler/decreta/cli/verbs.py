"""The verbs of `decreta`: the compiler's, and the runtime's, which it mounts unchanged."""

from __future__ import annotations

VERBS = {
    "init": "decreta.cli.init",
    "check": "decreta.cli.check",
    "generate": "decreta.cli.generate",
    "test": "decreta.cli.test",
    "explain": "decreta.cli.explain",
    "policy": "decreta.cli.policy",
    "compare": "decreta.cli.compare",
    "schema": "decreta.cli.schema",
    "template": "decreta.cli.template",
    "lineage": "decreta.cli.lineage",
    "print": "decreta.cli.print",
    "suggest": "decreta.cli.suggest",
    "observe": "decreta.cli.observe",
    "calibrate": "decreta.cli.calibrate",
    "report": "decreta.cli.report",
    "completion": "decreta.cli.completion",
    "run": "decreta_runtime.cli.run",
    "maintain": "decreta_runtime.cli.maintain",
    "query": "decreta_runtime.cli.query",
    "sql": "decreta_runtime.cli.sql",
    "show": "decreta_runtime.cli.show",
    "index": "decreta_runtime.cli.index",
    "verify": "decreta_runtime.cli.verify",
    "ledger": "decreta_runtime.cli.ledger",
    "kpi": "decreta.cli.kpi",
    "profile": "decreta_runtime.cli.profile",
    "tour": "decreta_runtime.cli.tour",
    "rollout": "decreta_runtime.cli.rollout",
}
