# make demo    sets everything up, then runs the quickstart
# make test    sets everything up, then runs the tests (PYTEST_FLAGS adds to them, JOBS sets the processes)
# make lint    sets everything up, then ruff and mypy
# make setup   only sets up        make clean   removes what these made, .venv included

BIN := .venv/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST_FLAGS ?=

.PHONY: demo test lint setup clean

demo: setup
	$(BIN)/mixq quickstart

# One file stays on one process, so that what its fixtures compile is compiled once. Files keep the order that
# tests/conftest.py gives them.
test:
	@sh scripts/setup.sh test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup:
	@sh scripts/setup.sh

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
