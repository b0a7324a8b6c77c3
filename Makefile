# `make demo` and `make test` each set up all they need in .venv; nothing else has to be installed first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := $(shell find src -type f -not -name '*.pyc') README.md LICENSE
TESTS := -n 2 -q --durations=8

# Where shapes stand in signatures, and the tests of those parts.
SHAPES := tutelage.ops,tutelage.losses,tutelage.memory,tutelage.models,tutelage.data,tutelage.teachers,tutelage.methods
SHAPE_TESTS := $(addprefix tests/,ops losses memory models data teachers methods)

# One thread a process: two processes of two threads each on two cores take turns badly.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check clean

demo: .venv/installed
	$(BIN)/tutelage demo

test: check

check: .venv/installed
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/pytest $(TESTS) tests
	$(BIN)/pytest $(TESTS) --doctest-modules --pyargs tutelage
	$(BIN)/pytest $(TESTS) -m "not slow" --jaxtyping-packages=$(SHAPES),beartype.beartype $(SHAPE_TESTS)

# The dependencies, when pyproject.toml or the pins change.
.venv/dependencies: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install -q -c constraints.txt '.[dev]'
	touch $@

# The package as users get it: a wheel, built anew when a source changes.
.venv/installed: .venv/dependencies $(SOURCES)
	rm -rf dist
	$(PIP) wheel -q --no-deps --no-build-isolation -w dist .
	$(PIP) install -q --no-deps --force-reinstall dist/*.whl
	touch $@

clean:
	rm -rf .venv dist build runs .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
