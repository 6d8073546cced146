# Everything a user or a developer runs. Each target does its own set-up in .venv, which is
# quick when nothing changed.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; \
  done || true)
VENV   ?= .venv
BIN     = $(VENV)/bin
PORT   ?= 8501
# Processes that run tests beside each other, each with up to 2 GB.
JOBS   ?= 2
# Only this machine sees the app, and the address that is printed may change things; with
# ADDRESS=0.0.0.0 the network sees it, read-only. SERVE holds more options (docs/serving.md).
ADDRESS ?= localhost
SERVE   ?=

.PHONY: run test test-fast check golden docs setup setup-dev optional lock audit rooms clean help

help:
	@echo "make run        set up, dissect the embedded photos, open the app"
	@echo "make test       set up, run every test"
	@echo "make test-fast  two to three minutes: no browser, no page, no real data, nothing slow"
	@echo "make check      lint, types, doctests, import rule"
	@echo "make docs       write docs/commands.md, docs/glossary.md and the table of modules"
	@echo "make golden     record results of computations whose version was raised"
	@echo "make lock       choose releases again for the requirements files, with digests"
	@echo "make audit      known vulnerabilities of the locked releases"
	@echo "make clean      remove the environment and everything under cache/"

# The stamp names the files it was made from, so an edit of them installs again. What is installed
# is what the lock names, byte for byte: a file of another digest is refused. The checkout itself
# comes last, for the command `unitscope`; setuptools is among what is locked.
$(VENV)/.run-ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || \
	  { echo "Unitscope needs Python 3.11 or newer and found none. Say make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@echo "Installing the packages Unitscope needs (a few minutes the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test-ready: $(VENV)/.run-ready requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# What only some inputs need (timm, safetensors, NYUv2's .mat, transformers).
optional: setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-optional.lock

# One lock for Python 3.11 and newer and every system. Packages stay at their locked releases
# unless UPGRADE=--upgrade is given.
lock:
	@test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv; }
	@agree=; for part in requirements requirements-optional requirements-dev; do \
	  $(VENV)-lock/bin/uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --python-version 3.11 \
	    --no-header --no-annotate $(UPGRADE) $$agree -o $$part.lock $$part.txt || exit 1; \
	  agree="$$agree -c $$part.lock"; done

# Known vulnerabilities of the locked releases, from PyPI's advisories; needs its JSON interface.
audit:
	@test -x $(VENV)-audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)-audit && $(VENV)-audit/bin/pip install --quiet pip-audit; }
	@$(VENV)-audit/bin/pip-audit --strict --require-hashes --disable-pip -r requirements-dev.lock

setup: $(VENV)/.run-ready
setup-dev: $(VENV)/.test-ready

rooms: setup
	@$(BIN)/python -m core run --dataset rooms --model rooms --layer layer3 --layer layer4

run: rooms
	@$(BIN)/python -m pages.parts.serve --server.port $(PORT) --server.address $(ADDRESS) $(SERVE)

test: setup-dev
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  echo "No Chromium here: the browser tests are left out. On Debian: apt-get install chromium"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# After a change, with the tests of what was changed; `make test` comes before a commit is handed on.
test-fast: setup-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  -m "not slow and not browser and not real" --ignore tests/pages $(ARGS)

check: setup-dev
	@$(BIN)/ruff check app.py unitscope.py pages core tests benchmarks docs
	@$(BIN)/ruff format --check app.py unitscope.py pages core tests benchmarks docs
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --doctest-modules core
	@$(BIN)/python -m pytest tests/test_structure.py

docs: setup
	@$(BIN)/python -m core.cli.reference > docs/commands.md
	@$(BIN)/python docs/modules.py
	@$(BIN)/python -m docs.terms

# What tests/test_golden.py compares with. Changed results under an unchanged version are refused.
golden: setup-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.golden --record

clean:
	rm -rf $(VENV) $(VENV)-lock $(VENV)-audit
	find cache -mindepth 1 ! -name README.md -delete
