# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test coverage check docs real lessons scorecard mutants bench release clean

demo: $(VENV)/.library
	$(BIN)/pellucid demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses auto

coverage: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses auto --cov

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# `make docs QUICK=1` executes no tutorials and lessons: seconds, for work on the other pages.
docs: $(VENV)/.docs
	PYTHONPATH=. $(BIN)/mkdocs build --strict

real: $(VENV)/.dev
	$(BIN)/python -m pytest -m "real or slow" -rs --numprocesses auto

lessons: $(VENV)/.dev
	$(BIN)/python -m pytest -m "" -rs tests/lessons tests/docs/test_tutorials.py

scorecard: $(VENV)/.dev
	$(BIN)/python -m pytest conformance

mutants: $(VENV)/.dev
	$(BIN)/python -m benchmarks.mutants

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run

release: $(VENV)/.release
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tools/check_release.py

clean:
	rm -rf $(VENV)

$(VENV)/.library: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.library
	$(PIP) --editable ".[dev]"
	$(PIP) --no-deps zennit
	touch $@

$(VENV)/.docs: $(VENV)/.library
	$(PIP) --editable ".[docs]"
	touch $@

$(VENV)/.release: $(VENV)/.library
	$(PIP) --editable ".[release]"
	touch $@

$(VENV)/.bench: $(VENV)/.library
	$(PIP) --editable ".[bench]"
	touch $@
