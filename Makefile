# `make` says what there is. The virtual environment is made once, and is installed into
# again only when setup.py or pyproject.toml has changed.

PYTHON ?= python3
VENV := .venv
python := $(VENV)/bin/python

extras_daemon := daemon
extras_dev := daemon,test,doc
extras_benchmark := daemon,test,benchmark

# Interpreters for `make test-all`, where pyenv has them.
PYENV_ROOT ?= $(HOME)/.pyenv
interpreter = $(lastword $(sort $(wildcard $(PYENV_ROOT)/versions/$(1).*/bin/python)))
versions := $(foreach v,3.10 3.11 3.12 3.13 3.14,$(if $(call interpreter,$(v)),$(v)))

.PHONY: help demo run venv test lint pytest trial docs man packaging test-all faults soak bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PRECIOUS: $(VENV)-3.%/test.stamp

help:
	@echo 'make demo       see the daemon work through jobs, in half a minute'
	@echo 'make run        the daemon in the foreground, and what to type in a second terminal'
	@echo 'make test       every check: lint, pytest, trial, docs, packaging (each is a target too)'
	@echo 'make man        the manual page, and what completes the command in bash, zsh and fish'
	@echo 'make test-all   pytest on each Python that pyenv has of 3.10 to 3.14'
	@echo 'make faults     put faults into a copy, one by one, and see a test notice each'
	@echo 'make soak       both pools under random load from all sides, for some minutes'
	@echo 'make bench      the benchmarks; BASE=COMMIT compares with that commit, ROWS= and ROUNDS= choose'
	@echo 'make clean      remove all that the others made'

demo: venv
	@$(python) doc/demo.py

run: venv
	@echo 'The daemon runs here until Ctrl-C. In a second terminal:'
	@echo
	@echo '    cd $(CURDIR)'
	@echo '    $(VENV)/bin/ganeti-pool submit -- sha256sum README.md'
	@echo '    $(VENV)/bin/ganeti-pool list'
	@echo '    $(VENV)/bin/ganeti-pool logs 1'
	@echo '    $(VENV)/bin/ganeti-pool status'
	@echo
	@exec $(VENV)/bin/twistd -n --pidfile= ganeti-pool

venv: $(VENV)/daemon.stamp

# What fails fastest comes first.
test: lint pytest trial docs packaging

lint: $(VENV)/dev.stamp
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	$(python) -m mypy twisted/plugins/ganeti_pool_plugin.py $(wildcard doc/*.py)
	$(python) -m pytest -q tests/test_layers.py

pytest: $(VENV)/dev.stamp
	$(python) -m pytest --cov=ganeti_pool

# Trial passes over pytest's functions, which are the tests that need a real reactor.
trial: $(VENV)/dev.stamp
	$(python) -W error -m twisted.trial tests

docs: $(VENV)/dev.stamp man
	$(python) -m sphinx -W --keep-going -q -b html doc doc/_build/html
	$(python) doc/deadlinks.py doc/_build/html
	@echo 'See doc/_build/html/index.html'

# What setup.py puts into share/ where the package is installed, if it is there.
man: $(VENV)/dev.stamp
	$(python) -m sphinx -W --keep-going -q -D extensions=measured,commandpages,httppages \
	    -d doc/_build/man/.doctrees -b man doc doc/_build/man
	@mkdir -p $(addprefix doc/_build/completion/,bash zsh fish)
	$(VENV)/bin/ganeti-pool completion bash > doc/_build/completion/bash/ganeti-pool
	$(VENV)/bin/ganeti-pool completion zsh > doc/_build/completion/zsh/_ganeti-pool
	$(VENV)/bin/ganeti-pool completion fish > doc/_build/completion/fish/ganeti-pool.fish
	@echo 'See man -l doc/_build/man/ganeti-pool.1'

packaging: $(VENV)/dev.stamp man
	$(python) -m pytest -m packaging tests/packaging

faults: $(VENV)/dev.stamp
	$(python) -m tests.faults

soak: $(VENV)/dev.stamp
	$(python) -X dev -W error -m tests.soak

bench: $(VENV)/benchmark.stamp
	$(python) -m tests.benchmarks $(if $(BASE),--base='$(BASE)') $(if $(ROUNDS),--rounds='$(ROUNDS)') $(ROWS)

test-all: $(addprefix test-,$(versions))
	@echo 'Tested on: $(or $(versions),none; pyenv has none of 3.10 to 3.14 in $(PYENV_ROOT))'

test-3.%: $(VENV)-3.%/test.stamp
	$(VENV)-3.$*/bin/python -m pytest -q

$(VENV)-3.%/test.stamp: setup.py pyproject.toml
	$(call interpreter,3.$*) -m venv $(VENV)-3.$*
	$(VENV)-3.$*/bin/python -m pip install -q --disable-pip-version-check -e '.[daemon,test]'
	@touch $@

$(VENV)/%.stamp: setup.py pyproject.toml | $(python)
	@echo 'Installing ganeti-pool[$(extras_$*)] into $(VENV)'
	@$(python) -m pip install -q --disable-pip-version-check -e '.[$(extras_$*)]'
	@touch $@

$(python):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo 'Python 3.10 or later is needed, as python3 or by `make PYTHON=...`:' \
	         'on Debian and Ubuntu, apt install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo '`$(PYTHON) -m venv` is missing: on Debian and Ubuntu, apt install python3-venv;' \
	         'elsewhere, the package that brings the modules venv and ensurepip' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) $(VENV)-3.* build dist *.egg-info doc/_build _trial_temp* htmlcov \
	    benchmarks-out .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache \
	    twisted/plugins/dropin.cache
	find . -name __pycache__ -prune -exec rm -rf {} +
