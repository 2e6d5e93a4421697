PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_FIGURES := $(VENV)/.installed-figures
INSTALLED_DOCS := $(VENV)/.installed-docs
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' tf_trpo/__init__.py)
VERSION_CHECK := import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else \
	"Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ...")
MINOR_VERSION := import sys; print("%d.%d" % sys.version_info[:2])

# A .venv of another Python would be used without a word.
ifneq ($(origin PYTHON),file)
ifeq ($(filter clean,$(MAKECMDGOALS)),)
ifneq ($(wildcard $(BIN)/python),)
VENV_HAS := $(shell $(BIN)/python -c '$(MINOR_VERSION)')
ASKED_FOR := $(shell $(PYTHON) -c '$(MINOR_VERSION)')
ifeq ($(ASKED_FOR),)
$(error PYTHON=$(PYTHON) cannot be run)
endif
ifneq ($(ASKED_FOR),$(VENV_HAS))
$(error $(VENV) has Python $(VENV_HAS): run make clean first)
endif
endif
endif
endif

.PHONY: develop train test test-slow check format figures docs notebooks release clean

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c '$(VERSION_CHECK)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,check]"
	touch $@

$(INSTALLED_FIGURES): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[figures]"
	touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

train: $(INSTALLED)  ## train on CartPole-v1, evaluate and export
	$(BIN)/python scripts/train.py --env CartPole-v1 --export

develop: $(INSTALLED_DEV)  ## make .venv for developers

test: $(INSTALLED_DEV)  ## the quick tests
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(INSTALLED_DEV)  ## the tests that learn for minutes
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED_DEV)  ## format, lint, types, import floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED_DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

figures: $(INSTALLED_FIGURES)  ## draw the figures of the lecture into docs/figures
	$(BIN)/python -m examples.lecture
	$(BIN)/python -m benchmarks learning-curves

docs: $(INSTALLED_DOCS)  ## build the site into build/site; a warning or a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: $(INSTALLED_DOCS)  ## execute the notebooks of docs/notebooks and store their outputs
	$(BIN)/python docs/notebooks/execute.py

release: $(INSTALLED_DEV)  ## check and test a clean checkout, build its version into dist/, and tag it
	test -z "$$(git status --porcelain)"
	! git rev-parse -q --verify refs/tags/v$(VERSION)
	grep -E "^## $(VERSION), [0-9]{4}-[0-9]{2}-[0-9]{2}$$" CHANGELOG.md
	.ci/run
	$(MAKE) test-slow
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	git tag --annotate v$(VERSION) --message "Version $(VERSION)"

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
