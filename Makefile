# Every habit has one word; `make` alone lists them. Each works on a fresh machine with Python 3.11 to 3.13 and Git.

# The distribution's Python comes first: it is built with profile-guided optimisation, which pyenv leaves out unless told
# otherwise, and everything here is a tenth faster with it. Debian's needs the package python3-venv, else it is passed by.
FITS := import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in /usr/bin/python3 python3.11 python3.12 python3.13 python3; do \
	$$python -c '$(FITS)' 2>/dev/null && command -v $$python && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests with servers mostly wait, so there are two processes for each core; what computes gets one. Each process has
# servers of its own (about half a gigabyte), and takes tests from another when it has none left. ARGS runs in one.
CORES := $(shell $(PYTHON) -c 'import os; print(min(8, os.cpu_count() or 1))')
WAITING := --numprocesses $(shell expr 2 '*' $(CORES)) --dist worksteal
COMPUTING := --numprocesses $(CORES) --dist worksteal
# Folders whose marker `make check` leaves out are not even imported, nor is what only they use.
WITHOUT := --ignore tests/compat --ignore tests/faults --ignore tests/acceptance -p no:schemathesis

# Tests start hundreds of processes, which would all compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install constraints demo test coverage check production containers faults drills bench soak up clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with Sluice, its servers and its tools (the others do this first)

# The stamp is written last, so that an install cut short is done again.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	@echo "Installing into $(VENV)…"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[local,otel,dev]'
	@touch $(STAMP)

# A fresh environment decides; comments and lines with a marker, which are for other Pythons than this one, stay.
constraints: ## Renew constraints.txt: the newest versions that setup.cfg allows
	@$(PYTHON) -m venv --clear build/constraints
	@build/constraints/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[local,otel,dev]'
	@grep -E '^#|;' constraints.txt > build/constraints.txt
	@build/constraints/bin/python -m pip freeze --disable-pip-version-check --exclude-editable >> build/constraints.txt
	@mv build/constraints.txt constraints.txt
	@rm -rf build/constraints

demo: install ## Land a real history end to end on a stack of its own (REPO=path for another than this one)
	@$(BIN)/sluice demo $(if $(REPO),--repo "$(REPO)")

test: install ## Run all tests, on real servers (ARGS=… for pytest)
	@$(BIN)/python -m pytest $(or $(ARGS),$(WAITING))

coverage: install ## Run all tests and list what none of them runs; slower than `make test`, and nothing depends on it (ARGS=…)
	@$(BIN)/python -m pytest --cov --cov-report=term-missing $(or $(ARGS),$(WAITING))

check: install ## Lint, types and the tests that need no server: under a minute
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy app tasks storage deploy celeryconfig.py
	@$(BIN)/python -m pytest -q -m "not servers and not compat and not faults and not acceptance and not long" \
		$(WITHOUT) $(or $(ARGS),$(COMPUTING))

production: install ## Install without development tools on each Python found, and land a change (ARGS=python3.12 for one)
	@$(BIN)/python -m deploy.production $(ARGS)

containers: install ## Run Dockerfile and compose.yaml by Docker or Podman: health, a replay, every container killed (ARGS=…)
	@$(BIN)/python -m deploy.containers $(ARGS)

faults: install ## Break everything under load and check what was promised (MINUTES=5 SEED=… ARGS=…)
	@$(BIN)/python -m tests.harness $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

drills: install ## Show that an outage of S3, a full Redis, a failover, a restart, a death fail nobody (ARGS="outage --seconds 30", full-redis, failover, restart, killed)
	@$(BIN)/python -m tests.harness.drills $(or $(ARGS),restart)

bench: install ## Measure what we claim, and the peers beside it, as JSON and a table (ARGS=…)
	@$(BIN)/python -m benchmarks $(ARGS)

soak: install ## Half of the most that lands, for long: what grows? (MINUTES=30 ARGS=…)
	@$(BIN)/python -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

up: install ## Run the whole stack on this machine until Ctrl-C (ARGS=… for `sluice up`)
	@$(BIN)/sluice up $(ARGS)

clean: ## Remove what the others made, but for the data in .sluice
	@rm -rf $(VENV) build *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
