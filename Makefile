# make run    make the environment, start the daemon on the bundled model, and chat with it
# make run-sim  the same on the simulated NPU runtime (needs gcc)
# make test   make the environment, run all checks and tests
# make check  only the checks (ruff, mypy, vulture, codespell)
# make bench  measure what the daemon adds, and what the prompt cache saves
# make deb    build the Debian package into build/deb
# make clean  remove the environment, caches and sockets
# make help   this list
#
# PYTHON=python3.12 make …   takes another interpreter (3.11 or newer)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run run-sim test check bench deb clean
help:
	@sed -n 's/^# \{0,1\}//;/^make/p' Makefile | grep '^make'

$(VENV)/run: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rkllmd needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/test: $(VENV)/run pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

run: $(VENV)/run
	@tools/run

run-sim: $(VENV)/run
	@tools/run-sim

# Most tests wait for processes, so more of them than cores run at a time.
test: check
	$(BIN)/python -m pytest --numprocesses 4 --no-loadscope-reorder

check: $(VENV)/test
	tools/check

bench: $(VENV)/test
	$(BIN)/python tools/bench

deb:
	@tools/build-deb

clean:
	rm -rf $(VENV) run build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find cache -mindepth 1 ! -name README.md -delete
