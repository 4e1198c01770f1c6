# Everything that is installed goes into .venv; nothing outside this folder is touched.

PYTHON ?= python3# which interpreter makes .venv, for example PYTHON=python3.13
PYTEST_FLAGS ?=# for example PYTEST_FLAGS='-k blob -x -n 0'
BENCH_FLAGS ?=# for example BENCH_FLAGS='--only socket --rounds 9'
SEED ?= 1# where the random series of the proofs begin
LOCK_FLAGS ?=# LOCK_FLAGS=--upgrade takes the newest versions

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
PACKAGES := $(VENV)/packages.stamp
NODE_MODULES := $(VENV)/node_modules.stamp

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test accept prove prove-deep faust bench bench-peers check compiled test-compiled lock build clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r target text; do \
		printf '  make %-13s %s\n' "$$target" "$$text"; done

demo: $(PACKAGES) ## see it work, without Azure: awkward events, and the truth beside every number
	@$(VENV)/bin/inturn demo

test: check $(NODE_MODULES) ## run every check and every test
	@echo "Tests, four at a time: most of them wait."
	@$(PYTEST) -n 4 --maxschedchunk 1 $(PYTEST_FLAGS)

prove: $(NODE_MODULES) ## kill, freeze, cut and simulate for twenty minutes; a line for every figure
	@$(call proofs,full)

accept: $(NODE_MODULES) ## every processor at once, with real targets, one of them away; ten minutes, a line for every figure
	@$(PYTEST) tests/acceptance/all_processors tests/acceptance/test_injection.py --effort full --seed $(SEED) --timeout 1800 $(PYTEST_FLAGS)

prove-deep: $(NODE_MODULES) ## the same without a bound on time
	@$(call proofs,deep)

faust: $(PACKAGES) ## prove the Faust engine on Apache Kafka, in ten minutes; needs Java 17 and Maven
	@INTURN_REQUIRE_KAFKA=1 $(PYTEST) tests/kafka/proof --effort full --seed $(SEED) $(PYTEST_FLAGS)

bench: compiled ## measure beside a hand-written loop and azure-eventhub; writes tests/benchmarks/RESULTS.md
	@$(BENCH) --keep $(BENCH_FLAGS)

bench-peers: compiled ## the same beside Faust, Quix Streams and Bytewax, which go into .bench/
	@$(BENCH) --keep --only peers $(BENCH_FLAGS)

# The compiled form where there is a C compiler, else the interpreted one; another, if INTURN_BENCH_PYTHON names it.
BENCH = INTURN_BENCH_PYTHON="$${INTURN_BENCH_PYTHON:-`ls $(CURDIR)/$(COMPILED)/bin/inturn 2> /dev/null | sed s/inturn$$/python/`}" \
	PYTHONPATH="$(CURDIR)/tests" $(PY) -m benchmarks

PYTEST = INTURN_REQUIRE_AZURITE=1 INTURN_NODE_MODULES="$(CURDIR)/$(VENV)/node_modules" $(PY) -m pytest

# First what measures, alone; then the rest, three at a time: the simulation takes what the others leave. A failure in the one does not keep the other from running.
define proofs
	failed=0; \
	$(PYTEST) tests/simulation tests/proof --effort $(1) --seed $(SEED) -m alone $(PYTEST_FLAGS) || failed=1; \
	$(PYTEST) tests/simulation tests/proof --effort $(1) --seed $(SEED) -m "not alone" -n 3 --maxschedchunk 1 $(PYTEST_FLAGS) || failed=1; \
	exit $$failed
endef

check: $(PACKAGES) ## run the checks that need no test: style, types, layers, image, house rules
	@echo "Style."
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet .
	@echo "Types."
	@$(PY) -m mypy --no-error-summary
	@echo "Layers."
	@$(VENV)/bin/lint-imports --no-cache > $(VENV)/layers.txt 2>&1 || { cat $(VENV)/layers.txt; exit 1; }
	@echo "Image."
	@$(VENV)/bin/hadolint deploy/Dockerfile
	@echo "House rules and locks."
	@$(PY) -m pytest --quiet --no-header --tb=short tests/unit/test_house.py tests/unit/test_locks.py tests/unit/test_deploy.py

