"""The first part: a project for tables that are there already, a few specs, and one policy to review."""

from __future__ import annotations

import shutil
from pathlib import Path

from demo.terminal import ROOT, Terminal

SPECS = ROOT / "demo/specs"
ADDED = """changes: {kind: append}
layout: {sort: [order_id]}
"""
INDEX = "indexes: {by_product: {kind: term, column: product_id}}\n"
DOMAINS = {"order_id": "order", "customer_id": "customer", "product_id": "product"}


def adopt(terminal: Terminal, tables: Path) -> Path:
    """Start the project beside the tables and compile its policy from evidence; return its folder."""
    terminal.heading("1. A project for tables that are there")
    places = " ".join(f"shop/{name}" for name in ("orders", "lines", "customers"))
    terminal.run(f"decreta init project --pack shop --from-delta {places}", lines=9)
    project = terminal.folder = tables.parent / "project"
    terminal.run("cat specs/shop/objects/lines.yaml", lines=20)
    _specs(terminal, project)
    terminal.run("decreta generate")
    terminal.run("decreta run shop", lines=9)

    terminal.say(
        "\nWhat the tables are like becomes evidence, and evidence decides. The policy is reviewed like code:\n"
    )
    terminal.run("decreta observe shop --lake .decreta/lake", lines=2)
    shutil.copytree(project / "generated/shop", project / "before")
    terminal.say("$ cp -r generated/shop before")
    terminal.run("decreta generate")
    terminal.run("decreta policy diff before generated/shop", lines=7, expected=(1,))
    terminal.run("decreta explain shop/index/lines.by_product", lines=26)
    return project


def _specs(terminal: Terminal, project: Path) -> None:
    """Write what a person adds: whose keys columns hold, how tables grow, relations and query shapes."""
    objects = project / "specs/shop/objects"
    for path in sorted(objects.iterdir()):
        text = path.read_text()
        for column, domain in DOMAINS.items():
            text = text.replace(f"{column}: {{type: int64}}", f"{column}: {{type: int64, domain: {domain}}}")
        grows = path.stem != "customers"
        path.write_text(text + (ADDED if grows else "") + (INDEX if path.stem == "lines" else ""))
    terminal.say("", "Its keys get their domains, orders and lines say how they grow, and lines get an index:")
    terminal.run("tail -3 specs/shop/objects/lines.yaml")
    shutil.copytree(SPECS, project / "specs/shop", dirs_exist_ok=True)
    terminal.say("", "Three relations and three query shapes, two of them here:")
    terminal.run("cat specs/shop/relations/order_total.yaml specs/shop/queries/sold.yaml", lines=30)
    terminal.say("")
