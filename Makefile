# `make` lists the targets. PYTHON chooses the interpreter that the virtual environment is made with.
PYTHON ?= python3
BIN := .venv/bin
# The newest other interpreter on this machine, 3.12 or later; the tests run under it too.
NEWEST := $(shell for v in 3.15 3.14 3.13 3.12; do \
  for p in python$$v $$HOME/.pyenv/versions/$$v.*/bin/python; do \
    "$$p" -c 'import ssl, venv' 2>/dev/null && echo "$$p" && exit; done; done)
# Four on two processors: many tests wait for processes, sockets and disks.
JOBS ?= 4

NATIVE := src/dcap/provider/native

.PHONY: help demo check plugin format lint types contracts test test-newest docs docs-check wheel bench fuzz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: .venv/.installed ## verify a real, Intel-signed quote (from PyPI), then a simulated life of a machine
	@$(BIN)/python tools/demo.py

check: lint types contracts docs-check test test-newest wheel ## everything that CI runs

lint: .venv/.dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.dev ## put the code in its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.dev ## mypy, strict, over the package and the typing tests
	$(BIN)/mypy
	$(BIN)/mypy tests/typing/api.py

contracts: .venv/.dev ## the floors and what they may import
	$(BIN)/lint-imports

# Hundreds of real processes share the machine with the tests: what fails there is run once more alone,
# and has to pass then. It is said aloud, and wants mending all the same.
define tests
$(1) -m pytest -n $(JOBS) || { \
	  echo "FAILED among all the others; once more, alone:"; \
	  $(1) -m pytest --last-failed --last-failed-no-failures none; }
endef

test: .venv/.dev ## the tests
	$(call tests,$(BIN)/python)

test-newest: ## the tests under the newest Python installed
ifeq ($(NEWEST),)
	@echo "no Python newer than 3.11 is installed: skipped"
else
	@test -e .venv-newest/.dev || { "$(NEWEST)" -m venv .venv-newest && \
	  .venv-newest/bin/python -m pip install -q --upgrade "pip>=25.1" && \
	  .venv-newest/bin/python -m pip install -q -e . --group dev && touch .venv-newest/.dev; }
	$(call tests,.venv-newest/bin/python)
endif

docs: .venv/.dev ## write the generated reference pages
	$(BIN)/python tools/reference.py

docs-check: .venv/.dev ## the generated reference pages are current
	$(BIN)/python tools/reference.py --check

plugin: ## build libdcap_quoteprov.so.1 (wants a C compiler)
	$(MAKE) -C $(NATIVE)

wheel: .venv/.dev ## build the wheel, install it in a fresh environment, run it
	rm -rf build dist .venv-wheel
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install -q dist/*.whl
	cd dist && ../.venv-wheel/bin/dcap --version && ../.venv-wheel/bin/dcap explain 0xe019 >/dev/null

bench: .venv/.dev ## our speed beside dcap-qvl's, in one run; fetching, the cache, the simulator
	$(BIN)/python benchmarks/verify.py
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/fetch.py
	$(BIN)/python benchmarks/cache.py
	$(BIN)/python benchmarks/simulate.py
	$(BIN)/python benchmarks/pccs_import.py
	$(BIN)/python benchmarks/pccs_herd.py

fuzz: .venv/.dev ## coverage-guided fuzzing, bounded (RUNS=200000)
	$(BIN)/python -m pip install -q --group fuzz
	mkdir -p .fuzz/corpus
	$(BIN)/python tests/fuzz/fuzz_evidence.py -runs=$(or $(RUNS),200000) -max_len=16384 .fuzz/corpus

clean: ## remove what was made
	rm -rf .venv .venv-newest .venv-wheel .demo .fuzz build dist

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q -e .
	@touch $@

.venv/.dev: .venv/.installed
	$(BIN)/python -m pip install -q -e . --group dev
	@touch $@
