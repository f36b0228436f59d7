PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
OUTPUTS ?= outputs
BENCH   := experiments/benchmarks/metrics
VENV_BENCH   ?= .venv-bench
READY_BENCH  := $(VENV_BENCH)/.installed
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: help install sweep ui test test-slow test-all test-slurm chaos lint docs bench bench-metrics clean
.DEFAULT_GOAL := help

help:  ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(READY)  ## a virtual environment with everything, in .venv

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps dynamic-network-architectures
	@touch $@

sweep: $(READY)  ## the main job in small: pretrain, train 2 arms x 3 sizes x 3 repeats, compare
	$(BIN)/lesionseg train --config-dir experiments/quickstart --config-name study paths.outputs=$(OUTPUTS)

ui: $(READY)  ## MLflow's pages on what was run
	$(BIN)/lesionseg ui paths.outputs=$(OUTPUTS)

test: $(READY)  ## the tests of every day, on every core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses logical --dist loadfile --no-loadscope-reorder

test-all: $(READY)  ## every test: a hundred kills, launchers and browser, too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --kills 100 --numprocesses logical --dist loadfile --no-loadscope-reorder

test-slow: $(READY)  ## the tests that need minutes: kills, launchers, browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --ignore=tests/slurm --kills 8

test-slurm: $(READY)  ## a sweep on a real SLURM, started for the test (Debian: slurm-wlm, munge)
	OMP_NUM_THREADS=1 tests/slurm/cluster.sh $(BIN)/python -m pytest tests/slurm

chaos: $(READY)  ## a sweep killed a hundred times, with and without workers
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/e2e/test_chaos.py --kills 100

lint: $(READY)  ## style, import directions and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: .venv-docs/.installed  ## the documentation as a site, in site/
	.venv-docs/bin/mkdocs build --strict --quiet

.venv-docs/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-docs/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

bench: .venv-bench-training/.installed  ## training's and inference's speed beside others', in .venv-bench-training
	.venv-bench-training/bin/python -W ignore experiments/benchmarks/training/run.py

.venv-bench-training/.installed: experiments/benchmarks/training/requirements.txt
	$(PYTHON) -m venv .venv-bench-training
	.venv-bench-training/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-bench-training/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . monai
	.venv-bench-training/bin/pip install --quiet --disable-pip-version-check -c constraints.txt dynamic-network-architectures --no-deps
	.venv-bench-training/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	.venv-bench-training/bin/pip install --quiet --disable-pip-version-check -c constraints.txt scikit-image msgpack ndindex \
	    numexpr py-cpuinfo requests einops httpx future unittest2 tifffile imagecodecs seaborn yacs
	@touch $@

bench-metrics: $(READY_BENCH)  ## the metrics' speed beside panoptica's, MONAI's and CCMetrics', in .venv-bench
	PYTHONPATH=. $(VENV_BENCH)/bin/python $(BENCH)/run.py

$(READY_BENCH): $(BENCH)/requirements.txt
	$(PYTHON) -m venv $(VENV_BENCH)
	$(VENV_BENCH)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:  ## remove the environments and build files; outputs stay
	rm -rf $(VENV) $(VENV_BENCH) .venv-bench-training .venv-docs site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
