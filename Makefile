# `make demo` and `make test` need python3 and make; they bring the rest themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --require-hashes --no-deps
UV_VERSION := 0.13.9
# Further arguments: `make demo ARGS="--messages 20000"`, `make test ARGS="-k journal -x"`.
ARGS ?=
# Processes that run tests, each with servers of its own; 0 is none beside pytest itself. One more than there are
# processors, because many tests wait.
WORKERS ?= $(shell expr `getconf _NPROCESSORS_ONLN` + 1)
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-long test-versions test-container bench check format image docs lock scripts clean

help:
	@echo "make demo           everything at once on an embedded PostgreSQL (Ctrl-C ends it)"
	@echo "make test           the tests"
	@echo "make test-unit      only those that need no PostgreSQL"
	@echo "make test-long      the tests that take minutes"
	@echo "make test-versions  the tests of PostgreSQL on 14, 15, 16 and 17, one after the other"
	@echo "make test-container what the image postgres:17 may do otherwise, in containers"
	@echo "make bench          the exporter side by side with postgres_exporter, five minutes (ARGS=--full: half an hour)"
	@echo "make check          format, lint and types"
	@echo "make format         puts the source into the project's format"
	@echo "make image          the container image pg-index-exporter"
	@echo "make docs           writes what is generated: metric tables, dashboard"
	@echo "make lock           writes requirements/*.lock anew"
	@echo "make scripts        writes the psql scripts of indexes/ anew"
	@echo "make clean          removes the virtual environment, caches and builds"

# Debian has venv in a package of its own; a missing one is installed where we may.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; give another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || requirements/install_venv.sh
	$(PYTHON) -m venv $(VENV)

# What runs the product and the demo.
$(VENV)/.demo: $(BIN)/python requirements/build.lock requirements/demo.lock pyproject.toml
	$(INSTALL) -r requirements/build.lock -r requirements/demo.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# What tests and checks it, on top.
$(VENV)/.dev: $(VENV)/.demo requirements/dev.lock
	$(INSTALL) -r requirements/dev.lock
	@touch $@

.PHONY: .venv
.venv: $(VENV)/.dev

demo: $(VENV)/.demo
	@$(BIN)/pg-index-exporter demo $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/python -m tests.support.tools
	$(PYTEST) $(ARGS)

# Without the programs of others, which are quickly missing on a machine that has only this Python.
test-unit: $(VENV)/.dev
	$(PYTEST) tests/unit $(ARGS)

test-long: $(VENV)/.dev
	@$(BIN)/python -m tests.support.tools
	$(PYTEST) -m long --timeout=1800 $(ARGS)

# `make test` has the oldest and the newest version; this is all, on each but the newest.
test-versions: $(VENV)/.dev
	@$(BIN)/python -m tests.support.tools
	@failed=; for version in 14 15 16 17; do \
	  echo "== PostgreSQL $$version"; \
	  $(PYTEST) -m "not long" --postgres $$version tests/postgres tests/faults $(ARGS) || failed="$$failed $$version"; \
	done; test -z "$$failed" || { echo "failed on PostgreSQL$$failed" >&2; exit 1; }

# Another build of the server, with other locales, rights and ways in than the embedded one. What the builder
# does is the same wherever it runs: of that, one file.
CONTAINER_TESTS = $(addprefix tests/postgres/,test_fixtures.py test_roles.py test_hostile_schema.py cli metrics \
  parsing postgres settings versions migrate/test_init.py)
test-container: $(VENV)/.dev
	$(PYTEST) --postgres container $(CONTAINER_TESTS) $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

image:
	docker build --tag pg-index-exporter \
	  --build-arg VERSION="$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' exporter/__init__.py)" \
	  --build-arg REVISION="$$(git rev-parse HEAD)" \
	  --build-arg CREATED="$$(date -u +%Y-%m-%dT%H:%M:%SZ)" .

docs: $(VENV)/.dev
	$(BIN)/python docs/build_metric_table.py
	$(BIN)/python grafana/build_dashboards.py

# The psql script of each bundled manifest; a test holds that they are up to date.
scripts: $(VENV)/.demo
	@mkdir -p build
	for manifest in indexes/*.yaml; do \
	  $(BIN)/pg-index-exporter plan --sql --manifest $$manifest > build/script.sql \
	    && mv build/script.sql $${manifest%.yaml}.sql || exit 1; done

# Universal (one file for all platforms and Pythons) and without any index host, so that a mirror set
# up in pip serves as well. dev.lock is first: the others take its versions.
COMPILE = .cache/uv/bin/uv pip compile pyproject.toml --no-config --quiet --universal \
  --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
lock:
	$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	$(COMPILE) --upgrade --extra demo --group build --group dev --output-file requirements/dev.lock
	$(COMPILE) --constraint requirements/dev.lock --extra demo --output-file requirements/demo.lock
	$(COMPILE) --constraint requirements/dev.lock --output-file requirements/run.lock
	.cache/uv/bin/uv pip compile --group build --no-config --quiet --universal --python-version 3.11 \
	  --generate-hashes --custom-compile-command "make lock" \
	  --constraint requirements/dev.lock --output-file requirements/build.lock

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
