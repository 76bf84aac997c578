# Wherry. On a fresh machine with Python 3.11+, a C compiler and make:
#
#   make demo     the whole voyage on this machine (KEEP=1 leaves it running)
#   make test     every test
#
# Both set up .venv first, once. `make check` holds style and types, `make bench` measures.
# Settings: PYTHON (for a new .venv), CC, PYTEST (more arguments for pytest), KEEP.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
ORACLES := .venv-oracles
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install -qq --disable-pip-version-check

export PATH := $(PATH):/usr/sbin:/usr/local/sbin
export PYTHON CC KEEP

# A machine may forbid Python to keep what it has compiled. Tests and demo start Pythons by the
# hundred, and each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

include native/csrc/sources.mk
ENGINE_FILES := $(shell find native/csrc protocol/csrc -name '*.[ch]') \
  $(wildcard native/wherry_native/_*.py)
PACKAGES := wherry_protocol wherry_native wherry_agent wherry_controller
BENCHES := $(filter-out bench/_%,$(wildcard bench/*.py))

.PHONY: help setup setup-oracles setup-targets firmware demo test test-targets bench bench-engine simulate crash-sweep chaos soak docs clean distclean
.PHONY: check check-c check-style check-types check-imports check-docs check-tidy

help:
	@sed -n 's/^#   //p' Makefile
	@echo "also: setup setup-oracles setup-targets test-targets firmware check bench bench-engine simulate crash-sweep chaos soak docs clean distclean"

# --- set-up -------------------------------------------------------------------------------------

setup: $(VENV)/.installed

$(VENV)/.requirements: requirements/dev.txt .ci/setup
	@.ci/setup venv $(VENV)
	@echo "setup: installing pinned requirements into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@.ci/setup machine $(BIN)/python
	@touch $@

# In place, so that edited Python needs no new install; edited C does, and starts from nothing,
# because setuptools does not see every header.
$(VENV)/.installed: $(VENV)/.requirements pyproject.toml $(wildcard setup.py) $(ENGINE_FILES)
	@echo "setup: installing wherry in place"
	@rm -rf build/temp.* build/lib.* native/wherry_native/_engine.*so protocol/*/codec/_quick.*so \
	  protocol/*/_frozen.*so
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

setup-oracles:
	@$(MAKE) --no-print-directory $(ORACLES)/.requirements || echo "setup: the independent" \
	  "implementations cannot be installed here; tests that compare with them are skipped" >&2

$(ORACLES)/.requirements: requirements/oracles.txt .ci/setup
	@.ci/setup venv $(ORACLES)
	@echo "setup: installing pinned requirements into $(ORACLES)"
	@$(ORACLES)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/oracles.txt
	@touch $@

# Cross compilers, QEMU and clang, from apt where that is possible; tests skip what is missing.
setup-targets:
	@.ci/setup targets

firmware: setup
	@$(MAKE) --no-print-directory -C firmware-sim PYTHON=$(abspath $(BIN)/python)

# --- use ----------------------------------------------------------------------------------------

demo: setup firmware
	@$(BIN)/python -m demo

# Four workers, since much of it waits, a file to each, so that what a file sets up is set up once;
# tests/conftest.py has their order.
test: setup setup-oracles firmware
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder \
	  -m "not chaos and not targets" $(PYTEST)

# One set of vectors on every processor that the engine is built for, cross-compiled and under QEMU.
test-targets: setup setup-targets
	@$(BIN)/python -m pytest tests/targets tests/engine/test_fuzzing.py $(PYTEST)

# Real processes under real faults: those that `make test` has no time for as well. A seed makes
# the faults: WHERRY_CHAOS_SEED=7 make chaos
chaos: setup
	@$(BIN)/python -m pytest tests/system/chaos $(PYTEST)

# Rollouts and faults without a pause; a table and one JSON object, 1 where something has grown.
MINUTES := 30
AGENTS := 60
soak: setup
	@$(BIN)/python -m tests.system.chaos.soak --minutes $(MINUTES) --agents $(AGENTS)

bench: setup setup-oracles firmware
	@failed=""; for program in $(BENCHES); do \
	  echo "$$program" >&2; $(BIN)/python $$program || failed="$$failed $$program"; done; \
	if [ -n "$$failed" ]; then echo "bench: limits do not hold or no figure in:$$failed" >&2; \
	  exit 1; fi

# The engine's speed against LiteRT and ONNX Runtime, alone: at a calm moment of the machine.
bench-engine: setup setup-oracles
	@$(BIN)/python bench/engine.py

# The whole fleet in virtual time, one voyage per seed; SCENARIO names one of them, TWINS=signatures,codec
# plays these parts by twins, for speed.
SEEDS := 1000
DEVICES := 200
FIRST_SEED := 0
simulate: setup
	@$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --devices $(DEVICES) \
	  --first-seed $(FIRST_SEED) --scenario "$(SCENARIO)" --jobs $(or $(JOBS),2) \
	  $(if $(TWINS),--twins $(TWINS))

# Every scenario of agent, firmware and controller is stopped at every durable operation, and once
# more on its way back; SUBJECT and SCENARIO name some of them.
crash-sweep: setup firmware
	@$(BIN)/python -m tests.crash_sweep --subject "$(SUBJECT)" --scenario "$(SCENARIO)" \
	  --jobs $(or $(JOBS),2)

# The generated parts of the documents: tables of messages, diagrams of state machines, and what the
# operator's guide shows.
docs: setup
	@$(BIN)/python docs/build.py
	@$(BIN)/python -m tests.doors.guide

# --- hold ---------------------------------------------------------------------------------------

# `make -k check` goes on after a check that fails.
check: check-c firmware check-style check-types check-imports check-docs check-tidy

check-style: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

check-types: setup
	@$(BIN)/mypy $(PACKAGES:%=-p %)

check-imports: setup
	@$(BIN)/lint-imports --no-logo

check-docs: setup
	@$(BIN)/python docs/build.py --check

check-tidy: setup
	@$(BIN)/python -m pytest -q tests/test_tidy.py

# Every warning, of the core in the freestanding world that it promises to live in, and of the host.
C_STRICT := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror \
  -fsyntax-only -Inative/csrc/include -Inative/csrc

check-c: setup
	@for source in $(WHERRY_ENGINE_SOURCES); do \
	  $(or $(CC),cc) $(WHERRY_ENGINE_CFLAGS) -ffreestanding $(C_STRICT) native/csrc/$$source; done
	@for source in native/csrc/host/*.c native/csrc/kernels/*/*.c; do \
	  $(or $(CC),cc) -std=c11 $(C_STRICT) $$source; done
	@python_h=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	for source in protocol/csrc/*.c; do \
	  $(or $(CC),cc) -std=c11 $(C_STRICT) -isystem $$python_h $$source; done
	@echo "check-c: no warning in $(words $(WHERRY_ENGINE_SOURCES)) core files, the host's, the codec's"

clean:
	rm -rf build dist *.egg-info native/wherry_native/_engine.*so \
	  protocol/wherry_protocol/codec/_quick.*so protocol/wherry_protocol/_frozen.*so \
	  .pytest_cache .mypy_cache \
	  .ruff_cache .hypothesis .import_linter_cache $(VENV)/.installed
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(ORACLES)
