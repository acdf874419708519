# Everything sets itself up: `make demo` and `make test` need Python 3.11 or newer and make, nothing else.

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUNS ?= runs/demo

# Flower and Ray: no telemetry, no update check, no second installation of our dependencies, a home of our own.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1
export RAY_USAGE_STATS_ENABLED := 0
export FLWR_HOME ?= $(CURDIR)/.flwr

.PHONY: help demo test lint format config clean environment

help: ## Show these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

demo: $(READY) ## FGL, FedAvg and centralised training side by side; run folders under runs/demo
	$(BIN)/fgl compare experiments/demo/*.toml --runs-dir $(RUNS)

# Two at a time, of one thread each: torch's threads of both would wait for each other.
test: $(READY) ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(READY) ## Check style, types and the arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

config: $(READY) ## Write the defaults of RunConfig into pyproject.toml
	$(BIN)/python -m experiments.sync_config

environment: $(READY) ## Make the virtual environment and nothing else

clean: ## Remove the environment, caches and Flower's home; run folders stay
	rm -rf $(VENV) .flwr .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A newer constraints.txt or pyproject.toml installs again; otherwise the stamp makes this a no-op.
$(READY): constraints.txt pyproject.toml
	@found=; for python in python3.11 python3.12 python3.13 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "make: Python 3.11 or newer is needed and none was found" >&2; exit 2; fi; \
	echo "setting up $(VENV) with $$($$found --version)"; \
	[ -x $(BIN)/python ] || $$found -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev,tensorboard,privacy,lora]'
	@touch $@
