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

.PHONY: run test check setup setup-dev rooms clean help

help:
	@echo "make run     set up, dissect the embedded photos, open the app"
	@echo "make test    set up, run every test"
	@echo "make check   lint, types, doctests, import rule"
	@echo "make clean   remove the environment and everything under cache/"

# The stamp names the files it was made from, so an edit of them installs again.
$(VENV)/.run-ready: requirements.txt requirements.lock
	@test -n "$(PYTHON)" || \
	  { echo "Unitscope needs Python 3.11 or newer and found none. Say make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@echo "Installing the packages Unitscope needs (a few minutes the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c requirements.lock
	@touch $@

$(VENV)/.test-ready: $(VENV)/.run-ready requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c requirements.lock
	@touch $@

setup: $(VENV)/.run-ready
setup-dev: $(VENV)/.test-ready

rooms: setup
	@$(BIN)/python -m core run --dataset rooms --model rooms

run: rooms
	@$(BIN)/python -m pages.parts.serve --server.port $(PORT) --server.address $(ADDRESS) $(SERVE)

test: setup-dev
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  echo "No Chromium here: the browser tests are left out. On Debian: apt-get install chromium"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: setup-dev
	@$(BIN)/ruff check app.py pages core tests benchmarks docs
	@$(BIN)/ruff format --check app.py pages core tests benchmarks docs
	@$(BIN)/mypy core
	@$(BIN)/python -m pytest --doctest-modules core
	@$(BIN)/python -m pytest tests/test_structure.py

clean:
	rm -rf $(VENV)
	find cache -mindepth 1 ! -name README.md -delete
