PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: train test test-slow check format install clean

install: $(INSTALLED)  ## make .venv with everything that the other targets need

$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test,check]"
	touch $@

train: $(INSTALLED)  ## train on CartPole-v1, evaluate and export
	$(BIN)/python scripts/train.py --preset cartpole --export

test: $(INSTALLED)  ## the quick tests
	$(BIN)/python -m pytest -m "not slow" -n 2

test-slow: $(INSTALLED)  ## the tests that take minutes: learning
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)  ## format, lint, types, import floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
