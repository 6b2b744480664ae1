# Every target does the set-up that it needs. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help run dev run-api run-worker doctor key test check format lock check-deploy bench bench-peers chaos soak fuzz fuzz-images screenshots docs docs-serve

# the newest Python >= 3.11 on the PATH; name another with `make PYTHON=…`
PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
DEPLOY_TOOLS := .cache/check-deploy

# the variables among these that were given, as options: SECONDS=300 becomes --seconds 300
given = $(foreach name,$(1),$(if $($(name)),--$(shell echo $(name) | tr A-Z a-z) $($(name))))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## API, worker and what they need, until Ctrl-C
	@exec $(BIN)/python -m service.run

dev: $(VENV)/.dev ## the same, both started again when a file changes
	@exec $(BIN)/python -m service.dev

run-api: $(VENV)/.run ## the API alone
	@exec $(BIN)/python -m service

run-worker: $(VENV)/.run ## a worker alone; start as many as you like
	@exec $(BIN)/python -m jobs

doctor: $(VENV)/.run ## what may cost jobs: Redis, its settings, queues, storage; exit code 1 with a warning
	@$(BIN)/python -m errand doctor --packages jobs $(ARGS)

key: $(VENV)/.run ## a new API key and its hash; SCOPES=read+write for fewer scopes than all; NAME= EXPIRES=2027-01-31
	@$(BIN)/python -m errand key $(SCOPES) $(call given,NAME EXPIRES)

test: $(VENV)/.dev ## the tests, against real servers that they start themselves
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## lint, format and types: what CI runs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/python -m docs.site.code_blocks
	@$(BIN)/mypy var/docs-code
	@$(BIN)/pyright var/docs-code

check-deploy: $(VENV)/.dev $(DEPLOY_TOOLS)/.done ## the files of deploy/, each by its own tool; says what cannot be checked here
	@DEPLOY_TOOLS=$(DEPLOY_TOOLS) $(BIN)/python -m tests.deploy

bench: $(VENV)/.dev ## the engine against stock Arq and its own bars; about ten minutes
	@$(BIN)/python -m tests.bench $(ARGS)

bench-peers: $(VENV)/.dev ## the same with SAQ, taskiq, streaq and dramatiq, each in an environment made on the spot
	@$(BIN)/python -m tests.bench --peers $(ARGS)

chaos: $(VENV)/.dev ## faults of every kind under load, then the accounts; SECONDS= SEED= WORKERS= RATE= RUNS= FSYNC= CLUSTER=redis|valkey PARTITIONS=
	@$(BIN)/python -m tests.chaos $(call given,SECONDS SEED WORKERS RATE RUNS FSYNC CLUSTER PARTITIONS) $(ARGS)

soak: $(VENV)/.dev ## ten minutes of steady load: does anything grow? SECONDS= RATE= WORKERS=
	@$(BIN)/python -m tests.chaos.soak $(call given,SECONDS RATE WORKERS) $(ARGS)

fuzz: $(VENV)/.dev ## schemathesis and raw sockets against the live API, without API keys and with one; SECONDS=300 SEED=
	@$(BIN)/python -m tests.contract $(call given,SECONDS SEED) $(ARGS)

fuzz-images: $(VENV)/.dev ## 100,000 damaged images: each is made smaller or refused, no process dies; SEED= COUNT= PROCESSES=
	@$(BIN)/python -m tests.images.fuzz $(call given,SEED COUNT PROCESSES) $(ARGS)

screenshots: $(VENV)/.dev ## the pictures in the docs, taken by Chromium (apt install chromium); SUBJECTS="letter"
	@$(BIN)/python -m tests.screenshots $(SUBJECTS)

docs: $(VENV)/.dev ## the documentation as a site, in var/docs/html; a warning is an error
	@$(BIN)/python -m docs.site build

docs-serve: $(VENV)/.dev ## the same, served while you write: http://127.0.0.1:8000
	@$(BIN)/python -m docs.site serve

format: $(VENV)/.dev ## fix what lint can fix, then format the code
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

lock: ## resolve the dependencies again into requirements/ (needs uv)
	@uv pip compile pyproject.toml --extra all --extra dkim --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--upgrade --quiet --output-file requirements/run.lock
	@uv pip compile pyproject.toml --all-extras --group dev --constraint requirements/run.lock --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements/dev.lock
	@uv pip compile --group deploy --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		--output-file requirements/deploy.lock

$(DEPLOY_TOOLS)/.done: requirements/deploy.lock | $(VENV)/bin/python
	@echo "installing what reads deployments (once)"
	@$(BIN)/python -m venv --clear $(DEPLOY_TOOLS)
	@$(DEPLOY_TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.run: requirements/run.lock | $(VENV)/bin/python
	@echo "installing what Errand runs on (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.run
	@echo "installing what tests and checks need (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Errand needs Python 3.11 or newer on the PATH"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
