# Everything a developer or a newcomer runs. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := igw_model igw_store igw_ops igw_protos igw_api igw_xds igw_extauth igw_extproc igw_demo igw_cli

.DEFAULT_GOAL := help
.PHONY: help up test check golden bench lock clean

help: ## Show what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

PROTOS := protos/hatch_build.py $(shell find protos/igw_protos -name '*.proto')

# What the lock names, each with its hash, and then this project itself, whose build hook compiles the .proto files.
.venv/installed: requirements.lock pyproject.toml $(PROTOS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

up: .venv/installed ## Install from nothing and run the whole gateway with the demo; Ctrl-C stops it
	$(BIN)/igw up --demo

test: .venv/installed ## Install from nothing and run all tests, with a real Envoy
	$(BIN)/python -m pytest

check: .venv/installed build/stubs ## Lint, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy $(addprefix -p ,$(PACKAGES))
	$(BIN)/mypy tests bench protos/stubs.py protos/hatch_build.py

build/stubs: .venv/installed
	$(BIN)/python protos/stubs.py
	@touch $@

golden: .venv/installed ## Write the golden files anew; review the difference
	IGW_REWRITE=1 $(BIN)/python -m pytest tests/golden tests/transcripts -q

bench: .venv/installed ## Measure the gateway against plain Envoy (needs wrk), and the API; write docs/performance.md
	for upstream in model envoy closing; do $(BIN)/python bench/gateway_tax.py --upstream $$upstream --write; done
	$(BIN)/python bench/api.py --write

lock: ## Choose dependencies anew within the ranges of pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--all-extras --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean: ## Remove what was installed and built
	rm -rf .venv build dist .igw .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
