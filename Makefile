# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt
SHELL := /bin/bash
unexport PYTHONDONTWRITEBYTECODE # or each of hundreds of processes compiles the package again
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest # several threads of several processes would wait for each other
TSC := $(VENV)/node/node_modules/.bin/tsc
# $(call install,WHAT,ARGUMENTS): of pip's output, the name of each package as it comes, the sizes of downloads, and errors.
NAMES := awk '/^ *Collecting/ {printf " %s", $$2} /^ *Downloading.*[0-9] MB/ {printf " %s MB", substr($$(NF - 1), 2)} \
	/^ *Installing collected/ {printf "\n  installing them"} {fflush()} END {print ""}'
install = @echo "Installing $(1) into $(VENV), which can take some minutes:"; set -o pipefail; $(PIP) $(2) | $(NAMES)

.PHONY: demo test browser coverage check docs real networks long lessons scorecard mutants bench quality release clean

demo: $(VENV)/.library
	$(BIN)/pellucid demo

test: $(VENV)/.dev
	$(TESTS) --numprocesses auto --dist worksteal
	@echo "Not run: what takes long, real data (make real), and pages in a browser (make browser)"

browser: $(VENV)/.dev
	$(TESTS) -m "not long" -rs tests/studio tests/report/test_browser.py tests/docs/test_site.py

coverage: $(VENV)/.dev
	$(TESTS) --numprocesses auto --cov

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python tools/check_types.py
	@test -x $(TSC) || npm install --silent --no-audit --no-fund --prefix $(VENV)/node typescript@7.0.2 \
		|| echo "TypeScript cannot be installed by npm: the studio's JavaScript is not checked"
	test ! -x $(TSC) || $(TSC) --project .

# `make docs QUICK=1` executes no tutorials and lessons: seconds, for work on the other pages.
docs: $(VENV)/.docs
	PYTHONPATH=. $(BIN)/mkdocs build --strict

# What needs timm runs in an environment of its own, since torchvision, which timm needs, changes other packages.
OPEN_OPS := ../shared/facts/open-ops.json
NEED_TIMM := tests/opening/test_timm_names.py tests/opening/test_folders.py tests/opening/test_stranger.py

# `make real QUICK=1`, for .ci/run, leaves out what takes longest: the tests marked heavy and the networks of other people.
real: $(VENV)/.dev $(VENV)/.open $(if $(QUICK),,$(VENV)/.lab)
	JUPYTER_LAB=$(VENV)/lab/bin/jupyter-lab $(TESTS) -rs --numprocesses auto --dist worksteal \
		-m "(real or slow) and not long and not lessons$(if $(QUICK), and not heavy)"
	$(VENV)/open/bin/python -m pytest -m "not long" -rs $(NEED_TIMM) tests/cli/test_open.py
	test -n "$(QUICK)" || $(MAKE) networks

# Networks of other people, which take half an hour; what was tried is kept in $(VENV), and another call with the same
# code goes on.
networks: $(VENV)/.open
	$(VENV)/open/bin/python tools/open_networks.py conformance/open_unseen.txt $(VENV)/open-unseen.json --least 36
	@test -f $(OPEN_OPS) || echo "$(OPEN_OPS) is not here: its networks are not opened"
	test ! -f $(OPEN_OPS) || $(VENV)/open/bin/python tools/open_networks.py $(OPEN_OPS) $(VENV)/open.json --least 145

long: $(VENV)/.dev
	PELLUCID_TEST_KILLS=30 $(TESTS) -m long -rs
	PELLUCID_TEST_EPOCHS=25 $(TESTS) -m slow -rs tests/training/test_parts.py

lessons: $(VENV)/.dev
	$(TESTS) -m "" -rs tests/lessons tests/docs/test_tutorials.py

scorecard: $(VENV)/.dev
	$(TESTS) conformance

mutants: $(VENV)/.dev
	$(BIN)/python -m benchmarks.mutants

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run
	-$(BIN)/python -m benchmarks.threads # its exit status says whether the targets are reached, as the page does
	-$(BIN)/python -m benchmarks.stream
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.profile
	$(BIN)/python -m benchmarks.growth

# Trainings of 1 and 10 minutes of processor time; points that are measured are kept, and another call goes on.
quality: $(VENV)/.quality
	$(BIN)/python -m benchmarks.quality

release: $(VENV)/.release
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tools/check_release.py
	$(BIN)/python tools/walk_docs.py --install README.md

clean:
	rm -rf $(VENV)

$(VENV)/.library: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(call install,Pellucid,--editable .)
	touch $@

$(VENV)/.dev: $(VENV)/.library
	$(call install,the packages of [dev],--editable ".[dev]")
	$(call install,zennit and lxt,--no-deps zennit lxt)
	touch $@

$(VENV)/.open: $(VENV)/.dev
	$(BIN)/python -m venv $(VENV)/open
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> $$($(VENV)/open/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dev.pth
	@echo "Installing timm and torchvision into $(VENV)/open"
	$(VENV)/open/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps timm torchvision
	touch $@

# The packages of [quality] without those that they need on GPUs, for accounts and for windows, and that are here already.
QUALITY := torchvision timm segmentation-models-pytorch ultralytics ultralytics-thop polars polars-runtime-32
$(VENV)/.quality: $(VENV)/.dev
	$(BIN)/python -m venv $(VENV)/quality
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> $$($(VENV)/quality/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dev.pth
	@echo "Installing timm, segmentation_models.pytorch and Ultralytics into $(VENV)/quality"
	$(VENV)/quality/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps $(QUALITY)
	touch $@

$(VENV)/.lab: $(VENV)/.dev
	$(BIN)/python -m venv $(VENV)/lab
	@echo "Installing JupyterLab into $(VENV)/lab"
	$(VENV)/lab/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt jupyterlab anywidget && touch $@ \
		|| echo "JupyterLab cannot be installed: the widgets are not tested in it"

$(VENV)/.docs: $(VENV)/.library
	$(call install,the packages of [docs],--editable ".[docs]")
	touch $@

$(VENV)/.release: $(VENV)/.library
	$(call install,the packages of [release],--editable ".[release]")
	touch $@

$(VENV)/.bench: $(VENV)/.library
	$(call install,the packages of [bench],--editable ".[bench]")
	touch $@
