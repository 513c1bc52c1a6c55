"""`decreta print`: a relation's statement in the words of another engine."""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

from decreta.diagnostics import did_you_mean
from decreta.project import Project, find_project
from decreta_runtime.contract.errors import EXIT_DONE, InputInvalid

HELP = "print a relation's SQL for DataFusion, DuckDB or Spark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("relation", metavar="[PACK/]RELATION")
    parser.add_argument("--dialect", choices=("datafusion", "duckdb", "spark"), default="datafusion")


def main(args: argparse.Namespace) -> int:
    """Print the statement; functions that have no known counterpart are named on stderr."""
    from decreta.sql import translate, unknown_functions

    sql = _statement(find_project(Path.cwd()), args.relation)
    print(sql if args.dialect == "datafusion" else translate(sql, args.dialect))
    for name in unknown_functions(sql) if args.dialect != "datafusion" else ():
        print(f"warning: `{name}` is printed as it stands: nothing is known of it in {args.dialect}", file=sys.stderr)
    return EXIT_DONE


def _statement(project: Project, text: str) -> str:
    pack, slash, relation = text.rpartition("/")
    found = {
        (name, path.stem): path
        for name in project.chosen([pack] if slash else [])
        for path in sorted((project.generated / name / "relations").glob("*.py"))
    }
    matching = [path for (_, stem), path in found.items() if stem == relation]
    if not matching:
        raise InputInvalid(
            f"there is no generated relation `{text}`", help=did_you_mean(relation, [s for _, s in found])
        )
    if len(matching) > 1:
        raise InputInvalid(f"several packs have a relation `{relation}`", help="write PACK/RELATION")
    for node in ast.parse(matching[0].read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SQL":
            return str(ast.literal_eval(node.value)).strip()
    raise InputInvalid(f"`{relation}` is computed by a function of the pack", help="it has no SQL")
