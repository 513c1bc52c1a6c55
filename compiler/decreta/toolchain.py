"""The versions that generated files are a function of, beside the specs."""

from __future__ import annotations

from importlib.metadata import version

from decreta import __version__

_TOOLS = ("datafusion", "sqlglot", "pydantic", "jinja2", "ruamel.yaml")


def toolchain() -> dict[str, str]:
    """Return the installed version of decreta and of each tool whose output or judgement ends up in generated files."""
    return {"decreta": __version__, **{name: version(name) for name in _TOOLS}}
