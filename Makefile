# Everything starts here: each target first makes what it needs (uv, the environment), so that a machine with
# Python 3.11, git and make is enough. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

UV_VERSION := 0.13.8
UV := $(or $(shell command -v uv 2>/dev/null),$(CURDIR)/.uv/bin/uv)
PYTHON := .venv/bin/python
STAMP := .venv/.synced
MEMBERS := $(sort $(dir $(wildcard packages/*/pyproject.toml apps/*/pyproject.toml)))

WORKERS ?= 2       # test processes
MLFLOW_PORT ?= 5000
TESTS ?=           # what `make test` runs: all of it, or e.g. TESTS="packages/reid-eval -k rank"
DEMO ?=            # further options of the demo, e.g. DEMO="--seed 1"

WORKERS := $(strip $(WORKERS))
TESTS := $(strip $(TESTS))
DEMO := $(strip $(DEMO))

# Where bytecode isn't kept, every process compiles thousands of modules anew: half a minute each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(STAMP) ## VILLS end to end on the synthetic world: pre-train, fine-tune, evaluate, compare with from-scratch
	.venv/bin/vills run --config apps/vills/configs/demo.yaml $(DEMO)

.PHONY: test
test: $(STAMP) ## every test but those marked slow, and the examples in the docstrings
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(WORKERS) $(TESTS)

.PHONY: test-slow
test-slow: $(STAMP) ## the tests marked slow
	$(PYTHON) -m pytest -m slow $(TESTS)

.PHONY: test-faults
test-faults: $(STAMP) ## the tests of kills, full disks, failing storage, outages and hostile input (about 15 minutes)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(WORKERS) -m faults $(TESTS)

.PHONY: lint
lint: $(STAMP) ## ruff check, ruff format --check, mypy on the public code, plain English in pages and docstrings
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy packages/*/src apps/*/src tools
	$(PYTHON) tools/check_prose.py

.PHONY: docs
docs: $(STAMP) ## the documentation site in dist/docs, which opens from disk; a warning or a dead link is an error
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build
	@echo "dist/docs/index.html"

.PHONY: format
format: $(STAMP) ## let ruff sort imports and format
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

.PHONY: bench
bench: $(STAMP) ## run every benchmark; each writes benchmarks/results/NAME.json
	@shopt -s nullglob; for script in benchmarks/[!_]*.py; do echo "== $$script"; $(PYTHON) "$$script"; done

.PHONY: bench-quick
bench-quick: $(STAMP) ## each goal of speed and memory beside what is measured, as ratios of one run (under 15 minutes)
	$(PYTHON) benchmarks/quick.py
	$(PYTHON) benchmarks/quick.py --table

.PHONY: ui
ui: $(STAMP) ## MLflow's UI on 127.0.0.1 (MLFLOW_PORT, 5000)
	@mkdir -p runs
	MLFLOW_DISABLE_TELEMETRY=true .venv/bin/mlflow ui --app-name reid --workers 1 --host 127.0.0.1 --port $(MLFLOW_PORT) \
		--backend-store-uri sqlite:///runs/mlflow.db

.PHONY: lock
lock: $(STAMP) ## renew requirements.lock with the newest versions the members allow
	PATH="$(dir $(UV)):$$PATH" $(PYTHON) tools/lock.py

.PHONY: lock-check
lock-check: $(STAMP) ## fail when requirements.lock doesn't answer what the members declare
	PATH="$(dir $(UV)):$$PATH" $(PYTHON) tools/lock.py --check

.PHONY: setup
setup: $(STAMP) ## the environment alone: .venv from requirements.lock, every member installed editable

.PHONY: clean
clean: ## remove the environment, caches and built distributions (runs/ stays)
	rm -rf .venv .uv dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +

$(CURDIR)/.uv/bin/uv:
	python3.11 -m venv .uv 2>/dev/null || python3 -m venv .uv
	.uv/bin/pip install --quiet "uv==$(UV_VERSION)"

# Remade when the lock or a member's pyproject.toml changes. The members need no build isolation: hatchling is in the
# lock, so that nothing without a hash is fetched.
$(STAMP): requirements.lock $(addsuffix pyproject.toml,$(MEMBERS)) | $(UV)
	[ -x $(PYTHON) ] || "$(UV)" venv --quiet --python 3.11 .venv
	"$(UV)" pip sync --python $(PYTHON) --require-hashes requirements.lock
	"$(UV)" pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --no-index \
		$(foreach member,$(MEMBERS),--editable $(member))
	touch $@
