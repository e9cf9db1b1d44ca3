# Each target sets up .venv by itself; a stamp makes the second call quick.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
WORKERS ?= auto

.PHONY: demo test hostile lint types bench docs site clean

demo: $(VENV)/.ready ## the main job on embedded real data
	@$(BIN)/selfsight demo --out runs/demo --overwrite

test: $(VENV)/.ready-dev
	@$(BIN)/python -m pytest -q -n $(WORKERS)

hostile: $(VENV)/.ready-dev ## try all of tests/hostile; make hostile CASES=tables/ tries those whose names hold it
	@$(BIN)/python -m tests.hostile $(CASES)

lint: $(VENV)/.ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev
	@$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.ready-dev ## make bench DATA=cifar10 measures training as well
	@$(BIN)/python benchmarks/speed.py $(if $(DATA),--data $(DATA))

docs: $(VENV)/.ready-dev ## rewrite README's tables and the pages of methods
	@$(BIN)/python docs/generate.py

site: $(VENV)/.ready-dev ## build the documentation into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "selfsight needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON) (about two minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.ready: $(VENV)/.created pyproject.toml
	@$(PIP) install --editable '.[onnx]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.created pyproject.toml
	@$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.ready $@
