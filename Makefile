# Everything stands on .venv, which is made from requirements.lock. `make demo` and `make test` are all one needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch first and by itself: where a CPU build of the locked version is at hand, pip takes it, and nothing pulls another.
TORCH := $(shell sed -n 's/^\(torch==.*\)$$/\1/p' requirements.lock)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test check bench bench-watch bench-stream crash fuzz clean

demo: $(VENV)/installed
	$(BIN)/overread demo $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

check: $(VENV)/installed-dev
	$(BIN)/ruff check node pipelines models tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-dev
	$(BIN)/python -m tests.bench $(ARGS)

crash: $(VENV)/installed-dev
	$(BIN)/python -m tests.crash $(ARGS)

fuzz: $(VENV)/installed-dev
	$(BIN)/python -m tests.fuzz $(ARGS)

bench-watch: $(VENV)/installed-dev
	$(BIN)/python -m tests.bench watch

bench-stream: $(VENV)/installed-dev
	$(BIN)/python -m tests.bench stream

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Overread needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --constraint requirements.lock --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --quiet --constraint requirements.lock --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo-out bench-out fuzz-out test-out