lock: $(PACKAGES) ## pin every dependency again, after a change in pyproject.toml
	@$(PY) -m uv pip compile $(LOCK_OPTIONS) --extra dev -o requirements-dev.lock pyproject.toml
	@$(PY) -m uv pip compile $(LOCK_OPTIONS) --extra fast -c requirements-dev.lock -o requirements.lock pyproject.toml
	@$(PY) -m uv pip compile $(LOCK_OPTIONS) --group build -c requirements-dev.lock -o requirements-build.lock

# No header and no index: the locks say what is installed, never from where.
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url $(LOCK_FLAGS)

build: $(PACKAGES) ## make the wheel and the source archive in dist/
	@rm -rf dist
	@$(PY) -m hatchling build

compiled: $(PACKAGES) ## make .venv-compiled, in which the rules are C extensions; two minutes, needs a C compiler
	@missing=`$(PY) hatch_build.py`; if [ -n "$$missing" ]; then echo "Not compiled. $$missing"; else \
		$(MAKE) --no-print-directory $(COMPILED_WHEEL); fi

test-compiled: compiled ## run the tests of the rules, and some of the whole, against the compiled form
	@[ ! -x $(COMPILED)/bin/pytest ] || INTURN_REQUIRE_COMPILED=1 $(COMPILED)/bin/pytest -n 2 $(COMPILED_TESTS) $(PYTEST_FLAGS)

# pytest by its own name: `python -m pytest` would find the packages of this folder first.
COMPILED := .venv-compiled
COMPILED_PACKAGES := $(COMPILED)/packages.stamp
COMPILED_WHEEL := $(COMPILED)/wheel.stamp
COMPILED_TESTS := tests/unit/core tests/property tests/unit/sources tests/unit/test_form.py \
	tests/integration/sources/test_eventhub_fast.py tests/acceptance/test_run.py tests/acceptance/test_bad_input.py

$(COMPILED_PACKAGES): requirements-dev.lock $(PACKAGES)
	@rm -rf $(COMPILED)
	@$(PY) -m venv $(COMPILED)
	@$(COMPILED)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-dev.lock
	@touch $@

$(COMPILED_WHEEL): $(COMPILED_PACKAGES) pyproject.toml hatch_build.py $(shell find consumer processors -name '*.py')
	@echo "Compiling the rules (a minute or more)."
	@rm -rf $(COMPILED)/dist
	@INTURN_COMPILE=1 $(COMPILED)/bin/python -m hatchling build -t wheel -d $(COMPILED)/dist
	@$(COMPILED)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --force-reinstall $(COMPILED)/dist/*.whl
	@touch $@

clean: ## remove .venv and whatever was built
	@rm -rf $(VENV) .venv-compiled .bench dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find consumer processors tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A checkout that was moved or copied is set up again: the scripts in .venv name their folder.
ifneq ($(shell cat $(PACKAGES) 2>/dev/null),$(CURDIR))
.PHONY: $(PACKAGES)
endif

$(PACKAGES): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "inturn needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`."; \
		echo "Name another one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Setting up .venv with `$(PYTHON) --version` (once, about half a minute)."
	@cd $(VENV) 2> /dev/null && rm -rf bin include lib lib64 pyvenv.cfg || true
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@printf '%s' "$(CURDIR)" > $@

$(NODE_MODULES): tests/npm/package.json tests/npm/package-lock.json | $(PACKAGES)
	@command -v node > /dev/null && command -v npm > /dev/null || { \
		echo "The tests talk to Azurite and to a JavaScript client: install Node.js 20 or newer, with npm."; exit 1; }
	@echo "Installing Azurite and the JavaScript client into .venv (once, about ten seconds)."
	@cp tests/npm/package.json tests/npm/package-lock.json $(VENV)/
	@npm ci --prefix $(VENV) --cache $(VENV)/npm-cache --no-audit --no-fund --no-update-notifier --loglevel=error > $(VENV)/npm.txt 2>&1 \
		|| { cat $(VENV)/npm.txt; exit 1; }
	@rm -rf $(VENV)/npm-cache
	@touch $@
