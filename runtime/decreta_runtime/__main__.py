"""`decreta-run`: run, query and verify compiled packs without the compiler."""

from __future__ import annotations

from decreta_runtime.cli.shell import dispatch

VERBS = {
    "run": "decreta_runtime.cli.run",
    "maintain": "decreta_runtime.cli.maintain",
    "query": "decreta_runtime.cli.query",
    "sql": "decreta_runtime.cli.sql",
    "show": "decreta_runtime.cli.show",
    "observe": "decreta_runtime.cli.observe",
    "index": "decreta_runtime.cli.index",
    "verify": "decreta_runtime.cli.verify",
    "ledger": "decreta_runtime.cli.ledger",
    "kpi": "decreta_runtime.cli.kpi",
    "profile": "decreta_runtime.cli.profile",
    "package": "decreta_runtime.cli.package",
    "replay": "decreta_runtime.cli.replay",
    "packages": "decreta_runtime.cli.packages",
    "tour": "decreta_runtime.cli.tour",
    "rollout": "decreta_runtime.cli.rollout",
}


def main() -> None:
    """Run the verb named on the command line and exit with its status."""
    raise SystemExit(dispatch("decreta-run", "Run, query and verify compiled packs.", VERBS))


if __name__ == "__main__":
    main()
