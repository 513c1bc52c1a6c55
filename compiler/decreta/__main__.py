"""`decreta`: the compiler's verbs, and the runtime's, which it mounts unchanged."""

from __future__ import annotations

import gc
import importlib.util
import sys

_TOOLCHAIN = ("pydantic", "ruamel", "jinja2", "sqlglot", "tree_sitter", "tree_sitter_toml")


def main() -> None:
    """Run the verb named on the command line and exit with its status."""
    from decreta.cli.verbs import VERBS
    from decreta_runtime.cli.shell import dispatch

    if len(sys.argv) > 1 and VERBS.get(sys.argv[1], "").startswith("decreta."):
        gc.disable()  # the compiler's verbs make many small objects, keep them, and end

    missing = [name for name in _TOOLCHAIN if importlib.util.find_spec(name) is None]
    if missing:
        print(f"error: the compiler needs {', '.join(missing)}", file=sys.stderr)
        print("help: pip install 'decreta[compiler]'; `decreta-run` works without it", file=sys.stderr)
        raise SystemExit(2)
    raise SystemExit(dispatch("decreta", "Compile, check, run and query packs of declarative data policy.", VERBS))


if __name__ == "__main__":
    main()
