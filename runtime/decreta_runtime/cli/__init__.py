"""The runtime's command line: one module a verb, each with `HELP`, `add_arguments` and `main`."""
