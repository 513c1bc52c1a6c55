# One file a verb would be too many for make; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKS := code_graph retail
LAKE ?= .decreta/lake
SOURCE ?= python=stdlib:$(shell $(PYTHON) -c "import sysconfig; print(sysconfig.get_path('stdlib'))")

.PHONY: help install install-run run generate test test-long test-calm faults check probe bless docs bench bench-scans bench-regret bench-writes gate demo clean

help:
	@echo "make run       read the interpreter's standard library into $(LAKE) and show what it found"
	@echo "make demo      ten minutes: tables of others adopted, appends under kill -9, planted slowdowns named; QUICK=--quick for two"
	@echo "make test      everything CI runs but the checks: own tests and generated ones"
	@echo "make test-long  tests that take minutes: many replays, seeded causes, simulated epochs; CI runs them too"
	@echo "make test-calm  tests that ask the clock, for a machine that does nothing else"
	@echo "make faults    every fault of tests/faults, as often as it can strike; takes an hour or two"
	@echo "make check     ruff, mypy, import rules, dependencies, specs, generated files"
	@echo "make generate  compile specs into generated/"
	@echo "make probe     see what the installed engines do; rewrites specs/std/capabilities"
	@echo "make docs      write docs/reference and docs/facts.md from models, contract and tables of facts"
	@echo "make bless     write anew what the corpus of mistakes expects"
	@echo "make gate      whether the decisions of PACK pay against BASE, over SOURCES; exit 1 if not"
	@echo "make bench     measure beside hand-written code and peers (PEERS=their bin folder); writes benchmarks/results"
	@echo "make bench-scans   what selective queries read and take, beside peers; QUICK=--quick for a minute's worth"
	@echo "make bench-regret  how far each query shape is from the best settings that a sweep finds; QUICK=--quick as well"
	@echo "make bench-writes  writes beside write_deltalake, tables over their lives, streams of writes and queries; QUICK=--quick prints little of it"

# A stamp a set of extras: what is installed already is not asked for again.
$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[compiler]"
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[compiler,test,check]"
	@touch $@

install: $(VENV)/.test

install-run: $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/python -m demo $(QUICK)

generate: $(VENV)/.run
	$(BIN)/decreta generate

run: generate
	$(BIN)/decreta run code_graph --lake $(LAKE) --source $(SOURCE)
	$(BIN)/decreta tour code_graph --lake $(LAKE)

test: $(VENV)/.test
	$(BIN)/python -m pytest tests -n 2
	for pack in $(PACKS); do $(BIN)/decreta test $$pack || exit 1; done

test-long: $(VENV)/.test
	$(BIN)/python -m pytest tests -n 2 -m long

test-calm: $(VENV)/.test
	$(BIN)/python -m pytest tests -m calm

faults: $(VENV)/.test
	DECRETA_FAULTS=all $(BIN)/python -m pytest tests/faults -n 2

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/decreta check
	$(BIN)/decreta generate --check

probe: $(VENV)/.run
	$(BIN)/python -m decreta_runtime.probe specs/std/capabilities

docs: $(VENV)/.run
	$(BIN)/python -m decreta.reference docs

bless: $(VENV)/.test
	DECRETA_BLESS=1 $(BIN)/python -m pytest -q tests/compiler/test_corpus.py

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/compile.py $(PEERS)
	$(BIN)/python benchmarks/decide.py
	$(BIN)/python benchmarks/observe.py

# PEERS is the bin folder of an environment with `polars duckdb daft deltalake`: none of them is needed to run decreta.
bench-scans: $(VENV)/.test
	$(BIN)/python benchmarks/scans.py $(QUICK) $(PEERS)
	$(BIN)/python benchmarks/index.py $(PEERS)

bench-regret: $(VENV)/.test
	$(BIN)/python benchmarks/regret.py $(QUICK)

bench-writes: $(VENV)/.test
	$(BIN)/python benchmarks/writes.py $(or $(QUICK),--write)
	$(BIN)/python benchmarks/lives.py --write
	$(BIN)/python benchmarks/stream.py $(or $(QUICK),--write)
	if [ -z "$(QUICK)" ]; then $(BIN)/python benchmarks/maintenance.py --write && $(BIN)/python benchmarks/incremental.py; fi

# BASE and SOURCES (`--source NAME=PATH …`) say what is compared: `make gate PACK=retail SOURCES="--source tpch=load"`.
BASE ?= main
gate: $(VENV)/.run
	$(BIN)/decreta compare $(BASE) . $(if $(PACK),--pack $(PACK)) $(SOURCES) --gate

clean:
	rm -rf $(VENV) .decreta
